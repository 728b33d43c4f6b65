// SPDX-License-Identifier: Apache-2.0
#include "fuse-layer/s3fs/ops.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "fuse-layer/s3fs/resolve.h"
#include "fuse-layer/s3fs/writer.h"

/* Copies of one folder's rename that run at the same time. */
#define COPIES_MAX 16

struct place {
    struct inode *folder;
    const char *name;
    struct inode_path path;
};

static int file_place(struct driver *d, struct place *p, bool folder, struct err *err)
{
    inodes_lock(&d->inodes);
    bool possible = inode_child_path(p->folder, p->name, folder, &p->path);
    inodes_unlock(&d->inodes);
    return possible ? 0 : err_set(err, ERR_NAME_INVALID, "%s: longer than a key may be", p->name);
}

/* -- a file ----------------------------------------------------------------------------------------- */
static int copy_file(struct driver *d, const struct place *from, const struct place *to,
                     const struct inode_attr *attr, char *ret_etag, struct err *err)
{
    struct s3_object source = {.key = (char *)(uintptr_t)from->path.key, .size = attr->size};
    memcpy(source.etag, attr->etag, sizeof source.etag);
    if (s3_copy(d->s3, from->path.bucket, &source, to->path.bucket, to->path.key, NULL, d->ending, ret_etag,
                err) < 0)
        return -1;
    return s3_delete(d->s3, from->path.bucket, from->path.key, d->ending, err);
}

/* Locked. The tree says what the server has by now. */
static void moved(struct driver *d, const struct place *from, const struct place *to, struct inode_attr *attr)
{
    inode_note_change(from->folder, from->name, NULL);
    inode_note_change(to->folder, to->name, attr);
    struct inode *inode = inode_child(from->folder, from->name);
    if (!inode) {
        inode = inode_child(to->folder, to->name);
        if (inode)
            inode_detach(&d->inodes, inode);
        return;
    }
    inode_move(&d->inodes, inode, to->folder, to->name);
    if (!inode_is_folder(inode)) {
        if (strcmp(inode->cached_etag, inode->attr.etag) == 0)
            memcpy(inode->cached_etag, attr->etag, sizeof inode->cached_etag);
        memcpy(inode->attr.etag, attr->etag, sizeof inode->attr.etag);
        ++inode->commits; /* handles go on with the copy: its bytes are the same */
    }
    inode->fresh_us = clock_mono_us();
}

static int rename_file(struct driver *d, struct place *from, struct place *to, struct inode_attr *attr,
                       struct err *err)
{
    if (file_place(d, from, false, err) < 0 || file_place(d, to, false, err) < 0)
        return -1;
    inodes_lock(&d->inodes);
    struct inode *inode = inode_child(from->folder, from->name), *there = inode_child(to->folder, to->name);
    struct writer *w = inode ? writer_of(inode, false) : NULL;
    struct writer *replaced = there && there != inode ? writer_of(there, false) : NULL;
    inodes_unlock(&d->inodes);
    if (replaced)
        writer_unlink(replaced, true);
    int result = w ? writer_move(w, err) : 0;
    bool held = w && result == 0;
    if (held) { /* it has just become another version, perhaps */
        inodes_lock(&d->inodes);
        *attr = inode->attr;
        inodes_unlock(&d->inodes);
    }
    char etag[S3_ETAG_MAX + 1] = "";
    if (result == 0)
        result = copy_file(d, from, to, attr, etag, err);
    if (result == 0) {
        memcpy(attr->etag, etag, sizeof attr->etag);
        inodes_lock(&d->inodes);
        moved(d, from, to, attr);
        inodes_unlock(&d->inodes);
    }
    if (held)
        writer_moved(w, result == 0 ? etag : NULL);
    if (w)
        writer_close(w);
    if (replaced && result < 0)
        writer_unlink(replaced, false);
    if (replaced)
        writer_close(replaced);
    return result;
}

/* -- a folder --------------------------------------------------------------------------------------- */
struct batch {
    struct driver *d;
    const struct place *from, *to;
    pthread_mutex_t lock;
    pthread_cond_t done;
    unsigned running;
    struct err fault; /* the first one; code 0: none */
    char **copied;    /* keys below `to`, to be taken back after a failure */
    size_t copied_len;
};

