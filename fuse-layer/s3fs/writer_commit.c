// SPDX-License-Identifier: Apache-2.0
#include "fuse-layer/s3fs/writer_impl.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "fuse-layer/s3fs/posix.h"

/* One UploadPartCopy: long enough to be few, short enough to run side by side. */
#define COPY_MAX      ((uint64_t)512 << 20)
#define CARRY_WAIT_MS 60000

static int path_of(struct writer *w, struct inode_path *ret, struct err *err)
{
    inodes_lock(&w->d->inodes);
    bool possible = inode_path(w->inode, ret);
    inodes_unlock(&w->d->inodes);
    return possible ? 0 : err_set(err, ERR_NAME_INVALID, "%s: longer than a key may be", ret->key);
}

static void put_options(struct writer *w, struct s3_meta *meta, struct s3_put_options *ret)
{
    *ret = (struct s3_put_options){.if_none_match = w->exclusive};
    if (!w->d->options->posix)
        return;
    inodes_lock(&w->d->inodes);
    struct inode_attr attr = w->inode->attr;
    inodes_unlock(&w->d->inodes);
    posix_to_meta(&attr, meta);
    ret->meta = meta;
}

static int need_upload(struct writer *w, struct err *err)
{
    if (w->upload)
        return 0;
    struct inode_path path;
    if (path_of(w, &path, err) < 0)
        return -1;
    cleanup_s3_meta struct s3_meta meta = {0};
    struct s3_put_options options;
    put_options(w, &meta, &options);
    return s3_upload_begin(w->d->s3, path.bucket, path.key, &options, w->d->ending, &w->upload, err);
}

void writer_wait_sent(struct writer *w)
{
    while (w->sending)
        pthread_cond_wait(&w->sent, &w->lock);
}

static void wait_turn_to_send(struct writer *w)
{
    while (w->sending >= WRITER_SENDING_MAX)
        pthread_cond_wait(&w->sent, &w->lock);
}

/* The upload has the part: must a copy stay here? */
static void release_sent(struct writer *w, struct part *p)
{
    struct err err;
    bool stays = !w->committing && (w->keep || p->index == 0) && writer_local_spill(w, p, false, &err) == 0;
    if (!stays) {
        writer_local_cut(w, p, 0);
        p->lost = true;
    }
}

static void part_run(struct pool_job *job)
{
    struct part *p = (struct part *)job; /* the first member */
    struct writer *w = p->writer;
    struct err err = {0};
    struct iovec iov = {p->mem ? p->mem : p->map, (size_t)p->send_len};
    int result = s3_upload_part(w->upload, (unsigned)p->index + 1, &iov, 1, w->d->ending, &err);
    pthread_mutex_lock(&w->lock);
    spill_unmap(p->map, (size_t)p->send_len);
    p->map = NULL;
    if (result == 0) {
        p->sent = true;
        release_sent(w, p);
    } else {
        w->fault = err;
    }
    p->sending = false;
    --w->sending;
    pthread_cond_broadcast(&w->sent);
    pthread_mutex_unlock(&w->lock);
}

int writer_send(struct writer *w, struct part *p, struct err *err)
{
    if (need_upload(w, err) < 0)
        return -1;
    wait_turn_to_send(w);
    p->send_len = writer_part_len(w, p->index);
    if (!p->mem) {
        p->map = spill_map(w->spill, part_offset(p->index), (size_t)p->send_len, err);
        if (!p->map)
            return -1;
    }
    p->sending = true;
    ++w->sending;
    p->job.run = part_run;
    pool_run(w->d->pool, &p->job);
    return 0;
}

bool writer_make_room(struct writer *w)
{
    struct err err;
    for (size_t i = 0; i < w->parts_len; ++i) {
        struct part *p = w->parts[i];
        if (p && p->spilled && p->dirty && !p->sent && !p->sending && i != w->current && p->lo == 0 &&
            p->hi == part_size(i) && writer_send(w, p, &err) < 0)
            break;
    }
    writer_wait_sent(w);
    bool made = false;
    for (size_t i = 0; i < w->parts_len; ++i) {
        struct part *p = w->parts[i];
        if (p && p->spilled && p->sent && i != w->current) {
            writer_local_cut(w, p, 0);
            p->lost = made = true;
        }
    }
    return made;
}

