// SPDX-License-Identifier: Apache-2.0
#include "proxy/access/throttle.h"

#include <stdlib.h>
#include <sys/random.h>

#include "common/clock.h"
#include "common/mem.h"

#define SETS 4096
#define WAYS 4

/* level_us is how long the bucket takes to be empty, as of `at`: a try adds leak_us. */
struct bucket {
    uint64_t key; /* 0: free */
    uint64_t level_us, at_us;
};

struct throttle {
    uint64_t leak_us, full_us;
    uint64_t salt[2];
    struct bucket sets[SETS][WAYS];
};

struct throttle *throttle_new(uint32_t burst, uint32_t leak_ms, const uint8_t *salt)
{
    struct throttle *t = mem_new(struct throttle);
    t->leak_us = (uint64_t)leak_ms * 1000;
    t->full_us = t->leak_us * burst;
    if (salt)
        memcpy(t->salt, salt, sizeof t->salt);
    else if (getrandom(t->salt, sizeof t->salt, 0) != (ssize_t)sizeof t->salt)
        t->salt[0] = clock_mono_us();
    return t;
}

void throttle_free(struct throttle *t)
{
    free(t);
}

static uint64_t mix(uint64_t h, uint64_t x)
{
    h = (h ^ x) * 0x9e3779b97f4a7c15u;
    h ^= h >> 29;
    h *= 0xbf58476d1ce4e5b9u;
    return h ^ h >> 32;
}

static uint64_t hash(uint64_t seed, uint64_t end, const void *bytes, size_t len)
{
    const char *p = bytes;
    uint64_t h = mix(seed, len), x;
    for (; len >= sizeof x; p += sizeof x, len -= sizeof x) {
        memcpy(&x, p, sizeof x);
        h = mix(h, x);
    }
    x = 0;
    memcpy(&x, p, len);
    h = mix(mix(h, x), end);
    return h ? h : 1;
}

uint64_t throttle_key_address(const struct throttle *t, const struct net_address *ip)
{
    return hash(t->salt[0], t->salt[1], ip->b, net_is_ipv4(ip) ? sizeof ip->b : sizeof ip->b / 2);
}

uint64_t throttle_key_name(const struct throttle *t, struct slice name)
{
    return hash(t->salt[0], t->salt[1], name.p, name.len);
}

static uint64_t level_at(const struct bucket *b, uint64_t now_us)
{
    uint64_t leaked = now_us > b->at_us ? now_us - b->at_us : 0;
    return b->level_us > leaked ? b->level_us - leaked : 0;
}

static const struct bucket *find(const struct throttle *t, uint64_t key)
{
    const struct bucket *set = t->sets[key % SETS];
    for (size_t i = 0; i < WAYS; ++i)
        if (set[i].key == key)
            return &set[i];
    return NULL;
}

uint32_t throttle_wait_s(const struct throttle *t, uint64_t key, uint64_t now_us)
{
    const struct bucket *b = find(t, key);
    uint64_t level = b ? level_at(b, now_us) : 0;
    if (level + t->leak_us <= t->full_us)
        return 0;
    return (uint32_t)((level + t->leak_us - t->full_us + 999999) / 1000000);
}

static struct bucket *find_or_make(struct throttle *t, uint64_t key, uint64_t now_us)
{
    struct bucket *b = (struct bucket *)(uintptr_t)find(t, key);
    if (b)
        return b;
    struct bucket *set = t->sets[key % SETS];
    b = &set[0];
    for (size_t i = 1; i < WAYS; ++i)
        if (level_at(&set[i], now_us) < level_at(b, now_us))
            b = &set[i];
    *b = (struct bucket){.key = key};
    return b;
}

static void set_level(struct bucket *b, uint64_t level_us, uint64_t now_us)
{
    b->level_us = level_us;
    b->at_us = now_us;
}

void throttle_take(struct throttle *t, uint64_t key, uint64_t now_us)
{
    struct bucket *b = find_or_make(t, key, now_us);
    set_level(b, level_at(b, now_us) + t->leak_us, now_us);
}

void throttle_raise(struct throttle *t, uint64_t key, uint64_t level_us, uint64_t now_us)
{
    struct bucket *b = find_or_make(t, key, now_us);
    if (level_us > level_at(b, now_us))
        set_level(b, level_us, now_us);
}

void throttle_give_back(struct throttle *t, uint64_t key)
{
    struct bucket *b = (struct bucket *)(uintptr_t)find(t, key);
    if (b)
        b->level_us = b->level_us > t->leak_us ? b->level_us - t->leak_us : 0;
}
