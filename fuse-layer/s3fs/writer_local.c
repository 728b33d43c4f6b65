// SPDX-License-Identifier: Apache-2.0
#include "fuse-layer/s3fs/writer_impl.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/cleanup.h"
#include "common/mem.h"

/* A part in memory grows in these steps: most files are small, and are open in numbers. */
static const size_t mem_steps[] = {(size_t)64 << 10, (size_t)1 << 20, MEMORY_BLOCK};

#define PIECE ((size_t)1 << 20)
/* How long a part waits for memory before it takes disk instead. Somebody may sit on a half-written part for
 * hours: waiting longer could be waiting for ever. */
#define MEMORY_WAIT_TRIES 20
#define MEMORY_WAIT_MS    100

static bool local(const struct part *p)
{
    return p->hi > p->lo;
}

static void *take_memory(struct writer *w, size_t bytes)
{
    void *block = memory_try(w->d->memory, bytes);
    for (int i = 0; !block && i < MEMORY_WAIT_TRIES; ++i) {
        if (w->sending) { /* our own parts hold some, and need the lock to give it back */
            struct timespec until;
            clock_gettime(CLOCK_REALTIME, &until);
            until.tv_nsec += MEMORY_WAIT_MS * 1000000L;
            if (until.tv_nsec >= 1000000000) {
                until.tv_nsec -= 1000000000;
                ++until.tv_sec;
            }
            (void)pthread_cond_timedwait(&w->sent, &w->lock, &until);
            block = memory_try(w->d->memory, bytes);
        } else {
            block = memory_take(w->d->memory, bytes, MEMORY_WAIT_MS);
        }
    }
    return block;
}

/* Memory for the part up to `need` bytes; false if there is none, and it is as it was. */
static bool grow_memory(struct writer *w, struct part *p, uint64_t need)
{
    if (p->mem && need <= p->mem_cap)
        return true;
    for (size_t i = 0; i < sizeof mem_steps / sizeof mem_steps[0]; ++i) {
        size_t cap = mem_steps[i];
        if (cap < need)
            continue;
        char *block = take_memory(w, cap);
        if (!block)
            return false;
        if (p->mem)
            memcpy(block + p->lo, p->mem + p->lo, p->hi - p->lo);
        memory_give(w->d->memory, p->mem, p->mem_cap);
        p->mem = block;
        p->mem_cap = cap;
        return true;
    }
    return false;
}

static int need_spill(struct writer *w, struct err *err)
{
    return w->spill ? 0 : spill_open(w->d->spill, &w->spill, err);
}

static int to_spill(struct writer *w, struct part *p, const void *from, uint64_t within, size_t len,
                    uint64_t grow, bool may_wait, struct err *err)
{
    if (need_spill(w, err) < 0)
        return -1;
    int result = spill_write(w->spill, from, len, part_offset(p->index) + within, grow, err);
    if (result < 0 && err->code == ERR_NO_SPACE && may_wait && writer_make_room(w))
        result = spill_write(w->spill, from, len, part_offset(p->index) + within, grow, err);
    if (result == 0)
        p->spilled += grow;
    return result;
}

int writer_local_spill(struct writer *w, struct part *p, bool may_wait, struct err *err)
{
    if (!p->mem)
        return 0;
    if (local(p) && to_spill(w, p, p->mem + p->lo, p->lo, p->hi - p->lo, p->hi - p->lo, may_wait, err) < 0)
        return -1;
    memory_give(w->d->memory, p->mem, p->mem_cap);
    p->mem = NULL;
    p->mem_cap = 0;
    return 0;
}

/* Bytes that touch or overlap the local range, or begin one. */
static int store(struct writer *w, struct part *p, const void *from, uint64_t within, size_t len,
                 struct err *err)
{
    uint64_t end = within + len;
    uint64_t lo = local(p) && p->lo < within ? p->lo : within, hi = local(p) && p->hi > end ? p->hi : end;
    assert(!local(p) || (within <= p->hi && end >= p->lo));
    bool in_memory = local(p) ? p->mem != NULL : within == 0;
    if (in_memory && grow_memory(w, p, end)) {
        memcpy(p->mem + within, from, len);
    } else {
        /* Taking what is in memory along may need room itself. */
        if (writer_local_spill(w, p, true, err) < 0 ||
            to_spill(w, p, from, within, len, (hi - lo) - (p->hi - p->lo), true, err) < 0)
            return -1;
    }
    p->lo = lo;
    p->hi = hi;
    return 0;
}

