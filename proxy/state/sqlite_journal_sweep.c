// SPDX-License-Identifier: Apache-2.0
/*
 * Names that no record and no sum has any more. A client chooses some of them (its agent, behind trusted
 * headers its node): they must not outlive what they were named in, or they fill the file and push the
 * records out.
 *
 *     records, days --mark--> who, what, image --mark--> text, object
 *
 * First what is used is marked, a bit a number, then each table is gone through, from the left to the right:
 * a row without a mark goes, one that stays marks what it is made of. All of it in pieces, between batches of
 * records. What a batch makes or finds again is marked as well (journal_sweep_mark, wherever a name gets its
 * number), and numbers above those of the beginning are let be: so nothing that is used is ever without a
 * mark.
 */
#include <stdlib.h>

#include "common/mem.h"
#include "proxy/state/sqlite_journal_impl.h"

#define PIECE     5000 /* rows; some milliseconds */
#define NAMED_MAX 8

enum phase { RECORDS, DAYS, WHO, WHAT, IMAGE, TEXT, OBJECT, OVER };

/* The columns behind the first, NAME_NONE: not a name. Records and days go on behind the last row's key. */
static const struct {
    const char *rows, *drop, *last;
    enum journal_name_kind self, named[NAMED_MAX];
} tables[OVER] = {
    [RECORDS] = {.rows = "SELECT number, who, what, image, node, location FROM record WHERE number > ?1 "
                         "ORDER BY number LIMIT ?2",
                 .named = {NAME_WHO, NAME_WHAT, NAME_IMAGE, NAME_TEXT, NAME_TEXT}},
    [DAYS] = {.rows = "SELECT image, day, location, node, image, location, node, source FROM day "
                      "WHERE (image, day, location, node) > (?1, ?3, ?4, ?5) "
                      "ORDER BY image, day, location, node LIMIT ?2",
              .named = {NAME_NONE, NAME_NONE, NAME_NONE, NAME_IMAGE, NAME_TEXT, NAME_TEXT, NAME_OBJECT}},
    [WHO] = {.rows = "SELECT id, node, location, address, agent, subject, host FROM who WHERE id > ?1 "
                     "ORDER BY id LIMIT ?2",
             .drop = "DELETE FROM who WHERE id = ?1",
             .last = "SELECT max(id) FROM who",
             .self = NAME_WHO,
             .named = {NAME_TEXT, NAME_TEXT, NAME_TEXT, NAME_TEXT, NAME_TEXT, NAME_TEXT}},
    [WHAT] = {.rows = "SELECT id, image, source, served, injection, reference, platform, media_type, method "
                      "FROM what WHERE id > ?1 ORDER BY id LIMIT ?2",
              .drop = "DELETE FROM what WHERE id = ?1",
              .last = "SELECT max(id) FROM what",
              .self = NAME_WHAT,
              .named = {NAME_IMAGE, NAME_OBJECT, NAME_OBJECT, NAME_OBJECT, NAME_TEXT, NAME_TEXT, NAME_TEXT,
                        NAME_TEXT}},
    [IMAGE] = {.rows = "SELECT id, registry, repository FROM image WHERE id > ?1 ORDER BY id LIMIT ?2",
               .drop = "DELETE FROM image WHERE id = ?1",
               .last = "SELECT max(id) FROM image",
               .self = NAME_IMAGE,
               .named = {NAME_TEXT, NAME_TEXT}},
    [TEXT] = {.rows = "SELECT id FROM text WHERE id > ?1 ORDER BY id LIMIT ?2",
              .drop = "DELETE FROM text WHERE id = ?1",
              .last = "SELECT max(id) FROM text",
              .self = NAME_TEXT},
    [OBJECT] = {.rows = "SELECT id FROM object WHERE id > ?1 ORDER BY id LIMIT ?2",
                .drop = "DELETE FROM object WHERE id = ?1",
                .last = "SELECT max(id) FROM object",
                .self = NAME_OBJECT},
};

struct journal_sweep {
    enum phase phase;
    int64_t at[4]; /* the key of the last row that was looked at */
    struct {
        int64_t last; /* number when the sweep began; those above it are let be */
        uint8_t *used;
    } names[NAME_KINDS];
};

