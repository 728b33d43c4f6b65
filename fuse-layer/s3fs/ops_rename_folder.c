// SPDX-License-Identifier: Apache-2.0
#include "fuse-layer/s3fs/ops_rename.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/mem.h"
#include "fuse-layer/s3fs/resolve.h"
#include "fuse-layer/s3fs/writer.h"

/* Copies that run at the same time. */
#define COPIES_MAX 16

/* -- what is open below ----------------------------------------------------------------------------- */
/* A file that somebody has open: its handles are told which version they hold after the copy. */
struct open_file {
    struct inode *inode;   /* pinned */
    struct writer *writer; /* with a handle of ours; NULL: it is only read */
    bool held;             /* nobody else is at the writer */
    char *key;
    char etag[S3_ETAG_MAX + 1]; /* of the version that was copied */
    char copy[S3_ETAG_MAX + 1]; /* of the copy; "": not known */
};

struct open_files {
    struct open_file *files;
    size_t len;
};

/* Locked. */
static void collect(struct inode *folder, struct open_files *o)
{
    struct inode *child, *next;
    HASH_ITER (hh_name, folder->children, child, next) {
        struct inode_path path;
        if (inode_is_folder(child)) {
            collect(child, o);
        } else if ((child->writer || child->readers) && inode_path(child, &path)) {
            o->files = mem_realloc(o->files, (o->len + 1) * sizeof *o->files);
            o->files[o->len++] = (struct open_file){
                .inode = child, .writer = writer_of(child, false), .key = mem_strdup(path.key)};
            inode_pin(child);
            ++child->moving;
        }
    }
}

static int by_id(const void *a, const void *b)
{
    const struct open_file *x = a, *y = b;
    return x->inode->id < y->inode->id ? -1 : x->inode->id > y->inode->id;
}

/* Stores what is being written and keeps it from changing. Two folders of which one holds the other may be
 * renamed at the same time: writers are taken in one order. */
static int hold(struct driver *d, struct inode *folder, struct open_files *o, struct err *err)
{
    inodes_lock(&d->inodes);
    collect(folder, o);
    inodes_unlock(&d->inodes);
    if (o->len)
        qsort(o->files, o->len, sizeof *o->files, by_id);
    for (size_t i = 0; i < o->len; ++i) {
        struct open_file *f = &o->files[i];
        if (f->writer && writer_move(f->writer, err) < 0)
            return -1;
        f->held = f->writer != NULL;
    }
    inodes_lock(&d->inodes);
    for (size_t i = 0; i < o->len; ++i)
        memcpy(o->files[i].etag, o->files[i].inode->attr.etag, sizeof o->files[i].etag);
    inodes_unlock(&d->inodes);
    return 0;
}

/* done: the copies are what the files are. */
static void release(struct driver *d, struct open_files *o, bool done)
{
    for (size_t i = 0; i < o->len; ++i) {
        struct open_file *f = &o->files[i];
        bool moved = done && f->copy[0];
        inodes_lock(&d->inodes);
        if (moved) {
            if (strcmp(f->inode->cached_etag, f->etag) == 0)
                memcpy(f->inode->cached_etag, f->copy, sizeof f->copy);
            memcpy(f->inode->attr.etag, f->copy, sizeof f->copy);
            ++f->inode->commits;
        }
        --f->inode->moving;
        inodes_unlock(&d->inodes);
        if (f->held)
            writer_moved(f->writer, moved ? f->copy : NULL);
        if (f->writer)
            writer_close(f->writer);
        inodes_lock(&d->inodes);
        inode_unpin(&d->inodes, f->inode);
        inodes_unlock(&d->inodes);
        free(f->key);
    }
    free(o->files);
}

/* -- copies ----------------------------------------------------------------------------------------- */
struct batch {
    struct driver *d;
    const struct ops_place *from, *to;
    struct open_files *open;
    pthread_mutex_t lock;
    pthread_cond_t done;
    unsigned running;
    struct err fault; /* the first one; code 0: none */
};

struct batch_copy {
    struct pool_job job;
    struct batch *batch;
    struct s3_object source;
};

