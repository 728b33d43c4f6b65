// SPDX-License-Identifier: Apache-2.0
/* The journal: numbers, pages, sums, and what is left of it when days are over or the file is full. */
#include "tests/unit/journal_rig.h"

static void test_numbers_go_on(void **state)
{
    (void)state;
    char *dir = scratch_new();
    struct journal *j = open_in(dir, 0);
    uint16_t salt = j->salt;
    char id[JOURNAL_ID_LEN + 1], before[JOURNAL_ID_LEN + 1] = "";
    for (uint64_t i = 1; i <= 100; ++i) {
        struct journal_record r = record(NOON + (int64_t)(100 - i), JOURNAL_PULL, "n", "l", "a");
        uint64_t number;
        write_records(j, &r, 1);
        assert_int_equal(r.number, i);
        (void)journal_id(j, &r, id);
        assert_true(journal_id_number(j, id, strlen(id), &number));
        assert_int_equal(number, i);
        assert_true(strcmp(before, id) < 0); /* though its time goes back */
        memcpy(before, id, sizeof id);
        if (i % 10 == 0) {
            j->ops->close(j);
            j = open_in(dir, 0);
            assert_int_equal(j->salt, salt);
        }
    }
    uint64_t ignored;
    id[25] = id[25] == '0' ? '1' : '0';
    assert_false(journal_id_number(j, id, strlen(id), &ignored)); /* another journal's */
    assert_false(journal_id_number(j, "8ZZZZZZZZZZZZZZZZZZZZZZZZZ", 26, &ignored));
    assert_false(journal_id_number(j, "0000000000000000000000000U", 26, &ignored));
    j->ops->close(j);
    scratch_free(dir);
}

static void test_numbers_are_never_given_twice(void **state)
{
    (void)state;
    char *dir = scratch_new();
    struct err err;
    struct journal *j = open_in(dir, 0);
    struct journal_record r = record(NOON, JOURNAL_PULL, "n", "l", "a");
    write_records(j, &r, 1);
    while (j->ops->tidy(j, NOON + 500 * DAY_MS, &err) > 0)
        ;
    assert_int_equal(read_all(j, (struct journal_query){.kind = -1}).count, 0);
    assert_int_equal(needs_of(j, NULL, 0).rows, 0);
    j->ops->close(j);
    j = open_in(dir, 0);
    write_records(j, &r, 1);
    assert_int_equal(r.number, 2);
    j->ops->close(j);
    scratch_free(dir);
}

static void test_questions(void **state)
{
    (void)state;
    char *dir = scratch_new();
    struct journal *j = open_in(dir, 0);
    static struct journal_record r[1000];
    static const char *const nodes[] = {"n0", "n1", "n2"}, *const images[] = {"a", "b"};
    for (int i = 0; i < 1000; ++i)
        r[i] = record(NOON + i * 1000, i % 5 ? JOURNAL_PULL : JOURNAL_CHECK, nodes[i % 3], i % 3 ? "x" : "y",
                      images[i % 2]);
    write_records(j, r, 1000);
    assert_int_equal(read_all(j, (struct journal_query){.kind = -1}).count, 1000);
    assert_int_equal(read_all(j, (struct journal_query){.kind = JOURNAL_CHECK}).count, 200);
    assert_int_equal(read_all(j, (struct journal_query){.kind = -1, .node = "n1"}).count, 333);
    assert_int_equal(read_all(j, (struct journal_query){.kind = -1, .location = "y"}).count, 334);
    assert_int_equal(read_all(j, (struct journal_query){.kind = -1, .image = "docker.io/a"}).count, 500);
    assert_int_equal(read_all(j, (struct journal_query){.kind = -1, .image = "docker.io/none"}).count, 0);
    assert_int_equal(read_all(j, (struct journal_query){.kind = -1, .image = "a"}).count, 0);
    assert_int_equal(
        read_all(j, (struct journal_query){.kind = -1, .node = "n0", .image = "docker.io/a"}).count, 167);
    struct got g = read_all(j, (struct journal_query){.kind = -1, .limit = 10});
    assert_true(g.count == 10 && g.first == 1000 && g.last == 991);
    g = read_all(j, (struct journal_query){.kind = -1, .limit = 10, .before = 991});
    assert_true(g.count == 10 && g.first == 990);
    g = read_all(j, (struct journal_query){.kind = -1, .oldest_first = true, .after = 500});
    assert_true(g.count == 500 && g.first == 501 && g.last == 1000);
    g = read_all(j, (struct journal_query){.kind = -1, .since_ms = NOON + 100000, .until_ms = NOON + 200000});
    assert_true(g.count == 100 && g.first == 200 && g.last == 101);
    for (int64_t at = 0; at < 1000; at += 37) {
        g = read_all(j, (struct journal_query){.kind = -1, .since_ms = NOON + at * 1000});
        assert_int_equal(g.count, 1000 - at);
        assert_int_equal(needs_of(j, NULL, NOON + at * 1000).pulls +
                             needs_of(j, NULL, NOON + at * 1000).checks,
                         1000 - at);
    }
    j->ops->close(j);
    scratch_free(dir);
}

