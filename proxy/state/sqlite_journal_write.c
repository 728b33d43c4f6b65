// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "common/clock.h"
#include "common/mem.h"
#include "proxy/state/sqlite_journal_impl.h"

enum {
    W_RECORD,
    W_DAY,
    W_FIND,
    W_UPDATE,
    W_DAY_UPDATE,
    W_PLATFORM,
    W_BEFORE,
    W_PENDING,
    W_FORGET,
    W_CURSOR,
    W_LAST,
    W_LAG,
    W_COUNT
};

#define DIGEST(source) "ifnull((SELECT digest FROM object WHERE id = " source "), x'')"
#define NEWER(time)                                                                                          \
    "(?12 OR excluded." time " > " time " OR excluded." time " = " time                                      \
    " AND " DIGEST("excluded.source") " >= " DIGEST("day.source") ")"
#define LAST_PULL  "excluded.pulls AND " NEWER("last_pull")
#define LAST_CHECK "NOT pulls AND NOT excluded.pulls AND " NEWER("last_check")

static const char *const sql[W_COUNT] = {
    [W_RECORD] =
        "INSERT INTO record (number, time, lag, kind, who, what, image, node, location, bytes, hits, "
        "misses, ms, complete, request, id, place, seen) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, "
        "?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
    /* The digest is that of the last pull; a check names it only where there was no pull that day. Where
     * replicas share their records the last is told by time: each has them in another order, and all must say
     * the same. ?12: no others come here, so this is the last, whatever the clock did. */
    [W_DAY] = "INSERT INTO day (image, day, location, node, pulls, checks, last_pull, last_check, number, "
              "source, complete) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) "
              "ON CONFLICT (image, day, location, node) DO UPDATE SET pulls = pulls + excluded.pulls, "
              "checks = checks + excluded.checks, last_check = max(last_check, excluded.last_check), "
              "source = CASE WHEN " LAST_PULL " OR " LAST_CHECK " THEN excluded.source ELSE source END, "
              "complete = CASE WHEN " LAST_PULL " THEN excluded.complete ELSE complete END, "
              "number = CASE WHEN " LAST_PULL " THEN excluded.number ELSE number END, "
              "last_pull = max(last_pull, excluded.last_pull)",
    [W_FIND] = "SELECT image, time, location, node, what FROM record WHERE number = ?1",
    [W_UPDATE] = "UPDATE record SET bytes = ?2, hits = ?3, misses = ?4, ms = ?5, complete = ?6, what = ?7 "
                 "WHERE number = ?1",
    [W_DAY_UPDATE] = "UPDATE day SET complete = ?5 WHERE image = ?1 AND day = ?2 AND location = ?3 "
                     "AND node = ?4 AND number = ?6",
    [W_PLATFORM] =
        "SELECT id, platform FROM what WHERE (image, source, served, injection, reference, media_type, "
        "method, size) = (SELECT image, source, served, injection, reference, media_type, method, "
        "size FROM what WHERE id = ?1) AND platform = ?2",
    /* Not further back than a few thousand records of that node. */
    [W_BEFORE] = "SELECT complete FROM (SELECT r.number, r.image, r.kind, r.what, r.complete FROM record r "
                 "WHERE r.node = ?1 AND r.number < ?2 ORDER BY r.number DESC LIMIT 2000) q "
                 "JOIN what w ON w.id = q.what WHERE q.image = ?3 AND q.kind = 0 "
                 "AND w.source = (SELECT source FROM what WHERE id = ?4) ORDER BY q.number DESC LIMIT 1",
    [W_PENDING] = "INSERT OR REPLACE INTO pending (key, bytes) VALUES (?1, ?2)",
    [W_FORGET] = "DELETE FROM pending WHERE key = ?1",
    [W_CURSOR] = "INSERT INTO cursor (name, number) VALUES (?1, ?2) "
                 "ON CONFLICT (name) DO UPDATE SET number = excluded.number",
    [W_LAST] = "INSERT INTO meta (key, value) VALUES ('last', ?1) "
               "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
    [W_LAG] = "INSERT INTO meta (key, value) VALUES ('lag', ?1) "
              "ON CONFLICT (key) DO UPDATE SET value = max(value, excluded.value)",
};

static sqlite3_stmt *statement(struct sqlite_journal *j, int id, struct err *err)
{
    if (!j->stmt)
        j->stmt = mem_zalloc(W_COUNT * sizeof(sqlite3_stmt *));
    if (!j->stmt[id])
        j->stmt[id] = journal_prepare(j->writer.db, sql[id], err);
    return j->stmt[id];
}

