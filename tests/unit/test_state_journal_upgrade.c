// SPDX-License-Identifier: Apache-2.0
/* A file of pull records as a rac-proxy of before schema 2 left it: nothing in it is lost. */
#include "proxy/state/sqlite_journal_impl.h"
#include "tests/unit/journal_rig.h"

/* As it was: not what the migrations of today say. */
static const char schema_1[] =
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
    "CREATE TABLE cursor (name TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;";

/* Five records were written, the first three are forgotten. */
static const char content[] =
    "INSERT INTO text VALUES (1, 'docker.io'), (2, 'library/busybox'), (3, 'node'), (4, 'rack'), (5, 'GET');"
    "INSERT INTO object VALUES (1, zeroblob(33));"
    "INSERT INTO image VALUES (1, 1, 2);"
    "INSERT INTO who VALUES (1, 3, 4, 0, 0, 0, 0);"
    "INSERT INTO what VALUES (1, 1, 0, 0, 0, 0, 0, 0, 528, 5);"
    "INSERT INTO record VALUES (4, 1728043200000, 20, 0, 1, 1, 1, 3, 4, 77, 3, 1, 900, 1, 'first'),"
    " (5, 1728043201000, 20, 1, 1, 1, 1, 3, 4, 0, 0, 0, 0, 0, 'second');"
    "INSERT INTO day VALUES (1, 20000, 4, 3, 4, 1, 1728043200000, 1728043201000, 4, 0, 1);"
    "INSERT INTO pending VALUES (9, x'0102');"
    "INSERT INTO cursor VALUES ('webhook:ci', 4);"
    "INSERT INTO meta VALUES ('salt', 4660), ('last', 5), ('lag', 20);"
    "PRAGMA user_version = 1;";

static void make_old(const char *dir)
{
    sqlite3 *db;
    cleanup_free char *path = mem_printf("%s/records.db", dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA journal_mode = WAL", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, schema_1, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, content, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void count_pending(void *arg, uint64_t key, const void *p, size_t len)
{
    assert_int_equal(key, 9);
    assert_int_equal(len, 2);
    assert_memory_equal(p, "\1\2", 2);
    ++*(unsigned *)arg;
}

static void count_entries(void *arg, uint64_t entry, bool is_update, const struct journal_record *r)
{
    (void)entry, (void)is_update, (void)r;
    ++*(unsigned *)arg;
}

/* All that was in it, whoever opens it. */
static void look(struct journal *j)
{
    struct err err;
    char id[JOURNAL_ID_LEN + 1];
    uint64_t number;
    unsigned pending = 0;
    assert_int_equal(j->salt, 0x1234);
    struct got g = read_all(j, (struct journal_query){.kind = -1, .since_ms = INT64_MIN, .before = 6});
    assert_int_equal(g.count, 2);
    assert_int_equal(g.first, 5);
    assert_int_equal(g.last, 4);
    assert_int_equal(g.r.bytes_sent, 77);
    assert_int_equal(g.r.made_ms, INT64_C(1728043200020));
    assert_true(g.r.complete);
    assert_int_equal(g.r.id[0] | g.r.id[1] | g.r.place | g.r.seen, 0);
    (void)journal_id(j, &g.r, id);
    assert_int_equal(j->ops->find(j, id, strlen(id), &number, &err), 0);
    assert_int_equal(number, 4);
    assert_int_equal(j->ops->cursor(j, "webhook:ci", &number, &err), 0);
    assert_int_equal(number, 4);
    assert_int_equal(j->ops->each_pending(j, count_pending, &pending, &err), 0);
    assert_int_equal(pending, 1);
    struct needs n = needs_of(j, "docker.io/library/busybox", 0);
    assert_int_equal(n.rows, 1);
    assert_int_equal(n.pulls, 4);
}

static void test_an_old_file_is_taken_over(void **state)
{
    (void)state;
    for (int shared = 0; shared < 2; ++shared) {
        struct err err;
        struct journal *j;
        struct journal_stats stats;
        unsigned entries = 0;
        char *dir = scratch_new(), replica[JOURNAL_REPLICA_LEN + 1] = "";
        const struct journal_limits limits = {.keep_days = 30, .sum_days = 400, .shared = shared};
        make_old(dir);
        for (int i = 0; i < 2; ++i) { /* it is taken over once */
            assert_int_equal(sqlite_journal_open(dir, &limits, false, &j, &err), 0);
            look(j);
            assert_int_equal(strlen(j->replica), JOURNAL_REPLICA_LEN);
            assert_true(i == 0 || strcmp(replica, j->replica) == 0);
            memcpy(replica, j->replica, sizeof replica);
            j->ops->stats(j, &stats);
            assert_int_equal(stats.last, 5 + i);
            if (i == 0) {
                struct journal_record r = record(NOON, JOURNAL_PULL, "n", "l", "a");
                write_records(j, &r, 1);
                assert_int_equal(r.number, 6);
            }
            /* Others get what is written from now on. */
            entries = 0;
            assert_int_equal(j->ops->outbox(j, 0, 100, count_entries, &entries, &err), 0);
            assert_int_equal(entries, shared);
            j->ops->close(j);
        }
        scratch_free(dir);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_an_old_file_is_taken_over)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
