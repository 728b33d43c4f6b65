// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "proxy/cache/fill_window.h"

static uint32_t seed = 4711;

static uint32_t next_random(void)
{
    seed = seed * 1664525 + 1013904223;
    return seed >> 8;
}

static char byte_at(uint64_t offset)
{
    return (char)(offset * 2654435761u >> 13);
}

static void put_bytes(struct fill_window *w, size_t len)
{
    cleanup_free char *p = mem_alloc(len + 1);
    for (size_t i = 0; i < len; ++i)
        p[i] = byte_at(w->end + i);
    assert_int_equal(fill_window_put(w, p, len), len);
}

static void check_bytes(const struct fill_window *w, uint64_t offset, uint64_t limit, size_t cap, size_t want)
{
    cleanup_free char *p = mem_alloc(cap + 1);
    assert_int_equal(fill_window_get(w, offset, limit, p, cap), want);
    for (size_t i = 0; i < want; ++i)
        if (p[i] != byte_at(offset + i))
            fail_msg("byte %llu is wrong", (unsigned long long)(offset + i));
}

static void its_life(void **state)
{
    (void)state;
    struct fill_window w = {0};
    assert_false(fill_window_in_use(&w));
    fill_window_open(&w, 1000);
    assert_true(fill_window_in_use(&w));
    assert_int_equal(w.file_end, 1000);
    assert_int_equal(fill_window_room(&w), FILL_WINDOW_MAX);
    check_bytes(&w, 1000, UINT64_MAX, 100, 0);
    put_bytes(&w, 500);
    check_bytes(&w, 1000, UINT64_MAX, 1000, 500);
    check_bytes(&w, 1200, UINT64_MAX, 1000, 300);
    check_bytes(&w, 1200, 1250, 1000, 50); /* held back behind the limit */
    check_bytes(&w, 1200, 1100, 1000, 0);
    check_bytes(&w, 1200, UINT64_MAX, 7, 7);
    check_bytes(&w, 1500, UINT64_MAX, 7, 0);
    fill_window_drop(&w, 1100);
    assert_int_equal(fill_window_room(&w), FILL_WINDOW_MAX - 400);
    fill_window_drop(&w, 1050); /* never back */
    assert_int_equal(w.begin, 1100);
    fill_window_drop(&w, UINT64_MAX); /* nobody is left: never past what is there */
    assert_int_equal(w.begin, 1500);
    fill_window_close(&w);
    assert_false(fill_window_in_use(&w));
}

static void full(void **state)
{
    (void)state;
    struct fill_window w = {0};
    fill_window_open(&w, 12345);
    put_bytes(&w, FILL_WINDOW_MAX - 10);
    char more[20] = {0};
    for (size_t i = 0; i < sizeof more; ++i)
        more[i] = byte_at(w.end + i);
    assert_int_equal(fill_window_put(&w, more, sizeof more), 10); /* what fits, and no more */
    assert_int_equal(fill_window_room(&w), 0);
    assert_int_equal(fill_window_put(&w, more, 1), 0);
    check_bytes(&w, 12345, UINT64_MAX, FILL_WINDOW_MAX, FILL_WINDOW_MAX);
    fill_window_close(&w);
}

/* Far around the ring, in steps of all sizes. */
static void around(void **state)
{
    (void)state;
    struct fill_window w = {0};
    fill_window_open(&w, ((uint64_t)1 << 40) - 77);
    for (int i = 0; i < 3000; ++i) {
        size_t room = fill_window_room(&w), len = next_random() % 20000;
        put_bytes(&w, len < room ? len : room);
        uint64_t have = w.end - w.begin, at = w.begin + (have ? next_random() % have : 0);
        size_t cap = next_random() % 10000;
        check_bytes(&w, at, UINT64_MAX, cap, cap < w.end - at ? cap : (size_t)(w.end - at));
        if (have > FILL_WINDOW_MAX / 2 || next_random() % 3 == 0)
            fill_window_drop(&w, at);
        assert_true(w.begin <= w.end && w.end - w.begin <= FILL_WINDOW_MAX);
    }
    assert_true(w.end > ((uint64_t)1 << 40) + 2 * FILL_WINDOW_MAX);
    fill_window_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(its_life),
        cmocka_unit_test(full),
        cmocka_unit_test(around),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