void sqlite_journal_write_end(struct sqlite_journal *j)
{
    for (int i = 0; j->stmt && i < W_COUNT; ++i)
        (void)sqlite3_finalize(j->stmt[i]);
    free(j->stmt);
    j->stmt = NULL;
}

static void bind(sqlite3_stmt *s, const int64_t *n, int count)
{
    for (int i = 0; i < count; ++i)
        (void)sqlite3_bind_int64(s, i + 1, n[i]);
}

/* Runs it to its end: no rows are wanted. */
static int run(struct sqlite_journal *j, sqlite3_stmt *s, struct err *err)
{
    int rc = sqlite3_step(s);
    int failed = rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : journal_error(j->writer.db, err);
    (void)sqlite3_reset(s);
    return failed;
}

/* ---- records ---- */

/* Another replica's: its id, and where it is in the stream; of all, how far that was followed. */
static void bind_shared(const struct sqlite_journal *j, sqlite3_stmt *s, const struct journal_record *r)
{
    uint8_t id[16];
    bool foreign = r->id[0] || r->id[1];
    for (int i = 0; i < 16; ++i)
        id[i] = (uint8_t)(r->id[i / 8] >> (56 - 8 * (i % 8)));
    (void)sqlite3_bind_null(s, 16);
    (void)sqlite3_bind_null(s, 17);
    (void)sqlite3_bind_null(s, 18);
    if (foreign) {
        (void)sqlite3_bind_blob(s, 16, id, sizeof id, SQLITE_TRANSIENT);
        (void)sqlite3_bind_int64(s, 17, (int64_t)r->place);
    }
    if (j->base.shared)
        (void)sqlite3_bind_int64(s, 18, (int64_t)r->seen);
}

int journal_write_record(struct sqlite_journal *j, const struct journal_record *r, struct err *err)
{
    int64_t image = journal_image_id(j, r->registry, r->repository, err);
    int64_t node = image < 0 ? -1 : journal_text_id(j, r->node, err);
    int64_t location = node < 0 ? -1 : journal_text_id(j, r->location, err);
    int64_t source = location < 0 ? -1 : journal_object_id(j, &r->source, err);
    int64_t who = source < 0 ? -1 : journal_who_id(j, r, node, location, err);
    int64_t what = who < 0 ? -1 : journal_what_id(j, r, image, source, err);
    sqlite3_stmt *s = what < 0 ? NULL : statement(j, W_RECORD, err);
    if (!s)
        return -1;
    const int64_t row[] = {(int64_t)r->number,
                           r->time_ms,
                           r->made_ms - r->time_ms,
                           r->kind,
                           who,
                           what,
                           image,
                           node,
                           location,
                           (int64_t)r->bytes_sent,
                           r->cache_hits,
                           r->cache_misses,
                           (int64_t)r->duration_ms,
                           r->complete};
    bind(s, row, 14);
    (void)sqlite3_bind_text(s, 15, r->request_id, -1, SQLITE_STATIC);
    bind_shared(j, s, r);
    if (run(j, s, err) < 0)
        return -1;
    bool pull = r->kind == JOURNAL_PULL;
    const int64_t day[] = {image,
                           r->time_ms / JOURNAL_DAY_MS,
                           location,
                           node,
                           pull,
                           !pull,
                           pull ? r->time_ms : 0,
                           pull ? 0 : r->time_ms,
                           pull ? (int64_t)r->number : 0,
                           source,
                           r->complete,
                           !j->base.shared};
    s = statement(j, W_DAY, err);
    if (!s)
        return -1;
    bind(s, day, 12);
    return run(j, s, err);
}

/* ---- what became of them ---- */

/* The same manifest with a platform: another row of `what`, made if there is none. */
static int64_t with_platform(struct sqlite_journal *j, int64_t what, const char *platform, struct err *err)
{
    int64_t text = journal_text_id(j, platform, err);
    sqlite3_stmt *s = text < 0 ? NULL : statement(j, W_PLATFORM, err);
    if (!s)
        return -1;
    (void)sqlite3_bind_int64(s, 1, what);
    (void)sqlite3_bind_int64(s, 2, text);
    int rc = sqlite3_step(s);
    int64_t id = rc == SQLITE_ROW ? sqlite3_column_int64(s, 0) : 0;
    (void)sqlite3_reset(s);
    if (rc == SQLITE_ROW)
        return journal_sweep_mark(j, NAME_WHAT, id);
    s = journal_prepare(
        j->writer.db,
        "INSERT INTO what (image, source, served, injection, reference, platform, media_type, "
        "method, size) SELECT image, source, served, injection, reference, ?2, media_type, "
        "method, size FROM what WHERE id = ?1",
        err);
    if (!s)
        return -1;
    (void)sqlite3_bind_int64(s, 1, what);
    (void)sqlite3_bind_int64(s, 2, text);
    rc = sqlite3_step(s);
    (void)sqlite3_finalize(s);
    return rc == SQLITE_DONE ? journal_sweep_mark(j, NAME_WHAT, sqlite3_last_insert_rowid(j->writer.db))
                             : journal_error(j->writer.db, err);
}