struct batch_copy {
    struct pool_job job;
    struct batch *batch;
    struct s3_object source;
};

static void copy_one(struct pool_job *job)
{
    struct batch_copy *c = (struct batch_copy *)job; /* the first member */
    struct batch *b = c->batch;
    struct err err = {0};
    cleanup_free char *key = mem_printf("%s%s", b->to->path.key, c->source.key + strlen(b->from->path.key));
    int result = strlen(key) > S3_KEY_MAX
                     ? err_set(&err, ERR_NAME_INVALID, "%s: longer than a key may be", key)
                     : s3_copy(b->d->s3, b->from->path.bucket, &c->source, b->to->path.bucket, key, NULL,
                               b->d->ending, NULL, &err);
    pthread_mutex_lock(&b->lock);
    if (result == 0)
        b->copied[b->copied_len++] = steal_ptr(&key);
    else if (b->fault.code == ERR_NONE)
        b->fault = err;
    --b->running;
    pthread_cond_signal(&b->done);
    pthread_mutex_unlock(&b->lock);
    s3_object_free(&c->source);
    free(c);
}

static bool failed(struct batch *b)
{
    pthread_mutex_lock(&b->lock);
    bool failed = b->fault.code != ERR_NONE;
    pthread_mutex_unlock(&b->lock);
    return failed;
}

static void start_copy(struct batch *b, struct s3_object *source)
{
    struct batch_copy *c = mem_new(struct batch_copy);
    c->batch = b;
    c->source = *source;
    *source = (struct s3_object){0};
    c->job.run = copy_one;
    pthread_mutex_lock(&b->lock);
    while (b->running >= COPIES_MAX)
        pthread_cond_wait(&b->done, &b->lock);
    ++b->running;
    pthread_mutex_unlock(&b->lock);
    pool_run(b->d->pool, &c->job);
}

static int delete_keys(struct driver *d, const char *bucket, char **keys, size_t len, struct err *err)
{
    for (size_t i = 0; i < len; i += S3_DELETE_MAX) {
        size_t n = len - i < S3_DELETE_MAX ? len - i : S3_DELETE_MAX;
        if (s3_delete_many(d->s3, bucket, (const char *const *)keys + i, n, d->ending, err) != 0)
            return -1;
    }
    return 0;
}

/* All objects below the folder go to their new keys: copied page by page, and only when the last one is there
 * the old ones are deleted. A failure before that takes the copies back. */
static int copy_folder(struct driver *d, const struct place *from, const struct place *to, struct err *err)
{
    struct batch b = {.d = d, .from = from, .to = to};
    pthread_mutex_init(&b.lock, NULL);
    pthread_cond_init(&b.done, NULL);
    cleanup_free char *next = NULL;
    char **sources = NULL;
    size_t len = 0;
    int result = 0;
    do {
        cleanup_s3_page struct s3_page page = {0};
        result =
            s3_list(d->s3, from->path.bucket, from->path.key, NULL, next, S3_LIST_MAX, d->ending, &page, err);
        if (result < 0)
            break;
        free(next);
        next = steal_ptr(&page.next);
        sources = mem_realloc(sources, (len + page.objects_len + 1) * sizeof *sources);
        pthread_mutex_lock(&b.lock);
        b.copied = mem_realloc(b.copied, (len + page.objects_len + 1) * sizeof *b.copied);
        pthread_mutex_unlock(&b.lock);
        for (size_t i = 0; i < page.objects_len; ++i) {
            sources[len++] = mem_strdup(page.objects[i].key);
            start_copy(&b, &page.objects[i]);
        }
    } while (next && !failed(&b));
    pthread_mutex_lock(&b.lock);
    while (b.running)
        pthread_cond_wait(&b.done, &b.lock);
    pthread_mutex_unlock(&b.lock);
    if (result == 0 && b.fault.code != ERR_NONE) {
        *err = b.fault;
        result = -1;
    }
    struct err ignored;
    if (result < 0)
        (void)delete_keys(d, to->path.bucket, b.copied, b.copied_len, &ignored);
    else
        result = delete_keys(d, from->path.bucket, sources, len, err);
    s3_names_free(b.copied, b.copied_len);
    s3_names_free(sources, len);
    pthread_cond_destroy(&b.done);
    pthread_mutex_destroy(&b.lock);
    return result;
}

