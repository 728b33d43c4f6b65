// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proxy/state/sqlite_impl.h"
#include "proxy/state/sqlite_journal_impl.h"

/* ---- a time, as a number ---- */

int journal_seek(sqlite3 *db, int64_t ms, uint64_t *ret, struct err *err)
{
    int64_t low, high;
    if (journal_int(db, "SELECT min(number) FROM record", 1, &low, err) < 0 ||
        journal_int(db, "SELECT max(number) + 1 FROM record", 1, &high, err) < 0)
        return -1;
    sqlite3_stmt *s = journal_prepare(
        db, "SELECT number, time + lag FROM record WHERE number >= ?1 ORDER BY number LIMIT 1", err);
    if (!s)
        return -1;
    int rc = SQLITE_ROW;
    while (low < high && rc == SQLITE_ROW) {
        int64_t middle = low + (high - low) / 2;
        (void)sqlite3_bind_int64(s, 1, middle);
        rc = sqlite3_step(s);
        if (rc == SQLITE_ROW && sqlite3_column_int64(s, 1) < ms)
            low = sqlite3_column_int64(s, 0) + 1;
        else
            high = middle;
        (void)sqlite3_reset(s);
        if (rc == SQLITE_DONE) /* none from the middle on: forgotten meanwhile */
            rc = SQLITE_ROW;
    }
    int failed = rc == SQLITE_ROW ? 0 : journal_error(db, err);
    (void)sqlite3_finalize(s);
    *ret = (uint64_t)low;
    return failed;
}

int journal_seek_past(sqlite3 *db, int64_t ms, uint64_t *ret, struct err *err)
{
    int64_t lag_ms;
    if (journal_int(db, "SELECT value FROM meta WHERE key = 'lag'", 0, &lag_ms, err) < 0)
        return -1;
    return journal_seek(db, ms + lag_ms, ret, err);
}

/* ---- names to numbers ---- */

/* -2: nothing in the journal has that name. */
static int find_text(sqlite3 *db, const char *text, int64_t *ret, struct err *err)
{
    sqlite3_stmt *s = journal_prepare(db, "SELECT id FROM text WHERE s = ?1", err);
    if (!s)
        return -1;
    (void)sqlite3_bind_text(s, 1, text, -1, SQLITE_STATIC);
    int rc = sqlite3_step(s);
    *ret = rc == SQLITE_ROW ? sqlite3_column_int64(s, 0) : -2;
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        (void)journal_error(db, err);
    (void)sqlite3_finalize(s);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : -1;
}

int journal_find_image(sqlite3 *db, const char *image, int64_t *ret, struct err *err)
{
    *ret = -2;
    const char *slash = strchr(image, '/');
    if (!slash)
        return 0;
    sqlite3_stmt *s =
        journal_prepare(db,
                        "SELECT id FROM image WHERE registry = (SELECT id FROM text WHERE s = ?1) "
                        "AND repository = (SELECT id FROM text WHERE s = ?2)",
                        err);
    if (!s)
        return -1;
    (void)sqlite3_bind_text(s, 1, image, (int)(slash - image), SQLITE_STATIC);
    (void)sqlite3_bind_text(s, 2, slash + 1, -1, SQLITE_STATIC);
    int rc = sqlite3_step(s);
    if (rc == SQLITE_ROW)
        *ret = sqlite3_column_int64(s, 0);
    else if (rc != SQLITE_DONE)
        (void)journal_error(db, err);
    (void)sqlite3_finalize(s);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : -1;
}

/* ---- reading ---- */

#define COLUMNS                                                                                              \
    "SELECT r.number, r.time, r.lag, r.kind, r.bytes, r.hits, r.misses, r.ms, r.complete, r.request, "       \
    "n.s, l.s, a.s, u.s, j.s, h.s, g.s, p.s, f.s, x.s, t.s, m.s, o1.digest, o2.digest, o3.digest, w.size, "  \
    "r.id, "                                                                                                 \
    "r.seen, r.place "                                                                                       \
    "FROM record r JOIN who c ON c.id = r.who JOIN what w ON w.id = r.what JOIN image i ON i.id = r.image "  \
    "LEFT JOIN text n ON n.id = r.node LEFT JOIN text l ON l.id = r.location "                               \
    "LEFT JOIN text a ON a.id = c.address LEFT JOIN text u ON u.id = c.agent "                               \
    "LEFT JOIN text j ON j.id = c.subject LEFT JOIN text h ON h.id = c.host "                                \
    "LEFT JOIN text g ON g.id = i.registry LEFT JOIN text p ON p.id = i.repository "                         \
    "LEFT JOIN text f ON f.id = w.reference LEFT JOIN text x ON x.id = w.platform "                          \
    "LEFT JOIN text t ON t.id = w.media_type LEFT JOIN text m ON m.id = w.method "                           \
    "LEFT JOIN object o1 ON o1.id = w.source LEFT JOIN object o2 ON o2.id = w.served "                       \
    "LEFT JOIN object o3 ON o3.id = w.injection "