/* With the batch's lock. */
static void note_copy(struct batch *b, const struct s3_object *source, const char *etag)
{
    for (size_t i = 0; i < b->open->len; ++i) {
        struct open_file *f = &b->open->files[i];
        if (strcmp(f->key, source->key) == 0 && strcmp(f->etag, source->etag) == 0)
            memcpy(f->copy, etag, sizeof f->copy);
    }
}

static void copy_one(struct pool_job *job)
{
    struct batch_copy *c = (struct batch_copy *)job; /* the first member */
    struct batch *b = c->batch;
    struct err err = {0};
    char etag[S3_ETAG_MAX + 1] = "";
    cleanup_free char *key = mem_printf("%s%s", b->to->path.key, c->source.key + strlen(b->from->path.key));
    int result = strlen(key) > S3_KEY_MAX
                     ? err_set(&err, ERR_NAME_INVALID, "%s: longer than a key may be", key)
                     : s3_copy(b->d->s3, b->from->path.bucket, &c->source, b->to->path.bucket, key, NULL,
                               b->d->ending, etag, &err);
    pthread_mutex_lock(&b->lock);
    if (result == 0)
        note_copy(b, &c->source, etag);
    else if (b->fault.code == ERR_NONE)
        b->fault = err;
    --b->running;
    pthread_cond_signal(&b->done);
    pthread_mutex_unlock(&b->lock);
    s3_object_free(&c->source);
    free(c);
}

/* False after a failure: nothing more is begun then. Takes what `source` points to. */
static bool start_copy(struct batch *b, struct s3_object *source)
{
    pthread_mutex_lock(&b->lock);
    while (b->running >= COPIES_MAX)
        pthread_cond_wait(&b->done, &b->lock);
    bool go = b->fault.code == ERR_NONE;
    b->running += go;
    pthread_mutex_unlock(&b->lock);
    if (!go)
        return false;
    struct batch_copy *c = mem_new(struct batch_copy);
    c->batch = b;
    c->source = *source;
    *source = (struct s3_object){0};
    c->job.run = copy_one;
    pool_run(b->d->pool, &c->job);
    return true;
}

static int copy_pages(struct batch *b, struct err *err)
{
    const struct inode_path *from = &b->from->path;
    cleanup_free char *next = NULL;
    bool go = true;
    do {
        cleanup_s3_page struct s3_page page = {0};
        if (s3_list(b->d->s3, from->bucket, from->key, NULL, next, S3_LIST_MAX, b->d->ending, &page, err) < 0)
            return -1;
        free(next);
        next = steal_ptr(&page.next);
        for (size_t i = 0; i < page.objects_len && go; ++i)
            go = start_copy(b, &page.objects[i]);
    } while (next && go);
    return 0;
}

static int copy_all(struct driver *d, const struct ops_place *from, const struct ops_place *to,
                    struct open_files *open, struct err *err)
{
    struct batch b = {.d = d, .from = from, .to = to, .open = open};
    pthread_mutex_init(&b.lock, NULL);
    pthread_cond_init(&b.done, NULL);
    int result = copy_pages(&b, err);
    pthread_mutex_lock(&b.lock);
    while (b.running)
        pthread_cond_wait(&b.done, &b.lock);
    pthread_mutex_unlock(&b.lock);
    pthread_cond_destroy(&b.done);
    pthread_mutex_destroy(&b.lock);
    if (result == 0 && b.fault.code != ERR_NONE) {
        *err = b.fault;
        result = -1;
    }
    return result;
}

/* -- deletions -------------------------------------------------------------------------------------- */
/* The keys below a prefix in their order, page by page. */
struct walk {
    struct driver *d;
    const struct inode_path *path;
    struct s3_page page;
    size_t at;
    bool begun;
};

/* The current key behind the prefix; NULL with *ret_failed false behind the last one. */
static const char *walk_key(struct walk *w, bool *ret_failed, struct err *err)
{
    while (!w->begun || (w->at == w->page.objects_len && w->page.next)) {
        cleanup_free char *next = steal_ptr(&w->page.next);
        s3_page_free(&w->page);
        w->at = 0;
        w->begun = true;
        *ret_failed = s3_list(w->d->s3, w->path->bucket, w->path->key, NULL, next, S3_LIST_MAX, w->d->ending,
                              &w->page, err) < 0;
        if (*ret_failed)
            return NULL;
    }
    return w->at < w->page.objects_len ? w->page.objects[w->at].key + strlen(w->path->key) : NULL;
}