/* Was that node's last pull of the same source complete? -1 with err set. */
static int was_complete(struct sqlite_journal *j, uint64_t number, int64_t node, int64_t image, int64_t what,
                        struct err *err)
{
    sqlite3_stmt *s = statement(j, W_BEFORE, err);
    if (!s)
        return -1;
    const int64_t n[] = {node, (int64_t)number, image, what};
    bind(s, n, 4);
    int rc = sqlite3_step(s);
    int complete = rc == SQLITE_ROW && sqlite3_column_int(s, 0);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        complete = journal_error(j->writer.db, err);
    (void)sqlite3_reset(s);
    return complete;
}

int journal_write_update(struct sqlite_journal *j, const struct journal_update *u, struct err *err)
{
    sqlite3_stmt *s = statement(j, W_FIND, err);
    if (!s)
        return -1;
    (void)sqlite3_bind_int64(s, 1, (int64_t)u->number);
    int rc = sqlite3_step(s);
    int64_t n[5] = {0};
    for (int i = 0; rc == SQLITE_ROW && i < 5; ++i)
        n[i] = sqlite3_column_int64(s, i);
    (void)sqlite3_reset(s);
    if (rc == SQLITE_DONE)
        return 0; /* forgotten meanwhile */
    if (rc != SQLITE_ROW)
        return journal_error(j->writer.db, err);
    int64_t what = n[4];
    int complete = u->complete_as_before ? was_complete(j, u->number, n[3], n[0], what, err) : u->complete;
    if (complete < 0)
        return -1;
    if (u->platform[0]) {
        what = with_platform(j, what, u->platform, err);
        if (what < 0)
            return -1;
    }
    s = statement(j, W_UPDATE, err);
    if (!s)
        return -1;
    const int64_t row[] = {(int64_t)u->number,
                           (int64_t)u->bytes_sent,
                           u->cache_hits,
                           u->cache_misses,
                           (int64_t)u->duration_ms,
                           complete,
                           what};
    bind(s, row, 7);
    if (run(j, s, err) < 0)
        return -1;
    s = statement(j, W_DAY_UPDATE, err);
    if (!s)
        return -1;
    const int64_t day[] = {n[0], n[1] / JOURNAL_DAY_MS, n[2], n[3], complete, (int64_t)u->number};
    bind(s, day, 6);
    return run(j, s, err);
}

static int write_pending(struct sqlite_journal *j, const struct journal_pending *p, struct err *err)
{
    sqlite3_stmt *s = statement(j, p->p ? W_PENDING : W_FORGET, err);
    if (!s)
        return -1;
    (void)sqlite3_bind_int64(s, 1, (int64_t)p->key);
    if (p->p)
        (void)sqlite3_bind_blob64(s, 2, p->p, p->len, SQLITE_STATIC);
    return run(j, s, err);
}

static int write_cursor(struct sqlite_journal *j, const struct journal_cursor *c, struct err *err)
{
    sqlite3_stmt *s = statement(j, W_CURSOR, err);
    if (!s)
        return -1;
    (void)sqlite3_bind_text(s, 1, c->name, -1, SQLITE_STATIC);
    (void)sqlite3_bind_int64(s, 2, (int64_t)c->number);
    return run(j, s, err);
}

/* ---- a batch ---- */

static int64_t now_after(int64_t ms)
{
    int64_t now_ms = clock_wall_ms();
    return now_ms > ms ? now_ms : ms;
}

static int write_lag(struct sqlite_journal *j, const struct journal_batch *b, struct err *err)
{
    int64_t lag_ms = 0;
    for (size_t i = 0; i < b->record_count; ++i) {
        int64_t one_ms = b->records[i].made_ms - b->records[i].time_ms;
        lag_ms = one_ms > lag_ms ? one_ms : lag_ms;
    }
    for (size_t i = 0; i < b->arrival_count; ++i) {
        const struct journal_record *r = &b->arrivals[i].r;
        lag_ms = r->number && r->made_ms - r->time_ms > lag_ms ? r->made_ms - r->time_ms : lag_ms;
    }
    if (lag_ms <= j->max_lag_ms)
        return 0;
    sqlite3_stmt *s = statement(j, W_LAG, err);
    if (!s)
        return -1;
    j->max_lag_ms = lag_ms;
    (void)sqlite3_bind_int64(s, 1, lag_ms);
    return run(j, s, err);
}

