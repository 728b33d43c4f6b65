// SPDX-License-Identifier: Apache-2.0
#include "fuse-layer/s3fs/memory.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/clock.h"
#include "common/mem.h"

/* From here on a block is a mapping of its own: free() would keep small change of it. */
#define MAP_FROM ((size_t)128 << 10)
/* Few large pages instead of many small ones: the kernel looks up each page of what it copies from us. */
#define HUGE_FROM ((size_t)2 << 20)
/* Blocks of these sizes come again and again: parts, and the windows of one to many readers. */
#define KEEP_MIN ((size_t)1 << 20)
#define KEPT_MAX 16

struct memory {
    pthread_mutex_t lock;
    pthread_cond_t given;
    size_t limit, used;
    struct {
        void *block;
        size_t bytes;
    } kept[KEPT_MAX]; /* not counted as used; given up, the oldest first, when the limit would be passed */
    unsigned kept_len;
    size_t kept_bytes;
};

struct memory *memory_new(size_t limit_bytes)
{
    struct memory *m = mem_new(struct memory);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&m->given, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&m->lock, NULL);
    m->limit = limit_bytes < MEMORY_MIN ? MEMORY_MIN : limit_bytes;
    return m;
}

static void *block_new(size_t bytes)
{
    if (bytes < MAP_FROM)
        return mem_alloc(bytes);
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p != MAP_FAILED && bytes >= HUGE_FROM)
        (void)madvise(p, bytes, MADV_HUGEPAGE);
    return p == MAP_FAILED ? mem_alloc(SIZE_MAX) : p; /* says that there is none, and stops */
}

static bool keepable(size_t bytes)
{
    return bytes >= KEEP_MIN && (bytes & (bytes - 1)) == 0;
}

static void block_free(void *block, size_t bytes)
{
    if (bytes < MAP_FROM)
        free(block);
    else
        (void)munmap(block, bytes);
}

/* With the lock. */
static void *take_kept(struct memory *m, unsigned index)
{
    void *block = m->kept[index].block;
    m->kept_bytes -= m->kept[index].bytes;
    --m->kept_len;
    memmove(&m->kept[index], &m->kept[index + 1], (m->kept_len - index) * sizeof m->kept[0]);
    return block;
}

static void drop_oldest(struct memory *m)
{
    size_t bytes = m->kept[0].bytes;
    block_free(take_kept(m, 0), bytes);
}

void memory_free(struct memory *m)
{
    if (!m)
        return;
    assert(m->used == 0);
    while (m->kept_len)
        drop_oldest(m);
    pthread_cond_destroy(&m->given);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

/* With the lock: true if `bytes` are counted as ours now; *ret_kept is a block that was kept, or NULL. */
static bool reserve(struct memory *m, size_t bytes, void **ret_kept)
{
    *ret_kept = NULL;
    if (m->used + bytes > m->limit)
        return false;
    m->used += bytes;
    for (unsigned i = m->kept_len; i-- && !*ret_kept;)
        if (m->kept[i].bytes == bytes)
            *ret_kept = take_kept(m, i);
    while (m->kept_len && m->used + m->kept_bytes > m->limit)
        drop_oldest(m);
    return true;
}

void *memory_try(struct memory *m, size_t bytes)
{
    void *kept;
    pthread_mutex_lock(&m->lock);
    bool ok = reserve(m, bytes, &kept);
    pthread_mutex_unlock(&m->lock);
    if (!ok)
        return NULL;
    return kept ? kept : block_new(bytes);
}

void *memory_take(struct memory *m, size_t bytes, uint64_t timeout_ms)
{
    uint64_t until_ms = clock_mono_ms() + timeout_ms;
    struct timespec until = {.tv_sec = (time_t)(until_ms / 1000),
                             .tv_nsec = (long)(until_ms % 1000) * 1000000};
    void *kept = NULL;
    bool ok;
    pthread_mutex_lock(&m->lock);
    while (!(ok = reserve(m, bytes, &kept)))
        if (pthread_cond_timedwait(&m->given, &m->lock, &until) == ETIMEDOUT)
            break;
    pthread_mutex_unlock(&m->lock);
    if (!ok)
        return NULL;
    return kept ? kept : block_new(bytes);
}

void memory_give(struct memory *m, void *block, size_t bytes)
{
    if (!block)
        return;
    pthread_mutex_lock(&m->lock);
    assert(m->used >= bytes);
    m->used -= bytes;
    /* Half of the budget at most: who reads no more need not hold it for ever. */
    if (keepable(bytes) && m->used + bytes <= m->limit) {
        while (m->kept_len == KEPT_MAX || (m->kept_len && (m->kept_bytes + bytes > m->limit / 2 ||
                                                           m->used + m->kept_bytes + bytes > m->limit)))
            drop_oldest(m);
        m->kept[m->kept_len].block = block;
        m->kept[m->kept_len++].bytes = bytes;
        m->kept_bytes += bytes;
        block = NULL;
    }
    pthread_cond_broadcast(&m->given);
    pthread_mutex_unlock(&m->lock);
    if (block)
        block_free(block, bytes);
}

size_t memory_limit(const struct memory *m)
{
    return m->limit;
}

size_t memory_used(struct memory *m)
{
    pthread_mutex_lock(&m->lock);
    size_t used = m->used;
    pthread_mutex_unlock(&m->lock);
    return used;
}
