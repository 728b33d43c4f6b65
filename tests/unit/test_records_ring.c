// SPDX-License-Identifier: Apache-2.0
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <sched.h>

#include "proxy/records/ring.h"

static void test_order_and_room(void **state)
{
    (void)state;
    struct ring *r = ring_new(4096);
    unsigned in = 0, out = 0;
    assert_null(ring_peek(r));
    for (int round = 0; round < 1000; ++round) {
        unsigned *p;
        while ((p = ring_reserve(r, sizeof *p + in % 200))) {
            assert_int_equal((uintptr_t)p % 8, 0);
            *p = in++;
            ring_commit(r);
        }
        assert_true(in - out >= 4096 / 2 / 216); /* half of it is never lost to the wrap */
        for (unsigned n = 0; n < 1 + (unsigned)round % 7 && (p = ring_peek(r)); ++n) {
            assert_int_equal(*p, out++);
            assert_ptr_equal(ring_peek(r), p);
            ring_release(r);
        }
    }
    while (ring_peek(r)) {
        assert_int_equal(*(unsigned *)ring_peek(r), out++);
        ring_release(r);
    }
    assert_int_equal(in, out);
    ring_free(r);
}

static void test_too_large_is_refused(void **state)
{
    (void)state;
    struct ring *r = ring_new(4096);
    assert_null(ring_reserve(r, 4096));
    assert_null(ring_reserve(r, 2049));
    assert_non_null(ring_reserve(r, 2000));
    assert_null(ring_peek(r)); /* not committed */
    unsigned n = 0;
    while (!ring_is_full(r, 100)) {
        assert_non_null(ring_reserve(r, 100));
        ring_commit(r);
        ++n;
    }
    assert_true(n >= 4096 / 112 - 2 && n <= 4096 / 112);
    assert_int_equal(ring_refused(r), 1); /* what was too large was no question of room */
    while (ring_reserve(r, 100))
        ring_commit(r);
    assert_int_equal(ring_refused(r), 2);
    ring_free(r);
}

static uint32_t messages(void)
{
    const char *preload = getenv("LD_PRELOAD");
    return preload && strstr(preload, "vgpreload") ? 20000
                                                   : 2000000; /* valgrind changes threads at each yield */
}

struct message {
    uint32_t number, len;
    unsigned char fill[];
};

static void *writer(void *arg)
{
    const uint32_t count = messages();
    for (uint32_t i = 0; i < count;) {
        uint32_t len = i * 2654435761u >> 24;
        struct message *m = ring_reserve(arg, sizeof *m + len);
        if (!m) {
            (void)sched_yield();
            continue;
        }
        m->number = i;
        m->len = len;
        memset(m->fill, (int)(i & 0xff), len);
        ring_commit(arg);
        ++i;
    }
    return NULL;
}

static void test_two_threads(void **state)
{
    (void)state;
    const uint32_t count = messages();
    struct ring *r = ring_new(16384);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, writer, r), 0);
    for (uint32_t i = 0; i < count;) {
        struct message *m = ring_peek(r);
        if (!m) {
            (void)sched_yield();
            continue;
        }
        if (m->number != i || (m->len && (m->fill[0] != (i & 0xff) || m->fill[m->len - 1] != (i & 0xff))))
            fail_msg("message %u is %u", i, m->number);
        ring_release(r);
        ++i;
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_null(ring_peek(r));
    ring_free(r);
}

/* Memory that was never needed stays untouched. */
static void test_a_reader_who_keeps_up_sees_only_the_front(void **state)
{
    (void)state;
    enum { SIZE = 1 << 20 };
    struct ring *r = ring_new(SIZE);
    char *first = ring_reserve(r, 100);
    for (unsigned i = 0; i < 100000; ++i) {
        char *p = ring_reserve(r, 100 + i % 200);
        assert_true(p >= first && p < first + SIZE / 32 + 512);
        ring_commit(r);
        if (i % 3 == 0)
            continue; /* not always at once */
        while (ring_peek(r))
            ring_release(r);
    }
    ring_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_and_room),
        cmocka_unit_test(test_too_large_is_refused),
        cmocka_unit_test(test_two_threads),
        cmocka_unit_test(test_a_reader_who_keeps_up_sees_only_the_front),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
