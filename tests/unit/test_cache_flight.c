// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "common/mem.h"
#include "proxy/cache/flight.h"
#include "tests/unit/scratch.h"

/* What flights carry here: a counted number. */
struct result {
    _Atomic int refs;
};

static void result_ref(void *p)
{
    ++((struct result *)p)->refs;
}

static void result_unref(void *p)
{
    --((struct result *)p)->refs;
}

struct wait {
    volatile bool done;
    void *result;
    enum err_code code;
};

static void on_result(void *arg, void *result, const struct err *err)
{
    struct wait *w = arg;
    assert_false(w->done);
    w->done = true;
    w->result = result;
    w->code = err ? err->code : ERR_NONE;
}

static void must_not_come(void *arg, void *result, const struct err *err)
{
    (void)arg, (void)result, (void)err;
    fail_msg("a waiter that left was called");
}

static void one_leads_all_get(void **state)
{
    (void)state;
    struct loop *loop = loop_new(0);
    struct flights *t = flights_new(result_ref, result_unref);
    struct result r = {1};
    struct wait w[3] = {0};
    struct flight *lead, *other;
    (void)flight_join(t, "k", loop, on_result, &w[0], &lead);
    assert_non_null(lead);
    (void)flight_join(t, "k", loop, on_result, &w[1], &other);
    assert_null(other);
    assert_null(flight_lead(t, "k"));
    assert_true(flight_under_way(t, "k"));
    assert_false(flight_under_way(t, "K"));
    struct flight *second;
    (void)flight_join(t, "k2", loop, on_result, &w[2], &second);
    assert_non_null(second);

    flight_finish(lead, &r, NULL);
    assert_false(w[0].done || w[1].done); /* never from inside */
    assert_false(flight_under_way(t, "k"));
    assert_true(scratch_wait(loop, &w[0].done) && scratch_wait(loop, &w[1].done));
    assert_ptr_equal(w[0].result, &r);
    assert_ptr_equal(w[1].result, &r);
    assert_int_equal(r.refs, 2); /* one each, and the leader's is gone */

    struct err err;
    (void)err_set(&err, ERR_LIMITED, "no");
    flight_finish(second, NULL, &err);
    assert_true(scratch_wait(loop, &w[2].done));
    assert_int_equal(w[2].code, ERR_LIMITED);
    flights_free(t);
    loop_free(loop);
}

static void leaving(void **state)
{
    (void)state;
    struct loop *loop = loop_new(0);
    struct flights *t = flights_new(result_ref, result_unref);
    struct result r = {1};
    struct wait last = {0};
    struct flight *lead, *other;
    struct flight_waiter *before = flight_join(t, "k", loop, must_not_come, NULL, &lead);
    struct flight_waiter *after = flight_join(t, "k", loop, must_not_come, NULL, &other);
    (void)flight_join(t, "k", loop, on_result, &last, &other);
    flight_leave(before);
    flight_finish(lead, &r, NULL);
    flight_leave(after); /* its answer is on the way already */
    assert_true(scratch_wait(loop, &last.done));
    assert_int_equal(r.refs, 1); /* those who left dropped theirs */
    flights_free(t);
    loop_free(loop);
}

/* ---- two loops, one leader at a time ---- */

#define ROUNDS 20000

struct side {
    struct flights *t;
    struct result *r;
    unsigned led, got, asked;
    struct loop *loop;
    pthread_t thread;
};

static void on_shared(void *arg, void *result, const struct err *err)
{
    struct side *s = arg;
    assert_null(err);
    assert_ptr_equal(result, s->r);
    result_unref(result);
    ++s->got;
}

static void *run_side(void *arg)
{
    struct side *s = arg;
    s->loop = loop_new(0);
    loop_set_current(s->loop);
    while (s->got < ROUNDS) {
        char key[8];
        struct flight *lead = NULL;
        if (s->asked < ROUNDS) {
            (void)snprintf(key, sizeof key, "%u", s->asked++ % 7);
            (void)flight_join(s->t, key, s->loop, on_shared, s, &lead);
        }
        if (lead) {
            ++s->led;
            result_ref(s->r);
            flight_finish(lead, s->r, NULL);
        }
        loop_run_once(s->loop, s->asked < ROUNDS ? 0 : 10);
    }
    return NULL;
}

static void two_loops(void **state)
{
    (void)state;
    struct result r = {0};
    struct side s[2] = {0};
    struct flights *t = flights_new(result_ref, result_unref);
    for (int i = 0; i < 2; ++i) {
        s[i].t = t;
        s[i].r = &r;
        assert_int_equal(pthread_create(&s[i].thread, NULL, run_side, &s[i]), 0);
    }
    for (int i = 0; i < 2; ++i)
        (void)pthread_join(s[i].thread, NULL);
    assert_int_equal(s[0].got, ROUNDS);
    assert_int_equal(s[1].got, ROUNDS);
    assert_true(s[0].led + s[1].led <= 2 * ROUNDS && s[0].led + s[1].led > 0);
    assert_int_equal(r.refs, 0);
    flights_free(t);
    loop_free(s[0].loop);
    loop_free(s[1].loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_leads_all_get),
        cmocka_unit_test(leaving),
        cmocka_unit_test(two_loops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
