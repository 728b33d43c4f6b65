// SPDX-License-Identifier: Apache-2.0
/* Injections of tokens in the embedded store: they go when their time is over, and at the next start what was
 * made by them; what the configuration injects stays, also from before there was a difference. */
#include <sqlite3.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "tests/unit/state_sqlite.h"

#define BUSYBOX "docker.io/library/busybox"

static int setup(void **state)
{
    return fixture_new(&sqlite_backend, state);
}

static size_t sweep(struct fixture *f, int64_t before_ms, size_t n)
{
    begin(&f->a, f->loop);
    f->s->ops->injection_prune(f->s, f->loop, before_ms, n, on_count, &f->a);
    assert_false(f->a.done);
    wait_for(&f->a);
    assert_int_equal(f->a.err.code, ERR_NONE);
    return f->a.count;
}

/* Of the file, while the store is closed. */
static int64_t number(struct fixture *f, const char *text)
{
    cleanup_free char *path = mem_printf("%s/state.db", (char *)f->place);
    sqlite3 *db;
    sqlite3_stmt *s = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    if (sqlite3_prepare_v2(db, text, -1, &s, NULL) != SQLITE_OK)
        fail_msg("%s: %s", text, sqlite3_errmsg(db));
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    int64_t value = sqlite3_column_int64(s, 0);
    (void)sqlite3_finalize(s);
    (void)sqlite3_close(db);
    return value;
}

