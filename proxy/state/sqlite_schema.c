// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "proxy/state/sqlite_impl.h"

/*
 * Version n is made of version n-1 by migrations[n-1], in one transaction with the new number; a new file
 * goes through all of them. One that has been released is never changed: a change is a further one.
 *
 * Names and digests stand once and are referred to by number: a link is some fifteen bytes and a million of
 * them fit into a hundred megabytes. What is said of an object (size, media type) is said per link: an index
 * of one repository must not decide as what another repository serves a manifest.
 *
 * link: repository `repo` refers to `object` because of `manifest`, which was served there; the row with
 * object = manifest is that manifest itself. kind 1: the object is a manifest or an index, 0: anything else.
 *
 * token: key is the SHA-256 of a container token, which itself stands nowhere; name is the image as asked
 * for.
 *
 * passing: injections that only tokens asked for, and when they may go; all others are for good.
 */
static const char *const migrations[SQLITE_STATE_SCHEMA] = {
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;"
    "CREATE TABLE media_type (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);"
    "CREATE TABLE object (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE);"
    "CREATE TABLE repo (id INTEGER PRIMARY KEY, scope TEXT NOT NULL, upstream TEXT NOT NULL,"
    " repository TEXT NOT NULL, UNIQUE (repository, upstream, scope));"
    "CREATE TABLE image (id INTEGER PRIMARY KEY, canonical TEXT NOT NULL UNIQUE, pulled INTEGER NOT NULL);"
    "CREATE TABLE tag (repo INTEGER NOT NULL, name TEXT NOT NULL, object INTEGER NOT NULL,"
    " checked_ms INTEGER NOT NULL, PRIMARY KEY (repo, name)) WITHOUT ROWID;"
    "CREATE TABLE link (repo INTEGER NOT NULL, object INTEGER NOT NULL, manifest INTEGER NOT NULL,"
    " kind INTEGER NOT NULL, size INTEGER NOT NULL, media_type INTEGER,"
    " PRIMARY KEY (repo, object, manifest)) WITHOUT ROWID;"
    "CREATE INDEX link_manifest ON link (repo, manifest);"
    "CREATE TABLE variant (image INTEGER NOT NULL, source INTEGER NOT NULL, injection INTEGER NOT NULL,"
    " target INTEGER NOT NULL, media_type INTEGER, PRIMARY KEY (image, source, injection)) WITHOUT ROWID;"
    "CREATE INDEX variant_target ON variant (image, target);"
    "CREATE TABLE injection (object INTEGER PRIMARY KEY, text BLOB NOT NULL);",
    "CREATE TABLE token (key BLOB PRIMARY KEY, created_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL,"
    " account TEXT, image INTEGER NOT NULL, tag TEXT, source INTEGER NOT NULL, injection INTEGER NOT NULL,"
    " target INTEGER NOT NULL, name TEXT NOT NULL, platform TEXT, note TEXT,"
    " pulls INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;"
    "CREATE INDEX token_expires ON token (expires_ms);",
    ("CREATE TABLE passing (injection INTEGER PRIMARY KEY, until_ms INTEGER NOT NULL);"
     "CREATE INDEX passing_until ON passing (until_ms);"),
};

static bool is_damage(int rc)
{
    return rc == SQLITE_CORRUPT || rc == SQLITE_NOTADB;
}

