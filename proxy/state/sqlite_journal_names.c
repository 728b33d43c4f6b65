// SPDX-License-Identifier: Apache-2.0
/* What is stored once and then named by a number. The writer's thread; numbers it used lately are kept in
 * memory, because every record needs a dozen of them. */
#include <string.h>

#include "common/mem.h"
#include "proxy/state/sqlite_impl.h"
#include "proxy/state/sqlite_journal_impl.h"

void journal_names_forget(struct sqlite_journal *j)
{
    struct journal_name *n, *next;
    HASH_ITER (hh, j->names, n, next) {
        HASH_DEL(j->names, n); // NOLINT(clang-analyzer-unix.Malloc): uthash takes it off the list first
        free(n);
    }
}

static int64_t recall(struct sqlite_journal *j, const void *key, size_t len)
{
    struct journal_name *n;
    HASH_FIND(hh, j->names, key, len, n);
    return n ? n->id : 0;
}

static void remember(struct sqlite_journal *j, const void *key, size_t len, int64_t id)
{
    if (HASH_COUNT(j->names) >= JOURNAL_NAMES_MAX)
        journal_names_forget(j);
    struct journal_name *n = mem_alloc(sizeof *n + len);
    memcpy(n->key, key, len);
    n->id = id;
    HASH_ADD_KEYPTR(hh, j->names, n->key, (unsigned)len, n);
}

typedef void bind_fn(sqlite3_stmt *s, const void *arg);

/* The number that `find` gives, else that of a row which `add` makes. Both take the same parameters. */
static int64_t find_or_add(struct sqlite_journal *j, const char *find, const char *add, bind_fn *bind,
                           const void *arg, struct err *err)
{
    sqlite3 *db = j->writer.db;
    int64_t id = 0;
    sqlite3_stmt *s = journal_prepare(db, find, err);
    if (!s)
        return -1;
    bind(s, arg);
    int rc = sqlite3_step(s);
    if (rc == SQLITE_ROW)
        id = sqlite3_column_int64(s, 0);
    (void)sqlite3_finalize(s);
    if (rc == SQLITE_ROW)
        return id;
    if (rc != SQLITE_DONE)
        return journal_error(db, err);
    s = journal_prepare(db, add, err);
    if (!s)
        return -1;
    bind(s, arg);
    rc = sqlite3_step(s);
    (void)sqlite3_finalize(s);
    return rc == SQLITE_DONE ? sqlite3_last_insert_rowid(db) : journal_error(db, err);
}

/* ---- texts and digests ---- */

static void bind_text(sqlite3_stmt *s, const void *arg)
{
    (void)sqlite3_bind_text(s, 1, arg, -1, SQLITE_STATIC);
}

int64_t journal_text_id(struct sqlite_journal *j, const char *text, struct err *err)
{
    char key[256];
    size_t len = strlen(text);
    if (len == 0)
        return 0;
    bool fits = len < sizeof key;
    if (fits) {
        key[0] = 't';
        memcpy(key + 1, text, len);
        int64_t known = recall(j, key, len + 1);
        if (known)
            return journal_sweep_mark(j, NAME_TEXT, known);
    }
    int64_t id = find_or_add(j, "SELECT id FROM text WHERE s = ?1", "INSERT INTO text (s) VALUES (?1)",
                             bind_text, text, err);
    if (id > 0 && fits)
        remember(j, key, len + 1, id);
    return journal_sweep_mark(j, NAME_TEXT, id);
}

static void bind_key(sqlite3_stmt *s, const void *arg)
{
    const struct sqlite_key *key = arg;
    (void)sqlite3_bind_blob(s, 1, key->p, key->len, SQLITE_STATIC);
}

int64_t journal_object_id(struct sqlite_journal *j, const struct digest *d, struct err *err)
{
    struct sqlite_key key;
    if (!digest_is_set(d))
        return 0;
    sqlite_key_of(d, &key);
    int64_t known = recall(j, key.p, (size_t)key.len); /* its first byte is no letter */
    if (known)
        return journal_sweep_mark(j, NAME_OBJECT, known);
    int64_t id = find_or_add(j, "SELECT id FROM object WHERE digest = ?1",
                             "INSERT INTO object (digest) VALUES (?1)", bind_key, &key, err);
    if (id > 0)
        remember(j, key.p, (size_t)key.len, id);
    return journal_sweep_mark(j, NAME_OBJECT, id);
}