static void change(struct fixture *f, const char *text)
{
    cleanup_free char *path = mem_printf("%s/state.db", (char *)f->place);
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    if (sqlite3_exec(db, text, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s: %s", text, sqlite3_errmsg(db));
    (void)sqlite3_close(db);
}

static void put_variant(struct fixture *f, const char *canonical, struct digest source,
                        struct digest injection, struct digest target)
{
    struct state_variant v = {canonical, source, injection, target, OCI_MANIFEST, NULL};
    begin(&f->a, f->loop);
    f->s->ops->variant_put(f->s, f->loop, &v, on_done, &f->a);
    wait_for(&f->a);
    assert_int_equal(f->a.err.code, ERR_NONE);
}

static void test_the_latest_end_holds(void **state)
{
    struct fixture *f = *state;
    struct digest d[6];
    for (unsigned i = 0; i < 6; ++i)
        d[i] = digest_n("inj", i);
    put_injection(f, d[0], "short", 1000);
    put_injection(f, d[1], "twice", 5000);
    put_injection(f, d[1], "twice", 1000);
    put_injection(f, d[2], "good, then not", STATE_FOR_GOOD);
    put_injection(f, d[2], "good, then not", 1000);
    put_injection(f, d[3], "short, then good", 1000);
    put_injection(f, d[3], "short, then good", STATE_FOR_GOOD);
    put_injection(f, d[3], "short, then good", 1000);
    put_injection(f, d[4], "short", 900);
    put_injection(f, d[5], "now", state_passing_until(0));
    assert_int_equal(sweep(f, 899, 8), 0);
    assert_int_equal(sweep(f, 2000, 1), 1); /* the first that ended, a batch at a time */
    assert_false(get_injection(f, d[4]));
    assert_true(get_injection(f, d[0]));
    assert_int_equal(sweep(f, 2000, 8), 1);
    assert_false(get_injection(f, d[0]));
    reopen(f);
    assert_int_equal(sweep(f, 4999, 8), 0);
    assert_int_equal(sweep(f, 5000, 8), 1);
    assert_false(get_injection(f, d[1]));
    assert_int_equal(sweep(f, clock_wall_ms() + STATE_PASSING_MS - 60000, 8), 0);
    assert_int_equal(sweep(f, clock_wall_ms() + STATE_PASSING_MS, 8), 1);
    assert_int_equal(sweep(f, STATE_FOR_GOOD, 8), 0);
    assert_true(get_injection(f, d[2]));
    assert_true(get_injection(f, d[3]));
}

/* As long as a token needs it and some hours more, whichever of its tokens ends last, with its text or
 * without. */
static void test_it_outlives_its_tokens(void **state)
{
    struct fixture *f = *state;
    int64_t now = clock_wall_ms(), hour = 3600 * 1000;
    struct state_token first = token_n(1, now + hour), last = token_n(2, now + 9 * hour),
                       brief = token_n(3, now + 2 * hour), other = token_n(4, INT64_MAX);
    put_token(f, &first, "{}");
    put_token(f, &last, NULL);
    put_token(f, &brief, "{}");
    other.injection = digest_n("i", 2);
    put_token(f, &other, "{}");
    assert_int_equal(sweep(f, last.expires_ms + STATE_PASSING_MS - 1, 8), 0);
    assert_int_equal(sweep(f, last.expires_ms + STATE_PASSING_MS, 8), 1);
    assert_false(get_injection(f, first.injection));
    assert_true(get_injection(f, other.injection));
    /* Asked for once more. */
    struct state_token again = token_n(5, now + hour);
    put_token(f, &again, "{}");
    assert_true(get_injection(f, first.injection));
    assert_int_equal(sweep(f, now + hour + STATE_PASSING_MS - 1, 8), 0);
}

/* An image and an index with a child, as a token has them: links of two scopes, variants, an injection. */
static void make(struct fixture *f, unsigned n, int64_t until_ms)
{
    struct digest source = digest_n("s", 1), child_source = digest_n("s", 2), injection = digest_n("i", n);
    struct digest target = digest_n("t", n), child = digest_n("c", n);
    struct state_ref children[] = {{child, 1, OCI_MANIFEST}};
    struct state_ref blobs[] = {{digest_n("config", n), 1, OCI_CONFIG},
                                {digest_n("layer", n), 1, OCI_LAYER},
                                {digest_n("base", 1), 1, OCI_LAYER}};
    struct state_ref original[] = {{child_source, 1, OCI_MANIFEST}}, base[] = {blobs[2]};
    const struct state_repo *const repos[] = {&busybox, &busybox_private};
    for (int i = 0; i < 2; ++i) {
        put_link(f, repos[i], source, OCI_INDEX, original, 1);
        put_link(f, repos[i], child_source, OCI_MANIFEST, base, 1);
        put_link(f, repos[i], child, OCI_MANIFEST, blobs, 3);
        put_link(f, repos[i], target, OCI_INDEX, children, 1);
    }
    put_variant(f, BUSYBOX, child_source, injection, child);
    put_injection(f, injection, "text", until_ms);
    put_variant(f, BUSYBOX, source, injection, target);
}

static void check(struct fixture *f, unsigned n, bool there)
{
    struct digest target = digest_n("t", n), child = digest_n("c", n);
    assert_int_equal(get_variant(f, BUSYBOX, digest_n("s", 1), digest_n("i", n)), there);
    assert_int_equal(get_variant(f, BUSYBOX, digest_n("s", 2), digest_n("i", n)), there);
    const struct state_repo *const repos[] = {&busybox, &busybox_private};
    for (int i = 0; i < 2; ++i) {
        assert_int_equal(get_manifest(f, repos[i], target), there);
        assert_int_equal(get_manifest(f, repos[i], child), there);
        assert_int_equal(get_blob(f, repos[i], digest_n("layer", n)), there);
        assert_true(get_manifest(f, repos[i], digest_n("s", 1)));
        assert_true(get_manifest(f, repos[i], digest_n("s", 2)));
        assert_true(get_blob(f, repos[i], digest_n("base", 1)));
    }
}

static void test_the_next_start_forgets_the_rest(void **state)
{
    struct fixture *f = *state;
    static const char *const counts[] = {"SELECT count(*) FROM object", "SELECT count(*) FROM link",
                                         "SELECT count(*) FROM variant", "SELECT count(*) FROM image",
                                         "SELECT count(*) FROM repo"};
    int64_t before[5];
    make(f, 1, STATE_FOR_GOOD);
    make(f, 2, 5000);
    struct state_tag tag = {digest_n("s", 9), 1}; /* a digest that only a tag has */
    f->s->ops->tag_put(f->s, &busybox, "latest", &tag);
    struct state_token plain = token_n(1, INT64_MAX); /* and those that only a token has */
    plain.source = plain.target = digest_n("only", 1);
    plain.injection = digest_n("empty", 1);
    put_token(f, &plain, "{}");
    close_store(f);
    for (int i = 0; i < 5; ++i)
        before[i] = number(f, counts[i]);
    reopen(f);
    for (unsigned n = 10; n < 30; ++n)
        make(f, n, 1000);
    /* One whose manifest is another's source, and one that is what another makes, too. */
    make(f, 30, 1000);
    put_variant(f, BUSYBOX, digest_n("t", 30), digest_n("i", 2), digest_n("t", 31));
    put_variant(f, BUSYBOX, digest_n("s", 1), digest_n("i", 32), digest_n("t", 2));
    put_injection(f, digest_n("i", 32), "text", 1000);
    size_t n = 0, got;
    while ((got = sweep(f, 2000, 8)) > 0)
        n += got;
    assert_int_equal(n, 22);
    for (unsigned i = 10; i < 30; ++i)
        check(f, i, true); /* right as long as they are there, and memory knows them */
    reopen(f);
    for (unsigned i = 10; i < 30; ++i)
        check(f, i, false);
    check(f, 1, true);
    check(f, 2, true);
    assert_true(get_manifest(f, &busybox, digest_n("t", 30)));
    assert_false(get_variant(f, BUSYBOX, digest_n("s", 1), digest_n("i", 32)));
    assert_true(get_tag(f, &busybox, "latest"));
    assert_string_equal(f->a.tag.digest.s, tag.digest.s);
    check_token(f, &plain);
    /* … and they can be made again. */
    make(f, 10, 1000);
    check(f, 10, true);
    assert_true(get_injection(f, digest_n("i", 10)));
    assert_int_equal(sweep(f, 2000, 8), 1);
    close_store(f);
    change(f, "DELETE FROM variant WHERE source IN (SELECT target FROM variant) OR "
              "target NOT IN (SELECT object FROM link); "
              "DELETE FROM link WHERE manifest NOT IN (SELECT target FROM variant UNION SELECT source FROM "
              "variant)");
    reopen(f);
    close_store(f);
    assert_int_equal(number(f, "SELECT count(*) FROM meta WHERE key = 'swept'"), 0);
    for (int i = 0; i < 5; ++i)
        assert_int_equal(number(f, counts[i]), before[i]);
    reopen(f);
    check(f, 1, true);
    check(f, 2, true);
}

/* It looks at every row: only where something was forgotten. */
static void test_nothing_is_tidied_that_was_not_swept(void **state)
{
    struct fixture *f = *state;
    make(f, 1, STATE_FOR_GOOD);
    put_variant(f, BUSYBOX, digest_n("s", 1), digest_n("i", 7),
                digest_n("t", 7)); /* its injection comes later */
    reopen(f);
    assert_true(get_variant(f, BUSYBOX, digest_n("s", 1), digest_n("i", 7)));
    check(f, 1, true);
}

/* A file of the version before: nobody knows what of it is a token's, so all of it stays. */
static void test_of_the_version_before(void **state)
{
    struct fixture *f = *state;
    make(f, 1, STATE_FOR_GOOD);
    make(f, 2, 1000);
    struct state_token t = token_n(1, 1000);
    put_token(f, &t, NULL);
    close_store(f);
    change(f, "DROP TABLE passing; PRAGMA user_version = 2");
    reopen(f);
    check_token(f, &t);
    struct state_token late = token_n(2, 1000);
    put_token(f, &late, "{}");
    put_injection(f, digest_n("i", 2), "text", 1000);
    assert_int_equal(sweep(f, INT64_MAX, 8), 0);
    put_injection(f, digest_n("i", 3), "text", 1000);
    assert_int_equal(sweep(f, INT64_MAX, 8), 1);
    reopen(f);
    check(f, 1, true);
    check(f, 2, true);
    assert_true(get_injection(f, digest_n("i", 1)));
    assert_true(get_injection(f, digest_n("i", 2)));
}

int main(void)
{
    log_start(2, LOG_LEVEL_OFF, LOG_FORMAT_LOGFMT);
#define T(name) cmocka_unit_test_setup_teardown(name, setup, fixture_free)
    const struct CMUnitTest tests[] = {
        T(test_the_latest_end_holds),
        T(test_it_outlives_its_tokens),
        T(test_the_next_start_forgets_the_rest),
        T(test_nothing_is_tidied_that_was_not_swept),
        T(test_of_the_version_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
