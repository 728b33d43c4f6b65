// SPDX-License-Identifier: Apache-2.0
/*
 * A journal that is one of several replicas': what it passes on, what comes from the others, and where a
 * reader goes on that had its events from another one.
 *
 * Each journal has the records of all, in the order in which they came to it: its own at once, the others' in
 * the order of the stream. What it had when it had followed the stream up to a place is: all that stands in
 * the stream up to there, and its own. So who knows that place of another journal knows what its reader has,
 * and the first number here that the reader may lack: of another replica's record behind that place, or of
 * one's own that was behind it, or is not in the stream yet.
 */
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "proxy/state/sqlite_journal_impl.h"

/* Runs a statement of up to two numbers that gives no rows. */
static int run(sqlite3 *db, const char *sql, int64_t a, int64_t b, struct err *err)
{
    sqlite3_stmt *s = journal_prepare(db, sql, err);
    if (!s)
        return -1;
    (void)sqlite3_bind_int64(s, 1, a);
    if (sqlite3_bind_parameter_count(s) > 1)
        (void)sqlite3_bind_int64(s, 2, b);
    int rc = sqlite3_step(s);
    int failed = rc == SQLITE_DONE ? 0 : journal_error(db, err);
    (void)sqlite3_finalize(s);
    return failed;
}

/* First column of the first row; `none` if there is none, or it is NULL. */
static int first_int(sqlite3 *db, const char *sql, int64_t a, int64_t none, int64_t *ret, struct err *err)
{
    sqlite3_stmt *s = journal_prepare(db, sql, err);
    if (!s)
        return -1;
    if (sqlite3_bind_parameter_count(s) > 0)
        (void)sqlite3_bind_int64(s, 1, a);
    int rc = sqlite3_step(s);
    *ret = rc == SQLITE_ROW && sqlite3_column_type(s, 0) != SQLITE_NULL ? sqlite3_column_int64(s, 0) : none;
    int failed = rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : journal_error(db, err);
    (void)sqlite3_finalize(s);
    return failed;
}

/* ---- what is passed on ---- */

int journal_outbox_add(struct sqlite_journal *j, uint64_t number, bool is_update, struct err *err)
{
    if (run(j->writer.db, "INSERT INTO outbox (number, is_update) VALUES (?1, ?2)", (int64_t)number,
            is_update, err) < 0)
        return -1;
    j->outbox = (uint64_t)sqlite3_last_insert_rowid(j->writer.db);
    return 0;
}

int journal_outbox_forget(struct sqlite_journal *j, uint64_t upto, struct err *err)
{
    return run(j->writer.db, "DELETE FROM outbox WHERE entry <= ?1", (int64_t)upto, 0, err);
}

struct entry {
    uint64_t entry, number;
    bool is_update, is_given;
    journal_outbox_fn *fn;
    void *arg;
};

static bool give_entry(void *arg, const struct journal_record *r)
{
    struct entry *e = arg;
    e->is_given = true;
    e->fn(e->arg, e->entry, e->is_update, r);
    return true;
}

static int give_entries(sqlite3 *db, uint64_t after, uint32_t n, journal_outbox_fn *fn, void *arg,
                        struct err *err)
{
    sqlite3_stmt *s = journal_prepare(
        db, "SELECT entry, number, is_update FROM outbox WHERE entry > ?1 ORDER BY entry LIMIT ?2", err);
    if (!s)
        return -1;
    (void)sqlite3_bind_int64(s, 1, (int64_t)after);
    (void)sqlite3_bind_int64(s, 2, n);
    int rc, failed = 0;
    while (failed == 0 && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        struct entry e = {.entry = (uint64_t)sqlite3_column_int64(s, 0),
                          .number = (uint64_t)sqlite3_column_int64(s, 1),
                          .is_update = sqlite3_column_int(s, 2) != 0,
                          .fn = fn,
                          .arg = arg};
        failed = journal_read_number(db, e.number, give_entry, &e, err);
        if (failed == 0 && !e.is_given)
            fn(arg, e.entry, e.is_update, NULL);
    }
    if (failed == 0 && rc != SQLITE_DONE)
        failed = journal_error(db, err);
    (void)sqlite3_finalize(s);
    return failed;
}

