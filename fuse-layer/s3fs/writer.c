// SPDX-License-Identifier: Apache-2.0
#include "fuse-layer/s3fs/writer_impl.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"

static void enter(struct writer *w)
{
    pthread_mutex_lock(&w->turn);
    pthread_mutex_lock(&w->lock);
}

static void leave(struct writer *w)
{
    pthread_mutex_unlock(&w->lock);
    pthread_mutex_unlock(&w->turn);
}

uint64_t writer_part_len(const struct writer *w, size_t index)
{
    uint64_t begin = part_offset(index), size = part_size(index);
    if (begin >= w->size)
        return 0;
    return w->size - begin < size ? w->size - begin : size;
}

struct part *writer_part(struct writer *w, size_t index)
{
    if (index >= w->parts_len) {
        size_t len = w->parts_len ? w->parts_len : 4;
        while (len <= index)
            len *= 2;
        w->parts = mem_realloc(w->parts, len * sizeof *w->parts);
        memset(w->parts + w->parts_len, 0, (len - w->parts_len) * sizeof *w->parts);
        w->parts_len = len;
    }
    if (!w->parts[index]) {
        w->parts[index] = mem_new(struct part);
        w->parts[index]->writer = w;
        w->parts[index]->index = index;
    }
    return w->parts[index];
}

static void drop_part(struct writer *w, size_t index)
{
    struct part *p = w->parts[index];
    if (!p)
        return;
    writer_local_cut(w, p, 0);
    w->parts[index] = NULL;
    free(p);
}

/* What stat shows of it. */
static void show_size(struct writer *w)
{
    inodes_lock(&w->d->inodes);
    w->inode->attr.size = w->size;
    w->inode->attr.mtime_ms = clock_wall_ms();
    inodes_unlock(&w->d->inodes);
}

static void writer_free(struct writer *w)
{
    for (size_t i = 0; i < w->parts_len; ++i)
        drop_part(w, i);
    free(w->parts);
    spill_close(w->spill);
    pthread_cond_destroy(&w->sent);
    pthread_mutex_destroy(&w->lock);
    pthread_mutex_destroy(&w->turn);
    free(w);
}

/* With the inodes' lock. */
static struct writer *writer_new(struct driver *d, struct inode *inode, unsigned flags)
{
    struct writer *w = mem_new(struct writer);
    pthread_mutex_init(&w->turn, NULL);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->sent, NULL);
    w->d = d;
    w->inode = inode;
    w->current = WRITER_NO_PART;
    inode_pin(inode);
    if (!(flags & (WRITER_NEW | WRITER_TRUNCATE))) {
        w->size = w->base_size = inode->attr.size;
        memcpy(w->base_etag, inode->attr.etag, sizeof w->base_etag);
    } else {
        w->dirty = true;
        inode->unstored = flags & WRITER_NEW;
        w->exclusive = flags & WRITER_EXCLUSIVE;
        inode->attr.size = 0;
        inode->attr.mtime_ms = clock_wall_ms();
    }
    inode->writer = w;
    return w;
}

struct writer *writer_open(struct driver *d, struct inode *inode, unsigned flags)
{
    inodes_lock(&d->inodes);
    struct writer *w = inode->writer;
    bool made = w == NULL;
    if (made)
        w = writer_new(d, inode, flags);
    ++w->refs;
    inodes_unlock(&d->inodes);
    struct err err;
    if (!made && (flags & WRITER_TRUNCATE))
        (void)writer_truncate(w, 0, &err); /* to nothing: cannot fail */
    enter(w);
    w->keep = w->keep || (flags & WRITER_KEEP);
    leave(w);
    return w;
}

struct writer *writer_of(struct inode *inode, bool dirty_only)
{
    struct writer *w = inode->writer;
    if (!w || (dirty_only && !w->dirty))
        return NULL;
    ++w->refs;
    return w;
}

/* The last chance is over: what the server has is what the file is from here on. */
static void give_up(struct writer *w, const struct err *err)
{
    struct inode_path path;
    inodes_lock(&w->d->inodes);
    (void)inode_path(w->inode, &path);
    w->inode->fresh_us = 0;
    inodes_unlock(&w->d->inodes);
    atomic_fetch_add(&w->d->lost, 1);
    log_error("file could not be stored", F_S("bucket", path.bucket), F_S("key", path.key), F_ERR(err));
}

