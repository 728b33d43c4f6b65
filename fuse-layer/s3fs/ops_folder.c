// SPDX-License-Identifier: Apache-2.0
#include "fuse-layer/s3fs/ops.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/mem.h"
#include "fuse-layer/s3fs/resolve.h"
#include "fuse-layer/s3fs/sweep.h"

#define FOLDER_MAGIC 0x666f6c31u
/* "." and ".." come first: names begin at this offset. */
#define NAMES_AT 2

/* One name as it is shown: what the listing says, or what this mount did since. */
struct shown {
    char *name;
    struct inode_attr attr;
    uint64_t fresh_us;
};

struct folder {
    struct ops_open open;
    uint32_t magic;
    pthread_mutex_t lock; /* readdir calls of one handle may meet */
    struct inode *inode;  /* pinned by the kernel's open */
    struct shown *names;  /* of the piece that is being read */
    size_t len;
    uint64_t begin; /* number of the piece's first name */
    char *next;     /* where the following piece begins; NULL: there is none */
    bool loaded;
};

static struct folder *folder_of(const struct fuse_file_info *fi)
{
    struct folder *f = (struct folder *)(uintptr_t)fi->fh;
    if (!f || f->magic != FOLDER_MAGIC)
        abort();
    return f;
}

static void drop_names(struct folder *f)
{
    for (size_t i = 0; i < f->len; ++i)
        free(f->names[i].name);
    free(f->names);
    f->names = NULL;
    f->len = 0;
}

static void show(struct folder *f, size_t *cap, const char *name, const struct inode_attr *attr,
                 uint64_t fresh_us)
{
    if (f->len == *cap) {
        *cap = *cap ? *cap * 2 : 64;
        f->names = mem_realloc(f->names, *cap * sizeof *f->names);
    }
    f->names[f->len++] = (struct shown){mem_strdup(name), *attr, fresh_us};
}

/* Locked. True if this mount knows better than the listing. */
static bool overruled(struct inode *folder, const char *name, const struct listing *l, bool *ret_exists,
                      struct inode_attr *ret_attr)
{
    const struct inode *child = inode_child(folder, name);
    if (child && child->writer) {
        *ret_exists = true;
        *ret_attr = child->attr;
        return true;
    }
    const struct inode_change *change = inode_find_change(folder, name);
    if (!change || change->at_us < l->started_us)
        return false;
    *ret_exists = change->exists;
    *ret_attr = change->attr;
    return true;
}

/* Locked. first: names that no listing has are shown in the first piece. */
static void show_listing(struct folder *f, const struct listing *l, bool first)
{
    struct inode *folder = f->inode;
    struct inode_attr attr;
    bool exists;
    uint64_t now = clock_mono_us();
    size_t cap = l->len;
    f->names = mem_alloc((cap ? cap : 1) * sizeof *f->names);
    for (size_t i = 0; i < l->len; ++i) {
        const struct listing_entry *e = &l->entries[i];
        if (!overruled(folder, e->name, l, &exists, &attr)) {
            listing_entry_attr(e, &attr);
            show(f, &cap, e->name, &attr, l->started_us);
        } else if (exists) {
            show(f, &cap, e->name, &attr, now);
        }
    }
    if (!first)
        return;
    struct inode *child, *next;
    HASH_ITER (hh_name, folder->children, child, next)
        if (child->writer && !listing_find(l, child->name))
            show(f, &cap, child->name, &child->attr, now);
    struct inode_change *c, *next_change;
    HASH_ITER (hh, folder->changes, c, next_change) {
        child = inode_child(folder, c->name);
        if (c->exists && c->at_us >= l->started_us && !listing_find(l, c->name) && !(child && child->writer))
            show(f, &cap, c->name, &c->attr, now);
    }
}

/* The root: buckets that were named, and those that were used. */
static void show_buckets(struct driver *d, struct folder *f)
{
    size_t cap = 0;
    struct inode_attr attr = {.kind = INODE_BUCKET, .mtime_ms = d->started_ms};
    uint64_t now = clock_mono_us();
    for (size_t i = 0; i < d->options->buckets_len; ++i) {
        bool twice = false;
        for (size_t j = 0; j < i; ++j)
            twice = twice || strcmp(d->options->buckets[i].name, d->options->buckets[j].name) == 0;
        if (!twice)
            show(f, &cap, d->options->buckets[i].name, &attr, now);
    }
    inodes_lock(&d->inodes);
    struct inode *child, *next;
    HASH_ITER (hh_name, d->inodes.root->children, child, next) {
        bool named = false;
        for (size_t i = 0; i < d->options->buckets_len; ++i)
            named = named || strcmp(d->options->buckets[i].name, child->name) == 0;
        if (!named)
            show(f, &cap, child->name, &child->attr, now);
    }
    inodes_unlock(&d->inodes);
}

/* The first piece, or the one behind the one that is there. */
static int load(struct driver *d, struct folder *f, bool first, struct cancel *cancel, struct err *err)
{
    struct listing *l = NULL;
    if (f->inode->attr.kind == INODE_ROOT) {
        drop_names(f);
        show_buckets(d, f);
        f->loaded = true;
        f->begin = 0;
        return 0;
    }
    if (first) {
        if (resolve_listing(d, f->inode, cancel, &l, err) < 0)
            return -1;
    } else {
        struct inode_path path;
        inodes_lock(&d->inodes);
        bool possible = inode_path(f->inode, &path);
        inodes_unlock(&d->inodes);
        if (!possible)
            return err_set(err, ERR_NAME_INVALID, "%s: longer than a key may be", path.key);
        if (listing_fetch(d->s3, &path, f->next, LISTING_MAX, cancel, &l, err) < 0)
            return -1;
    }
    f->begin = first ? 0 : f->begin + f->len;
    drop_names(f);
    free(f->next);
    f->next = l->next ? mem_strdup(l->next) : NULL;
    inodes_lock(&d->inodes);
    show_listing(f, l, first);
    listing_unref(l);
    inodes_unlock(&d->inodes);
    f->loaded = true;
    return 0;
}

