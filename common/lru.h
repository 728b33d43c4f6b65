// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_COMMON_LRU_H
#define RAC_COMMON_LRU_H
/*
 * A bounded table that forgets what was used longest ago, for what any thread asks for on the way of a
 * request: tags, documents, tokens. 16 shards, each with a lock of its own, so that workers seldom meet.
 *
 *     struct tag {
 *         struct lru_entry lru;   first member; malloc'd, freed by the table's lru_free_fn
 *         ...
 *         char key[];             bytes that stay as they are while it is in the table
 *     };
 *     struct lru_shard *s = lru_lock(tags, key, len);   that key, and no other, until lru_unlock
 *     struct tag *e = lru_find(s);
 *     ...
 *     lru_unlock(s);
 *
 * The lock is short: no callbacks into other rooms, no system calls between lock and unlock. An entry is only
 * looked at under the lock; what is to be used afterwards is copied or counted.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/hash.h"

#define LRU_SHARDS 16

struct lru_entry {
    UT_hash_handle hh;
    struct lru_entry *prev, *next; /* least recently used first */
    uint64_t cost;
};

struct lru;
struct lru_shard;

/* Frees the entry. Under the shard's lock, except in lru_free; MUST NOT call the table. */
typedef void lru_free_fn(void *entry, void *arg);

/* `max` is the sum of costs, shared out evenly: a shard that is full forgets while others have room. */
struct lru *lru_new(uint64_t max, lru_free_fn *fn, void *arg);
void lru_free(struct lru *t); /* with all entries; NULL is fine. Nobody else uses the table any more */

/* The key's bytes stay until lru_unlock. */
struct lru_shard *lru_lock(struct lru *t, const void *key, size_t len);
void lru_unlock(struct lru_shard *s);
/* The entry of the key, NULL: none. It becomes the one that was used last. */
void *lru_find(struct lru_shard *s);
/* The same, and nothing moves. */
void *lru_peek(struct lru_shard *s);
/* Only where lru_find found none. `key`: the same bytes, inside the entry. Others go until all costs fit, the
 * longest unused first, never this one. */
void lru_add(struct lru_shard *s, void *entry, const void *key, uint64_t cost);
void lru_drop(struct lru_shard *s, void *entry);
#endif
