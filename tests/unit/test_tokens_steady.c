// SPDX-License-Identifier: Apache-2.0
/* The clock of the sweep, while the one on the wall jumps both ways. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proxy/tokens/steady.h"

#define HOUR  (INT64_C(3600) * 1000)
#define BEGIN (INT64_C(1700000000) * 1000)

struct time {
    struct steady s;
    int64_t wall_ms;
    uint64_t mono_ms;
};

static struct time begin(int64_t wall_ms)
{
    struct time t = {.wall_ms = wall_ms, .mono_ms = 5000};
    steady_start(&t.s, wall_ms, t.mono_ms);
    return t;
}

/* So many seconds; what the clock says then. */
static int64_t pass(struct time *t, int64_t seconds)
{
    for (; seconds > 0; --seconds) {
        t->wall_ms += STEADY_TICK_MS;
        t->mono_ms += STEADY_TICK_MS;
        (void)steady_tick(&t->s, t->wall_ms, t->mono_ms);
    }
    return t->s.now_ms;
}

static void is_right_after(struct time *t, int64_t seconds)
{
    int64_t now_ms = pass(t, seconds);
    assert_int_equal(now_ms, t->wall_ms);
}

static void test_it_is_the_clock_on_the_wall(void **state)
{
    (void)state;
    struct time t = begin(BEGIN);
    assert_int_equal(pass(&t, 1), BEGIN + 1000);
    is_right_after(&t, 7200);
    t.wall_ms += 2500; /* a turn of the loop that took its time */
    is_right_after(&t, 1);
}

static void test_a_jump_ahead_is_followed_slowly(void **state)
{
    (void)state;
    struct time t = begin(BEGIN);
    t.wall_ms += 40 * 24 * HOUR;
    assert_int_equal(pass(&t, 1), BEGIN + 4000);
    assert_int_equal(pass(&t, 599), BEGIN + 2400 * 1000);
    struct time slept = begin(BEGIN);
    slept.wall_ms += HOUR / 2; /* 3 s of it are made good in each second */
    assert_true(pass(&slept, 598) < BEGIN + HOUR / 2 + 598 * 1000);
    is_right_after(&slept, 4);
}

static void test_after_an_hour_it_is_in_the_present(void **state)
{
    (void)state;
    struct time t = begin(0);
    t.wall_ms = BEGIN; /* the network said what time it is */
    assert_true(pass(&t, 3600) < 5 * HOUR);
    is_right_after(&t, 1);
    is_right_after(&t, 1);
}

static void test_another_jump_gets_its_own_hour(void **state)
{
    (void)state;
    struct time t = begin(BEGIN);
    t.wall_ms += 100 * 24 * HOUR;
    (void)pass(&t, 3500);
    t.wall_ms += 24 * HOUR;
    assert_true(pass(&t, 3600) < BEGIN + 10 * HOUR);
    is_right_after(&t, 1);
}

static void test_a_jump_back_is_followed_at_once(void **state)
{
    (void)state;
    struct time t = begin(BEGIN);
    t.wall_ms -= 40 * 24 * HOUR;
    is_right_after(&t, 1);
    t.wall_ms += 40 * 24 * HOUR; /* and ahead again, to where it was */
    assert_int_equal(pass(&t, 1), BEGIN - 40 * 24 * HOUR + 1000 + 4000);
    is_right_after(&t, 3601);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_is_the_clock_on_the_wall),
        cmocka_unit_test(test_a_jump_ahead_is_followed_slowly),
        cmocka_unit_test(test_after_an_hour_it_is_in_the_present),
        cmocka_unit_test(test_another_jump_gets_its_own_hour),
        cmocka_unit_test(test_a_jump_back_is_followed_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
