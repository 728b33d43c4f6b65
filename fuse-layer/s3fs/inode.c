// SPDX-License-Identifier: Apache-2.0
#include "fuse-layer/s3fs/inode.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "common/clock.h"
#include "common/mem.h"
#include "fuse-layer/s3fs/listing.h"

/* Changes of a folder that is never listed as a whole are forgotten after this long: no request that began
 * before can still be on its way. */
#define CHANGE_KEEP_US    ((uint64_t)600 * 1000000)
#define CHANGES_SWEEP_LEN 1024

void inodes_init(struct inodes *t)
{
    *t = (struct inodes){.next_id = INODE_ROOT_ID + 1};
    pthread_mutex_init(&t->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&t->listed, &attr);
    pthread_condattr_destroy(&attr);
    struct inode *root = mem_new(struct inode);
    root->id = INODE_ROOT_ID;
    root->pins = 1;
    root->attr.kind = INODE_ROOT;
    HASH_ADD(hh_id, t->by_id, id, sizeof root->id, root);
    t->root = root;
    t->len = 1;
}

void inodes_lock(struct inodes *t)
{
    pthread_mutex_lock(&t->lock);
}

void inodes_unlock(struct inodes *t)
{
    pthread_mutex_unlock(&t->lock);
}

static void change_free(struct inode *folder, struct inode_change *c)
{
    HASH_DEL(folder->changes, c);
    free(c->name);
    free(c);
}

static void free_inode(struct inodes *t, struct inode *inode)
{
    struct inode_change *c, *next;
    HASH_ITER (hh, inode->changes, c, next)
        change_free(inode, c);
    inode_set_listing(t, inode, NULL);
    HASH_DELETE(hh_id, t->by_id, inode);
    free(inode->name);
    free(inode);
    --t->len;
}

/* Takes the inode out of its parent's names; *ret_parent still holds the child's pin. */
static void unlink_name(struct inode *inode)
{
    if (!inode->detached) {
        HASH_DELETE(hh_name, inode->parent->children, inode);
        inode->detached = true;
    }
}

static void free_if_unused(struct inodes *t, struct inode *inode)
{
    while (inode->parent && inode->lookups == 0 && inode->pins == 0) {
        struct inode *parent = inode->parent;
        unlink_name(inode);
        free_inode(t, inode);
        assert(parent->pins > 0);
        --parent->pins;
        inode = parent;
    }
}

void inodes_destroy(struct inodes *t)
{
    struct inode *inode, *next;
    HASH_ITER (hh_id, t->by_id, inode, next)
        HASH_CLEAR(hh_name, inode->children);
    HASH_ITER (hh_id, t->by_id, inode, next)
        free_inode(t, inode);
    pthread_cond_destroy(&t->listed);
    pthread_mutex_destroy(&t->lock);
}

struct inode *inode_by_id(struct inodes *t, uint64_t id)
{
    struct inode *inode;
    HASH_FIND(hh_id, t->by_id, &id, sizeof id, inode);
    return inode;
}

struct inode *inode_child(struct inode *parent, const char *name)
{
    struct inode *inode;
    HASH_FIND(hh_name, parent->children, name, strlen(name), inode);
    return inode;
}

static struct inode *new_child(struct inodes *t, struct inode *parent, const char *name)
{
    struct inode *inode = mem_new(struct inode);
    inode->id = t->next_id++;
    inode->name = mem_strdup(name);
    inode->parent = parent;
    ++parent->pins;
    HASH_ADD_KEYPTR(hh_name, parent->children, inode->name, strlen(inode->name), inode);
    HASH_ADD(hh_id, t->by_id, id, sizeof inode->id, inode);
    ++t->len;
    return inode;
}

static bool same_version(const struct inode_attr *a, const struct inode_attr *b)
{
    if (a->etag[0] && b->etag[0])
        return strcmp(a->etag, b->etag) == 0;
    return a->size == b->size && a->mtime_ms == b->mtime_ms;
}

void inode_refresh(struct inode *inode, const struct inode_attr *attr, uint64_t fresh_us)
{
    struct inode_attr *to = &inode->attr;
    if (inode->writer || fresh_us < inode->fresh_us || attr->kind != to->kind)
        return;
    /* A file that was written here keeps the time it was written at: the server's clock differs, and whoever
     * compares times would think that the file had changed. */
    bool same = same_version(to, attr);
    inode->foreign += !same;
    if (!inode->commits || !same)
        to->mtime_ms = attr->mtime_ms;
    to->size = attr->size;
    memcpy(to->etag, attr->etag, sizeof to->etag);
    to->mode = attr->mode;
    to->uid = attr->uid;
    to->gid = attr->gid;
    inode->fresh_us = fresh_us;
}