/* Locked. The next writer below the folder, with a handle; NULL: there is none that is dirty. */
static struct writer *dirty_below(struct inode *folder)
{
    struct inode *child, *next;
    HASH_ITER (hh_name, folder->children, child, next) {
        struct writer *w = inode_is_folder(child) ? dirty_below(child) : writer_of(child, true);
        if (w)
            return w;
    }
    return NULL;
}

static int commit_below(struct driver *d, struct place *from, struct err *err)
{
    for (;;) {
        inodes_lock(&d->inodes);
        struct inode *folder = inode_child(from->folder, from->name);
        struct writer *w = folder ? dirty_below(folder) : NULL;
        inodes_unlock(&d->inodes);
        if (!w)
            return 0;
        int result = writer_commit(w, err);
        writer_close(w);
        if (result < 0)
            return -1;
    }
}

/* Locked. Versions below may have changed their ETags by being copied. */
static void expire_below(struct inode *folder)
{
    struct inode *child, *next;
    HASH_ITER (hh_name, folder->children, child, next) {
        child->fresh_us = 0;
        expire_below(child);
    }
    listing_unref(folder->listing);
    folder->listing = NULL;
}

/* Returns an errno, with *err set if it came from S3. */
static int rename_folder(struct driver *d, struct place *from, struct place *to, struct inode_attr *attr)
{
    struct err err = {0};
    if (file_place(d, from, true, &err) < 0 || file_place(d, to, true, &err) < 0)
        return ops_errno(&err);
    bool empty = false;
    if (strcmp(from->path.bucket, to->path.bucket) == 0 &&
        strncmp(to->path.key, from->path.key, strlen(from->path.key)) == 0)
        return EINVAL; /* into itself */
    if (resolve_is_empty(d, &to->path, d->ending, &empty, &err) < 0)
        return ops_errno(&err);
    if (!empty)
        return ENOTEMPTY;
    if (commit_below(d, from, &err) < 0 || copy_folder(d, from, to, &err) < 0)
        return ops_errno(&err);
    inodes_lock(&d->inodes);
    moved(d, from, to, attr);
    struct inode *inode = inode_child(to->folder, to->name);
    if (inode)
        expire_below(inode);
    inodes_unlock(&d->inodes);
    return 0;
}

static int rename_any(fuse_req_t req, struct place *from, struct place *to, unsigned flags)
{
    struct driver *d = ops_driver(req);
    if (flags & ~(unsigned)RENAME_NOREPLACE)
        return EINVAL;
    int refused = ops_may_change(d, from->folder);
    if (!refused)
        refused = ops_may_change(d, to->folder);
    if (refused)
        return refused;
    struct inode_attr attr, there;
    uint64_t fresh_us = 0;
    struct err err = {0};
    if (resolve_child(d, from->folder, from->name, false, d->ending, &attr, &fresh_us, &err) < 0)
        return ops_errno(&err);
    if (flags & RENAME_NOREPLACE) {
        if (resolve_child(d, to->folder, to->name, true, d->ending, &there, &fresh_us, &err) == 0)
            return EEXIST;
        if (err.code != ERR_NOT_FOUND)
            return ops_errno(&err);
    }
    if (from->folder == to->folder && strcmp(from->name, to->name) == 0)
        return 0;
    if (attr.kind <= INODE_FOLDER)
        return rename_folder(d, from, to, &attr);
    int result = rename_file(d, from, to, &attr, &err);
    /* Another client was faster than the attributes are old: its version is what is renamed. */
    if (result < 0 && err.code == ERR_STALE &&
        resolve_child(d, from->folder, from->name, true, d->ending, &attr, &fresh_us, &err) == 0)
        result = rename_file(d, from, to, &attr, &err);
    return result < 0 ? ops_errno(&err) : 0;
}

void ops_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                const char *new_name, unsigned flags)
{
    struct driver *d = ops_driver(req);
    struct place from = {.folder = ops_inode(d, parent), .name = name};
    struct place to = {.folder = ops_inode(d, new_parent), .name = new_name};
    (void)fuse_reply_err(req, rename_any(req, &from, &to, flags));
}
