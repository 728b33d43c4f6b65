// SPDX-License-Identifier: Apache-2.0
#include <assert.h>
#include <string.h>

#include "proxy/state/sqlite_file.h"
#include "proxy/state/sqlite_impl.h"

#define WHAT "state store"

/* All the SQL that runs while the proxy does; the tables are in sqlite_schema.c. Every look-up is one search
 * of one index. Upserts leave a row alone that says the same already: a pull that repeats an older one writes
 * no page. */
static const char *const sql[SQL_COUNT] = {
    [SQL_BEGIN] = "BEGIN IMMEDIATE",
    [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK",
    [SQL_OBJECT_ID] = "SELECT id FROM object WHERE digest = ?1",
    [SQL_OBJECT_ADD] = "INSERT INTO object (digest) VALUES (?1)",
    [SQL_REPO_ID] = "SELECT id FROM repo WHERE scope = ?1 AND upstream = ?2 AND repository = ?3",
    [SQL_REPO_ADD] = "INSERT INTO repo (scope, upstream, repository) VALUES (?1, ?2, ?3)",
    [SQL_MEDIA_ID] = "SELECT id FROM media_type WHERE name = ?1",
    [SQL_MEDIA_ADD] = "INSERT INTO media_type (name) VALUES (?1)",
    [SQL_IMAGE_ID] = "SELECT id FROM image WHERE canonical = ?1",
    [SQL_IMAGE_ADD] = "INSERT INTO image (canonical, pulled) VALUES (?1, 0)",
    [SQL_IMAGE_PULLED] = "INSERT INTO image (canonical, pulled) VALUES (?1, 1) "
                         "ON CONFLICT (canonical) DO UPDATE SET pulled = 1 WHERE pulled = 0",
    [SQL_TAG_GET] = "SELECT o.digest, t.checked_ms FROM tag t JOIN object o ON o.id = t.object "
                    "WHERE t.repo = ?1 AND t.name = ?2",
    [SQL_TAG_PUT] =
        "INSERT INTO tag (repo, name, object, checked_ms) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (repo, name) "
        "DO UPDATE SET object = excluded.object, checked_ms = excluded.checked_ms "
        "WHERE object <> excluded.object OR checked_ms <> excluded.checked_ms",
    [SQL_TAG_DROP] = "DELETE FROM tag WHERE repo = ?1 AND name = ?2",
    [SQL_LINK_PUT] =
        "INSERT INTO link (repo, object, manifest, kind, size, media_type) "
        "VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (repo, object, manifest) "
        "DO UPDATE SET kind = excluded.kind, size = excluded.size, media_type = excluded.media_type "
        "WHERE kind <> excluded.kind OR size <> excluded.size OR media_type IS NOT excluded.media_type",
    [SQL_LINK_OWN] = "SELECT l.size, m.name FROM link l LEFT JOIN media_type m ON m.id = l.media_type "
                     "WHERE l.repo = ?1 AND l.object = ?2 AND l.manifest = ?2",
    [SQL_LINK_CHILD] = "SELECT l.size, m.name FROM link l LEFT JOIN media_type m ON m.id = l.media_type "
                       "WHERE l.repo = ?1 AND l.object = ?2 AND l.kind = 1 LIMIT 1",
    [SQL_LINK_REF] = "SELECT l.size, m.name FROM link l LEFT JOIN media_type m ON m.id = l.media_type "
                     "WHERE l.repo = ?1 AND l.object = ?2 AND l.manifest <> ?2 LIMIT 1",
    [SQL_LINK_DROP] = "WITH RECURSIVE gone(id) AS (SELECT ?2 "
                      "UNION SELECT l.object FROM link l JOIN gone g ON l.manifest = g.id "
                      "WHERE l.repo = ?1 AND l.kind = 1 "
                      "UNION SELECT v.target FROM variant v JOIN gone g ON v.source = g.id "
                      "WHERE v.image = (SELECT id FROM image WHERE canonical = ?3)) "
                      "DELETE FROM link WHERE repo = ?1 AND manifest IN (SELECT id FROM gone)",
    [SQL_VARIANT_BY_SOURCE] = "SELECT o.digest, m.name FROM variant v JOIN object o ON o.id = v.target "
                              "LEFT JOIN media_type m ON m.id = v.media_type "
                              "WHERE v.image = ?1 AND v.source = ?2 AND v.injection = ?3",
    [SQL_VARIANT_BY_TARGET] =
        "SELECT s.digest, i.digest, m.name FROM variant v JOIN object s ON s.id = v.source "
        "JOIN object i ON i.id = v.injection LEFT JOIN media_type m ON m.id = v.media_type "
        "WHERE v.image = ?1 AND v.target = ?2 LIMIT 1",
    [SQL_VARIANT_BY_REF] =
        "SELECT s.digest, i.digest, m.name, t.digest, lm.name FROM link l "
        "JOIN variant v ON v.image = ?1 AND v.target = l.manifest JOIN object s ON s.id = v.source "
        "JOIN object i ON i.id = v.injection JOIN object t ON t.id = v.target "
        "LEFT JOIN media_type m ON m.id = v.media_type LEFT JOIN media_type lm ON lm.id = l.media_type "
        "WHERE l.repo = ?2 AND l.object = ?3 "
        "ORDER BY l.manifest = l.object DESC LIMIT 1",
    [SQL_VARIANT_PUT] = "INSERT INTO variant (image, source, injection, target, media_type) "
                        "VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (image, source, injection) "
                        "DO UPDATE SET target = excluded.target, media_type = excluded.media_type "
                        "WHERE target <> excluded.target OR media_type IS NOT excluded.media_type",
    /* ?3: for good. A token's locations do not take the place of the configuration's. */
    [SQL_INJECTION_PUT] = "INSERT INTO injection (object, text) VALUES (?1, ?2) ON CONFLICT (object) "
                          "DO UPDATE SET text = excluded.text WHERE text <> excluded.text "
                          "AND (?3 OR object IN (SELECT injection FROM passing))",
    [SQL_INJECTION_GET] = "SELECT text FROM injection WHERE object = ?1",
    [SQL_INJECTION_PRUNE] =
        "DELETE FROM injection WHERE object IN "
        "(SELECT injection FROM passing WHERE until_ms <= ?1 ORDER BY until_ms, injection LIMIT ?2)",
    /* One that is there and not in this table is for good. */
    [SQL_PASSING_PUT] = "INSERT INTO passing (injection, until_ms) SELECT ?1, ?2 "
                        "WHERE NOT EXISTS (SELECT 1 FROM injection WHERE object = ?1) "
                        "OR EXISTS (SELECT 1 FROM passing WHERE injection = ?1) "
                        "ON CONFLICT (injection) DO UPDATE SET until_ms = excluded.until_ms WHERE until_ms < "
                        "excluded.until_ms",
    [SQL_PASSING_LATER] = "UPDATE passing SET until_ms = ?2 WHERE injection = ?1 AND until_ms < ?2",
    [SQL_PASSING_NOT] = "DELETE FROM passing WHERE injection = ?1",
    [SQL_PASSING_PRUNE] =
        "DELETE FROM passing WHERE injection IN "
        "(SELECT injection FROM passing WHERE until_ms <= ?1 ORDER BY until_ms, injection LIMIT ?2)",
    [SQL_SWEPT] = "INSERT INTO meta (key, value) VALUES ('swept', 1) ON CONFLICT (key) DO NOTHING",
    [SQL_TOKEN_PUT] =
        "INSERT INTO token (key, created_ms, expires_ms, account, image, tag, source, injection, "
        "target, name, platform, note) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    [SQL_TOKEN_GET] = "SELECT t.created_ms, t.expires_ms, t.account, i.canonical, t.tag, s.digest, j.digest, "
                      "o.digest, t.name, t.platform, t.note, t.pulls FROM token t "
                      "JOIN image i ON i.id = t.image JOIN object s ON s.id = t.source "
                      "JOIN object j ON j.id = t.injection JOIN object o ON o.id = t.target WHERE t.key = ?1",
    [SQL_TOKEN_DROP] = "DELETE FROM token WHERE key = ?1",
    [SQL_TOKEN_PULLED] = "UPDATE token SET pulls = pulls + ?2 WHERE key = ?1",
    [SQL_TOKEN_PRUNE] = "DELETE FROM token WHERE key IN "
                        "(SELECT key FROM token WHERE expires_ms <= ?1 ORDER BY expires_ms LIMIT ?2)",
    [SQL_LINK_BELOW] = "WITH RECURSIVE below(id) AS (SELECT ?2 "
                       "UNION SELECT l.object FROM link l JOIN below b ON l.manifest = b.id "
                       "WHERE l.repo = ?1 AND l.kind = 1) "
                       "SELECT 1 FROM link l JOIN below b ON l.manifest = b.id "
                       "WHERE l.repo = ?1 AND l.object = ?3 LIMIT 1",
    [SQL_NAMES] =
        /* An upstream's name has no slash. */
    "SELECT canonical, substr(canonical, 1, instr(canonical, '/') - 1) AS u FROM image"
    " WHERE canonical > ?1 AND pulled = 1 AND EXISTS (SELECT 1 FROM repo WHERE"
    " repository = substr(canonical, instr(canonical, '/') + 1) AND upstream = u"
    " AND scope = coalesce((SELECT value FROM json_each(?3) WHERE key = u), CASE ?4 WHEN 1 THEN 'anon' END)"
    " AND EXISTS (SELECT 1 FROM link WHERE link.repo = repo.id))"
    " ORDER BY canonical LIMIT ?2",
    [SQL_CHECK_PUT] = "INSERT INTO meta (key, value) VALUES ('check', ?1) "
                      "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
    [SQL_CHECK_GET] = "SELECT value FROM meta WHERE key = 'check'",
};

int sqlite_conn_error(struct sqlite_conn *c, struct err *err)
{
    return sqlite_file_error(c->db, WHAT, err);
}

int sqlite_conn_exec(struct sqlite_conn *c, const char *text, struct err *err)
{
    if (sqlite3_exec(c->db, text, NULL, NULL, NULL) != SQLITE_OK)
        return sqlite_conn_error(c, err);
    return 0;
}

int sqlite_conn_open(struct sqlite_conn *c, const char *path, bool writer, struct err *err)
{
    memset(c, 0, sizeof *c);
    int flags = SQLITE_OPEN_READWRITE | (writer ? SQLITE_OPEN_CREATE : 0);
    if (sqlite_file_open(path, flags, WHAT, &c->db, err) < 0) {
        sqlite_conn_close(c);
        return -1;
    }
    (void)sqlite3_extended_result_codes(c->db, 0);
    /* No mmap: an unreadable page is to be an error, not a SIGBUS. */
    const char *pragmas =
        writer ? "PRAGMA mmap_size = 0; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -16384; "
                 "PRAGMA journal_size_limit = 67108864; PRAGMA temp_store = MEMORY"
               : "PRAGMA mmap_size = 0; PRAGMA query_only = 1; PRAGMA cache_size = -8192; "
                 "PRAGMA temp_store = MEMORY";
    if (sqlite_conn_exec(c, pragmas, err) < 0) {
        int rc = sqlite_file_is_damaged(c->db) ? -2 : -1;
        sqlite_conn_close(c);
        return rc;
    }
    return 0;
}

void sqlite_conn_close(struct sqlite_conn *c)
{
    for (int i = 0; i < SQL_COUNT; ++i)
        (void)sqlite3_finalize(c->stmt[i]);
    int rc = sqlite3_close(c->db);
    assert(rc == SQLITE_OK); /* else a statement is left over */
    memset(c, 0, sizeof *c);
}

sqlite3_stmt *sqlite_conn_stmt(struct sqlite_conn *c, enum sqlite_stmt_id id, struct err *err)
{
    if (!c->stmt[id] &&
        sqlite3_prepare_v3(c->db, sql[id], -1, SQLITE_PREPARE_PERSISTENT, &c->stmt[id], NULL) != SQLITE_OK) {
        (void)sqlite_conn_error(c, err);
        return NULL;
    }
    return c->stmt[id];
}

sqlite3_stmt *sqlite_conn_stmt_ids(struct sqlite_conn *c, enum sqlite_stmt_id id, const int64_t *ids,
                                   size_t n, struct err *err)
{
    sqlite3_stmt *s = sqlite_conn_stmt(c, id, err);
    for (size_t i = 0; s && i < n; ++i)
        (void)sqlite3_bind_int64(s, (int)i + 1, ids[i]);
    return s;
}

int sqlite_conn_row(struct sqlite_conn *c, sqlite3_stmt *s, struct err *err)
{
    int rc = sqlite3_step(s);
    if (rc == SQLITE_ROW)
        return 1;
    int failed = rc == SQLITE_DONE ? 0 : sqlite_conn_error(c, err);
    (void)sqlite3_reset(s);
    return failed;
}

int sqlite_conn_run(struct sqlite_conn *c, sqlite3_stmt *s, struct err *err)
{
    int rc = sqlite_conn_row(c, s, err);
    if (rc > 0)
        (void)sqlite3_reset(s);
    return rc < 0 ? -1 : 0;
}

void sqlite_key_of(const struct digest *d, struct sqlite_key *ret)
{
    const char *hex = digest_hex(d);
    bool sha512 = slice_eq_str(digest_algorithm(d), "sha512");
    ret->p[0] = sha512 ? 2 : 1;
    ret->len = sha512 ? 65 : 33;
    for (int i = 1; i < ret->len; ++i, hex += 2) {
        int hi = hex[0] <= '9' ? hex[0] - '0' : hex[0] - 'a' + 10;
        int lo = hex[1] <= '9' ? hex[1] - '0' : hex[1] - 'a' + 10;
        ret->p[i] = (unsigned char)(hi << 4 | lo);
    }
}

bool sqlite_key_digest(const void *p, int len, struct digest *ret)
{
    static const char hex[] = "0123456789abcdef";
    const unsigned char *raw = p;
    if (!p || !((len == 33 && raw[0] == 1) || (len == 65 && raw[0] == 2)))
        return false;
    memcpy(ret->s, raw[0] == 2 ? "sha512:" : "sha256:", 7);
    char *at = ret->s + 7;
    for (int i = 1; i < len; ++i) {
        *at++ = hex[raw[i] >> 4];
        *at++ = hex[raw[i] & 15];
    }
    *at = '\0';
    return true;
}
