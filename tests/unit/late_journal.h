// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_TESTS_LATE_JOURNAL_H
#define RAC_TESTS_LATE_JOURNAL_H
/*
 * A journal in which something is written just when a read of it has ended, and before whoever reads has seen
 * what it gave: what comes then must not be skipped. And records on top of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>

#include "common/clock.h"
#include "proxy/records/feed.h"
#include "proxy/records/records.h"
#include "proxy/state/sqlite_journal.h"
#include "tests/unit/scratch.h"

struct late {
    struct journal base;
    struct journal *real;
    struct records *records;
    pthread_mutex_t lock; /* writes are for one thread at a time */
    unsigned left;        /* records that will come so */
    bool forgetful;       /* until none is left, reads find nothing: as if it were too old */
    char *dir;
};

static inline struct late *late_of(struct journal *j)
{
    return (struct late *)j;
}

static inline int late_write(struct journal *j, const struct journal_batch *b, struct err *err)
{
    struct late *l = late_of(j);
    pthread_mutex_lock(&l->lock);
    int rc = l->real->ops->write(l->real, b, err);
    pthread_mutex_unlock(&l->lock);
    return rc;
}

static inline int late_tidy(struct journal *j, int64_t now_ms, struct err *err)
{
    struct late *l = late_of(j);
    pthread_mutex_lock(&l->lock);
    int rc = l->real->ops->tidy(l->real, now_ms, err);
    pthread_mutex_unlock(&l->lock);
    return rc;
}

static inline int late_each_pending(struct journal *j, journal_pending_fn *fn, void *arg, struct err *err)
{
    return late_of(j)->real->ops->each_pending(late_of(j)->real, fn, arg, err);
}

static inline void late_add_record(struct late *l)
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
    if (!l->records)
        return;
    feed_publish(records_feed(l->records), &r);
    feed_wake(records_feed(l->records));
}

struct late_counted {
    journal_record_fn *fn;
    void *arg;
    unsigned rows;
};

static inline bool late_count_row(void *arg, const struct journal_record *r)
{
    struct late_counted *c = arg;
    ++c->rows;
    return c->fn(c->arg, r);
}

static inline int late_read(struct journal *j, const struct journal_query *q, journal_record_fn *fn,
                            void *arg, struct err *err)
{
    struct late *l = late_of(j);
    struct late_counted c = {fn, arg, 0};
    bool finds = !(l->forgetful && l->left);
    int rc = finds ? l->real->ops->read(l->real, q, late_count_row, &c, err) : 0;
    if (rc == 0 && c.rows == 0 && l->left) {
        --l->left;
        late_add_record(l);
    }
    return rc;
}

static inline int late_cursor(struct journal *j, const char *name, uint64_t *ret, struct err *err)
{
    return late_of(j)->real->ops->cursor(late_of(j)->real, name, ret, err);
}

static inline void late_stats(struct journal *j, struct journal_stats *ret)
{
    late_of(j)->real->ops->stats(late_of(j)->real, ret);
}

static inline void late_close(struct journal *j)
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

/* With `before` records in it, read from then on. */
static inline void late_open(struct late *l, unsigned before)
{
    struct err err;
    l->base.ops = &late_ops;
    l->dir = scratch_new();
    pthread_mutex_init(&l->lock, NULL);
    if (sqlite_journal_open(l->dir,
                            &(struct journal_limits){.keep_days = 1, .sum_days = 1, .max_bytes = 1 << 24},
                            false, &l->real, &err) < 0)
        fail_msg("%s", err.msg);
    l->base.salt = l->real->salt;
    for (unsigned i = 0; i < before; ++i)
        late_add_record(l);
    l->records =
        records_new(&(struct records_config){.journal = &l->base, .workers = 1, .check_window_ms = 1000});
}

/* After records_free. */
static inline void late_free(struct late *l)
{
    pthread_mutex_destroy(&l->lock);
    scratch_free(l->dir);
}
#endif