void writer_close(struct writer *w)
{
    struct driver *d = w->d;
    inodes_lock(&d->inodes);
    while (w->refs == 1) {
        inodes_unlock(&d->inodes);
        struct err err;
        enter(w);
        bool told = w->told;
        if (!told && writer_commit_locked(w, &err) < 0)
            give_up(w, &err);
        w->dirty = false;
        writer_abandon(w); /* of an unlinked file */
        leave(w);
        inodes_lock(&d->inodes);
        if (w->refs > 1)
            break; /* somebody opened it meanwhile */
        struct inode *inode = w->inode;
        inode->writer = NULL;
        if (told)
            inode->fresh_us = 0;
        inode_unpin(&d->inodes, inode);
        inodes_unlock(&d->inodes);
        writer_free(w);
        return;
    }
    --w->refs;
    inodes_unlock(&d->inodes);
}

/* The part is not the one that grows any more. */
static int settle(struct writer *w, struct err *err)
{
    if (w->current == WRITER_NO_PART)
        return 0;
    struct part *p = writer_part(w, w->current);
    w->current = WRITER_NO_PART;
    if (p->dirty && !p->sending && p->lo == 0 && p->hi == part_size(p->index) && !w->unlinked)
        return writer_send(w, p, err);
    return writer_local_spill(w, p, true, err);
}

/* A part that is about to be written to: nothing of it is on its way, and all of it can be had. */
static int open_part(struct writer *w, struct part *p, struct err *err)
{
    while (p->sending)
        pthread_cond_wait(&w->sent, &w->lock);
    if (w->lost || w->fault.code != ERR_NONE) {
        *err = w->fault;
        return -1;
    }
    if (p->sent && p->lost)
        return err_set(
            err, ERR_UNSUPPORTED,
            "the file is written again at %llu, which has been sent: it has to be opened for reading "
            "and writing",
            (unsigned long long)part_offset(p->index));
    p->sent = false;
    return 0;
}

static int write_locked(struct writer *w, const char *from, size_t len, uint64_t offset, struct err *err)
{
    if (offset > S3_OBJECT_SIZE_MAX || len > S3_OBJECT_SIZE_MAX - offset)
        return err_set(err, ERR_SIZE_INVALID, "objects have at most 5 TiB");
    while (len) {
        size_t index = part_at(offset);
        assert(index < PARTS_MAX);
        uint64_t within = offset - part_offset(index);
        size_t n = len < part_size(index) - within ? len : (size_t)(part_size(index) - within);
        if (w->current != index && settle(w, err) < 0)
            return -1;
        struct part *p = writer_part(w, index);
        if (open_part(w, p, err) < 0)
            return -1;
        w->current = index;
        if (writer_local_write(w, p, from, within, n, err) < 0)
            return -1;
        p->dirty = true;
        w->dirty = true;
        w->told = false;
        if (w->size < offset + n)
            w->size = offset + n;
        from += n;
        len -= n;
        offset += n;
    }
    return 0;
}

/* What S3 refuses is in the log already; what we refuse is, once for a file. */
static void complain(struct writer *w, const struct err *err)
{
    if (w->complained || (err->code != ERR_NO_SPACE && err->code != ERR_UNSUPPORTED))
        return;
    w->complained = true;
    struct inode_path path;
    inodes_lock(&w->d->inodes);
    (void)inode_path(w->inode, &path);
    inodes_unlock(&w->d->inodes);
    log_error("write refused", F_S("bucket", path.bucket), F_S("key", path.key), F_ERR(err));
}

int writer_write(struct writer *w, const void *p, size_t len, uint64_t offset, bool append, struct err *err)
{
    enter(w);
    int result = write_locked(w, p, len, append ? w->size : offset, err);
    if (result < 0)
        complain(w, err);
    show_size(w);
    leave(w);
    return result;
}

/* Bytes within one part. */
static int read_part(struct writer *w, size_t index, char *to, uint64_t within, size_t len,
                     struct cancel *cancel, struct err *err)
{
    struct part *p = index < w->parts_len ? w->parts[index] : NULL;
    if (p && p->sent && p->lost)
        return err_set(err, ERR_UNSUPPORTED,
                       "the file is being written, and what is read has been sent already");
    while (len) {
        bool local = p && within >= p->lo && within < p->hi;
        uint64_t end = local ? p->hi : p && within < p->lo ? p->lo : UINT64_MAX;
        size_t n = len < end - within ? len : (size_t)(end - within);
        int result = local ? writer_local_read(w, p, to, within, n, err)
                           : writer_base_read(w, to, part_offset(index) + within, n, cancel, err);
        if (result < 0)
            return -1;
        to += n;
        within += n;
        len -= n;
    }
    return 0;
}

