// SPDX-License-Identifier: Apache-2.0
/* A webhook beside a journal that grows just when a read of it has ended: that record is sent, too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "proxy/records/feed.h"
#include "proxy/records/webhook.h"
#include "proxy/state/sqlite_journal.h"
#include "tests/unit/scratch.h"
#include "tests/unit/upstream_server.h"

/* A journal in which something is written behind the back of whoever read it and found nothing. */
struct late {
    struct journal base;
    struct journal *real;
    struct records *records;
    pthread_mutex_t lock; /* writes are for one thread at a time */
    unsigned left;        /* records that will come so */
};

static struct late *late_of(struct journal *j)
{
    return (struct late *)j;
}

static int late_write(struct journal *j, const struct journal_batch *b, struct err *err)
{
    struct late *l = late_of(j);
    pthread_mutex_lock(&l->lock);
    int rc = l->real->ops->write(l->real, b, err);
    pthread_mutex_unlock(&l->lock);
    return rc;
}

static int late_tidy(struct journal *j, int64_t now_ms, struct err *err)
{
    struct late *l = late_of(j);
    pthread_mutex_lock(&l->lock);
    int rc = l->real->ops->tidy(l->real, now_ms, err);
    pthread_mutex_unlock(&l->lock);
    return rc;
}

static int late_each_pending(struct journal *j, journal_pending_fn *fn, void *arg, struct err *err)
{
    return late_of(j)->real->ops->each_pending(late_of(j)->real, fn, arg, err);
}

static void add_record(struct late *l)
{
    struct journal_record r = {.kind = JOURNAL_PULL,
                               .time_ms = clock_wall_ms(),
                               .made_ms = clock_wall_ms(),
                               .node = "n",
                               .location = "",
                               .address = "10.0.0.1",
                               .agent = "engine",
                               .subject = "",
                               .registry = "docker.io",
                               .repository = "library/busybox",
                               .reference = "1",
                               .platform = "",
                               .media_type = "m",
                               .request_id = "r",
                               .host = "h",
                               .method = "GET",
                               .source = digest_of("n", 1),
                               .served = digest_of("x", 1)};
    struct err err;
    if (late_write(&l->base, &(struct journal_batch){.records = &r, .record_count = 1}, &err) < 0)
        fail_msg("%s", err.msg);
    feed_publish(records_feed(l->records), &r);
    feed_wake(records_feed(l->records));
}

struct counted {
    journal_record_fn *fn;
    void *arg;
    unsigned rows;
};

static bool count_row(void *arg, const struct journal_record *r)
{
    struct counted *c = arg;
    ++c->rows;
    return c->fn(c->arg, r);
}

static int late_read(struct journal *j, const struct journal_query *q, journal_record_fn *fn, void *arg,
                     struct err *err)
{
    struct late *l = late_of(j);
    struct counted c = {fn, arg, 0};
    int rc = l->real->ops->read(l->real, q, count_row, &c, err);
    if (rc == 0 && c.rows == 0 && l->left) {
        --l->left;
        add_record(l);
    }
    return rc;
}

static int late_cursor(struct journal *j, const char *name, uint64_t *ret, struct err *err)
{
    return late_of(j)->real->ops->cursor(late_of(j)->real, name, ret, err);
}

static void late_stats(struct journal *j, struct journal_stats *ret)
{
    late_of(j)->real->ops->stats(late_of(j)->real, ret);
}

static void late_close(struct journal *j)
{
    late_of(j)->real->ops->close(late_of(j)->real);
}

static const struct journal_ops late_ops = {.write = late_write,
                                            .tidy = late_tidy,
                                            .each_pending = late_each_pending,
                                            .read = late_read,
                                            .cursor = late_cursor,
                                            .stats = late_stats,
                                            .close = late_close};

/* Counts the events of each envelope; a connection for each, so that bodies do not run into heads. */
static void receive(struct server_conn *c, const char *head, void *arg)
{
    _Atomic unsigned *events = arg;
    char body[16384];
    const char *length = strcasestr(head, "\r\nContent-Length:"), *begin = strstr(head, "\r\n\r\n") + 4;
    assert_non_null(length);
    size_t want = (size_t)atoi(length + 17), have = strlen(begin);
    assert_true(want < sizeof body && have <= want);
    memcpy(body, begin, have);
    while (have < want) {
        ssize_t n = conn_read(c, body + have, want - have);
        if (n <= 0)
            return;
        have += (size_t)n;
    }
    body[have] = '\0';
    for (const char *p = body; (p = strstr(p, "\"action\"")); ++p)
        atomic_fetch_add(events, 1);
    (void)conn_printf(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    c->close_after = true;
}

static void test_what_comes_after_a_read_is_sent(void **state)
{
    (void)state;
    enum { LATE = 3 };
    unset_proxies();
    char *dir = scratch_new();
    struct late l = {.base = {.ops = &late_ops}, .left = LATE};
    struct err err;
    _Atomic unsigned events = 0;
    struct server *server = server_start(receive, &events);
    cleanup_free char *url = mem_printf("http://127.0.0.1:%u/", server->port);
    pthread_mutex_init(&l.lock, NULL);
    if (sqlite_journal_open(dir,
                            &(struct journal_limits){.keep_days = 1, .sum_days = 1, .max_bytes = 1 << 24},
                            false, &l.real, &err) < 0)
        fail_msg("%s", err.msg);
    l.base.salt = l.real->salt;
    l.records =
        records_new(&(struct records_config){.journal = &l.base, .workers = 1, .check_window_ms = 1000});
    struct loop *loop = loop_new(0);
    loop_set_current(loop);
    struct upstream_shared *shared = upstream_shared_new(&upstream_limits_default);
    struct upstream_client *client = upstream_client_new(loop, shared);
    const struct webhook_config config = {.name = "late", .url = url, .timeout_ms = 20000, .backoff_ms = 100};
    struct webhook *w = webhook_new(l.records, &config);
    webhook_start(w, loop, client);
    for (uint64_t end_ms = patience_end_ms(20000); events < LATE && clock_mono_ms() < end_ms;)
        loop_run_once(loop, 20);
    assert_int_equal(events, LATE);
    webhook_stop(w);
    upstream_client_free(client);
    while (jobs_unfinished(records_jobs(l.records)))
        loop_run_once(loop, 5);
    loop_run_once(loop, 5);
    records_free(l.records);
    webhook_free(w);
    loop_free(loop);
    upstream_shared_free(shared);
    server_stop(server);
    pthread_mutex_destroy(&l.lock);
    scratch_free(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_comes_after_a_read_is_sent)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
