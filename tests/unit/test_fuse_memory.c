// SPDX-License-Identifier: Apache-2.0
/* The driver's budget: what is counted, what is refused, what is kept for the next one, who waits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <pthread.h>

#include "common/clock.h"
#include "fuse-layer/s3fs/memory.h"

#define MIB ((size_t)1 << 20)

static size_t resident_bytes(void)
{
    unsigned long size = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%lu %lu", &size, &resident), 2);
    (void)fclose(f);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

static void test_the_budget_is_a_limit(void **state)
{
    (void)state;
    struct memory *m = memory_new(24 * MIB);
    void *a = memory_try(m, 8 * MIB), *b = memory_try(m, 8 * MIB), *c = memory_try(m, 5 * MIB);
    assert_true(a && b && c);
    assert_null(memory_try(m, 8 * MIB));
    assert_int_equal(memory_used(m), 21 * MIB);
    memory_give(m, a, 8 * MIB);
    assert_int_equal(memory_used(m), 13 * MIB);
    a = memory_try(m, 11 * MIB);
    assert_non_null(a);
    assert_null(memory_try(m, 1));
    memory_give(m, a, 11 * MIB);
    memory_give(m, b, 8 * MIB);
    memory_give(m, c, 5 * MIB);
    memory_give(m, NULL, MIB);
    assert_int_equal(memory_used(m), 0);
    memory_free(m);
}

static void test_blocks_are_kept(void **state)
{
    (void)state;
    static const size_t sizes[] = {1 * MIB, 2 * MIB, 4 * MIB, 8 * MIB};
    struct memory *m = memory_new(64 * MIB);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; ++i) {
        char *first = memory_try(m, sizes[i]);
        memset(first, 7, sizes[i]);
        memory_give(m, first, sizes[i]);
        /* The same one with its pages: fresh ones would hold zeroes. */
        char *second = memory_try(m, sizes[i]);
        assert_ptr_equal(first, second);
        assert_int_equal(second[sizes[i] - 1], 7);
        memory_give(m, second, sizes[i]);
    }
    memory_free(m);
}

/* Of what is given back at most half the budget stays, and kept blocks never pass it together with used ones.
 */
static void test_what_is_kept_is_bounded(void **state)
{
    (void)state;
#ifdef __SANITIZE_THREAD__ /* has shadows of its own, several bytes for each of ours */
    skip();
#endif
    struct memory *m = memory_new(64 * MIB);
    void *blocks[64];
    size_t before = resident_bytes();
    for (int i = 0; i < 8; ++i) {
        blocks[i] = memory_try(m, 8 * MIB);
        memset(blocks[i], 1, 8 * MIB);
    }
    for (int i = 0; i < 8; ++i)
        memory_give(m, blocks[i], 8 * MIB);
    size_t kept = resident_bytes() - before;
    assert_in_range(kept, 24 * MIB, 36 * MIB);
    for (int i = 0; i < 64; ++i) {
        blocks[i] = memory_try(m, MIB - 1);
        assert_non_null(blocks[i]);
        memset(blocks[i], 1, MIB - 1);
        assert_in_range(resident_bytes() - before, 0, 68 * MIB);
    }
    for (int i = 0; i < 64; ++i)
        memory_give(m, blocks[i], MIB - 1);
    memory_free(m);
}

struct giver {
    struct memory *m;
    void *block;
};

static void *give_later(void *arg)
{
    struct giver *g = arg;
    (void)usleep(100000);
    memory_give(g->m, g->block, 20 * MIB);
    return NULL;
}

static void test_waiting(void **state)
{
    (void)state;
    struct memory *m = memory_new(24 * MIB);
    struct giver g = {m, memory_try(m, 20 * MIB)};
    uint64_t begin = clock_mono_ms();
    assert_null(memory_take(m, 8 * MIB, 50));
    assert_in_range(clock_mono_ms() - begin, 50, 5000);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, give_later, &g), 0);
    void *block = memory_take(m, 8 * MIB, 60000);
    assert_non_null(block);
    assert_in_range(clock_mono_ms() - begin, 100, 30000);
    (void)pthread_join(thread, NULL);
    memory_give(m, block, 8 * MIB);
    memory_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_budget_is_a_limit),
        cmocka_unit_test(test_blocks_are_kept),
        cmocka_unit_test(test_what_is_kept_is_bounded),
        cmocka_unit_test(test_waiting),
    };
    return cmocka_run_group_tests_name("fuse memory", tests, NULL, NULL);
}