int writer_base_read(struct writer *w, void *to, uint64_t offset, size_t len, struct cancel *cancel,
                     struct err *err)
{
    size_t there = offset >= w->base_size        ? 0
                   : len < w->base_size - offset ? len
                                                 : (size_t)(w->base_size - offset);
    memset((char *)to + there, 0, len - there);
    if (!there)
        return 0;
    struct inode_path path;
    inodes_lock(&w->d->inodes);
    bool possible = inode_path(w->inode, &path);
    inodes_unlock(&w->d->inodes);
    if (!possible)
        return err_set(err, ERR_NAME_INVALID, "%s: longer than a key may be", path.key);
    size_t got = 0;
    if (s3_get(w->d->s3, path.bucket, path.key, offset, there, w->base_etag[0] ? w->base_etag : NULL, cancel,
               to, &got, NULL, err) < 0) {
        if (err->code == ERR_NOT_FOUND)
            err->code = ERR_STALE;
        return -1;
    }
    if (got != there)
        return err_set(err, ERR_STALE, "s3://%s/%s is shorter than it was", path.bucket, path.key);
    return 0;
}

/* Brings [from, to), which touches the local range or begins one, from the base. */
static int fill(struct writer *w, struct part *p, uint64_t from, uint64_t to, struct err *err)
{
    if (from >= to)
        return 0;
    uint64_t begin = part_offset(p->index);
    if ((p->mem || !local(p)) && (from == 0 || local(p)) && grow_memory(w, p, to)) { /* in one request */
        if (writer_base_read(w, p->mem + from, begin + from, (size_t)(to - from), w->d->ending, err) < 0)
            return -1;
        p->lo = local(p) && p->lo < from ? p->lo : from;
        p->hi = p->hi > to ? p->hi : to;
        return 0;
    }
    cleanup_free char *piece = mem_alloc(PIECE);
    /* Downwards when it lies before the local range: each piece has to touch it. */
    bool down = local(p) && to == p->lo;
    while (from < to) {
        size_t len = to - from < PIECE ? (size_t)(to - from) : PIECE;
        uint64_t at = down ? to - len : from;
        if (writer_base_read(w, piece, begin + at, len, w->d->ending, err) < 0 ||
            store(w, p, piece, at, len, err) < 0)
            return -1;
        if (down)
            to -= len;
        else
            from += len;
    }
    return 0;
}

int writer_local_write(struct writer *w, struct part *p, const void *from, uint64_t within, size_t len,
                       struct err *err)
{
    if (local(p)) {
        if (within > p->hi && fill(w, p, p->hi, within, err) < 0)
            return -1;
        if (within + len < p->lo && fill(w, p, within + len, p->lo, err) < 0)
            return -1;
    }
    return store(w, p, from, within, len, err);
}

int writer_local_fill(struct writer *w, struct part *p, uint64_t len, struct err *err)
{
    if (!local(p))
        return fill(w, p, 0, len, err);
    if (fill(w, p, 0, p->lo, err) < 0)
        return -1;
    return fill(w, p, p->hi, len, err);
}

int writer_local_read(struct writer *w, struct part *p, void *to, uint64_t within, size_t len,
                      struct err *err)
{
    assert(within >= p->lo && within + len <= p->hi);
    if (!p->mem)
        return spill_read(w->spill, to, len, part_offset(p->index) + within, err);
    memcpy(to, p->mem + within, len);
    return 0;
}

void writer_local_cut(struct writer *w, struct part *p, uint64_t keep)
{
    if (keep > p->lo) {
        if (p->hi > keep)
            p->hi = keep;
        return;
    }
    memory_give(w->d->memory, p->mem, p->mem_cap);
    p->mem = NULL;
    p->mem_cap = 0;
    if (p->spilled)
        spill_drop(w->spill, part_offset(p->index), part_size(p->index), p->spilled);
    p->spilled = 0;
    p->lo = p->hi = 0;
    if (w->current == p->index)
        w->current = WRITER_NO_PART;
}
