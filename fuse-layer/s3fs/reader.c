// SPDX-License-Identifier: Apache-2.0
#include "fuse-layer/s3fs/reader.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

#include "common/clock.h"
#include "common/mem.h"
#include "fuse-layer/s3fs/prefetch.h"

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)
/* Kept, and tolerated, behind the reads: the kernel has two read-aheads of 256 KiB under way beside what is
 * read, and their threads here may be late by as much. With 256 KiB one read in a thousand came too late on a
 * busy machine, and each cost its window. */
#define BEHIND         (1 * MIB)
#define BEYOND         (512 * KIB) /* tolerated before them */
#define STREAM_FROM    (384 * KIB)
#define WINDOW_FIRST   (1 * MIB + 128 * KIB)
#define WINDOW_MAX     (24 * MIB)
#define MOVING_LOOK_US (20 * 1000) /* how often a read that a rename is in the way of looks for its end */
#define CHUNK_MIN      (256 * KIB)

enum chunk_state { CHUNK_LOADING, CHUNK_READY, CHUNK_FAILED };

struct reader_chunk {
    struct pool_job job;
    struct reader *reader;
    uint64_t offset;
    size_t len;
    char *data;
    enum chunk_state state;
    bool dropped;  /* out of the list; freed by the last that uses it */
    unsigned refs; /* views, and the job */
    struct err err;
    struct inode_path path;
    char etag[S3_ETAG_MAX + 1];
    struct cancel *cancel; /* of its request; NULL for the head */
    struct reader_chunk *prev, *next;
};

struct reader {
    struct driver *d;
    struct inode *inode;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a chunk came, or a job ended */
    /* The pinned version. */
    char etag[S3_ETAG_MAX + 1];
    uint64_t size, commits, foreign; /* inode->foreign; UINT64_MAX: another version than the inode knows of */
    /* Its first bytes; all of a small object. */
    struct reader_chunk *head;
    struct reader_chunk *chunks; /* in the order of their offsets, without gaps */
    uint64_t run, expect;        /* where reads in order began, and where the next one is to begin */
    uint64_t window_end, window; /* how far we asked, how far ahead we want to be */
    uint64_t chunk_next;         /* length of the next chunk */
    bool streaming;              /* counted in d->streams */
    bool counted;                /* in inode->readers */
    unsigned jobs, views;        /* that use us: closing waits for them */
};

static void chunk_unref(struct reader_chunk *c)
{
    if (--c->refs || !c->dropped)
        return;
    memory_give(c->reader->d->memory, c->data, c->len);
    cancel_free(c->cancel);
    free(c);
}

static void chunk_drop(struct reader_chunk *c)
{
    if (c->state == CHUNK_LOADING && c->cancel)
        cancel_fire(c->cancel);
    c->dropped = true;
    ++c->refs;
    chunk_unref(c);
}

static struct reader_chunk *chunk_new(struct reader *r, uint64_t offset, size_t len)
{
    char *data = memory_try(r->d->memory, len);
    if (!data)
        return NULL;
    struct reader_chunk *c = mem_new(struct reader_chunk);
    c->reader = r;
    c->offset = offset;
    c->len = len;
    c->data = data;
    return c;
}

static void set_streaming(struct reader *r, bool on)
{
    if (r->streaming != on)
        (void)(on ? atomic_fetch_add(&r->d->streams, 1) : atomic_fetch_sub(&r->d->streams, 1));
    r->streaming = on;
}

/* Forgets the window, and ends what is under way. */
static void drop_window(struct reader *r)
{
    struct reader_chunk *c, *next;
    DL_FOREACH_SAFE (r->chunks, c, next) {
        DL_DELETE(r->chunks, c);
        chunk_drop(c);
    }
    r->window = 0;
    set_streaming(r, false);
}

/* The version that is pinned is gone: not "no such file" to who has it open. */
static int stale(struct err *err)
{
    if (err->code == ERR_NOT_FOUND)
        err->code = ERR_STALE;
    return -1;
}