int writer_read(struct writer *w, void *p, size_t len, uint64_t offset, struct cancel *cancel,
                size_t *ret_len, struct err *err)
{
    enter(w);
    if (offset >= w->size)
        len = 0;
    else if (len > w->size - offset)
        len = (size_t)(w->size - offset);
    int result = 0;
    for (size_t done = 0; done < len && result == 0;) {
        size_t index = part_at(offset + done);
        uint64_t within = offset + done - part_offset(index);
        size_t n = len - done < part_size(index) - within ? len - done : (size_t)(part_size(index) - within);
        result = read_part(w, index, (char *)p + done, within, n, cancel, err);
        done += n;
    }
    leave(w);
    if (result == 0)
        *ret_len = len;
    return result;
}

/* Before parts from `first` on are gone: an upload cannot forget what it was sent. */
static int unsend_from(struct writer *w, size_t first, struct err *err)
{
    bool any = false, lost = false;
    for (size_t i = 0; i < w->parts_len; ++i) {
        const struct part *p = w->parts[i];
        any = any || (p && i >= first && p->sent);
        lost = lost || (p && i < first && p->sent && p->lost);
    }
    if (!any)
        return 0;
    if (lost)
        return err_set(
            err, ERR_UNSUPPORTED,
            "the file is cut to where it has been sent already: it has to be opened for reading and "
            "writing");
    for (size_t i = first; i < w->parts_len; ++i)
        if (w->parts[i])
            w->parts[i]->sent = w->parts[i]->lost = false;
    writer_abandon(w);
    return 0;
}

static int truncate_locked(struct writer *w, uint64_t size, struct err *err)
{
    if (size > S3_OBJECT_SIZE_MAX)
        return err_set(err, ERR_SIZE_INVALID, "objects have at most 5 TiB");
    writer_wait_sent(w);
    if (size < w->size) {
        size_t first = size ? part_at(size - 1) + 1 : 0; /* that is gone as a whole */
        struct part *cut = first && first <= w->parts_len ? w->parts[first - 1] : NULL;
        uint64_t keep = first ? size - part_offset(first - 1) : 0;
        bool reopen = cut && cut->sent && keep < part_size(cut->index);
        if (reopen && open_part(w, cut, err) < 0)
            return -1;
        if (unsend_from(w, first, err) < 0)
            return -1;
        for (size_t i = first; i < w->parts_len; ++i)
            drop_part(w, i);
        if (cut) {
            cut->dirty = cut->dirty || reopen;
            writer_local_cut(w, cut, keep);
        }
        if (w->base_size > size)
            w->base_size = size;
        if (size == 0) { /* nothing is left that could be wrong, and an upload holds no less than a part */
            writer_abandon(w);
            w->lost = false;
            w->fault = (struct err){0};
        }
    }
    if (size != w->size || size == 0) {
        w->dirty = true;
        w->told = false;
    }
    w->size = size;
    return 0;
}

int writer_truncate(struct writer *w, uint64_t size, struct err *err)
{
    enter(w);
    int result = truncate_locked(w, size, err);
    show_size(w);
    leave(w);
    return result;
}

int writer_commit(struct writer *w, struct err *err)
{
    enter(w);
    int result = writer_commit_locked(w, err);
    w->told = result < 0;
    leave(w);
    return result;
}

bool writer_dirty(struct writer *w)
{
    enter(w);
    bool dirty = w->dirty && !w->unlinked;
    leave(w);
    return dirty;
}

bool writer_told(struct writer *w)
{
    enter(w);
    bool told = w->told;
    leave(w);
    return told;
}

void writer_untold(struct writer *w)
{
    enter(w);
    w->told = false;
    leave(w);
}

void writer_unlink(struct writer *w, bool unlinked)
{
    enter(w);
    w->unlinked = unlinked;
    leave(w);
}

int writer_move(struct writer *w, struct err *err)
{
    enter(w);
    int result = writer_commit_locked(w, err);
    if (result < 0)
        leave(w);
    return result;
}

void writer_moved(struct writer *w, const char *etag)
{
    if (etag)
        (void)snprintf(w->base_etag, sizeof w->base_etag, "%s", etag);
    leave(w);
}
