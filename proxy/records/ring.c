// SPDX-License-Identifier: Apache-2.0
#include "proxy/records/ring.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "common/mem.h"

/* While its reader keeps up, no more than this part of a ring is used: the rest is memory that is never
 * touched. */
#define FRONT_OF(size) ((size) / 32)

/* In front of each message. A message never wraps: what is left of the ring is skipped instead. */
struct head {
    uint32_t bytes; /* with the head and what fills up to 8 */
    uint32_t is_skip;
};

struct ring {
    size_t size;
    char *p;
    /* Counts of bytes since the beginning; each written by one thread, and on a cache line of its own. */
    _Alignas(64) _Atomic uint64_t written;
    uint64_t reserved, read_seen; /* the writer's */
    _Atomic uint64_t refused;
    _Alignas(64) _Atomic uint64_t read;
};

struct ring *ring_new(size_t bytes)
{
    assert(bytes >= 4096 && (bytes & (bytes - 1)) == 0);
    void *p;
    if (posix_memalign(&p, 64, sizeof(struct ring)) != 0)
        mem_none();
    struct ring *r = p;
    *r = (struct ring){.size = bytes, .p = mem_alloc(bytes)};
    return r;
}

void ring_free(struct ring *r)
{
    if (!r)
        return;
    free(r->p);
    free(r);
}

static bool has_room(struct ring *r, uint64_t end)
{
    if (end - r->read_seen <= r->size)
        return true;
    r->read_seen = atomic_load_explicit(&r->read, memory_order_acquire);
    if (end - r->read_seen <= r->size)
        return true;
    /* One thread writes it: no need for an addition that locks. */
    uint64_t n = atomic_load_explicit(&r->refused, memory_order_relaxed);
    atomic_store_explicit(&r->refused, n + 1, memory_order_relaxed);
    return false;
}

bool ring_is_full(struct ring *r, size_t len)
{
    /* At worst the rest of the ring is skipped, too. */
    return !has_room(r, atomic_load_explicit(&r->written, memory_order_relaxed) +
                            2 * (len + sizeof(struct head)));
}

uint64_t ring_refused(const struct ring *r)
{
    return atomic_load_explicit(&r->refused, memory_order_relaxed);
}

/* Nothing is in it, and there is more room in front: the next message may begin there. */
static bool can_return(struct ring *r, uint64_t at, size_t offset, size_t bytes)
{
    if (offset < FRONT_OF(r->size) || bytes > offset)
        return false;
    r->read_seen = atomic_load_explicit(&r->read, memory_order_acquire);
    return r->read_seen == at;
}

void *ring_reserve(struct ring *r, size_t len)
{
    uint64_t at = atomic_load_explicit(&r->written, memory_order_relaxed);
    size_t bytes = (len + sizeof(struct head) + 7) & ~(size_t)7, offset = at & (r->size - 1);
    size_t skip = offset + bytes > r->size || can_return(r, at, offset, bytes) ? r->size - offset : 0;
    if (bytes > r->size / 2 || !has_room(r, at + skip + bytes))
        return NULL;
    if (skip) {
        *(struct head *)(void *)(r->p + offset) = (struct head){(uint32_t)skip, 1};
        offset = 0;
    }
    struct head *h = (struct head *)(void *)(r->p + offset);
    *h = (struct head){(uint32_t)bytes, 0};
    r->reserved = at + skip + bytes;
    return h + 1;
}

void ring_commit(struct ring *r)
{
    atomic_store(&r->written, r->reserved);
}

void *ring_peek(struct ring *r)
{
    uint64_t at = atomic_load_explicit(&r->read, memory_order_relaxed);
    while (at != atomic_load(&r->written)) {
        struct head *h = (struct head *)(void *)(r->p + (at & (r->size - 1)));
        if (!h->is_skip)
            return h + 1;
        at += h->bytes;
        atomic_store_explicit(&r->read, at, memory_order_release);
    }
    return NULL;
}

void ring_release(struct ring *r)
{
    uint64_t at = atomic_load_explicit(&r->read, memory_order_relaxed);
    const struct head *h = (const struct head *)(const void *)(r->p + (at & (r->size - 1)));
    atomic_store_explicit(&r->read, at + h->bytes, memory_order_release);
}