/* One integer of a PRAGMA; -1 with err set, -2 if the file is damaged. */
static int64_t pragma_int(struct sqlite_conn *c, const char *text, struct err *err)
{
    sqlite3_stmt *s = NULL;
    int64_t value = -1;
    if (sqlite3_prepare_v2(c->db, text, -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW) {
        value = sqlite3_column_int64(s, 0);
    } else {
        (void)sqlite_conn_error(c, err);
        value = is_damage(sqlite3_errcode(c->db)) ? -2 : -1;
    }
    (void)sqlite3_finalize(s);
    return value;
}

/* The check tells of a page that could not be had, for an error of the disk or for want of memory, as it does
 * of one that is damaged: "Page 8: unable to get the page. error code=7". That code; else SQLITE_CORRUPT. */
static int code_of_check(const char *text)
{
    static const char mark[] = "error code";
    const char *at = strstr(text, mark);
    long code = at ? strtol(at + sizeof mark - 1 + strspn(at + sizeof mark - 1, "= "), NULL, 10) : 0;
    return code > 0 ? (int)(code & 0xff) : SQLITE_CORRUPT;
}

/* 0 = sound, 1 = damaged (err says how), -1 = could not look. */
static int check_file(struct sqlite_conn *c, struct err *err)
{
    sqlite3_stmt *s = NULL;
    int result = -1;
    if (sqlite3_prepare_v2(c->db, "PRAGMA quick_check(1)", -1, &s, NULL) == SQLITE_OK &&
        sqlite3_step(s) == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(s, 0);
        if (!text) /* no memory for it, which says nothing of the file */
            (void)sqlite_conn_error(c, err);
        else if (strcmp(text, "ok") == 0)
            result = 0;
        else
            result = is_damage(code_of_check(text)) ? 1 : -1;
        if (text && result)
            (void)err_set(err, ERR_IO, "state store: %s (%s)", text, sqlite3_errstr(code_of_check(text)));
    } else {
        (void)sqlite_conn_error(c, err);
        result = is_damage(sqlite3_errcode(c->db)) ? 1 : -1;
    }
    (void)sqlite3_finalize(s);
    return result;
}

static int migrate(struct sqlite_conn *c, int64_t from, struct err *err)
{
    if (sqlite_conn_exec(c, "BEGIN IMMEDIATE", err) < 0)
        return -1;
    int rc = 0;
    for (int64_t v = from; rc == 0 && v < SQLITE_STATE_SCHEMA; ++v)
        rc = sqlite_conn_exec(c, migrations[v], err);
    char number[64];
    (void)snprintf(number, sizeof number, "PRAGMA user_version = %d", SQLITE_STATE_SCHEMA);
    if (rc == 0)
        rc = sqlite_conn_exec(c, number, err);
    if (rc == 0)
        rc = sqlite_conn_exec(c, "COMMIT", err);
    if (rc < 0)
        (void)sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

int sqlite_schema_prepare(struct sqlite_conn *c, const char *path, struct err *err)
{
    int64_t version = pragma_int(c, "PRAGMA user_version", err);
    if (version < 0)
        return version == -2 ? 1 : -1;
    /* Before anything is written to a file that a newer program may want to read again. */
    if (version > SQLITE_STATE_SCHEMA)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s was made by a newer rac-proxy (schema %" PRId64
                       ", this one knows up to %d): run that "
                       "version, or start with another data folder",
                       path, version, SQLITE_STATE_SCHEMA);
    if (sqlite_conn_exec(c, "PRAGMA journal_mode = WAL", err) < 0)
        return is_damage(sqlite3_errcode(c->db)) ? 1 : -1;
    int damaged = check_file(c, err);
    if (damaged)
        return damaged;
    if (version < SQLITE_STATE_SCHEMA && migrate(c, version, err) < 0)
        return is_damage(sqlite3_errcode(c->db)) ? 1 : -1;
    return 0;
}

int sqlite_schema_scope_key(struct sqlite_conn *c, uint8_t ret[32], struct err *err)
{
    sqlite3_stmt *s = NULL;
    uint8_t fresh[32];
    if (getrandom(fresh, sizeof fresh, 0) != (ssize_t)sizeof fresh)
        return err_set(err, ERR_INTERNAL, "state store: no random bytes from the system");
    int rc = sqlite3_prepare_v2(
        c->db, "INSERT INTO meta (key, value) VALUES ('scope_key', ?1) ON CONFLICT (key) DO NOTHING", -1, &s,
        NULL);
    if (rc == SQLITE_OK) {
        (void)sqlite3_bind_blob(s, 1, fresh, sizeof fresh, SQLITE_STATIC);
        rc = sqlite3_step(s);
    }
    (void)sqlite3_finalize(s);
    if (rc != SQLITE_DONE)
        return sqlite_conn_error(c, err);
    s = NULL;
    rc = sqlite3_prepare_v2(c->db, "SELECT value FROM meta WHERE key = 'scope_key'", -1, &s, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(s);
    int result = 0;
    if (rc != SQLITE_ROW)
        result = sqlite_conn_error(c, err);
    else if (sqlite3_column_bytes(s, 0) != 32)
        result = err_set(err, ERR_IO, "state store: the scope key is damaged");
    else
        memcpy(ret, sqlite3_column_blob(s, 0), 32);
    (void)sqlite3_finalize(s);
    return result;
}