static const char *text_at(sqlite3_stmt *s, int column)
{
    const char *text = (const char *)sqlite3_column_text(s, column);
    return text ? text : "";
}

static void digest_at(sqlite3_stmt *s, int column, struct digest *ret)
{
    if (!sqlite_key_digest(sqlite3_column_blob(s, column), sqlite3_column_bytes(s, column), ret))
        ret->s[0] = '\0';
}

/* The two halves of an id of 16 bytes. */
static void id_at(sqlite3_stmt *s, int column, uint64_t ret[2])
{
    const uint8_t *p = sqlite3_column_blob(s, column);
    for (int i = 0; p && sqlite3_column_bytes(s, column) == 16 && i < 16; ++i)
        ret[i / 8] = ret[i / 8] << 8 | p[i];
}

static void take_row(sqlite3_stmt *s, struct journal_record *r)
{
    *r = (struct journal_record){
        .number = (uint64_t)sqlite3_column_int64(s, 0),
        .time_ms = sqlite3_column_int64(s, 1),
        .made_ms = sqlite3_column_int64(s, 1) + sqlite3_column_int64(s, 2),
        .kind = sqlite3_column_int(s, 3) == JOURNAL_CHECK ? JOURNAL_CHECK : JOURNAL_PULL,
        .bytes_sent = (uint64_t)sqlite3_column_int64(s, 4),
        .cache_hits = (uint32_t)sqlite3_column_int64(s, 5),
        .cache_misses = (uint32_t)sqlite3_column_int64(s, 6),
        .duration_ms = (uint64_t)sqlite3_column_int64(s, 7),
        .complete = sqlite3_column_int(s, 8) != 0,
        .request_id = text_at(s, 9),
        .node = text_at(s, 10),
        .location = text_at(s, 11),
        .address = text_at(s, 12),
        .agent = text_at(s, 13),
        .subject = text_at(s, 14),
        .host = text_at(s, 15),
        .registry = text_at(s, 16),
        .repository = text_at(s, 17),
        .reference = text_at(s, 18),
        .platform = text_at(s, 19),
        .media_type = text_at(s, 20),
        .method = text_at(s, 21),
        .size = (uint64_t)sqlite3_column_int64(s, 25),
        .seen = (uint64_t)sqlite3_column_int64(s, 27),
        .place = (uint64_t)sqlite3_column_int64(s, 28),
    };
    id_at(s, 26, r->id);
    digest_at(s, 22, &r->source);
    digest_at(s, 23, &r->served);
    digest_at(s, 24, &r->injection);
}

/* The conditions. One of them is looked up by its index, the one that leaves least; a '+' keeps SQLite from
 * choosing another. */
static void make_sql(const struct journal_query *q, const int64_t id[3], char *out, size_t cap)
{
    static const char *const column[3] = {"node", "image", "location"};
    char where[256] = "";
    bool indexed = false;
    for (int i = 0; i < 3; ++i) {
        size_t n = strlen(where);
        if (id[i] != -1)
            (void)snprintf(where + n, sizeof where - n, " AND %sr.%s = ?%d", indexed ? "+" : "", column[i],
                           i + 5);
        indexed = indexed || id[i] != -1;
    }
    (void)snprintf(out, cap,
                   COLUMNS "WHERE r.number > ?1 AND r.number < ?2 AND r.time >= ?3 AND r.time < ?4%s%s "
                           "ORDER BY r.number%s LIMIT %" PRIu32,
                   where,
                   q->kind < 0               ? ""
                   : q->kind == JOURNAL_PULL ? " AND r.kind = 0"
                                             : " AND r.kind = 1",
                   q->oldest_first ? "" : " DESC", q->limit);
}