static int get(struct reader *r, const struct inode_path *path, const char *etag, uint64_t offset, size_t len,
               struct cancel *cancel, void *to, struct err *err)
{
    size_t got = 0;
    if (s3_get(r->d->s3, path->bucket, path->key, offset, len, etag[0] ? etag : NULL, cancel, to, &got, NULL,
               err) < 0)
        return stale(err);
    if (got != len)
        return err_set(err, ERR_STALE, "s3://%s/%s is shorter than it was", path->bucket, path->key);
    return 0;
}

static void chunk_run(struct pool_job *job)
{
    struct reader_chunk *c = (struct reader_chunk *)job; /* the first member */
    struct reader *r = c->reader;
    struct err err = {0};
    int result = get(r, &c->path, c->etag, c->offset, c->len, c->cancel, c->data, &err);
    pthread_mutex_lock(&r->lock);
    c->state = result == 0 ? CHUNK_READY : CHUNK_FAILED;
    c->err = err;
    chunk_unref(c);
    --r->jobs;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

/* Half of the share, as a power of two: such blocks of memory are kept for the next chunk. */
static uint64_t share_chunk(uint64_t share)
{
    uint64_t len = CHUNK_MIN;
    while (len * 2 <= share / 2)
        len *= 2;
    return len;
}

/* With the lock: asks ahead until the window is full, or the memory. */
static void fill_window(struct reader *r)
{
    set_streaming(r, true);
    uint64_t share = memory_limit(r->d->memory) / 4 * 3 / atomic_load(&r->d->streams);
    if (r->window == 0) {
        r->window = r->chunk_next = WINDOW_FIRST;
        r->window_end = r->head && r->head->len > r->expect ? r->head->len : r->expect;
    }
    if (!r->chunks && r->window_end < r->expect) /* there was no memory for a while */
        r->window_end = r->expect;
    /* More is asked for when half of it is used up, and twice as much then. */
    if (r->window_end > r->expect + r->window / 2)
        return;
    struct inode_path path;
    bool have_path = false;
    while (r->window_end < r->size && r->window_end < r->expect + r->window) {
        uint64_t len = r->chunk_next;
        if (len > share / 2)
            len = share_chunk(share);
        if (len > r->size - r->window_end)
            len = r->size - r->window_end;
        struct reader_chunk *c = chunk_new(r, r->window_end, (size_t)len);
        if (!c)
            return;
        if (!have_path) {
            inodes_lock(&r->d->inodes);
            have_path = inode_path(r->inode, &path);
            inodes_unlock(&r->d->inodes);
        }
        c->cancel = cancel_new();
        c->path = path;
        memcpy(c->etag, r->etag, sizeof c->etag);
        c->refs = 1;
        c->job.run = chunk_run;
        DL_APPEND(r->chunks, c);
        ++r->jobs;
        r->window_end += len;
        r->chunk_next = r->chunk_next * 2 < MEMORY_BLOCK ? r->chunk_next * 2 : MEMORY_BLOCK;
        pool_run(r->d->pool, &c->job);
    }
    r->window = r->window * 2 < WINDOW_MAX ? r->window * 2 : WINDOW_MAX;
    if (r->window > share)
        r->window = share > WINDOW_FIRST ? share : WINDOW_FIRST;
}

/* With the lock: chunks that lie behind the reads are not needed any more. */
static void drop_behind(struct reader *r)
{
    struct reader_chunk *c, *next;
    DL_FOREACH_SAFE (r->chunks, c, next) {
        if (c->state == CHUNK_LOADING || c->offset + c->len + BEHIND > r->expect)
            break;
        DL_DELETE(r->chunks, c);
        chunk_drop(c);
    }
    if (r->head && r->size > READER_SMALL && r->head->len + BEHIND < r->expect) {
        chunk_drop(r->head);
        r->head = NULL;
    }
}

static struct reader_chunk *find(struct reader *r, uint64_t at)
{
    if (r->head && at < r->head->len)
        return r->head;
    struct reader_chunk *c;
    DL_FOREACH (r->chunks, c)
        if (at >= c->offset && at < c->offset + c->len)
            return c;
    return NULL;
}

enum gathered { GATHERED, MISSING, LOADING, FAILED };

/* With the lock: the view of [offset, end) if all of it is here. */
static enum gathered gather(struct reader *r, uint64_t offset, uint64_t end, struct reader_view *view,
                            struct reader_chunk **ret_failed)
{
    struct reader_chunk *parts[4];
    uint64_t begins[4];
    int len = 0;
    enum gathered worst = GATHERED;
    for (uint64_t at = offset; at < end;) {
        struct reader_chunk *c = find(r, at);
        if (!c || len == 4)
            return MISSING;
        if (c->state == CHUNK_FAILED) {
            *ret_failed = c;
            return FAILED;
        }
        if (c->state == CHUNK_LOADING)
            worst = LOADING;
        begins[len] = at;
        parts[len++] = c;
        at = c->offset + c->len;
    }
    if (worst != GATHERED)
        return worst;
    for (int i = 0; i < len; ++i) {
        struct reader_chunk *c = parts[i];
        uint64_t from = begins[i] - c->offset;
        uint64_t to = end < c->offset + c->len ? end - c->offset : c->len;
        view->iov[i] = (struct iovec){c->data + from, (size_t)(to - from)};
        view->held[i] = c;
        ++c->refs;
    }
    view->iov_len = len;
    return GATHERED;
}

/* With the lock: does this read go on where one before it ended? Remembers it either way. */
static bool note_read(struct reader *r, uint64_t offset, uint64_t end)
{
    bool near = offset + BEHIND >= r->expect && offset <= r->expect + BEYOND;
    if (near) {
        if (end > r->expect)
            r->expect = end;
    } else {
        drop_window(r);
        r->run = offset;
        r->expect = end;
    }
    /* The kernel makes two or three requests of one read somewhere: that is no stream yet. */
    return near && (r->run == 0 || r->expect - r->run >= STREAM_FROM);
}

/* Waits for a chunk, unlocked meanwhile; looks at the caller's cancel twice a second. */
static int wait_changed(struct reader *r, struct cancel *cancel, struct err *err)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += 500000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        ++until.tv_sec;
    }
    (void)pthread_cond_timedwait(&r->changed, &r->lock, &until);
    return cancel && cancel_fired(cancel) ? err_set(err, ERR_CANCELLED, "interrupted") : 0;
}

