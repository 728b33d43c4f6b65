// SPDX-License-Identifier: Apache-2.0
/*
 * Where each image is needed: the sums of whole days, and the records of the day in which the question
 * begins. Rows come ordered, so that what belongs together is added up as it passes.
 */
#include <stdio.h>
#include <string.h>

#include "proxy/state/sqlite_impl.h"
#include "proxy/state/sqlite_journal_impl.h"

#define TEXT_MAX 512

struct sum {
    bool any;
    int64_t image, location, node;
    struct journal_need need;
    char registry[TEXT_MAX], repository[TEXT_MAX], location_text[TEXT_MAX], node_text[TEXT_MAX];
};

static void take_text(sqlite3_stmt *s, int column, char out[TEXT_MAX])
{
    const char *text = (const char *)sqlite3_column_text(s, column);
    (void)snprintf(out, TEXT_MAX, "%s", text ? text : "");
}

static void begin(struct sum *sum, sqlite3_stmt *s)
{
    memset(&sum->need, 0, sizeof sum->need);
    sum->any = true;
    sum->image = sqlite3_column_int64(s, 0);
    sum->location = sqlite3_column_int64(s, 1);
    sum->node = sqlite3_column_int64(s, 2);
    take_text(s, 9, sum->registry);
    take_text(s, 10, sum->repository);
    take_text(s, 11, sum->location_text);
    take_text(s, 12, sum->node_text);
    sum->need.registry = sum->registry;
    sum->need.repository = sum->repository;
    sum->need.location = sum->location_text;
    sum->need.node = sum->node_text;
}

static void add(struct sum *sum, sqlite3_stmt *s)
{
    struct journal_need *n = &sum->need;
    int64_t pull = sqlite3_column_int64(s, 5), check = sqlite3_column_int64(s, 6);
    n->pulls += (uint64_t)sqlite3_column_int64(s, 3);
    n->checks += (uint64_t)sqlite3_column_int64(s, 4);
    bool newest = pull ? pull >= n->last_pull_ms : n->last_pull_ms == 0 && check >= n->last_check_ms;
    if (newest) {
        n->complete = sqlite3_column_int(s, 7) != 0;
        if (!sqlite_key_digest(sqlite3_column_blob(s, 8), sqlite3_column_bytes(s, 8), &n->source))
            n->source.s[0] = '\0';
    }
    if (pull > n->last_pull_ms)
        n->last_pull_ms = pull;
    if (check > n->last_check_ms)
        n->last_check_ms = check;
}

/* ?1 image or -1, ?2 first whole day, ?3 and ?4 the numbers of the records before it, ?5 and ?6 their time.
 */
#define SUMS                                                                                                 \
    "SELECT q.image, q.location, q.node, q.pulls, q.checks, q.last_pull, q.last_check, q.complete, "         \
    "o.digest, "                                                                                             \
    "g.s, p.s, l.s, n.s FROM ("                                                                              \
    "SELECT image, location, node, pulls, checks, last_pull, last_check, complete, source FROM day "         \
    "WHERE day >= ?2 %s UNION ALL "                                                                          \
    "SELECT r.image, r.location, r.node, r.kind = 0, r.kind = 1, CASE r.kind WHEN 0 THEN r.time ELSE 0 "     \
    "END, "                                                                                                  \
    "CASE r.kind WHEN 1 THEN r.time ELSE 0 END, r.complete, w.source FROM record r "                         \
    "JOIN what w ON w.id = r.what WHERE r.number >= ?3 AND r.number < ?4 AND r.time >= ?5 AND r.time < ?6 "  \
    "%s) q JOIN image i ON i.id = q.image LEFT JOIN text g ON g.id = i.registry "                            \
    "LEFT JOIN text p ON p.id = i.repository LEFT JOIN text l ON l.id = q.location "                         \
    "LEFT JOIN text n ON n.id = q.node LEFT JOIN object o ON o.id = q.source "                               \
    "ORDER BY q.image, q.location, q.node, q.last_pull, q.last_check, o.digest, q.complete"

static int demand(sqlite3 *db, const char *image, int64_t since_ms, journal_need_fn *fn, void *arg,
                  struct err *err)
{
    int64_t id = -1;
    uint64_t first = 0, end = 0;
    if (image && journal_find_image(db, image, &id, err) < 0)
        return -1;
    if (id == -2)
        return 0;
    int64_t from_day = since_ms <= 0 ? 0 : (since_ms + JOURNAL_DAY_MS - 1) / JOURNAL_DAY_MS;
    int64_t until_ms = from_day * JOURNAL_DAY_MS;
    if (since_ms > 0 &&
        (journal_seek(db, since_ms, &first, err) < 0 || journal_seek_past(db, until_ms, &end, err) < 0))
        return -1;
    char sql[2048];
    (void)snprintf(sql, sizeof sql, SUMS, image ? "AND image = ?1" : "", image ? "AND r.image = ?1" : "");
    sqlite3_stmt *s = journal_prepare(db, sql, err);
    if (!s)
        return -1;
    const int64_t n[] = {id, from_day, (int64_t)first, (int64_t)end, since_ms, until_ms};
    for (int i = 0; i < 6; ++i)
        if (i || image)
            (void)sqlite3_bind_int64(s, i + 1, n[i]);
    int rc;
    bool go_on = true;
    struct sum sum = {0};
    while (go_on && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        bool same = sum.any && sqlite3_column_int64(s, 0) == sum.image &&
                    sqlite3_column_int64(s, 1) == sum.location && sqlite3_column_int64(s, 2) == sum.node;
        if (!same) {
            go_on = !sum.any || fn(arg, &sum.need);
            begin(&sum, s);
        }
        add(&sum, s);
    }
    int failed = !go_on || rc == SQLITE_DONE ? 0 : journal_error(db, err);
    if (failed == 0 && go_on && sum.any)
        (void)fn(arg, &sum.need);
    (void)sqlite3_finalize(s);
    return failed;
}

int sqlite_journal_demand(struct journal *base, const char *image, int64_t since_ms, journal_need_fn *fn,
                          void *arg, struct err *err)
{
    struct sqlite_journal *j = (struct sqlite_journal *)base;
    struct journal_conn *c = journal_reader_take(j);
    int rc = demand(c->db, image, since_ms, fn, arg, err);
    journal_reader_give(j, c);
    return rc;
}