void writer_abandon(struct writer *w)
{
    writer_wait_sent(w);
    if (w->upload) {
        struct err err;
        (void)s3_upload_abort(w->upload, NULL, &err); /* its own log line is all that can be done */
        s3_upload_free(w->upload);
        w->upload = NULL;
    }
    for (size_t i = 0; i < w->parts_len; ++i) {
        struct part *p = w->parts[i];
        if (!p)
            continue;
        w->lost = w->lost || (p->sent && p->lost);
        p->sent = false;
    }
}

/* -- parts that the stored object has --------------------------------------------------------------- */
struct copy {
    struct pool_job job;
    struct writer *w;
    unsigned number;
    uint64_t offset, len;
    struct inode_path path;
};

/* Through here instead of within S3. With the number of the first part the run's other numbers are ours, too.
 */
static int carry(const struct copy *c, struct err *err)
{
    struct driver *d = c->w->d;
    const char *etag = c->w->base_etag[0] ? c->w->base_etag : NULL;
    for (uint64_t done = 0; done < c->len;) {
        size_t index = part_at(c->offset + done), got = 0;
        size_t len = (size_t)(c->len - done < part_size(index) ? c->len - done : part_size(index));
        void *block = memory_take(d->memory, len, CARRY_WAIT_MS);
        if (!block)
            return err_set(err, ERR_OVERLOADED, "no memory for a part within %d s (RAC_MEMORY)",
                           CARRY_WAIT_MS / 1000);
        int result = s3_get(d->s3, c->path.bucket, c->path.key, c->offset + done, len, etag, d->ending, block,
                            &got, NULL, err);
        if (result == 0 && got != len)
            result =
                err_set(err, ERR_STALE, "s3://%s/%s is shorter than it was", c->path.bucket, c->path.key);
        struct iovec iov = {block, len};
        if (result == 0)
            result = s3_upload_part(c->w->upload, (unsigned)index + 1, &iov, 1, d->ending, err);
        memory_give(d->memory, block, len);
        if (result < 0)
            return -1;
        done += len;
    }
    return 0;
}

static void copy_run(struct pool_job *job)
{
    struct copy *c = (struct copy *)job; /* the first member */
    struct writer *w = c->w;
    struct err err = {0};
    int result = s3_upload_copy_part(w->upload, c->number, c->path.bucket, c->path.key, c->offset, c->len,
                                     w->base_etag[0] ? w->base_etag : NULL, w->d->ending, &err);
    /* Not every server can do that, and Ceph looks for another object if there is a '%' in the name. Whether
     * the object is gone for good, reading it shows. */
    if (result < 0 && (err.code == ERR_NOT_FOUND || err.code == ERR_STALE || err.code == ERR_UNSUPPORTED))
        result = carry(c, &err);
    if (result < 0 && err.code == ERR_NOT_FOUND)
        err.code = ERR_STALE;
    pthread_mutex_lock(&w->lock);
    if (result < 0)
        w->fault = err;
    --w->sending;
    pthread_cond_broadcast(&w->sent);
    pthread_mutex_unlock(&w->lock);
    free(c);
}

static bool all_base(const struct writer *w, size_t i)
{
    const struct part *p = i < w->parts_len ? w->parts[i] : NULL;
    return !(p && (p->dirty || p->sent)) && part_offset(i) + writer_part_len(w, i) <= w->base_size;
}

/* Copies the run of parts that begins at `first`; returns the first one behind it. */
static size_t copy_run_of_parts(struct writer *w, size_t first, size_t end, const struct inode_path *path)
{
    size_t i = first;
    uint64_t len = 0;
    while (i < end && all_base(w, i) && (len == 0 || len + part_size(i) <= COPY_MAX))
        len += writer_part_len(w, i++);
    wait_turn_to_send(w);
    struct copy *c = mem_new(struct copy);
    c->w = w;
    c->number = (unsigned)first + 1;
    c->offset = part_offset(first);
    c->len = len;
    c->path = *path;
    c->job.run = copy_run;
    ++w->sending;
    pool_run(w->d->pool, &c->job);
    return i;
}