static void test_updates(void **state)
{
    (void)state;
    char *dir = scratch_new();
    struct err err;
    struct journal *j = open_in(dir, 0);
    struct journal_record r[2] = {record(NOON, JOURNAL_PULL, "n", "l", "a"),
                                  record(NOON, JOURNAL_PULL, "n", "l", "a")};
    write_records(j, r, 2);
    struct journal_update u[] = {{.number = 1,
                                  .bytes_sent = 7,
                                  .duration_ms = 8,
                                  .cache_hits = 9,
                                  .cache_misses = 10,
                                  .complete = true,
                                  .platform = "linux/arm64"},
                                 {.number = 2, .complete_as_before = true, .platform = ""},
                                 {.number = 99, .platform = ""}};
    assert_int_equal(j->ops->write(j, &(struct journal_batch){.updates = u, .update_count = 3}, &err), 0);
    struct got g = read_all(j, (struct journal_query){.kind = -1, .before = 2});
    assert_true(g.r.complete && g.r.bytes_sent == 7 && g.r.duration_ms == 8 && g.r.cache_hits == 9 &&
                g.r.cache_misses == 10);
    assert_string_equal(g.platform, "linux/arm64");
    g = read_all(j, (struct journal_query){.kind = -1, .after = 1});
    assert_true(g.r.complete && needs_of(j, NULL, 0).complete);
    assert_string_equal(g.platform, "");
    j->ops->close(j);
    scratch_free(dir);
}

/* 60 days of one pull and one check a day and node; 30 are kept. */
static void test_days_become_sums(void **state)
{
    (void)state;
    char *dir = scratch_new();
    struct err err;
    struct journal *j = open_in(dir, 0);
    for (int day = 0; day < 60; ++day) {
        struct journal_record r[4] = {record(NOON + day * DAY_MS, JOURNAL_PULL, "n1", "l", "a"),
                                      record(NOON + day * DAY_MS, JOURNAL_CHECK, "n1", "l", "a"),
                                      record(NOON + day * DAY_MS, JOURNAL_PULL, "n2", "l", "a"),
                                      record(NOON + day * DAY_MS, JOURNAL_PULL, "n3", "m", "b")};
        write_records(j, r, 4);
    }
    struct needs before = needs_of(j, NULL, 0), one = needs_of(j, "docker.io/a", NOON + 50 * DAY_MS);
    assert_true(before.rows == 3 && before.pulls == 180 && before.checks == 60);
    assert_true(one.rows == 2 && one.pulls == 20 && one.checks == 10);
    int64_t now_ms = NOON + 59 * DAY_MS + 1000;
    while (j->ops->tidy(j, now_ms, &err) > 0)
        ;
    assert_int_equal(read_all(j, (struct journal_query){.kind = -1}).count, 30 * 4);
    struct needs after = needs_of(j, NULL, 0);
    assert_true(after.pulls == 180 && after.checks == 60 && after.with_node == 3 && after.rows == 5);
    one = needs_of(j, "docker.io/a", NOON + 50 * DAY_MS);
    assert_true(one.rows == 2 && one.pulls == 20 && one.checks == 10 && one.with_node == 2);
    while (j->ops->tidy(j, now_ms + 400 * DAY_MS, &err) > 0)
        ;
    assert_true(needs_of(j, NULL, 0).pulls < 180 && needs_of(j, NULL, 0).with_node == 0);
    j->ops->close(j);
    scratch_free(dir);
}

