// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "proxy/state/sqlite_journal_impl.h"

/* One entry a version. record.lag is made_ms - time; record.request the request's id as it was given. */
static const char *const migrations[JOURNAL_SCHEMA] = {
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;"
    "CREATE TABLE text (id INTEGER PRIMARY KEY, s TEXT NOT NULL UNIQUE);"
    "CREATE TABLE object (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE);"
    "CREATE TABLE image (id INTEGER PRIMARY KEY, registry INTEGER NOT NULL, repository INTEGER NOT NULL,"
    " UNIQUE (registry, repository));"
    "CREATE TABLE who (id INTEGER PRIMARY KEY, node INTEGER NOT NULL, location INTEGER NOT NULL,"
    " address INTEGER NOT NULL, agent INTEGER NOT NULL, subject INTEGER NOT NULL, host INTEGER NOT NULL,"
    " UNIQUE (node, location, address, agent, subject, host));"
    "CREATE TABLE what (id INTEGER PRIMARY KEY, image INTEGER NOT NULL, reference INTEGER NOT NULL,"
    " source INTEGER NOT NULL, served INTEGER NOT NULL, injection INTEGER NOT NULL,"
    " platform INTEGER NOT NULL, media_type INTEGER NOT NULL, size INTEGER NOT NULL, method INTEGER NOT NULL,"
    " UNIQUE (served, reference, image, source, injection, platform, media_type, size, method));"
    "CREATE TABLE record (number INTEGER PRIMARY KEY, time INTEGER NOT NULL, lag INTEGER NOT NULL,"
    " kind INTEGER NOT NULL, who INTEGER NOT NULL, what INTEGER NOT NULL, image INTEGER NOT NULL,"
    " node INTEGER NOT NULL, location INTEGER NOT NULL, bytes INTEGER NOT NULL, hits INTEGER NOT NULL,"
    " misses INTEGER NOT NULL, ms INTEGER NOT NULL, complete INTEGER NOT NULL, request TEXT NOT NULL);"
    "CREATE INDEX record_image ON record (image);"
    "CREATE INDEX record_node ON record (node);"
    "CREATE INDEX record_location ON record (location);"
    "CREATE TABLE day (image INTEGER NOT NULL, day INTEGER NOT NULL, location INTEGER NOT NULL,"
    " node INTEGER NOT NULL, pulls INTEGER NOT NULL, checks INTEGER NOT NULL, last_pull INTEGER NOT NULL,"
    " last_check INTEGER NOT NULL, number INTEGER NOT NULL, source INTEGER NOT NULL,"
    " complete INTEGER NOT NULL, PRIMARY KEY (image, day, location, node)) WITHOUT ROWID;"
    "CREATE INDEX day_age ON day (day, node);"
    "CREATE TABLE pending (key INTEGER PRIMARY KEY, bytes BLOB NOT NULL);"
    "CREATE TABLE cursor (name TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;",
    /* id: of another replica's record. place: in the stream that all share. seen: how far that was followed
     * when the record was written. outbox.entry is never used again. */
    "ALTER TABLE record ADD COLUMN id BLOB; ALTER TABLE record ADD COLUMN place INTEGER;"
    "ALTER TABLE record ADD COLUMN seen INTEGER;"
    "CREATE UNIQUE INDEX record_id ON record (id) WHERE id IS NOT NULL;"
    "CREATE INDEX record_place ON record (place) WHERE place IS NOT NULL;"
    "CREATE TABLE outbox (entry INTEGER PRIMARY KEY AUTOINCREMENT, number INTEGER NOT NULL,"
    " is_update INTEGER NOT NULL);"
    "INSERT INTO meta (key, value) VALUES ('replica', lower(hex(randomblob(8))));",
};

static bool is_damage(sqlite3 *db)
{
    int rc = sqlite3_errcode(db) & 0xff;
    return rc == SQLITE_CORRUPT || rc == SQLITE_NOTADB;
}

