// SPDX-License-Identifier: Apache-2.0
#include "proxy/tokens/rate.h"

#include <pthread.h>
#include <stdlib.h>
#include <utlist.h>

#include "common/clock.h"
#include "common/hash.h"
#include "common/mem.h"

struct entry {
    UT_hash_handle hh;
    struct entry *prev, *next; /* the window that began first is first */
    struct net_address who;
    uint64_t begin_ms;
    unsigned times;
};

struct rate {
    unsigned limit;
    pthread_mutex_t lock;
    struct entry *map, *list;
    unsigned count;
};

struct rate *rate_new(unsigned limit)
{
    struct rate *r = mem_new(struct rate);
    r->limit = limit;
    pthread_mutex_init(&r->lock, NULL);
    return r;
}

static void drop(struct rate *r, struct entry *e)
{
    HASH_DEL(r->map, e);
    DL_DELETE(r->list, e);
    --r->count;
    free(e);
}

void rate_free(struct rate *r)
{
    if (!r)
        return;
    while (r->list)
        drop(r, r->list);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

unsigned rate_take(struct rate *r, const struct net_address *who)
{
    struct net_address key = *who;
    struct entry *e;
    uint64_t now = clock_mono_ms();
    if (!r->limit)
        return 0;
    if (!net_is_ipv4(&key))
        memset(key.b + 8, 0, 8);
    pthread_mutex_lock(&r->lock);
    while (r->list && now - r->list->begin_ms >= RATE_WINDOW_MS)
        drop(r, r->list);
    HASH_FIND(hh, r->map, &key, sizeof key, e);
    if (!e) {
        e = mem_new(struct entry);
        e->who = key;
        e->begin_ms = now;
        HASH_ADD(hh, r->map, who, sizeof e->who, e);
        DL_APPEND(r->list, e);
        if (++r->count > RATE_ADDRESSES)
            drop(r, r->list);
    }
    unsigned wait_s = 0;
    if (e->times >= r->limit)
        wait_s = (unsigned)((RATE_WINDOW_MS - (now - e->begin_ms) + 999) / 1000);
    else
        ++e->times;
    pthread_mutex_unlock(&r->lock);
    return wait_s;
}