/* *ret_last, *ret_made_ms: of the last record that is new. */
static int write_all(struct sqlite_journal *j, const struct journal_batch *b, uint64_t *ret_last,
                     int64_t *ret_made_ms, struct err *err)
{
    size_t arrived = 0;
    for (size_t i = 0; i < b->record_count; ++i)
        if (journal_write_record(j, &b->records[i], err) < 0 ||
            (j->base.shared && journal_outbox_add(j, b->records[i].number, false, err) < 0))
            return -1;
    for (size_t i = 0; i < b->update_count; ++i)
        if (journal_write_update(j, &b->updates[i], err) < 0 ||
            (j->base.shared && journal_outbox_add(j, b->updates[i].number, true, err) < 0))
            return -1;
    for (size_t i = 0; i < b->pending_count; ++i)
        if (write_pending(j, &b->pending[i], err) < 0)
            return -1;
    for (size_t i = 0; i < b->cursor_count; ++i)
        if (write_cursor(j, &b->cursors[i], err) < 0)
            return -1;
    if (b->forwarded && journal_outbox_forget(j, b->forwarded, err) < 0)
        return -1;
    *ret_last = j->last + b->record_count;
    *ret_made_ms = b->record_count ? b->records[b->record_count - 1].made_ms : now_after(j->last_made_ms);
    if (b->arrival_count && journal_write_arrivals(j, b, *ret_last + 1, *ret_made_ms, &arrived, err) < 0)
        return -1;
    *ret_last += arrived;
    if (b->record_count + arrived == 0)
        return 0;
    sqlite3_stmt *s = statement(j, W_LAST, err);
    if (!s)
        return -1;
    (void)sqlite3_bind_int64(s, 1, (int64_t)*ret_last);
    if (run(j, s, err) < 0)
        return -1;
    return write_lag(j, b, err);
}

static void number_records(struct sqlite_journal *j, const struct journal_batch *b)
{
    int64_t now_ms = clock_wall_ms(), made_ms = j->last_made_ms;
    for (size_t i = 0; i < b->record_count; ++i) {
        struct journal_record *r = &b->records[i];
        int64_t wanted_ms = r->made_ms ? r->made_ms : now_ms;
        made_ms = wanted_ms > made_ms ? wanted_ms : made_ms;
        r->number = j->last + 1 + i;
        r->made_ms = made_ms;
        r->seen = j->place;
    }
}

int sqlite_journal_write(struct journal *base, const struct journal_batch *b, struct err *err)
{
    struct sqlite_journal *j = (struct sqlite_journal *)base;
    if (journal_exec(j->writer.db, "BEGIN IMMEDIATE", err) < 0)
        return -1;
    number_records(j, b);
    uint64_t last = 0;
    int64_t lag_before_ms = j->max_lag_ms, made_ms = 0;
    int rc = write_all(j, b, &last, &made_ms, err);
    if (rc == 0)
        rc = journal_exec(j->writer.db, "COMMIT", err);
    if (rc < 0) {
        (void)sqlite3_exec(j->writer.db, "ROLLBACK", NULL, NULL, NULL);
        journal_names_forget(j); /* some were made by what was rolled back */
        j->max_lag_ms = lag_before_ms;
        j->place = j->shown_place;
        j->outbox = j->shown_outbox;
        return -1;
    }
    /* Not before: who is told of it reads it. */
    j->shown_place = j->place;
    j->shown_outbox = j->outbox;
    if (last > j->last) {
        if (j->shown_first == 0)
            j->shown_first = j->last + 1;
        j->last = last;
        j->last_made_ms = made_ms;
        j->shown_last = j->last;
    }
    return 0;
}

int sqlite_journal_each_pending(struct journal *base, journal_pending_fn *fn, void *arg, struct err *err)
{
    struct sqlite_journal *j = (struct sqlite_journal *)base;
    sqlite3_stmt *s = journal_prepare(j->writer.db, "SELECT key, bytes FROM pending ORDER BY key", err);
    if (!s)
        return -1;
    int rc;
    while ((rc = sqlite3_step(s)) == SQLITE_ROW)
        fn(arg, (uint64_t)sqlite3_column_int64(s, 0), sqlite3_column_blob(s, 1),
           (size_t)sqlite3_column_bytes(s, 1));
    int failed = rc == SQLITE_DONE ? 0 : journal_error(j->writer.db, err);
    (void)sqlite3_finalize(s);
    return failed;
}