static void test_a_full_file_loses_its_oldest(void **state)
{
    (void)state;
    char *dir = scratch_new();
    struct err err;
    struct journal_stats stats;
    struct journal *j = open_in(dir, 1 << 20);
    static struct journal_record r[1000];
    for (int i = 0; i < 30; ++i) {
        for (int k = 0; k < 1000; ++k)
            r[k] = record(NOON + i * 1000 + k, JOURNAL_PULL, "n", "l", "a");
        write_records(j, r, 1000);
        while (j->ops->tidy(j, NOON + 60000, &err) > 0)
            ;
    }
    j->ops->stats(j, &stats);
    struct got g = read_all(j, (struct journal_query){.kind = -1});
    assert_true(stats.bytes <= 1 << 20 && g.count > 1000 && g.count < 30000 && g.first == 30000);
    assert_int_equal(stats.first, g.last);
    assert_int_equal(needs_of(j, NULL, 0).pulls, 30000);
    j->ops->close(j);
    scratch_free(dir);
}

/* The number that a question gives, as another process would see it. */
static int64_t number_of(const char *dir, const char *sql)
{
    cleanup_free char *path = mem_printf("%s/records.db", dir);
    sqlite3 *db;
    sqlite3_stmt *s;
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    int64_t n = sqlite3_column_int64(s, 0);
    assert_int_equal(sqlite3_finalize(s), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    return n;
}

static int64_t rows_of(const char *dir, const char *table)
{
    cleanup_free char *sql = mem_printf("SELECT count(*) FROM %s", table);
    return number_of(dir, sql);
}

/* Every number that a row has of another table is there; 0 is "". */
static void check_names(const char *dir)
{
    static const char *const parts[][2] = {
        {"record", "who who, what what, image image, text node, text location"},
        {"day", "image image, text location, text node, object source"},
        {"who", "text node, text location, text address, text agent, text subject, text host"},
        {"what",
         "image image, object source, object served, object injection, text reference, text platform, "
         "text media_type, text method"},
        {"image", "text registry, text repository"},
    };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; ++i) {
        struct slice rest = slice_of(parts[i][1]);
        while (rest.p) {
            struct slice column = slice_trim(slice_cut(&rest, ',')), table = slice_cut(&column, ' ');
            cleanup_free char *sql = mem_printf(
                "SELECT count(*) FROM %s WHERE %.*s > 0 AND %.*s NOT IN (SELECT id "
                "FROM %.*s)",
                parts[i][0], (int)column.len, column.p, (int)column.len, column.p, (int)table.len, table.p);
            if (number_of(dir, sql) != 0)
                fail_msg("%s", sql);
        }
    }
}

/* n pulls of an image, each by a node of its own and the agent of the one `shift` behind. */
static void write_hostile(struct journal *j, int64_t time_ms, unsigned from, unsigned n, unsigned shift,
                          const char *repository)
{
    static struct journal_record r[1000];
    static char name[1000][2][64];
    assert_true(n <= 1000);
    for (unsigned i = 0; i < n; ++i) {
        (void)snprintf(name[i][0], sizeof name[i][0], "node-%u-with-a-rather-long-name-behind-it", from + i);
        (void)snprintf(name[i][1], sizeof name[i][1], "agent-%u-with-a-rather-long-name-behind-it",
                       from + i + shift);
        r[i] = record(time_ms + i, JOURNAL_PULL, name[i][0], "l", repository);
        r[i].agent = name[i][1];
        r[i].injection = digest_of(name[i][1], strlen(name[i][1]));
    }
    write_records(j, r, n);
}

static void tidy_all(struct journal *j, int64_t now_ms)
{
    struct err err;
    int rc;
    for (unsigned i = 0; (rc = j->ops->tidy(j, now_ms, &err)) > 0; ++i)
        assert_true(i < 100000);
    if (rc < 0)
        fail_msg("%s", err.msg);
}

