// SPDX-License-Identifier: Apache-2.0
#include "fuse-layer/s3fs/memory.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "common/clock.h"
#include "common/mem.h"

/* From here on a block is a mapping of its own: free() would keep small change of it. */
#define MAP_FROM ((size_t)128 << 10)
#define KEPT_MAX 4

struct memory {
    pthread_mutex_t lock;
    pthread_cond_t given;
    size_t limit, used;
    void *kept[KEPT_MAX]; /* counted in neither; given up when the budget would be passed with them */
    unsigned kept_len;
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
    return p == MAP_FAILED ? mem_alloc(SIZE_MAX) : p; /* says that there is none, and stops */
}

static void block_free(void *block, size_t bytes)
{
    if (bytes < MAP_FROM)
        free(block);
    else
        (void)munmap(block, bytes);
}

void memory_free(struct memory *m)
{
    if (!m)
        return;
    assert(m->used == 0);
    while (m->kept_len)
        block_free(m->kept[--m->kept_len], MEMORY_BLOCK);
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
    if (bytes == MEMORY_BLOCK && m->kept_len)
        *ret_kept = m->kept[--m->kept_len];
    while (m->kept_len && m->used + m->kept_len * MEMORY_BLOCK > m->limit)
        block_free(m->kept[--m->kept_len], MEMORY_BLOCK);
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
    if (bytes == MEMORY_BLOCK && m->kept_len < KEPT_MAX &&
        m->used + (m->kept_len + 1) * MEMORY_BLOCK <= m->limit) {
        m->kept[m->kept_len++] = block;
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
