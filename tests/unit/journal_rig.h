// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_TESTS_JOURNAL_RIG_H
#define RAC_TESTS_JOURNAL_RIG_H
/* A journal of a test's own, and what is written to it and read of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sqlite3.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/str.h"
#include "common/timestamp.h"
#include "proxy/state/sqlite_journal.h"
#include "tests/unit/scratch.h"

#define DAY_MS INT64_C(86400000)
#define NOON   (INT64_C(20000) * DAY_MS + DAY_MS / 2)

static inline struct journal *open_in(const char *dir, uint64_t max_bytes)
{
    struct err err;
    struct journal *j;
    const struct journal_limits limits = {.keep_days = 30, .sum_days = 400, .max_bytes = max_bytes};
    if (sqlite_journal_open(dir, &limits, false, &j, &err) < 0)
        fail_msg("%s", err.msg);
    return j;
}

static inline struct journal_record record(int64_t time_ms, enum journal_kind kind, const char *node,
                                           const char *location, const char *repository)
{
    return (struct journal_record){.kind = kind,
                                   .time_ms = time_ms,
                                   .made_ms = time_ms,
                                   .node = node,
                                   .location = location,
                                   .address = "10.0.0.1",
                                   .agent = "engine",
                                   .subject = "",
                                   .registry = "docker.io",
                                   .repository = repository,
                                   .reference = "1",
                                   .platform = "",
                                   .media_type = "m",
                                   .request_id = "r",
                                   .host = "h",
                                   .method = "GET",
                                   .source = digest_of(node, strlen(node)),
                                   .served = digest_of("x", 1)};
}

static inline void write_records(struct journal *j, struct journal_record *r, size_t n)
{
    struct err err;
    if (j->ops->write(j, &(struct journal_batch){.records = r, .record_count = n}, &err) < 0)
        fail_msg("%s", err.msg);
}

struct got {
    uint64_t count, first, last;
    struct journal_record r; /* numbers only: its strings are gone */
    char platform[32];
};

static inline bool take(void *arg, const struct journal_record *r)
{
    struct got *g = arg;
    g->first = g->count ? g->first : r->number;
    g->last = r->number;
    ++g->count;
    g->r = *r;
    (void)snprintf(g->platform, sizeof g->platform, "%s", r->platform);
    return true;
}

static inline struct got read_all(struct journal *j, struct journal_query q)
{
    struct err err;
    struct got g = {0};
    q.before = q.before ? q.before : UINT64_MAX;
    q.until_ms = q.until_ms ? q.until_ms : INT64_MAX;
    q.limit = q.limit ? q.limit : 1000000;
    if (j->ops->read(j, &q, take, &g, &err) < 0)
        fail_msg("%s", err.msg);
    return g;
}

struct needs {
    unsigned rows, with_node;
    uint64_t pulls, checks;
    int64_t last_pull_ms;
    bool complete;
};

static inline bool take_need(void *arg, const struct journal_need *n)
{
    struct needs *s = arg;
    ++s->rows;
    s->with_node += n->node[0] != '\0';
    s->pulls += n->pulls;
    s->checks += n->checks;
    s->last_pull_ms = n->last_pull_ms > s->last_pull_ms ? n->last_pull_ms : s->last_pull_ms;
    s->complete = n->complete;
    return true;
}

static inline struct needs needs_of(struct journal *j, const char *image, int64_t since_ms)
{
    struct err err;
    struct needs s = {0};
    if (j->ops->demand(j, image, since_ms, take_need, &s, &err) < 0)
        fail_msg("%s", err.msg);
    return s;
}
#endif