struct doomed {
    struct driver *d;
    const char *bucket;
    char *keys[S3_DELETE_MAX];
    size_t len;
};

static int delete_doomed(struct doomed *x, struct err *err)
{
    int result =
        x->len ? s3_delete_many(x->d->s3, x->bucket, (const char *const *)x->keys, x->len, x->d->ending, err)
               : 0;
    while (x->len)
        free(x->keys[--x->len]);
    return result == 0 ? 0 : -1;
}

/* Deletes the objects of a folder whose copy is in the other one: what somebody else put there meanwhile
 * stays. Both lists are sorted, so one walk through both finds them. */
static int delete_twins(struct driver *d, const struct inode_path *of, const struct inode_path *other,
                        struct err *err)
{
    struct walk a = {.d = d, .path = of}, b = {.d = d, .path = other};
    struct doomed *doomed = mem_new(struct doomed);
    doomed->d = d;
    doomed->bucket = of->bucket;
    const char *x, *y;
    bool failed = false;
    while (!failed && (x = walk_key(&a, &failed, err)) && (y = walk_key(&b, &failed, err))) {
        int order = strcmp(x, y);
        if (order == 0) {
            doomed->keys[doomed->len++] = mem_strdup(a.page.objects[a.at].key);
            failed = doomed->len == S3_DELETE_MAX && delete_doomed(doomed, err) < 0;
        }
        a.at += order <= 0;
        b.at += order >= 0;
    }
    failed = failed || delete_doomed(doomed, err) < 0;
    while (doomed->len)
        free(doomed->keys[--doomed->len]);
    free(doomed);
    s3_page_free(&a.page);
    s3_page_free(&b.page);
    return failed ? -1 : 0;
}

/* -- all of it -------------------------------------------------------------------------------------- */
/* Locked. Versions below may have changed their ETags by being copied. */
static void expire_below(struct inodes *t, struct inode *folder)
{
    struct inode *child, *next;
    HASH_ITER (hh_name, folder->children, child, next) {
        child->fresh_us = 0;
        expire_below(t, child);
    }
    inode_set_listing(t, folder, NULL);
}

static int move_keys(struct driver *d, const struct ops_place *from, const struct ops_place *to,
                     struct open_files *open, struct err *err)
{
    if (copy_all(d, from, to, open, err) < 0) {
        struct err ignored;
        (void)delete_twins(d, &to->path, &from->path, &ignored); /* its own log line is all there is */
        return -1;
    }
    return delete_twins(d, &from->path, &to->path, err);
}

int ops_rename_folder(struct driver *d, struct ops_place *from, struct ops_place *to,
                      const struct inode_attr *attr)
{
    struct err err = {0};
    if (ops_place_find(d, from, true, &err) < 0 || ops_place_find(d, to, true, &err) < 0)
        return ops_errno(&err);
    bool empty = false;
    if (strcmp(from->path.bucket, to->path.bucket) == 0 &&
        strncmp(to->path.key, from->path.key, strlen(from->path.key)) == 0)
        return EINVAL; /* into itself */
    if (resolve_is_empty(d, &to->path, d->ending, &empty, &err) < 0)
        return ops_errno(&err);
    if (!empty)
        return ENOTEMPTY;
    struct open_files open = {0};
    inodes_lock(&d->inodes);
    struct inode *folder = inode_child(from->folder, from->name);
    if (folder)
        inode_pin(folder);
    inodes_unlock(&d->inodes);
    int result = folder ? hold(d, folder, &open, &err) : 0;
    if (result == 0)
        result = move_keys(d, from, to, &open, &err);
    inodes_lock(&d->inodes);
    if (result == 0)
        ops_moved(d, from, to, attr);
    if (folder && result == 0)
        expire_below(&d->inodes, folder);
    inodes_unlock(&d->inodes);
    release(d, &open, result == 0);
    inodes_lock(&d->inodes);
    if (folder)
        inode_unpin(&d->inodes, folder);
    inodes_unlock(&d->inodes);
    return result < 0 ? ops_errno(&err) : 0;
}
