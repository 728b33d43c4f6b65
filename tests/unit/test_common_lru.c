// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/lru.h"
#include "common/mem.h"

struct thing {
    struct lru_entry lru;
    unsigned value;
    char key[16];
};

static _Atomic unsigned alive;

static void free_thing(void *entry, void *arg)
{
    assert_ptr_equal(arg, &alive);
    --alive;
    free(entry);
}

static void put(struct lru *t, const char *key, unsigned value, uint64_t cost)
{
    struct lru_shard *s = lru_lock(t, key, strlen(key));
    struct thing *e = lru_find(s);
    if (!e) {
        e = mem_new(struct thing);
        (void)snprintf(e->key, sizeof e->key, "%s", key);
        ++alive;
        lru_add(s, e, e->key, cost);
    }
    e->value = value;
    lru_unlock(s);
}

/* 0: it is not there. */
static unsigned get(struct lru *t, const char *key, void *(*look)(struct lru_shard *))
{
    struct lru_shard *s = lru_lock(t, key, strlen(key));
    const struct thing *e = look(s);
    unsigned value = e ? e->value : 0;
    lru_unlock(s);
    return value;
}

/* The n-th key of those that are in one shard with "a". */
static const char *neighbour(unsigned n, char out[16])
{
    for (unsigned i = 0;; ++i) {
        int len = snprintf(out, 16, "k%u", i);
        if (hash_bytes(out, (size_t)len) >> 28 == hash_bytes("a", 1) >> 28 && n-- == 0)
            return out;
    }
}

static void test_find_and_drop(void **state)
{
    (void)state;
    struct lru *t = lru_new(1600, free_thing, &alive);
    assert_int_equal(get(t, "a", lru_find), 0);
    put(t, "a", 1, 1);
    put(t, "b", 2, 1);
    put(t, "a", 3, 1);
    assert_int_equal(get(t, "a", lru_find), 3);
    assert_int_equal(get(t, "b", lru_peek), 2);
    assert_int_equal(get(t, "", lru_find), 0);
    assert_int_equal(alive, 2);
    struct lru_shard *s = lru_lock(t, "a", 1);
    lru_drop(s, lru_find(s));
    lru_unlock(s);
    assert_int_equal(alive, 1);
    assert_int_equal(get(t, "a", lru_find), 0);
    lru_free(t);
    assert_int_equal(alive, 0);
    lru_free(NULL);
}

static void test_the_longest_unused_goes_first(void **state)
{
    (void)state;
    struct lru *t = lru_new(3 * LRU_SHARDS, free_thing, &alive);
    char key[5][16];
    for (unsigned i = 0; i < 3; ++i)
        put(t, neighbour(i, key[i]), i + 1, 1);
    assert_int_equal(get(t, key[0], lru_find), 1); /* used */
    assert_int_equal(get(t, key[1], lru_peek), 2); /* looked at only */
    put(t, neighbour(3, key[3]), 4, 1);
    assert_int_equal(get(t, key[1], lru_peek), 0);
    assert_int_equal(get(t, key[0], lru_peek), 1);
    put(t, neighbour(4, key[4]), 5, 2); /* two go for it */
    assert_int_equal(get(t, key[2], lru_peek) + get(t, key[0], lru_peek), 0);
    assert_int_equal(get(t, key[3], lru_peek), 4);
    assert_int_equal(get(t, key[4], lru_peek), 5);
    assert_int_equal(alive, 2);
    lru_free(t);
}

static void test_what_is_added_stays_however_large(void **state)
{
    (void)state;
    struct lru *t = lru_new(160, free_thing, &alive);
    char key[16];
    put(t, "a", 1, 10);
    put(t, neighbour(0, key), 2, 1000);
    assert_int_equal(get(t, "a", lru_peek), 0);
    assert_int_equal(get(t, key, lru_peek), 2);
    put(t, "a", 3, 1); /* and goes for the next */
    assert_int_equal(get(t, key, lru_peek), 0);
    assert_int_equal(get(t, "a", lru_peek), 3);
    lru_free(t);
    assert_int_equal(alive, 0);
}

static void *hammer(void *arg)
{
    char key[16];
    unsigned seed = 1;
    for (unsigned i = 0; i < 20000; ++i) {
        unsigned n = (unsigned)rand_r(&seed) % 3000 + 1;
        (void)snprintf(key, sizeof key, "%u", n);
        unsigned found = get(arg, key, lru_find);
        if (found && found != n)
            return arg;
        put(arg, key, n, 1);
    }
    return NULL;
}

static void test_many_threads(void **state)
{
    (void)state;
    struct lru *t = lru_new(1600, free_thing, &alive);
    pthread_t thread[4];
    for (int i = 0; i < 4; ++i)
        assert_int_equal(pthread_create(&thread[i], NULL, hammer, t), 0);
    for (int i = 0; i < 4; ++i) {
        void *wrong;
        assert_int_equal(pthread_join(thread[i], &wrong), 0);
        assert_null(wrong);
    }
    assert_in_range(alive, 1500, 1600); /* full: 3,000 were asked for */
    lru_free(t);
    assert_int_equal(alive, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find_and_drop),
        cmocka_unit_test(test_the_longest_unused_goes_first),
        cmocka_unit_test(test_what_is_added_stays_however_large),
        cmocka_unit_test(test_many_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