int sqlite_journal_outbox(struct journal *base, uint64_t after, uint32_t n, journal_outbox_fn *fn, void *arg,
                          struct err *err)
{
    struct sqlite_journal *j = (struct sqlite_journal *)base;
    struct journal_conn *c = journal_reader_take(j);
    int rc = give_entries(c->db, after, n, fn, arg, err);
    journal_reader_give(j, c);
    return rc;
}

/* ---- what comes ---- */

/* Number of another replica's record; 0: it is not here. */
static int find_foreign(sqlite3 *db, const uint64_t id[2], int64_t *ret, struct err *err)
{
    uint8_t bytes[16];
    for (int i = 0; i < 16; ++i)
        bytes[i] = (uint8_t)(id[i / 8] >> (56 - 8 * (i % 8)));
    sqlite3_stmt *s = journal_prepare(db, "SELECT number FROM record WHERE id = ?1", err);
    if (!s)
        return -1;
    (void)sqlite3_bind_blob(s, 1, bytes, sizeof bytes, SQLITE_STATIC);
    int rc = sqlite3_step(s);
    *ret = rc == SQLITE_ROW ? sqlite3_column_int64(s, 0) : 0;
    int failed = rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : journal_error(db, err);
    (void)sqlite3_finalize(s);
    return failed;
}

static int write_arrival(struct sqlite_journal *j, struct journal_arrival *a, uint64_t next, int64_t made_ms,
                         struct err *err)
{
    sqlite3 *db = j->writer.db;
    struct journal_record *r = &a->r;
    int64_t number;
    r->number = 0;
    if (a->is_own) /* told twice, it stays where it was first */
        return a->is_update ? 0
                            : run(db,
                                  "UPDATE record SET place = ?2 WHERE number = ?1 AND id IS NULL "
                                  "AND place IS NULL",
                                  (int64_t)(r->id[0] << 48 | r->id[1] >> 16), (int64_t)r->place, err);
    if (find_foreign(db, r->id, &number, err) < 0)
        return -1;
    if (a->is_update && number) {
        const struct journal_update u = {.number = (uint64_t)number,
                                         .bytes_sent = r->bytes_sent,
                                         .duration_ms = r->duration_ms,
                                         .cache_hits = r->cache_hits,
                                         .cache_misses = r->cache_misses,
                                         .complete = r->complete,
                                         .platform = r->platform};
        return journal_write_update(j, &u, err);
    }
    if (a->is_update || number)
        return 0;
    r->number = next;
    r->made_ms = made_ms;
    r->seen = r->place;
    return journal_write_record(j, r, err);
}

int journal_write_arrivals(struct sqlite_journal *j, const struct journal_batch *b, uint64_t next,
                           int64_t made_ms, size_t *ret_count, struct err *err)
{
    *ret_count = 0;
    for (size_t i = 0; i < b->arrival_count; ++i) {
        struct journal_arrival *a = &b->arrivals[i];
        if (write_arrival(j, a, next + *ret_count, made_ms, err) < 0)
            return -1;
        *ret_count += a->r.number != 0;
        j->place = a->r.place;
    }
    return run(j->writer.db,
               "INSERT INTO meta (key, value) VALUES ('place', ?1) "
               "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
               (int64_t)j->place, 0, err);
}

/* ---- who goes on ---- */

static int find(struct sqlite_journal *j, sqlite3 *db, const char *id, size_t len, int64_t *ret,
                struct err *err)
{
    uint64_t halves[2], number;
    if (!journal_id_parse(id, len, halves))
        return err_set(err, ERR_NOT_FOUND, "that is no id of a record");
    if (find_foreign(db, halves, ret, err) < 0)
        return -1;
    if (*ret == 0 && journal_id_number(&j->base, id, len, &number) && number <= j->shown_last)
        *ret = (int64_t)number;
    return *ret ? 0 : err_set(err, ERR_NOT_FOUND, "no record has that id");
}