static int migrate(struct sqlite_journal *j, int64_t from, struct err *err)
{
    sqlite3 *db = j->writer.db;
    char last[160];
    uint16_t salt;
    if (getrandom(&salt, sizeof salt, 0) != sizeof salt)
        return err_set(err, ERR_INTERNAL, "no random bytes from the system");
    int rc = journal_exec(db, "BEGIN IMMEDIATE", err);
    for (int64_t v = from; rc == 0 && v < JOURNAL_SCHEMA; ++v)
        rc = journal_exec(db, migrations[v], err);
    (void)snprintf(last, sizeof last,
                   "INSERT INTO meta (key, value) VALUES ('salt', %u) ON CONFLICT (key) DO NOTHING;"
                   "PRAGMA user_version = %d; COMMIT",
                   salt, JOURNAL_SCHEMA);
    if (rc == 0)
        rc = journal_exec(db, last, err);
    if (rc < 0)
        (void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

static int read_replica(struct sqlite_journal *j, struct err *err)
{
    int64_t place, outbox, from;
    sqlite3_stmt *s = journal_prepare(j->writer.db, "SELECT value FROM meta WHERE key = 'replica'", err);
    if (!s)
        return -1;
    if (sqlite3_step(s) == SQLITE_ROW)
        (void)snprintf(j->base.replica, sizeof j->base.replica, "%s", sqlite3_column_text(s, 0));
    (void)sqlite3_finalize(s);
    if (strlen(j->base.replica) != JOURNAL_REPLICA_LEN)
        return err_set(err, ERR_IO, "%s has no name among replicas", j->path);
    if (journal_int(j->writer.db, "SELECT value FROM meta WHERE key = 'place'", 0, &place, err) < 0 ||
        journal_int(j->writer.db, "SELECT max(entry) FROM outbox", 0, &outbox, err) < 0 ||
        journal_int(j->writer.db, "SELECT value FROM meta WHERE key = 'shared-from'", -1, &from, err) < 0)
        return -1;
    j->shown_place = j->place = (uint64_t)place;
    j->shown_outbox = j->outbox = (uint64_t)outbox;
    j->base.shared = j->limits.shared && !j->read_only;
    return from >= 0 || !j->base.shared
               ? 0
               : journal_exec(j->writer.db,
                              "INSERT INTO meta (key, value) VALUES ('shared-from', "
                              "coalesce((SELECT value FROM meta WHERE key = 'last'), 0))",
                              err);
}

/* What the file says of itself. The whole of it is not looked through, as the state's is: it may be large,
 * and what is damaged in it concerns no pull. */
static int read_facts(struct sqlite_journal *j, struct err *err)
{
    int64_t salt, first, last, made;
    sqlite3 *db = j->writer.db;
    if (journal_int(db, "SELECT value FROM meta WHERE key = 'salt'", -1, &salt, err) < 0 ||
        journal_int(db, "SELECT min(number) FROM record", 0, &first, err) < 0 ||
        journal_int(db, "SELECT max(number) FROM record", 0, &last, err) < 0 ||
        journal_int(db, "SELECT time + lag FROM record ORDER BY number DESC LIMIT 1", 0, &made, err) < 0)
        return -1;
    if (journal_int(db, "SELECT value FROM meta WHERE key = 'lag'", 0, &j->max_lag_ms, err) < 0)
        return -1;
    /* All records may be gone by age, and numbers must go on. */
    int64_t noted;
    if (journal_int(db, "SELECT value FROM meta WHERE key = 'last'", 0, &noted, err) < 0)
        return -1;
    if (salt < 0 || salt > UINT16_MAX)
        return err_set(err, ERR_IO, "%s has no salt", j->path);
    j->base.salt = (uint16_t)salt;
    j->last = (uint64_t)(noted > last ? noted : last);
    j->last_made_ms = made;
    j->shown_first = (uint64_t)first;
    j->shown_last = j->last;
    return read_replica(j, err);
}

int journal_schema_prepare(struct sqlite_journal *j, struct err *err)
{
    int64_t version;
    sqlite3 *db = j->writer.db;
    if (journal_int(db, "PRAGMA user_version", 0, &version, err) < 0)
        return is_damage(db) ? 1 : -1;
    if (version > JOURNAL_SCHEMA)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s was made by a newer rac-proxy (schema %" PRId64
                       ", this one knows up to %d): run that "
                       "version, or start with another data folder",
                       j->path, version, JOURNAL_SCHEMA);
    if (j->read_only) {
        if (version < JOURNAL_SCHEMA)
            return err_set(err, ERR_UNSUPPORTED, "%s is of an older rac-proxy: start this one once, first",
                           j->path);
    } else {
        if (journal_exec(db, "PRAGMA journal_mode = WAL", err) < 0)
            return is_damage(db) ? 1 : -1;
        if (version < JOURNAL_SCHEMA && migrate(j, version, err) < 0)
            return is_damage(db) ? 1 : -1;
    }
    return read_facts(j, err) < 0 ? (is_damage(db) ? 1 : -1) : 0;
}
