// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/loop.h"
#include "common/mem.h"
#include "tests/unit/patience.h"

static struct loop *loop;
static unsigned ran[4096], ran_count;

static int setup(void **state)
{
    (void)state;
    loop = loop_new(3);
    ran_count = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    loop_free(loop);
    return 0;
}

static void note(void *arg)
{
    ran[ran_count++] = (unsigned)(uintptr_t)arg;
}

/* Runs the loop until that many callbacks were noted, 10 s at most (patience.h). */
static void run_until(unsigned count)
{
    uint64_t end = patience_end_ms(10000);
    while (ran_count < count && clock_mono_ms() < end)
        loop_run_once(loop, 50);
    assert_int_equal(ran_count, count);
}

static void test_identity(void **state)
{
    (void)state;
    int data;
    assert_int_equal(loop_index(loop), 3);
    assert_null(loop_data(loop));
    loop_set_data(loop, &data);
    assert_ptr_equal(loop_data(loop), &data);
    assert_null(loop_current());
    loop_set_current(loop);
    assert_ptr_equal(loop_current(), loop);
    loop_set_current(NULL);
    loop_free(NULL);
}

/* ---- mailbox ---- */

static void post_again(void *arg)
{
    note(arg);
    loop_post(loop, note, (void *)99);
}

static void test_posts(void **state)
{
    (void)state;
    loop_dispatch(loop); /* nothing to do is fine, and does not wait */
    for (uintptr_t i = 0; i < 1000; ++i)
        loop_post(loop, note, (void *)i);
    assert_int_equal(ran_count, 0); /* never from inside of the call */
    run_until(1000);
    for (unsigned i = 0; i < 1000; ++i)
        assert_int_equal(ran[i], i);
    loop_post(loop, post_again, (void *)1);
    loop_dispatch(loop);
    assert_int_equal(ran_count, 1001); /* a post of a callback waits for the next turn */
    loop_dispatch(loop);
    assert_int_equal(ran_count, 1002);
    loop_post(loop, note, NULL); /* left over: freed, not run */
}

struct poster {
    uintptr_t index;
};

static void *post_many(void *arg)
{
    for (uintptr_t i = 0; i < 1000; ++i)
        loop_post(loop, note, (void *)((uintptr_t)arg * 1000 + i));
    return NULL;
}

static void test_posts_of_threads(void **state)
{
    (void)state;
    pthread_t thread[4];
    unsigned next[4] = {0};
    for (uintptr_t i = 0; i < 4; ++i)
        assert_int_equal(pthread_create(&thread[i], NULL, post_many, (void *)i), 0);
    run_until(4000);
    for (int i = 0; i < 4; ++i)
        pthread_join(thread[i], NULL);
    for (unsigned i = 0; i < 4000; ++i)
        assert_int_equal(ran[i] % 1000, next[ran[i] / 1000]++);
}

/* ---- timers ---- */

static void test_timer_order(void **state)
{
    (void)state;
    struct loop_timer t[6] = {{0}};
    static const unsigned delay[] = {400, 100, 300, 0, 200, 100}; /* far enough apart for a slow machine */
    uint64_t begin = clock_mono_us();
    for (uintptr_t i = 0; i < 6; ++i) {
        loop_timer_arm(loop, &t[i], delay[i], note, (void *)i);
        assert_true(loop_timer_armed(&t[i]));
    }
    loop_timer_cancel(loop, &t[2]);
    loop_timer_cancel(loop, &t[2]); /* twice is fine */
    assert_false(loop_timer_armed(&t[2]));
    run_until(5);
    assert_true(clock_mono_us() - begin >= 400000); /* never early */
    static const unsigned order[] = {3, 1, 5, 4, 0};
    for (unsigned i = 0; i < 5; ++i) {
        assert_int_equal(ran[i], order[i]);
        assert_false(loop_timer_armed(&t[i]));
    }
}

static void test_timer_rearmed(void **state)
{
    (void)state;
    struct loop_timer t = {0};
    loop_timer_arm(loop, &t, 10000, note, (void *)1);
    loop_timer_arm(loop, &t, 5, note, (void *)2); /* earlier */
    run_until(1);
    assert_int_equal(ran[0], 2);
    uint64_t begin = clock_mono_us();
    loop_timer_arm(loop, &t, 1, note, (void *)3);
    loop_timer_arm(loop, &t, 30, note, (void *)4); /* later */
    run_until(2);
    assert_int_equal(ran[1], 4);
    assert_true(clock_mono_us() - begin >= 30000);
}

static struct loop_timer self;
static void rearm_self(void *arg)
{
    note(arg);
    loop_timer_arm(loop, &self, 0, rearm_self, arg);
}

static void test_timer_that_rearms_itself(void **state)
{
    (void)state;
    loop_timer_arm(loop, &self, 0, rearm_self, NULL);
    while (ran_count == 0)
        loop_run_once(loop, 10);
    assert_int_equal(ran_count, 1); /* one a turn: others get theirs */
    run_until(5);
    loop_timer_cancel(loop, &self);
}

static struct loop_timer victim;
static void cancel_victim(void *arg)
{
    note(arg);
    loop_timer_cancel(loop, &victim);
}

static void test_timer_cancels_another(void **state)
{
    (void)state;
    struct loop_timer t = {0}, last = {0};
    loop_timer_arm(loop, &t, 1, cancel_victim, (void *)1);
    loop_timer_arm(loop, &victim, 2, note, (void *)2);
    loop_timer_arm(loop, &last, 3, note, (void *)3);
    (void)usleep(10000); /* all are due in the same turn */
    run_until(2);
    assert_int_equal(ran[1], 3);
}