struct inode *inode_look(struct inodes *t, struct inode *parent, const char *name,
                         const struct inode_attr *attr, uint64_t fresh_us)
{
    struct inode *inode = inode_child(parent, name);
    if (inode && !inode->writer) {
        bool folder = attr->kind <= INODE_FOLDER;
        if (folder != inode_is_folder(inode) ||
            (!folder &&
             (attr->kind != inode->attr.kind ||
              (inode->readers && !same_version(&inode->attr, attr) && fresh_us > inode->fresh_us)))) {
            inode_detach(t, inode);
            inode = NULL;
        }
    }
    if (!inode) {
        inode = new_child(t, parent, name);
        inode->attr = *attr;
        inode->fresh_us = fresh_us;
    } else {
        inode_refresh(inode, attr, fresh_us);
    }
    ++inode->lookups;
    return inode;
}

void inode_forget(struct inodes *t, struct inode *inode, uint64_t lookups)
{
    assert(inode->lookups >= lookups || inode == t->root);
    inode->lookups -= inode->lookups < lookups ? inode->lookups : lookups;
    free_if_unused(t, inode);
}

void inode_pin(struct inode *inode)
{
    ++inode->pins;
}

void inode_unpin(struct inodes *t, struct inode *inode)
{
    assert(inode->pins > 0);
    --inode->pins;
    free_if_unused(t, inode);
}

void inode_detach(struct inodes *t, struct inode *inode)
{
    unlink_name(inode);
    free_if_unused(t, inode);
}

void inode_move(struct inodes *t, struct inode *inode, struct inode *parent, const char *name)
{
    struct inode *there = inode_child(parent, name);
    if (there == inode)
        return;
    if (there)
        inode_detach(t, there);
    struct inode *old_parent = inode->parent;
    if (!inode->detached)
        HASH_DELETE(hh_name, old_parent->children, inode);
    inode->detached = false;
    ++parent->pins;
    inode->parent = parent;
    free(inode->name);
    inode->name = mem_strdup(name);
    HASH_ADD_KEYPTR(hh_name, parent->children, inode->name, strlen(inode->name), inode);
    inode_unpin(t, old_parent);
}

/* Appends `name` and '/' behind `used` bytes of key. */
static bool put_name(struct inode_path *ret, size_t *used, const char *name, bool slash)
{
    size_t len = strlen(name);
    if (*used + len + slash > S3_KEY_MAX)
        return false;
    memcpy(ret->key + *used, name, len);
    *used += len;
    if (slash)
        ret->key[(*used)++] = '/';
    ret->key[*used] = '\0';
    return true;
}

static bool put_inode(const struct inode *inode, struct inode_path *ret, size_t *used)
{
    switch (inode->attr.kind) {
    case INODE_ROOT:
        ret->bucket[0] = ret->key[0] = '\0';
        *used = 0;
        return true;
    case INODE_BUCKET:
        if (strlen(inode->name) >= sizeof ret->bucket)
            return false;
        strcpy(ret->bucket, inode->name);
        ret->key[0] = '\0';
        *used = 0;
        return true;
    default:
        return put_inode(inode->parent, ret, used) &&
               put_name(ret, used, inode->name, inode_is_folder(inode));
    }
}

bool inode_path(const struct inode *inode, struct inode_path *ret)
{
    size_t used = 0;
    return put_inode(inode, ret, &used);
}

bool inode_child_path(const struct inode *parent, const char *name, bool folder, struct inode_path *ret)
{
    size_t used = 0;
    return put_inode(parent, ret, &used) && put_name(ret, &used, name, folder);
}

struct inode_change *inode_find_change(struct inode *folder, const char *name)
{
    struct inode_change *c;
    HASH_FIND_STR(folder->changes, name, c);
    return c;
}

void inode_drop_changes(struct inode *folder, uint64_t since_us)
{
    struct inode_change *c, *next;
    HASH_ITER (hh, folder->changes, c, next)
        if (c->at_us < since_us)
            change_free(folder, c);
}

void inode_note_change(struct inode *folder, const char *name, const struct inode_attr *attr)
{
    uint64_t now = clock_mono_us();
    struct inode_change *c = inode_find_change(folder, name);
    if (!c) {
        if (HASH_COUNT(folder->changes) % CHANGES_SWEEP_LEN == CHANGES_SWEEP_LEN - 1 && now > CHANGE_KEEP_US)
            inode_drop_changes(folder, now - CHANGE_KEEP_US);
        c = mem_new(struct inode_change);
        c->name = mem_strdup(name);
        HASH_ADD_KEYPTR(hh, folder->changes, c->name, strlen(c->name), c);
    }
    c->exists = attr != NULL;
    if (attr)
        c->attr = *attr;
    c->at_us = now;
}

void inode_set_listing(struct inodes *t, struct inode *folder, struct listing *listing)
{
    if (folder->listing) {
        t->listings_bytes -= folder->listing->bytes;
        DL_DELETE2(t->oldest, folder, listed_prev, listed_next);
        listing_unref(folder->listing);
    }
    folder->listing = listing;
    if (listing) {
        t->listings_bytes += listing->bytes;
        DL_APPEND2(t->oldest, folder, listed_prev, listed_next);
    }
}

void inodes_trim_listings(struct inodes *t, uint64_t older_us, size_t max_bytes)
{
    while (t->oldest && t->oldest->listed_next &&
           (t->oldest->listing->started_us < older_us || t->listings_bytes > max_bytes))
        inode_set_listing(t, t->oldest, NULL);
}
