// SPDX-License-Identifier: Apache-2.0
/* A webhook beside a journal that grows just when a read of it has ended: that record is sent, too. */
#include "proxy/records/webhook.h"
#include "tests/unit/late_journal.h"
#include "tests/unit/upstream_server.h"

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
    struct late l = {.left = LATE};
    _Atomic unsigned events = 0;
    struct server *server = server_start(receive, &events);
    cleanup_free char *url = mem_printf("http://127.0.0.1:%u/", server->port);
    late_open(&l, 0);
    struct loop *loop = loop_new(0);
    loop_set_current(loop);
    struct upstream_shared *shared = upstream_shared_new(&upstream_limits_default);
    struct upstream_client *client = upstream_client_new(loop, shared);
    const struct webhook_config config = {.name = "late", .url = url, .timeout_ms = 20000, .backoff_ms = 100};
    struct webhook *w = webhook_new(l.records, NULL, &config);
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
    late_free(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_comes_after_a_read_is_sent)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