/* The heap against a plain look: many timers, armed, moved and cancelled at random, fire in the order of
 * their times. */
static struct loop_timer many[500];
static uint64_t last_due;
static bool out_of_order;
static void note_due(void *arg)
{
    struct loop_timer *t = arg;
    out_of_order |= t->due_us < last_due;
    last_due = t->due_us;
    ++ran_count;
}

static void test_timers_at_random(void **state)
{
    (void)state;
    unsigned seed = (unsigned)clock_mono_us(), armed = 0;
    print_message("seed %u\n", seed);
    for (int i = 0; i < 20000; ++i) {
        struct loop_timer *t = &many[(unsigned)rand_r(&seed) % 500];
        if (rand_r(&seed) % 3)
            loop_timer_arm(loop, t, (unsigned)rand_r(&seed) % 200, note_due, t);
        else
            loop_timer_cancel(loop, t);
    }
    for (int i = 0; i < 500; ++i)
        armed += loop_timer_armed(&many[i]);
    assert_in_range(armed, 100, 500);
    last_due = 0;
    run_until(armed);
    assert_false(out_of_order);
}

/* ---- descriptors ---- */

static struct loop_watch *watch_a, *watch_b;
static unsigned last_ready;

static void on_ready(void *arg, int fd, unsigned ready)
{
    char c;
    last_ready = ready;
    if (ready & LOOP_READ && read(fd, &c, 1) < 0)
        c = 0;
    note(arg);
}

static void on_remove_both(void *arg, int fd, unsigned ready)
{
    (void)fd, (void)ready;
    note(arg);
    loop_watch_remove(loop, watch_a);
    loop_watch_remove(loop, watch_b);
}

static void test_watch(void **state)
{
    (void)state;
    int s[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    struct loop_watch *w = loop_watch_add(loop, s[0], LOOP_READ, on_ready, (void *)7);
    loop_run_once(loop, 0);
    assert_int_equal(ran_count, 0);
    assert_int_equal(write(s[1], "ab", 2), 2);
    run_until(2); /* level-triggered: once for each byte taken */
    assert_int_equal(last_ready, LOOP_READ);
    loop_run_once(loop, 0);
    assert_int_equal(ran_count, 2);
    loop_watch_change(loop, w, LOOP_READ | LOOP_WRITE);
    run_until(3);
    assert_int_equal(last_ready, LOOP_WRITE);
    loop_watch_change(loop, w, 0);
    assert_int_equal(write(s[1], "c", 1), 1);
    loop_run_once(loop, 0);
    assert_int_equal(ran_count, 3);
    loop_watch_change(loop, w, LOOP_READ);
    run_until(4);
    (void)close(s[1]);
    run_until(5);
    assert_true(last_ready & LOOP_ERROR);
    loop_watch_remove(loop, w);
    loop_run_once(loop, 0);
    assert_int_equal(ran_count, 5);
    (void)close(s[0]);
}

/* Both are ready in one turn; the first callback removes both, so the second must not come. */
static void test_watch_removed_in_a_callback(void **state)
{
    (void)state;
    int a[2], b[2];
    assert_int_equal(pipe(a), 0);
    assert_int_equal(pipe(b), 0);
    watch_a = loop_watch_add(loop, a[0], LOOP_READ, on_remove_both, (void *)1);
    watch_b = loop_watch_add(loop, b[0], LOOP_READ, on_remove_both, (void *)2);
    assert_int_equal(write(a[1], "x", 1), 1);
    assert_int_equal(write(b[1], "x", 1), 1);
    run_until(1);
    loop_run_once(loop, 0);
    assert_int_equal(ran_count, 1);
    /* The descriptor may be watched anew. */
    watch_a = loop_watch_add(loop, a[0], LOOP_READ, on_ready, (void *)3);
    run_until(2);
    assert_int_equal(ran[1], 3);
    loop_watch_remove(loop, watch_a);
    for (int i = 0; i < 2; ++i) {
        (void)close(a[i]);
        (void)close(b[i]);
    }
}

/* As h2o uses it: one descriptor that is readable when there is work. */
static void test_fd(void **state)
{
    (void)state;
    struct loop *outer = loop_new(0);
    struct loop_watch *w = loop_watch_add(outer, loop_fd(loop), LOOP_READ, on_ready, NULL);
    loop_watch_remove(outer, w);
    loop_run_once(outer, 0);
    assert_int_equal(ran_count, 0);
    struct loop_timer t = {0};
    loop_timer_arm(loop, &t, 5, note, (void *)1);
    uint64_t begin = clock_mono_ms();
    loop_run_once(loop, 5000);
    while (ran_count == 0)
        loop_run_once(loop, 5000);
    assert_true(clock_mono_ms() - begin < 4000);
    loop_free(outer);
}

static void slow(void *arg)
{
    (void)usleep(20000);
    note(arg);
}

static void test_lag(void **state)
{
    (void)state;
    loop_post(loop, slow, NULL);
    run_until(1);
    assert_in_range(loop_lag_us(loop), 20000, 5000000);
    loop_dispatch(loop);
    assert_true(loop_lag_us(loop) < 20000);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_identity),
        T(test_posts),
        T(test_posts_of_threads),
        T(test_timer_order),
        T(test_timer_rearmed),
        T(test_timer_that_rearms_itself),
        T(test_timer_cancels_another),
        T(test_timers_at_random),
        T(test_watch),
        T(test_watch_removed_in_a_callback),
        T(test_fd),
        T(test_lag),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