/* ---- rows of numbers ---- */

#define ROW_MAX 9

struct row {
    enum journal_name_kind kind;
    int count;
    int64_t n[ROW_MAX];
};

static void bind_row(sqlite3_stmt *s, const void *arg)
{
    const struct row *row = arg;
    for (int i = 0; i < row->count; ++i)
        (void)sqlite3_bind_int64(s, i + 1, row->n[i]);
}

static int64_t row_id(struct sqlite_journal *j, const struct row *row, const char *find, const char *add,
                      struct err *err)
{
    char key[1 + sizeof row->n];
    size_t len = 1 + (size_t)row->count * sizeof row->n[0];
    for (int i = 0; i < row->count; ++i)
        if (row->n[i] < 0)
            return -1;                /* err is set: making one of its numbers failed */
    key[0] = (char)('a' + row->kind); /* a text's begins with 't' */
    memcpy(key + 1, row->n, len - 1);
    int64_t id = recall(j, key, len);
    if (id)
        return journal_sweep_mark(j, row->kind, id);
    id = find_or_add(j, find, add, bind_row, row, err);
    if (id > 0)
        remember(j, key, len, id);
    return journal_sweep_mark(j, row->kind, id);
}

int64_t journal_image_id(struct sqlite_journal *j, const char *registry, const char *repository,
                         struct err *err)
{
    struct row row = {NAME_IMAGE, 2, {journal_text_id(j, registry, err)}};
    row.n[1] = row.n[0] < 0 ? -1 : journal_text_id(j, repository, err);
    return row_id(j, &row, "SELECT id FROM image WHERE registry = ?1 AND repository = ?2",
                  "INSERT INTO image (registry, repository) VALUES (?1, ?2)", err);
}

/* The texts, as far as none failed. */
static void add_texts(struct sqlite_journal *j, struct row *row, const char *const *text, int count,
                      struct err *err)
{
    for (int i = 0; i < count; ++i) {
        bool failed = row->count && row->n[row->count - 1] < 0;
        row->n[row->count++] = failed ? -1 : journal_text_id(j, text[i], err);
    }
}

int64_t journal_who_id(struct sqlite_journal *j, const struct journal_record *r, int64_t node,
                       int64_t location, struct err *err)
{
    struct row row = {NAME_WHO, 2, {node, location}};
    add_texts(j, &row, (const char *const[]){r->address, r->agent, r->subject, r->host}, 4, err);
    return row_id(j, &row,
                  "SELECT id FROM who WHERE node = ?1 AND location = ?2 AND address = ?3 AND agent = ?4 "
                  "AND subject = ?5 AND host = ?6",
                  "INSERT INTO who (node, location, address, agent, subject, host) "
                  "VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                  err);
}

int64_t journal_what_id(struct sqlite_journal *j, const struct journal_record *r, int64_t image,
                        int64_t source, struct err *err)
{
    struct row row = {NAME_WHAT, 2, {image, source}};
    row.n[row.count] = journal_object_id(j, &r->served, err);
    ++row.count;
    row.n[row.count] = row.n[row.count - 1] < 0 ? -1 : journal_object_id(j, &r->injection, err);
    ++row.count;
    add_texts(j, &row, (const char *const[]){r->reference, r->platform, r->media_type, r->method}, 4, err);
    row.n[row.count++] = (int64_t)r->size;
    return row_id(
        j, &row,
        "SELECT id FROM what WHERE image = ?1 AND source = ?2 AND served = ?3 AND injection = ?4 "
        "AND reference = ?5 AND platform = ?6 AND media_type = ?7 AND method = ?8 AND size = ?9",
        "INSERT INTO what (image, source, served, injection, reference, platform, media_type, method, "
        "size) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        err);
}