void journal_sweep_end(struct sqlite_journal *j)
{
    for (int k = 0; j->sweep && k < NAME_KINDS; ++k)
        free(j->sweep->names[k].used);
    free(j->sweep);
    j->sweep = NULL;
}

int journal_sweep_begin(struct sqlite_journal *j, struct err *err)
{
    journal_sweep_end(j);
    j->sweep = mem_new(struct journal_sweep);
    for (int p = WHO; p < OVER; ++p) {
        int64_t *last = &j->sweep->names[tables[p].self].last;
        if (journal_int(j->writer.db, tables[p].last, 0, last, err) < 0) {
            journal_sweep_end(j);
            return -1;
        }
        j->sweep->names[tables[p].self].used = mem_zalloc((size_t)*last / 8 + 1);
    }
    return 0;
}

int64_t journal_sweep_mark(struct sqlite_journal *j, enum journal_name_kind kind, int64_t id)
{
    if (j->sweep && kind != NAME_NONE && id > 0 && id <= j->sweep->names[kind].last)
        j->sweep->names[kind].used[id / 8] |= (uint8_t)(1U << (id % 8));
    return id;
}

static bool is_used(const struct journal_sweep *w, enum journal_name_kind kind, int64_t id)
{
    return id > w->names[kind].last || w->names[kind].used[id / 8] & 1U << (id % 8);
}

static int drop(sqlite3 *db, sqlite3_stmt *s, int64_t id, struct err *err)
{
    (void)sqlite3_bind_int64(s, 1, id);
    int rc = sqlite3_step(s);
    (void)sqlite3_reset(s);
    return rc == SQLITE_DONE ? 0 : journal_error(db, err);
}

/* Looks at the row: it marks what it names, or goes. */
static int take_row(struct sqlite_journal *j, sqlite3_stmt *rows, sqlite3_stmt *gone, struct err *err)
{
    struct journal_sweep *w = j->sweep;
    enum phase p = w->phase;
    for (int i = 0; i < (p == DAYS ? 4 : 1); ++i)
        w->at[i] = sqlite3_column_int64(rows, i);
    if (gone && !is_used(w, tables[p].self, w->at[0]))
        return drop(j->writer.db, gone, w->at[0], err);
    for (int i = 1; i < sqlite3_column_count(rows); ++i)
        (void)journal_sweep_mark(j, tables[p].named[i - 1], sqlite3_column_int64(rows, i));
    return 0;
}

/* How many rows there were, at most PIECE; -1 with err set. */
static int take_rows(struct sqlite_journal *j, sqlite3_stmt *rows, sqlite3_stmt *gone, struct err *err)
{
    const int64_t *at = j->sweep->at;
    (void)sqlite3_bind_int64(rows, 1, at[0]);
    (void)sqlite3_bind_int64(rows, 2, PIECE);
    for (int i = 3; i <= sqlite3_bind_parameter_count(rows); ++i)
        (void)sqlite3_bind_int64(rows, i, at[i - 2]);
    int n = 0, rc;
    for (; (rc = sqlite3_step(rows)) == SQLITE_ROW; ++n)
        if (take_row(j, rows, gone, err) < 0)
            return -1;
    return rc == SQLITE_DONE ? n : journal_error(j->writer.db, err);
}

int journal_sweep_step(struct sqlite_journal *j, struct err *err)
{
    struct journal_sweep *w = j->sweep;
    const char *drop_sql = tables[w->phase].drop;
    sqlite3_stmt *rows = journal_prepare(j->writer.db, tables[w->phase].rows, err);
    sqlite3_stmt *gone = rows && drop_sql ? journal_prepare(j->writer.db, drop_sql, err) : NULL;
    int n = rows && (gone || !drop_sql) ? take_rows(j, rows, gone, err) : -1;
    (void)sqlite3_finalize(rows);
    (void)sqlite3_finalize(gone);
    if (gone)
        journal_names_forget(j);
    if (n == PIECE)
        return 1;
    if (n < 0 || ++w->phase == OVER) {
        journal_sweep_end(j);
        return n < 0 ? -1 : 0;
    }
    for (int i = 0; i < 4; ++i)
        w->at[i] = 0;
    return 1;
}