static void test_names_go_with_what_had_them(void **state)
{
    (void)state;
    char *dir = scratch_new();
    struct journal *j = open_in(dir, 0);
    for (unsigned i = 0; i < 6; ++i)
        write_hostile(j, NOON, i * 1000, 1000, 0, "old");
    for (unsigned i = 0; i < 3; ++i)
        write_hostile(j, NOON + 40 * DAY_MS, i * 1000, 500, 0, "young");
    tidy_all(j, NOON + 41 * DAY_MS);
    check_names(dir);
    assert_int_equal(read_all(j, (struct journal_query){.kind = -1}).count, 1500);
    assert_int_equal(rows_of(dir, "who"), 1500);
    assert_int_equal(rows_of(dir, "what"), 1500);
    assert_int_equal(rows_of(dir, "image"), 2); /* the sum of the old one is there */
    /* Nodes and agents, and: l, 10.0.0.1, docker.io, old, young, 1, m, h, GET. */
    assert_int_equal(rows_of(dir, "text"), 3000 + 9);
    assert_int_equal(rows_of(dir, "object"), 2 * 1500 + 1);
    /* What is left can be asked for, what went can come again. */
    struct journal_query q = {.kind = -1, .node = "node-2499-with-a-rather-long-name-behind-it"};
    assert_int_equal(read_all(j, q).count, 1);
    write_hostile(j, NOON + 41 * DAY_MS, 5000, 10, 0, "old");
    q.node = "node-5009-with-a-rather-long-name-behind-it";
    assert_int_equal(read_all(j, q).count, 1);
    struct needs n = needs_of(j, "docker.io/old", 0);
    assert_true(n.pulls == 6010 && n.with_node == 10);
    j->ops->close(j);
    scratch_free(dir);
}

/* Between any two pieces of a sweep names are used again that it is about to drop, in new records and in
 * updates. */
static void test_names_that_come_again_while_they_are_swept(void **state)
{
    (void)state;
    char *dir = scratch_new();
    struct err err;
    struct journal *j = open_in(dir, 0);
    for (unsigned i = 0; i < 6; ++i)
        write_hostile(j, NOON, i * 1000, 1000, 0, "old");
    write_hostile(j, NOON + 40 * DAY_MS, 20000, 1, 0, "young");
    unsigned written = 1, pieces = 0;
    while (j->ops->tidy(j, NOON + 41 * DAY_MS, &err) > 0) {
        write_hostile(j, NOON + 40 * DAY_MS + 1000 + pieces, pieces * 571 % 5900, 3, pieces % 2, "old");
        written += 3;
        struct journal_update u = {.number = 6001, .complete = true, .platform = "linux/arm64"};
        if (pieces++ == 10)
            assert_int_equal(
                j->ops->write(j, &(struct journal_batch){.updates = &u, .update_count = 1}, &err), 0);
    }
    assert_true(pieces > 12);
    check_names(dir);
    /* Each record is found by its node, and comes with all its names. */
    assert_int_equal(read_all(j, (struct journal_query){.kind = -1}).count, written);
    assert_int_equal(read_all(j, (struct journal_query){.kind = -1, .image = "docker.io/old"}).count,
                     written - 1);
    assert_int_equal(read_all(j, (struct journal_query){.kind = -1, .location = "l"}).count, written);
    for (unsigned i = 0; i < pieces; ++i) {
        char node[64];
        (void)snprintf(node, sizeof node, "node-%u-with-a-rather-long-name-behind-it", i * 571 % 5900 + 2);
        assert_true(read_all(j, (struct journal_query){.kind = -1, .node = node}).count >= 1);
    }
    j->ops->close(j);
    scratch_free(dir);
}

static void test_names_do_not_push_all_records_out(void **state)
{
    (void)state;
    char *dir = scratch_new();
    struct journal_stats stats;
    struct journal *j = open_in(dir, 2 << 20);
    for (unsigned i = 0; i < 6; ++i) {
        write_hostile(j, NOON + i * 1000, i * 1000, 1000, 0, "a");
        tidy_all(j, NOON + 60000);
    }
    j->ops->stats(j, &stats);
    struct got g = read_all(j, (struct journal_query){.kind = -1});
    assert_true(stats.bytes <= 2 << 20 && g.first == 6000);
    assert_in_range(g.count, 1000, 5000);
    assert_in_range(rows_of(dir, "who"), g.count, g.count + 6000 / 8); /* some went since the last sweep */
    check_names(dir);
    struct needs n = needs_of(j, NULL, 0);
    assert_true(n.pulls == 6000 && n.with_node >= g.count && n.with_node < 5000);
    j->ops->close(j);
    scratch_free(dir);
}