/* Just these bytes, by the caller's thread. */
static int read_single(struct reader *r, uint64_t offset, uint64_t end, struct cancel *cancel,
                       struct reader_view *view, struct err *err)
{
    struct inode_path path;
    char etag[S3_ETAG_MAX + 1];
    memcpy(etag, r->etag, sizeof etag);
    pthread_mutex_unlock(&r->lock);
    inodes_lock(&r->d->inodes);
    bool possible = inode_path(r->inode, &path);
    inodes_unlock(&r->d->inodes);
    size_t len = (size_t)(end - offset);
    view->own = mem_alloc(len);
    int result = possible ? get(r, &path, etag, offset, len, cancel, view->own, err)
                          : err_set(err, ERR_NAME_INVALID, "%s: longer than a key may be", path.key);
    pthread_mutex_lock(&r->lock);
    if (result < 0)
        return -1;
    view->iov[0] = (struct iovec){view->own, len};
    view->iov_len = 1;
    return 0;
}

/* With the lock. A chunk's failure is the failure of one read that waited for it; the next one asks again. */
static int take_failure(struct reader *r, struct reader_chunk *failed, struct err *err)
{
    *err = failed->err;
    drop_window(r);
    return -1;
}

static int read_locked(struct reader *r, uint64_t offset, uint64_t end, struct cancel *cancel,
                       struct reader_view *view, struct err *err)
{
    if (note_read(r, offset, end)) {
        drop_behind(r);
        fill_window(r);
    }
    for (;;) {
        struct reader_chunk *failed;
        switch (gather(r, offset, end, view, &failed)) {
        case GATHERED:
            return 0;
        case MISSING:
            return read_single(r, offset, end, cancel, view, err);
        case LOADING:
            if (wait_changed(r, cancel, err) < 0)
                return -1;
            break;
        case FAILED:
            return take_failure(r, failed, err);
        }
    }
}

