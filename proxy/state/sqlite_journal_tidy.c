// SPDX-License-Identifier: Apache-2.0
#include "proxy/state/sqlite_journal_impl.h"

static int used_bytes(sqlite3 *db, uint64_t *ret, struct err *err)
{
    int64_t pages, unused, size;
    if (journal_int(db, "PRAGMA page_count", 0, &pages, err) < 0 ||
        journal_int(db, "PRAGMA freelist_count", 0, &unused, err) < 0 ||
        journal_int(db, "PRAGMA page_size", 4096, &size, err) < 0)
        return -1;
    *ret = (uint64_t)((pages - unused) * size);
    return 0;
}

static bool is_full(const struct sqlite_journal *j)
{
    return j->limits.max_bytes && j->shown_bytes > j->limits.max_bytes;
}

/* Runs a statement of up to two parameters that gives no rows. */
static int run(sqlite3 *db, const char *sql, int64_t a, int64_t b, struct err *err)
{
    sqlite3_stmt *s = journal_prepare(db, sql, err);
    if (!s)
        return -1;
    if (sqlite3_bind_parameter_count(s) > 0)
        (void)sqlite3_bind_int64(s, 1, a);
    if (sqlite3_bind_parameter_count(s) > 1)
        (void)sqlite3_bind_int64(s, 2, b);
    int failed = sqlite3_step(s) == SQLITE_DONE ? 0 : journal_error(db, err);
    (void)sqlite3_finalize(s);
    return failed;
}

/* DELETE or the like: 1 = rows went, 0 = there were none. */
static int forget(struct sqlite_journal *j, const char *sql, int64_t a, int64_t b, struct err *err)
{
    if (run(j->writer.db, sql, a, b, err) < 0)
        return -1;
    bool some = sqlite3_changes(j->writer.db) > 0;
    j->unswept |= some;
    return some;
}

/* What is to be passed on of records below `end`, which are gone: up to the first entry that has its record
 * still, so that what is looked at goes. While the others' store is away it would fill the file else. */
static int forget_outbox(struct sqlite_journal *j, int64_t end, struct err *err)
{
    return run(j->writer.db,
               "DELETE FROM outbox WHERE entry < coalesce((SELECT entry FROM outbox WHERE number >= ?1 "
               "ORDER BY entry LIMIT 1), 9223372036854775807)",
               end, 0, err);
}

/* Records by age, then by room: the oldest go first, a 16th of them before their names are swept and the size
 * is looked at again. 1: there are more. */
static int forget_records(struct sqlite_journal *j, int64_t now_ms, struct err *err)
{
    sqlite3 *db = j->writer.db;
    uint64_t keep, used;
    int64_t first, last;
    if (journal_seek(db, now_ms - (int64_t)j->limits.keep_days * JOURNAL_DAY_MS, &keep, err) < 0 ||
        used_bytes(db, &used, err) < 0 ||
        journal_int(db, "SELECT min(number) FROM record", 0, &first, err) < 0 ||
        journal_int(db, "SELECT max(number) FROM record", 0, &last, err) < 0)
        return -1;
    j->shown_bytes = used;
    if (!is_full(j))
        j->shrink_to = 0;
    else if (!j->shrink_to)
        j->shrink_to = first + 1 + (last - first) / 16;
    int64_t goal = j->shrink_to > (int64_t)keep ? j->shrink_to : (int64_t)keep;
    if (first == 0 || first >= goal) {
        j->shown_first = (uint64_t)first;
        return 0;
    }
    int64_t end = first + JOURNAL_TIDY_ROWS < goal ? first + JOURNAL_TIDY_ROWS : goal;
    if (forget(j, "DELETE FROM record WHERE number >= ?1 AND number < ?2", first, end, err) < 0 ||
        forget_outbox(j, end, err) < 0)
        return -1;
    j->shown_first = end > last ? 0 : (uint64_t)end;
    return end <= last;
}

