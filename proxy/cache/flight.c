// SPDX-License-Identifier: Apache-2.0
#include "proxy/cache/flight.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/hash.h"
#include "common/mem.h"

#define SHARDS 16

struct flight_waiter {
    struct flight_waiter *next;
    struct flights *table;
    struct loop *loop;
    flight_fn *fn; /* NULL: left */
    void *arg;
    void *result;
    bool failed;
    struct err err; /* set if failed */
};

struct flight {
    UT_hash_handle hh;
    struct flights *table;
    unsigned shard;
    struct flight_waiter *waiters, **tail;
    char key[];
};

struct flights {
    void (*ref)(void *);
    void (*unref)(void *);
    struct {
        pthread_mutex_t lock;
        struct flight *map;
    } shard[SHARDS];
};

struct flights *flights_new(void (*ref)(void *result), void (*unref)(void *result))
{
    struct flights *t = mem_new(struct flights);
    t->ref = ref;
    t->unref = unref;
    for (unsigned i = 0; i < SHARDS; ++i)
        pthread_mutex_init(&t->shard[i].lock, NULL);
    return t;
}

void flights_free(struct flights *t)
{
    if (!t)
        return;
    for (unsigned i = 0; i < SHARDS; ++i) {
        assert(!t->shard[i].map);
        pthread_mutex_destroy(&t->shard[i].lock);
    }
    free(t);
}

static unsigned shard_of(const char *key)
{
    unsigned h;
    HASH_JEN(key, strlen(key), h);
    return h >> 28;
}

static struct flight *find_or_lead(struct flights *t, unsigned s, const char *key, bool *ret_led)
{
    struct flight *f;
    size_t len = strlen(key);
    HASH_FIND(hh, t->shard[s].map, key, len, f);
    *ret_led = !f;
    if (!f) {
        f = mem_zalloc(sizeof *f + len + 1);
        f->table = t;
        f->shard = s;
        f->tail = &f->waiters;
        memcpy(f->key, key, len + 1);
        HASH_ADD_KEYPTR(hh, t->shard[s].map, f->key, len, f);
    }
    return f;
}

struct flight_waiter *flight_join(struct flights *t, const char *key, struct loop *loop, flight_fn *fn,
                                  void *arg, struct flight **ret_lead)
{
    unsigned s = shard_of(key);
    struct flight_waiter *w = mem_new(struct flight_waiter);
    w->table = t;
    w->loop = loop;
    w->fn = fn;
    w->arg = arg;
    bool led;
    pthread_mutex_lock(&t->shard[s].lock);
    struct flight *f = find_or_lead(t, s, key, &led);
    *f->tail = w;
    f->tail = &w->next;
    pthread_mutex_unlock(&t->shard[s].lock);
    *ret_lead = led ? f : NULL;
    return w;
}

struct flight *flight_lead(struct flights *t, const char *key)
{
    unsigned s = shard_of(key);
    bool led;
    pthread_mutex_lock(&t->shard[s].lock);
    struct flight *f = find_or_lead(t, s, key, &led);
    pthread_mutex_unlock(&t->shard[s].lock);
    return led ? f : NULL;
}

bool flight_under_way(struct flights *t, const char *key)
{
    unsigned s = shard_of(key);
    struct flight *f;
    pthread_mutex_lock(&t->shard[s].lock);
    HASH_FIND(hh, t->shard[s].map, key, strlen(key), f);
    pthread_mutex_unlock(&t->shard[s].lock);
    return f != NULL;
}

/* Leaving and delivery happen on one loop, so a waiter that has left just stays until its (silent) delivery.
 */
void flight_leave(struct flight_waiter *w)
{
    w->fn = NULL;
}

static void deliver(void *arg)
{
    struct flight_waiter *w = arg;
    if (w->fn)
        w->fn(w->arg, w->result, w->failed ? &w->err : NULL);
    else if (w->result)
        w->table->unref(w->result);
    free(w);
}

void flight_finish(struct flight *f, void *result, const struct err *err)
{
    struct flights *t = f->table;
    assert(result || err);
    pthread_mutex_lock(&t->shard[f->shard].lock);
    HASH_DEL(t->shard[f->shard].map, f);
    struct flight_waiter *w = f->waiters;
    pthread_mutex_unlock(&t->shard[f->shard].lock);
    while (w) {
        struct flight_waiter *next = w->next;
        w->result = result;
        if (result)
            t->ref(result);
        w->failed = err != NULL;
        if (err)
            w->err = *err;
        loop_post(w->loop, deliver, w);
        w = next;
    }
    if (result)
        t->unref(result);
    free(f);
}