/* With the inodes' lock. */
static bool adopt_commits(struct reader *r)
{
    const struct inode *inode = r->inode;
    if (r->commits == inode->commits)
        return false;
    r->commits = inode->commits;
    r->size = inode->attr.size;
    memcpy(r->etag, inode->attr.etag, sizeof r->etag);
    return true;
}

static void drop_head(struct reader *r)
{
    if (r->head)
        chunk_drop(r->head);
    r->head = NULL;
}

/* With the lock: what this mount wrote to the file since is what is read from here on, unless it was written
 * over another version than this handle's. */
static int follow_commits(struct reader *r, struct err *err)
{
    inodes_lock(&r->d->inodes);
    bool other = r->commits != r->inode->commits && r->foreign != r->inode->foreign;
    bool adopted = !other && adopt_commits(r);
    inodes_unlock(&r->d->inodes);
    if (other)
        return err_set(err, ERR_STALE, "written over another version than the one that is read");
    if (adopted) {
        drop_window(r);
        drop_head(r);
    }
    return 0;
}

static int read_once(struct reader *r, uint64_t offset, size_t len, struct cancel *cancel,
                     struct reader_view *ret, struct err *err)
{
    struct reader_view view = {0};
    pthread_mutex_lock(&r->lock);
    int result = follow_commits(r, err);
    if (result == 0 && offset < r->size && len) {
        uint64_t end = len < r->size - offset ? offset + len : r->size;
        result = read_locked(r, offset, end, cancel, &view, err);
    }
    r->views += result == 0;
    pthread_mutex_unlock(&r->lock);
    if (result < 0)
        free(view.own);
    else
        *ret = view;
    return result;
}

static bool is_moving(struct reader *r, uint64_t *ret_commits)
{
    inodes_lock(&r->d->inodes);
    *ret_commits = r->inode->commits;
    bool moving = r->inode->moving > 0;
    inodes_unlock(&r->d->inodes);
    return moving;
}

/* Was the object not where it was looked for because a rename of this mount took it away? True when that one
 * is through, and has said where it is. */
static bool wait_moved(struct reader *r, uint64_t before, struct cancel *cancel)
{
    for (uint64_t commits;;) {
        bool moving = is_moving(r, &commits);
        if (commits != before || !moving || cancel_fired(cancel) || cancel_fired(r->d->ending))
            return commits != before;
        (void)usleep(MOVING_LOOK_US);
    }
}

int reader_read(struct reader *r, uint64_t offset, size_t len, struct cancel *cancel, struct reader_view *ret,
                struct err *err)
{
    uint64_t commits;
    int result;
    do {
        (void)is_moving(r, &commits);
        result = read_once(r, offset, len, cancel, ret, err);
    } while (result < 0 && err->code == ERR_STALE && wait_moved(r, commits, cancel));
    return result;
}

const char *reader_etag(const struct reader *r)
{
    return r->etag;
}

void reader_view_drop(struct reader *r, struct reader_view *view)
{
    pthread_mutex_lock(&r->lock);
    for (int i = 0; i < view->iov_len; ++i)
        if (view->held[i])
            chunk_unref(view->held[i]);
    --r->views;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    free(view->own);
    *view = (struct reader_view){0};
}

