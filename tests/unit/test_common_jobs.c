// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/jobs.h"
#include "tests/unit/patience.h"

struct job {
    _Atomic int ran, done;
    pthread_t ran_on, done_on;
    bool signals_blocked;
    const _Atomic int *gate; /* run waits for it */
};

static void run(void *arg)
{
    struct job *j = arg;
    sigset_t set;
    pthread_sigmask(SIG_SETMASK, NULL, &set);
    j->signals_blocked = sigismember(&set, SIGTERM) && sigismember(&set, SIGHUP);
    while (j->gate && !atomic_load(j->gate))
        (void)usleep(1000);
    j->ran_on = pthread_self();
    atomic_fetch_add(&j->ran, 1);
}

static void done(void *arg)
{
    struct job *j = arg;
    j->done_on = pthread_self();
    atomic_fetch_add(&j->done, 1);
}

static void wait_done(struct loop *loop, struct job *j)
{
    uint64_t end = patience_end_ms(10000);
    while (!atomic_load(&j->done) && clock_mono_ms() < end)
        loop ? loop_run_once(loop, 20) : (void)usleep(1000);
    assert_int_equal(atomic_load(&j->done), 1);
    assert_int_equal(atomic_load(&j->ran), 1);
}

static void test_on_a_loop(void **state)
{
    (void)state;
    struct jobs *jobs = jobs_new(2);
    struct loop *loop = loop_new(0);
    struct job j = {0};
    jobs_submit(jobs, loop, run, done, &j);
    wait_done(loop, &j);
    assert_false(pthread_equal(j.ran_on, pthread_self()));
    assert_true(pthread_equal(j.done_on, pthread_self()));
    assert_true(j.signals_blocked);
    sigset_t set;
    pthread_sigmask(SIG_SETMASK, NULL, &set);
    assert_false(sigismember(&set, SIGTERM)); /* ours are as they were */
    jobs_free(jobs);
    loop_free(loop);
    jobs_free(NULL);
}

static void test_without_a_loop(void **state)
{
    (void)state;
    struct jobs *jobs = jobs_new(1);
    struct job j = {0}, quiet = {0};
    jobs_submit(jobs, NULL, run, NULL, &quiet);
    jobs_submit(jobs, NULL, run, done, &j);
    wait_done(NULL, &j);
    assert_true(pthread_equal(j.ran_on, j.done_on));
    assert_int_equal(atomic_load(&quiet.ran), 1);
    jobs_free(jobs);
}

/* One that blocks does not hold up the others, as long as there is a thread; what waits is counted; free runs
 * it. */
static void test_waiting(void **state)
{
    (void)state;
    static _Atomic int gate;
    atomic_store(&gate, 0);
    struct jobs *jobs = jobs_new(2);
    struct job slow = {.gate = &gate}, quick = {0}, slow2 = {.gate = &gate}, rest[10] = {{0}};
    jobs_submit(jobs, NULL, run, done, &slow);
    jobs_submit(jobs, NULL, run, done, &quick);
    wait_done(NULL, &quick);
    assert_int_equal(atomic_load(&slow.done), 0);
    jobs_submit(jobs, NULL, run, done, &slow2);
    uint64_t end = patience_end_ms(10000);
    while (jobs_waiting(jobs) && clock_mono_ms() < end)
        (void)usleep(1000);
    for (int i = 0; i < 10; ++i)
        jobs_submit(jobs, NULL, run, done, &rest[i]);
    assert_int_equal(jobs_waiting(jobs), 10);
    atomic_store(&gate, 1);
    jobs_free(jobs);
    for (int i = 0; i < 10; ++i)
        assert_int_equal(atomic_load(&rest[i].done), 1);
    assert_int_equal(atomic_load(&slow.done) + atomic_load(&slow2.done), 2);
}

static _Atomic int total;
static unsigned order[1000], order_count;
static void note(void *arg)
{
    order[order_count++] = (unsigned)(uintptr_t)arg;
}
static void add(void *arg)
{
    (void)arg;
    atomic_fetch_add(&total, 1);
}

static void test_many(void **state)
{
    (void)state;
    struct jobs *jobs = jobs_new(4), *single = jobs_new(1);
    for (int i = 0; i < 20000; ++i)
        jobs_submit(jobs, NULL, add, NULL, NULL);
    for (uintptr_t i = 0; i < 1000; ++i)
        jobs_submit(single, NULL, note, NULL, (void *)i);
    jobs_free(jobs);
    jobs_free(single);
    assert_int_equal(atomic_load(&total), 20000);
    for (unsigned i = 0; i < 1000; ++i)
        assert_int_equal(order[i], i); /* one thread: first come, first served */
}

static void wait_ran(struct job *j)
{
    uint64_t end = patience_end_ms(10000);
    while (!atomic_load(&j->ran) && clock_mono_ms() < end)
        (void)usleep(1000);
    assert_int_equal(atomic_load(&j->ran), 1);
}

static void test_what_waits_behind_never_has_all_threads(void **state)
{
    (void)state;
    struct jobs *jobs = jobs_new(2);
    _Atomic int gate = 0;
    struct job behind[2] = {{.gate = &gate}, {.gate = &gate}}, front = {0};
    for (int i = 0; i < 2; ++i)
        jobs_submit_behind(jobs, NULL, run, NULL, &behind[i]);
    jobs_submit(jobs, NULL, run, NULL, &front);
    wait_ran(&front); /* with the gate shut: a thread was left for it */
    assert_int_equal(atomic_load(&behind[0].ran) + atomic_load(&behind[1].ran), 0);
    atomic_store(&gate, 1);
    for (int i = 0; i < 2; ++i)
        wait_ran(&behind[i]);
    jobs_free(jobs);
}

static _Atomic int turn;

static void note_turn(void *arg)
{
    *(int *)arg = atomic_fetch_add(&turn, 1);
}

static void test_what_waits_behind_has_its_turn(void **state)
{
    (void)state;
    enum { FRONT = 3 * JOBS_PASSED };
    struct jobs *jobs = jobs_new(1);
    _Atomic int gate = 0;
    struct job first = {.gate = &gate};
    int front[FRONT], behind[2];
    atomic_store(&turn, 0);
    jobs_submit(jobs, NULL, run, NULL, &first); /* while all others are queued */
    for (int i = 0; i < 2; ++i)
        jobs_submit_behind(jobs, NULL, note_turn, NULL, &behind[i]);
    for (int i = 0; i < FRONT; ++i)
        jobs_submit(jobs, NULL, note_turn, NULL, &front[i]);
    while (jobs_unfinished(jobs) < FRONT + 3)
        (void)usleep(1000);
    atomic_store(&gate, 1);
    jobs_free(jobs); /* runs all */
    assert_int_equal(atomic_load(&turn), FRONT + 2);
    assert_in_range(behind[0], 1, JOBS_PASSED);
    assert_in_range(behind[1], behind[0] + 2, behind[0] + 1 + JOBS_PASSED);
    for (int i = 1; i < FRONT; ++i)
        assert_true(front[i] > front[i - 1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_on_a_loop),
                                       cmocka_unit_test(test_without_a_loop),
                                       cmocka_unit_test(test_waiting),
                                       cmocka_unit_test(test_what_waits_behind_never_has_all_threads),
                                       cmocka_unit_test(test_what_waits_behind_has_its_turn),
                                       cmocka_unit_test(test_many)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