/* The nodes of these days become one sum for each image and location. 1: there were some. */
#define FOLD(which)                                                                                          \
    "INSERT INTO day SELECT image, day, location, 0, sum(pulls), sum(checks), max(last_pull), "              \
    "max(last_check), 0, 0, 0 FROM day WHERE " which " AND node > 0 GROUP BY image, day, location "          \
    "ON CONFLICT (image, day, location, node) DO UPDATE SET pulls = pulls + excluded.pulls, "                \
    "checks = checks + excluded.checks, last_pull = max(last_pull, excluded.last_pull), "                    \
    "last_check = max(last_check, excluded.last_check)",                                                     \
        "DELETE FROM day WHERE " which " AND node > 0"

static int fold(struct sqlite_journal *j, const char *add, const char *gone, int64_t a, struct err *err)
{
    return run(j->writer.db, add, a, 0, err) < 0 ? -1 : forget(j, gone, a, 0, err);
}

/* One day whose records are gone. 1: there are more. */
static int sum_up(struct sqlite_journal *j, int64_t now_ms, struct err *err)
{
    sqlite3 *db = j->writer.db;
    int64_t day, first_ms;
    int64_t keep = now_ms / JOURNAL_DAY_MS - j->limits.keep_days;
    if (journal_int(db, "SELECT min(day) FROM day WHERE node > 0", INT64_MAX, &day, err) < 0 ||
        journal_int(db, "SELECT time FROM record ORDER BY number LIMIT 1", INT64_MAX, &first_ms, err) < 0)
        return -1;
    /* Where none was ever forgotten, the first one may be younger than others: those of other replicas. */
    if (j->shown_first > 1 && first_ms != INT64_MAX && first_ms / JOURNAL_DAY_MS > keep)
        keep = first_ms / JOURNAL_DAY_MS;
    if (day >= keep)
        return 0;
    return fold(j, FOLD("day = ?1"), day, err);
}

/* Begins to sweep the names of what was forgotten: once a day, and at once where room is needed. 1: it
 * begins. */
static int sweep(struct sqlite_journal *j, int64_t now_ms, struct err *err)
{
    if (!j->unswept || (!is_full(j) && now_ms < j->sweep_at_ms))
        return 0;
    if (journal_sweep_begin(j, err) < 0)
        return -1;
    j->unswept = false;
    j->sweep_at_ms = now_ms + JOURNAL_DAY_MS;
    return 1;
}

static int tidy(struct sqlite_journal *j, int64_t now_ms, struct err *err)
{
    if (j->sweep)
        return journal_sweep_step(j, err) < 0 ? -1 : 1;
    int more = forget_records(j, now_ms, err);
    int sums = more < 0 ? -1 : sum_up(j, now_ms, err);
    if (sums < 0 ||
        forget(j, "DELETE FROM day WHERE day < ?1", now_ms / JOURNAL_DAY_MS - j->limits.sum_days, 0, err) < 0)
        return -1;
    if (more || sums)
        return 1;
    /* Full: nodes whose last record had to go are not kept in the days that have others. */
    if (is_full(j) &&
        fold(j, FOLD("number < ?1"), j->shown_first ? (int64_t)j->shown_first : INT64_MAX, err) < 0)
        return -1;
    int begun = sweep(j, now_ms, err);
    if (begun || !is_full(j))
        return begun;
    j->shrink_to = 0; /* names are swept, and it is full still: more records go, then whole days */
    return j->shown_first ? 1
                          : forget(j, "DELETE FROM day WHERE day = (SELECT min(day) FROM day)", 0, 0, err);
}

int sqlite_journal_tidy(struct journal *base, int64_t now_ms, struct err *err)
{
    struct sqlite_journal *j = (struct sqlite_journal *)base;
    if (journal_exec(j->writer.db, "BEGIN IMMEDIATE", err) < 0)
        return -1;
    int more = tidy(j, now_ms, err);
    if (more >= 0 && journal_exec(j->writer.db, "COMMIT", err) < 0)
        more = -1;
    if (more < 0) {
        (void)sqlite3_exec(j->writer.db, "ROLLBACK", NULL, NULL, NULL);
        journal_sweep_end(j); /* it may be further than the file is */
        j->unswept = true;
    }
    return more;
}