/* All of a small object that is here already. */
static bool prefetched_head(struct reader *r, struct cancel *cancel, struct s3_object *ret_info,
                            uint64_t *ret_us)
{
    char *data;
    size_t len;
    prefetch_note_open(r->d->prefetch, r->inode);
    if (!prefetch_take(r->d->prefetch, r->inode, cancel, &data, &len, ret_info, ret_us))
        return false;
    struct reader_chunk *c = mem_new(struct reader_chunk);
    c->reader = r;
    c->len = len;
    c->data = data;
    c->state = CHUNK_READY;
    r->head = c;
    return true;
}

/* The opening request, with the version it brings. */
static int open_head(struct reader *r, const struct inode_path *path, uint64_t size, struct cancel *cancel,
                     struct s3_object *ret_info, uint64_t *ret_us, struct err *err)
{
    if (prefetched_head(r, cancel, ret_info, ret_us))
        return 0;
    /* One byte more than none: what was empty may have become something. */
    size_t want = (size_t)(size > READER_SMALL ? READER_HEAD : size ? size : 1), got = 0;
    struct reader_chunk *c = chunk_new(r, 0, want);
    if (!c) { /* no memory for it now: the version alone */
        char byte;
        return s3_get(r->d->s3, path->bucket, path->key, 0, 1, NULL, cancel, &byte, &got, ret_info, err);
    }
    int result =
        s3_get(r->d->s3, path->bucket, path->key, 0, want, NULL, cancel, c->data, &got, ret_info, err);
    if (result == 0 && got == want) {
        c->state = CHUNK_READY;
        r->head = c;
    } else {
        chunk_drop(c);
    }
    return result;
}

int reader_open(struct driver *d, struct inode *inode, struct cancel *cancel, struct reader **ret,
                struct err *err)
{
    struct reader *r = mem_new(struct reader);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&r->changed, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&r->lock, NULL);
    r->d = d;
    r->inode = inode;

    struct inode_path path;
    inodes_lock(&d->inodes);
    uint64_t size = inode->attr.size, started_us = clock_mono_us();
    bool possible = inode_path(inode, &path), gone = inode->detached;
    r->commits = inode->commits;
    inodes_unlock(&d->inodes);
    struct s3_object info = {0};
    int result = gone ? err_set(err, ERR_STALE, "s3://%s/%s is another file by now", path.bucket, path.key)
                 : possible ? open_head(r, &path, size, cancel, &info, &started_us, err)
                            : err_set(err, ERR_NAME_INVALID, "%s: longer than a key may be", path.key);
    if (result < 0) {
        reader_close(r);
        return -1;
    }
    r->size = info.size;
    memcpy(r->etag, info.etag, sizeof r->etag);
    inodes_lock(&d->inodes);
    if (!inode->writer && inode->commits == r->commits &&
        !(inode->readers && strcmp(inode->attr.etag, info.etag) != 0)) {
        struct inode_attr now = inode->attr;
        now.size = info.size;
        if (!now.mode) /* else it is the one the metadata says */
            now.mtime_ms = info.mtime_ms;
        memcpy(now.etag, info.etag, sizeof now.etag);
        inode_refresh(inode, &now, started_us);
    }
    bool adopted = adopt_commits(r); /* that came while it was opened */
    r->foreign = strcmp(inode->attr.etag, r->etag) == 0 ? inode->foreign : UINT64_MAX;
    ++inode->readers;
    r->counted = true;
    inodes_unlock(&d->inodes);
    if (adopted)
        drop_head(r);
    *ret = r;
    return 0;
}

void reader_close(struct reader *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    drop_window(r);
    /* A read that was answered may still hold its view: the kernel does not wait for that to close the file.
     */
    while (r->jobs || r->views)
        pthread_cond_wait(&r->changed, &r->lock);
    if (r->head)
        chunk_drop(r->head);
    pthread_mutex_unlock(&r->lock);
    if (r->counted) {
        inodes_lock(&r->d->inodes);
        --r->inode->readers;
        inodes_unlock(&r->d->inodes);
    }
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
    free(r);
}
