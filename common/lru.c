// SPDX-License-Identifier: Apache-2.0
#include "common/lru.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <utlist.h>

#include "common/mem.h"

struct lru_shard {
    pthread_mutex_t lock; /* guards what follows, and the entries */
    struct lru *table;
    struct lru_entry *map, *list;
    uint64_t cost;
    const void *key; /* of who holds the lock */
    unsigned key_len, hash;
};

struct lru {
    struct lru_shard shard[LRU_SHARDS];
    uint64_t shard_max;
    lru_free_fn *free;
    void *arg;
};

struct lru *lru_new(uint64_t max, lru_free_fn *fn, void *arg)
{
    struct lru *t = mem_new(struct lru);
    t->shard_max = max / LRU_SHARDS;
    t->free = fn;
    t->arg = arg;
    for (unsigned i = 0; i < LRU_SHARDS; ++i) {
        pthread_mutex_init(&t->shard[i].lock, NULL);
        t->shard[i].table = t;
    }
    return t;
}

static void drop(struct lru_shard *s, struct lru_entry *e)
{
    HASH_DEL(s->map, e);
    DL_DELETE(s->list, e);
    s->cost -= e->cost;
    s->table->free(e, s->table->arg);
}

void lru_free(struct lru *t)
{
    if (!t)
        return;
    for (unsigned i = 0; i < LRU_SHARDS; ++i) {
        while (t->shard[i].list)
            drop(&t->shard[i], t->shard[i].list);
        pthread_mutex_destroy(&t->shard[i].lock);
    }
    free(t);
}

struct lru_shard *lru_lock(struct lru *t, const void *key, size_t len)
{
    unsigned hash = hash_bytes(key, len);
    struct lru_shard *s = &t->shard[hash >> 28]; /* uthash takes its buckets from the other end */
    pthread_mutex_lock(&s->lock);
    s->key = key;
    s->key_len = (unsigned)len;
    s->hash = hash;
    return s;
}

void lru_unlock(struct lru_shard *s)
{
    s->key = NULL;
    pthread_mutex_unlock(&s->lock);
}

void *lru_peek(struct lru_shard *s)
{
    struct lru_entry *e;
    HASH_FIND_BYHASHVALUE(hh, s->map, s->key, s->key_len, s->hash, e);
    return e;
}

void *lru_find(struct lru_shard *s)
{
    struct lru_entry *e = lru_peek(s);
    if (e && e->next) {
        DL_DELETE(s->list, e);
        DL_APPEND(s->list, e);
    }
    return e;
}

void lru_add(struct lru_shard *s, void *entry, const void *key, uint64_t cost)
{
    struct lru_entry *e = entry;
    assert(memcmp(key, s->key, s->key_len) == 0);
    e->cost = cost;
    HASH_ADD_KEYPTR_BYHASHVALUE(hh, s->map, key, s->key_len, s->hash, e);
    DL_APPEND(s->list, e);
    s->cost += cost;
    while (s->cost > s->table->shard_max && s->list != e)
        drop(s, s->list);
}

void lru_drop(struct lru_shard *s, void *entry)
{
    drop(s, entry);
}