static void folder_free(struct driver *d, struct ops_open *open)
{
    (void)d;
    struct folder *f = (struct folder *)open; /* the first member */
    drop_names(f);
    free(f->next);
    pthread_mutex_destroy(&f->lock);
    f->magic = 0;
    free(f);
}

static void folder_close(struct driver *d, struct folder *f)
{
    ops_open_remove(d, &f->open);
    folder_free(d, &f->open);
}

void ops_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct driver *d = ops_driver(req);
    struct folder *f = mem_new(struct folder);
    f->magic = FOLDER_MAGIC;
    f->inode = ops_inode(d, ino);
    pthread_mutex_init(&f->lock, NULL);
    ops_open_add(d, &f->open, folder_free);
    fi->fh = (uint64_t)(uintptr_t)f;
    if (fuse_reply_open(req, fi) < 0)
        folder_close(d, f);
}

void ops_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    folder_close(ops_driver(req), folder_of(fi));
    (void)fuse_reply_err(req, 0);
}

/* Locked is the folder. The entry at `number` into the reply; false if there is no room left. */
static bool add_name(fuse_req_t req, struct folder *f, uint64_t number, bool plus, char *to, size_t *used,
                     size_t size)
{
    struct driver *d = ops_driver(req);
    const struct shown *s = &f->names[number - f->begin];
    off_t next = (off_t)(number + NAMES_AT + 1);
    struct inode_attr attr = s->attr;
    struct fuse_entry_param entry;
    inodes_lock(&d->inodes);
    struct inode *inode =
        plus ? inode_look(&d->inodes, f->inode, s->name, &attr, s->fresh_us) : inode_child(f->inode, s->name);
    if (plus)
        sweep_begin(d->sweep);
    if (inode) {
        (void)ops_fill_entry(d, inode, &entry);
    } else {
        /* The number is one the kernel does not know yet; it may not be 0, and nobody compares it. */
        struct inode unknown = {.id = UINT64_MAX - number, .attr = attr, .fresh_us = s->fresh_us};
        (void)ops_fill_entry(d, &unknown, &entry);
    }
    inodes_unlock(&d->inodes);
    size_t len = plus ? fuse_add_direntry_plus(req, to + *used, size - *used, s->name, &entry, next)
                      : fuse_add_direntry(req, to + *used, size - *used, s->name, &entry.attr, next);
    bool fits = len <= size - *used;
    if (fits) {
        *used += len;
    } else if (plus) {
        inodes_lock(&d->inodes);
        inode_forget(&d->inodes, inode, 1);
        inodes_unlock(&d->inodes);
    }
    return fits;
}

static bool add_dots(fuse_req_t req, struct folder *f, off_t *offset, bool plus, char *to, size_t *used,
                     size_t size)
{
    for (; *offset < NAMES_AT; ++*offset) {
        struct fuse_entry_param entry = {0}; /* inode 0: not looked up */
        inodes_lock(&ops_driver(req)->inodes);
        const struct inode *inode = *offset && f->inode->parent ? f->inode->parent : f->inode;
        ops_fill_stat(ops_driver(req), inode, &entry.attr);
        inodes_unlock(&ops_driver(req)->inodes);
        const char *name = *offset ? ".." : ".";
        size_t len = plus ? fuse_add_direntry_plus(req, to + *used, size - *used, name, &entry, *offset + 1)
                          : fuse_add_direntry(req, to + *used, size - *used, name, &entry.attr, *offset + 1);
        if (len > size - *used)
            return false;
        *used += len;
    }
    return true;
}

/* With the handle's lock. */
static int fill(fuse_req_t req, struct folder *f, off_t offset, bool plus, char *to, size_t size,
                size_t *used, struct cancel *cancel, struct err *err)
{
    struct driver *d = ops_driver(req);
    /* From the beginning means as it is now. */
    bool again = !f->loaded || offset == 0 || (uint64_t)offset < f->begin + NAMES_AT;
    if (again && load(d, f, true, cancel, err) < 0)
        return -1;
    if (!add_dots(req, f, &offset, plus, to, used, size))
        return 0;
    for (uint64_t number = (uint64_t)offset - NAMES_AT;;) {
        if (number < f->begin + f->len) {
            if (!add_name(req, f, number, plus, to, used, size))
                return 0;
            ++number;
        } else if (!f->next) {
            return 0;
        } else if (*used) {
            return 0; /* what there is goes out before the next request */
        } else if (load(d, f, false, cancel, err) < 0) {
            return -1;
        }
    }
}

static void read_names(fuse_req_t req, size_t size, off_t offset, struct fuse_file_info *fi, bool plus)
{
    struct folder *f = folder_of(fi);
    char *to = mem_alloc(size);
    size_t used = 0;
    struct err err = {0};
    struct cancel *cancel = ops_begin(req);
    pthread_mutex_lock(&f->lock);
    int result = fill(req, f, offset, plus, to, size, &used, cancel, &err);
    pthread_mutex_unlock(&f->lock);
    ops_end(req, cancel);
    if (result < 0)
        (void)fuse_reply_err(req, ops_errno(&err));
    else
        (void)fuse_reply_buf(req, to, used);
    free(to);
}

void ops_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
    (void)ino;
    read_names(req, size, offset, fi, false);
}

void ops_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
    (void)ino;
    read_names(req, size, offset, fi, true);
}