/* All rows that it gives, at most until fn has enough. */
static int give_rows(sqlite3 *db, sqlite3_stmt *s, journal_record_fn *fn, void *arg, struct err *err)
{
    int rc;
    struct journal_record r;
    while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
        take_row(s, &r);
        if (!fn(arg, &r)) {
            rc = SQLITE_DONE;
            break;
        }
    }
    int failed = rc == SQLITE_DONE ? 0 : journal_error(db, err);
    (void)sqlite3_finalize(s);
    return failed;
}

int journal_read_number(sqlite3 *db, uint64_t number, journal_record_fn *fn, void *arg, struct err *err)
{
    sqlite3_stmt *s = journal_prepare(db, COLUMNS "WHERE r.number = ?1", err);
    if (!s)
        return -1;
    (void)sqlite3_bind_int64(s, 1, (int64_t)number);
    return give_rows(db, s, fn, arg, err);
}

static int read_by_place(sqlite3 *db, const struct journal_query *q, journal_record_fn *fn, void *arg,
                         struct err *err)
{
    sqlite3_stmt *s = journal_prepare(db, COLUMNS "WHERE r.place > ?1 ORDER BY r.place LIMIT ?2", err);
    if (!s)
        return -1;
    (void)sqlite3_bind_int64(s, 1, (int64_t)q->after);
    (void)sqlite3_bind_int64(s, 2, q->limit);
    return give_rows(db, s, fn, arg, err);
}

static int read_rows(sqlite3 *db, const struct journal_query *q, journal_record_fn *fn, void *arg,
                     struct err *err)
{
    int64_t id[3] = {-1, -1, -1};
    uint64_t after = q->after, before = q->before, number;
    if ((q->node && find_text(db, q->node, &id[0], err) < 0) ||
        (q->image && journal_find_image(db, q->image, &id[1], err) < 0) ||
        (q->location && find_text(db, q->location, &id[2], err) < 0))
        return -1;
    if (id[0] == -2 || id[1] == -2 || id[2] == -2)
        return 0;
    if (q->since_ms != INT64_MIN) {
        if (journal_seek(db, q->since_ms, &number, err) < 0)
            return -1;
        after = number && number - 1 > after ? number - 1 : after;
    }
    if (q->until_ms != INT64_MAX) {
        if (journal_seek_past(db, q->until_ms, &number, err) < 0)
            return -1;
        before = number < before ? number : before;
    }
    char sql[2048];
    make_sql(q, id, sql, sizeof sql);
    sqlite3_stmt *s = journal_prepare(db, sql, err);
    if (!s)
        return -1;
    (void)sqlite3_bind_int64(s, 1, (int64_t)after);
    (void)sqlite3_bind_int64(s, 2, before > INT64_MAX ? INT64_MAX : (int64_t)before);
    (void)sqlite3_bind_int64(s, 3, q->since_ms);
    (void)sqlite3_bind_int64(s, 4, q->until_ms);
    for (int i = 0; i < 3; ++i)
        if (id[i] != -1)
            (void)sqlite3_bind_int64(s, i + 5, id[i]);
    return give_rows(db, s, fn, arg, err);
}

int sqlite_journal_read(struct journal *base, const struct journal_query *q, journal_record_fn *fn, void *arg,
                        struct err *err)
{
    struct sqlite_journal *j = (struct sqlite_journal *)base;
    struct journal_conn *c = journal_reader_take(j);
    int rc = q->by_place ? read_by_place(c->db, q, fn, arg, err) : read_rows(c->db, q, fn, arg, err);
    journal_reader_give(j, c);
    return rc;
}

int sqlite_journal_cursor(struct journal *base, const char *name, uint64_t *ret, struct err *err)
{
    struct sqlite_journal *j = (struct sqlite_journal *)base;
    struct journal_conn *c = journal_reader_take(j);
    int failed = -1;
    sqlite3_stmt *s = journal_prepare(c->db, "SELECT number FROM cursor WHERE name = ?1", err);
    if (s) {
        (void)sqlite3_bind_text(s, 1, name, -1, SQLITE_STATIC);
        int rc = sqlite3_step(s);
        *ret = rc == SQLITE_ROW ? (uint64_t)sqlite3_column_int64(s, 0) : UINT64_MAX;
        failed = rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : journal_error(c->db, err);
        (void)sqlite3_finalize(s);
    }
    journal_reader_give(j, c);
    return failed;
}
