// SPDX-License-Identifier: Apache-2.0
/* Leases: one holder at a time, told from the one before by its fence. */
#include "common/clock.h"
#include "common/log.h"
#include "tests/unit/state_redis.h"
#include "tests/unit/state_sqlite.h"

#define LONG_MS 600000

static int setup(void **state)
{
    return fixture_new(&redis_backend, state);
}

static int setup_sqlite(void **state)
{
    return fixture_new(&sqlite_backend, state);
}

struct lease_answer {
    struct answer a;
    struct state_lease lease;
    char holder[64];
};

static void on_lease(void *arg, const struct state_lease *lease, const struct err *err)
{
    struct lease_answer *l = arg;
    l->a.found = lease != NULL;
    if (lease) {
        l->lease = *lease;
        (void)snprintf(l->holder, sizeof l->holder, "%s", lease->holder);
    }
    end(&l->a, err);
}

static struct lease_answer take(struct fixture *f, const char *holder, uint64_t ttl_ms, uint64_t instead_of)
{
    struct lease_answer l = {0};
    struct digest d = digest_n("blob", 1);
    begin(&l.a, f->loop);
    f->s->ops->lease_take(f->s, f->loop, &d, holder, ttl_ms, instead_of, on_lease, &l);
    wait_for(&l.a);
    assert_true(l.a.found);
    return l;
}

static void on_count_kept(void *arg, size_t count, const struct err *err)
{
    struct answer *a = arg;
    a->count = count;
    end(a, err);
}

static bool keep(struct fixture *f, uint64_t fence, uint64_t ttl_ms, bool is_done)
{
    struct digest d = digest_n("blob", 1);
    begin(&f->a, f->loop);
    f->s->ops->lease_keep(f->s, f->loop, &d, fence, ttl_ms, is_done, on_count_kept, &f->a);
    wait_for(&f->a);
    assert_int_equal(f->a.err.code, ERR_NONE);
    return f->a.count == 1;
}

static void test_one_holder(void **state)
{
    struct fixture *f = *state;
    struct lease_answer a = take(f, "http://a", LONG_MS, 0), b = take(f, "http://b", LONG_MS, 0);
    assert_true(a.lease.mine && !a.lease.done && a.lease.fence > 0);
    assert_false(b.lease.mine || b.lease.done);
    assert_true(b.lease.fence == a.lease.fence);
    assert_string_equal(b.holder, "http://a");
    assert_true(keep(f, a.lease.fence, LONG_MS, false));
    assert_true(keep(f, a.lease.fence, LONG_MS, true));
    b = take(f, "http://b", LONG_MS, 0);
    assert_true(!b.lease.mine && b.lease.done);
    assert_true(keep(f, a.lease.fence, 0, false)); /* given up */
    b = take(f, "http://b", LONG_MS, 0);
    assert_true(b.lease.mine && !b.lease.done && b.lease.fence > a.lease.fence);
}

static void test_the_fence_tells_one_from_the_next(void **state)
{
    struct fixture *f = *state;
    struct lease_answer a = take(f, "http://a", LONG_MS, 0), b = take(f, "http://b", LONG_MS, a.lease.fence);
    assert_true(b.lease.mine && b.lease.fence > a.lease.fence);
    assert_false(keep(f, a.lease.fence, LONG_MS, false)); /* late words of the first */
    assert_false(keep(f, a.lease.fence, LONG_MS, true));
    assert_false(keep(f, a.lease.fence, 0, false));
    struct lease_answer c = take(f, "http://c", LONG_MS, a.lease.fence); /* that one is gone already */
    assert_true(!c.lease.mine && !c.lease.done && c.lease.fence == b.lease.fence);
    assert_string_equal(c.holder, "http://b");
}

static void test_own_is_taken_again(void **state)
{
    struct fixture *f = *state;
    struct lease_answer a = take(f, "http://a", LONG_MS, 0), again = take(f, "http://a", LONG_MS, 0);
    assert_true(again.lease.mine && again.lease.fence > a.lease.fence); /* it was killed, and is back */
    assert_false(keep(f, a.lease.fence, LONG_MS, false));
    assert_true(keep(f, again.lease.fence, 0, false));
    (void)take(f, "", LONG_MS, 0);
    assert_false(take(f, "", LONG_MS, 0).lease.mine); /* nameless ones are not one */
}

static void test_it_ends_by_itself(void **state)
{
    struct fixture *f = *state;
    struct lease_answer a = take(f, "http://a", 50, 0), b = {0};
    uint64_t begin_ms = clock_mono_ms();
    while (!b.lease.mine && clock_mono_ms() - begin_ms < 60000)
        b = take(f, "http://b", LONG_MS, 0);
    assert_true(b.lease.mine && b.lease.fence > a.lease.fence);
    assert_false(keep(f, a.lease.fence, LONG_MS, false));
}

static void test_of_one_process_there_are_none(void **state)
{
    struct fixture *f = *state;
    assert_false(f->s->shared);
    assert_null(f->s->ops->lease_take);
    assert_null(f->s->ops->lease_keep);
}

int main(void)
{
    log_start(2, LOG_LEVEL_OFF, LOG_FORMAT_LOGFMT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_one_holder, setup, fixture_free),
        cmocka_unit_test_setup_teardown(test_the_fence_tells_one_from_the_next, setup, fixture_free),
        cmocka_unit_test_setup_teardown(test_own_is_taken_again, setup, fixture_free),
        cmocka_unit_test_setup_teardown(test_it_ends_by_itself, setup, fixture_free),
        cmocka_unit_test_setup_teardown(test_of_one_process_there_are_none, setup_sqlite, fixture_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