int sqlite_journal_find(struct journal *base, const char *id, size_t len, uint64_t *ret, struct err *err)
{
    struct sqlite_journal *j = (struct sqlite_journal *)base;
    struct journal_conn *c = journal_reader_take(j);
    int64_t number;
    int rc = find(j, c->db, id, len, &number, err);
    journal_reader_give(j, c);
    if (rc == 0)
        *ret = (uint64_t)number;
    return rc;
}

/* Behind which number all stands that is not in the stream up to that place. */
static int after_place(struct sqlite_journal *j, sqlite3 *db, int64_t place, uint64_t *ret, struct err *err)
{
    int64_t own, foreign, unplaced;
    uint64_t last = j->shown_last; /* what is written from here on is behind it */
    if (first_int(db, "SELECT number FROM record WHERE place > ?1 AND id IS NULL ORDER BY place LIMIT 1",
                  place, INT64_MAX, &own, err) < 0 ||
        first_int(db, "SELECT number FROM record WHERE place > ?1 AND id IS NOT NULL ORDER BY place LIMIT 1",
                  place, INT64_MAX, &foreign, err) < 0 ||
        first_int(db,
                  "SELECT min(number) FROM record WHERE id IS NULL AND number > max((SELECT value FROM meta "
                  "WHERE key = 'shared-from'), coalesce((SELECT number FROM record WHERE id IS NULL "
                  "AND place IS NOT NULL ORDER BY place DESC LIMIT 1), 0))",
                  0, INT64_MAX, &unplaced, err) < 0)
        return -1;
    int64_t first = own < foreign ? own : foreign;
    first = unplaced < first ? unplaced : first;
    *ret = first == INT64_MAX ? last : (uint64_t)first - 1;
    return 0;
}

/* "<id>.<beginning of the replica's name>.<place>"; a bare id counts as one of this replica's events. */
static int resume(struct sqlite_journal *j, sqlite3 *db, const char *id, size_t len, uint64_t *ret,
                  struct err *err)
{
    char text[JOURNAL_EVENT_MAX], *end = NULL;
    uint64_t halves[2], place = 0;
    int64_t number;
    if (len >= sizeof text || len < JOURNAL_ID_LEN || !journal_id_parse(id, JOURNAL_ID_LEN, halves))
        return err_set(err, ERR_NOT_FOUND, "that is no id of an event");
    memcpy(text, id, len);
    text[len] = '\0';
    bool bare = len == JOURNAL_ID_LEN;
    if (!bare) {
        if (len < JOURNAL_ID_LEN + 11 || text[JOURNAL_ID_LEN] != '.' || text[JOURNAL_ID_LEN + 9] != '.')
            return err_set(err, ERR_NOT_FOUND, "that is no id of an event");
        place = strtoull(text + JOURNAL_ID_LEN + 10, &end, 16);
        if (*end || place > INT64_MAX)
            return err_set(err, ERR_NOT_FOUND, "that is no id of an event");
    }
    if (bare || memcmp(text + JOURNAL_ID_LEN + 1, j->base.replica, 8) == 0) {
        int rc = find(j, db, text, JOURNAL_ID_LEN, &number, err);
        if (rc == 0)
            *ret = (uint64_t)number;
        if (rc == 0 || bare || err->code != ERR_NOT_FOUND)
            return rc;
    }
    return after_place(j, db, (int64_t)place, ret, err);
}

int sqlite_journal_resume(struct journal *base, const char *id, size_t len, uint64_t *ret, struct err *err)
{
    struct sqlite_journal *j = (struct sqlite_journal *)base;
    struct journal_conn *c = journal_reader_take(j);
    /* Several questions, one state of the file: a record that got its place between two of them would be
     * missed by both. */
    int rc = journal_exec(c->db, "BEGIN", err);
    if (rc == 0) {
        rc = resume(j, c->db, id, len, ret, err);
        (void)sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
    }
    journal_reader_give(j, c);
    return rc;
}