/* -- the commit ------------------------------------------------------------------------------------- */
static int commit_parts(struct writer *w, char *ret_etag, struct err *err)
{
    struct inode_path path;
    if (need_upload(w, err) < 0 || path_of(w, &path, err) < 0)
        return -1;
    size_t end = part_at(w->size - 1) + 1;
    for (size_t i = 0; i < end && w->fault.code == ERR_NONE;) {
        if (all_base(w, i)) {
            i = copy_run_of_parts(w, i, end, &path);
            continue;
        }
        struct part *p = writer_part(w, i++);
        if (!p->sent &&
            (writer_local_fill(w, p, writer_part_len(w, p->index), err) < 0 || writer_send(w, p, err) < 0)) {
            writer_wait_sent(w);
            return -1;
        }
    }
    writer_wait_sent(w);
    if (w->fault.code != ERR_NONE) {
        *err = w->fault;
        return -1;
    }
    return s3_upload_complete(w->upload, w->d->ending, ret_etag, err);
}

static int commit_whole(struct writer *w, char *ret_etag, struct err *err)
{
    struct inode_path path;
    if (path_of(w, &path, err) < 0)
        return -1;
    cleanup_s3_meta struct s3_meta meta = {0};
    struct s3_put_options options;
    put_options(w, &meta, &options);
    if (w->size == 0)
        return s3_put(w->d->s3, path.bucket, path.key, NULL, 0, &options, w->d->ending, ret_etag, err);
    struct part *p = writer_part(w, 0);
    if (writer_local_fill(w, p, w->size, err) < 0)
        return -1;
    void *map = NULL;
    if (!p->mem) {
        map = spill_map(w->spill, 0, (size_t)w->size, err);
        if (!map)
            return -1;
    }
    struct iovec iov = {p->mem ? p->mem : map, (size_t)w->size};
    int result = s3_put(w->d->s3, path.bucket, path.key, &iov, 1, &options, w->d->ending, ret_etag, err);
    spill_unmap(map, (size_t)w->size);
    return result;
}

/* What is stored now is the base of what comes. */
static void become_base(struct writer *w, const char *etag)
{
    s3_upload_free(w->upload);
    w->upload = NULL;
    w->dirty = false;
    w->exclusive = false;
    w->fault = (struct err){0};
    w->base_size = w->size;
    for (size_t i = 0; i < w->parts_len; ++i) {
        struct part *p = w->parts[i];
        if (!p)
            continue;
        p->dirty = p->sent = p->lost = false;
        /* What is small, or kept for reading, serves on: it is what the base has, too. */
        if (p->mem ? p->mem_cap >= MEMORY_BLOCK : !w->keep)
            writer_local_cut(w, p, 0);
    }
    inodes_lock(&w->d->inodes);
    struct inode *inode = w->inode;
    inode->attr.size = w->size;
    memcpy(inode->attr.etag, etag, sizeof inode->attr.etag);
    /* The kernel put what was written into the pages it had: are those of the version that was written over?
     */
    bool pages_of_base = !w->base_etag[0] || strcmp(inode->cached_etag, w->base_etag) == 0;
    memcpy(inode->cached_etag, pages_of_base ? etag : "", pages_of_base ? sizeof inode->cached_etag : 1);
    inode->fresh_us = clock_mono_us();
    inode->unstored = false;
    ++inode->commits;
    if (!inode->detached)
        inode_note_change(inode->parent, inode->name, &inode->attr);
    inodes_unlock(&w->d->inodes);
    memcpy(w->base_etag, etag, sizeof w->base_etag);
}

/* Also if its handle was opened while the name was on its way out: what is there now is another file. */
static bool has_no_name(struct writer *w)
{
    inodes_lock(&w->d->inodes);
    bool detached = w->inode->detached;
    inodes_unlock(&w->d->inodes);
    return detached || w->unlinked;
}

int writer_commit_locked(struct writer *w, struct err *err)
{
    writer_wait_sent(w);
    if (!w->dirty || has_no_name(w))
        return 0;
    if (w->lost) {
        *err = w->fault;
        return -1;
    }
    /* A part that could not be sent is still here: this is its second chance. */
    w->fault = (struct err){0};
    char etag[S3_ETAG_MAX + 1] = "";
    bool whole = !w->upload && w->size <= part_size(0);
    w->committing = true;
    int result = whole ? commit_whole(w, etag, err) : commit_parts(w, etag, err);
    w->committing = false;
    if (result < 0) {
        struct err fault = *err;
        writer_abandon(w);
        w->fault = w->lost ? fault : (struct err){0};
        return -1;
    }
    become_base(w, etag);
    return 0;
}
