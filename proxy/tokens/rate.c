// SPDX-License-Identifier: Apache-2.0
#include "proxy/tokens/rate.h"

#include <pthread.h>
#include <stdio.h>
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
    struct state *state; /* NULL: it is ours alone */
    const char *what;
    pthread_mutex_t lock;
    struct entry *map, *list;
    unsigned count;
};

struct rate *rate_new(unsigned limit, struct state *state, const char *what)
{
    struct rate *r = mem_new(struct rate);
    r->limit = limit;
    r->state = state && state->ops->meter ? state : NULL;
    r->what = what;
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

/* ---- with others ---- */

struct told {
    struct rate *rate;
    struct net_address who;
};

static void on_told(void *arg, uint64_t times, uint64_t left_ms, const struct err *err)
{
    struct told *t = arg;
    struct rate *r = t->rate;
    struct entry *e;
    uint64_t now = clock_mono_ms();
    pthread_mutex_lock(&r->lock);
    HASH_FIND(hh, r->map, &t->who, sizeof t->who, e);
    if (!err && e && times > e->times) {
        e->times = times < UINT32_MAX ? (unsigned)times : UINT32_MAX;
        left_ms = left_ms < RATE_WINDOW_MS ? left_ms : RATE_WINDOW_MS;
        e->begin_ms = now + left_ms - RATE_WINDOW_MS;
    }
    pthread_mutex_unlock(&r->lock);
    free(t);
}

static void tell(struct rate *r, const struct net_address *who)
{
    char name[64 + 2 * sizeof who->b];
    int n = snprintf(name, 64, "%s:", r->what);
    for (size_t i = 0; i < sizeof who->b; ++i)
        n += snprintf(name + n, 3, "%02x", who->b[i]);
    struct told *t = mem_new(struct told);
    *t = (struct told){r, *who};
    r->state->ops->meter(r->state, NULL, &(struct state_meter){name, 1, (uint32_t)RATE_WINDOW_MS}, on_told,
                         t);
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
    if (e && now - e->begin_ms >= RATE_WINDOW_MS) { /* behind one that began later: others count, too */
        drop(r, e);
        e = NULL;
    }
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
    if (!wait_s && r->state)
        tell(r, &key);
    return wait_s;
}