static unsigned pending_seen;

static void see_pending(void *arg, uint64_t key, const void *p, size_t len)
{
    (void)arg;
    assert_true(key == 2 && len == 3 && memcmp(p, "two", 3) == 0);
    ++pending_seen;
}

static void test_pending_and_cursors(void **state)
{
    (void)state;
    char *dir = scratch_new();
    struct err err;
    uint64_t at;
    struct journal *j = open_in(dir, 0);
    assert_int_equal(j->ops->cursor(j, "x", &at, &err), 0);
    assert_true(at == UINT64_MAX);
    const struct journal_pending p[] = {{1, "one", 3}, {2, "two", 3}, {1, NULL, 0}, {7, NULL, 0}};
    const struct journal_cursor c[] = {{"x", 5}, {"y", 0}, {"x", 6}};
    assert_int_equal(
        j->ops->write(
            j, &(struct journal_batch){.pending = p, .pending_count = 4, .cursors = c, .cursor_count = 3},
            &err),
        0);
    j->ops->close(j);
    j = open_in(dir, 0);
    assert_int_equal(j->ops->cursor(j, "x", &at, &err), 0);
    assert_int_equal(at, 6);
    assert_int_equal(j->ops->cursor(j, "y", &at, &err), 0);
    assert_int_equal(at, 0);
    assert_int_equal(j->ops->each_pending(j, see_pending, NULL, &err), 0);
    assert_int_equal(pending_seen, 1);
    j->ops->close(j);
    scratch_free(dir);
}

static void test_times(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms; /* -1: refused */
    } cases[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"1970-01-01T00:30:00+01:00", -1},
        {"9999-12-31T23:59:59-01:00", -1},
        {"2000-02-29T12:34:56.789Z", 951827696789},
        {"2000-02-29t12:34:56.7z", 951827696700},
        {"2000-02-29T12:34:56.7891234Z", 951827696789},
        {"2000-02-29T13:34:56+01:00", 951827696000},
        {"2000-02-29T13:34:56 01:00", 951827696000},
        {"2000-02-29T11:04:56-01:30", 951827696000},
        {"2016-12-31T23:59:60Z", 1483228800000},
        {"9999-12-31T23:59:59Z", 253402300799000},
        {"2001-02-29T00:00:00Z", -1},
        {"1969-12-31T23:59:59Z", -1},
        {"2000-1-01T00:00:00Z", -1},
        {"2000-01-01", -1},
        {"2000-01-01T00:00:00", -1},
        {"2000-01-01T24:00:00Z", -1},
        {"2000-01-01T00:00:00.Z", -1},
        {"2000-01-01T00:00:00Zx", -1},
        {"2000-01-01T00:00:00+1:00", -1},
        {"2000-13-01T00:00:00Z", -1},
        {"", -1},
    };
    char text[TIMESTAMP_MAX];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        int64_t ms = -1;
        bool ok = timestamp_parse(slice_of(cases[i].text), &ms);
        if (ok != (cases[i].ms >= 0) || (ok && ms != cases[i].ms))
            fail_msg("%s is %lld", cases[i].text, (long long)ms);
    }
    assert_string_equal(timestamp_format(951827696789, text), "2000-02-29T12:34:56.789Z");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_go_on),
        cmocka_unit_test(test_numbers_are_never_given_twice),
        cmocka_unit_test(test_questions),
        cmocka_unit_test(test_updates),
        cmocka_unit_test(test_days_become_sums),
        cmocka_unit_test(test_a_full_file_loses_its_oldest),
        cmocka_unit_test(test_names_go_with_what_had_them),
        cmocka_unit_test(test_names_that_come_again_while_they_are_swept),
        cmocka_unit_test(test_names_do_not_push_all_records_out),

        cmocka_unit_test(test_pending_and_cursors),
        cmocka_unit_test(test_times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
