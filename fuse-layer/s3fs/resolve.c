// SPDX-License-Identifier: Apache-2.0
#include "fuse-layer/s3fs/resolve.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/clock.h"
#include "common/mem.h"
#include "common/str.h"
#include "fuse-layer/s3fs/posix.h"

/* Single looks in one folder within LOOKS_WINDOW_US before it is listed as a whole. */
#define LOOKS_MAX       3
#define LOOKS_WINDOW_US ((uint64_t)2 * 1000000)
/* Past so many names a listing costs more than the looks it saves. */
#define LOOKS_LIST_MAX 4000
#define LARGE_KEEP_US  ((uint64_t)60 * 1000000)
/* Names that begin with the looked-for one sort between it and the folder of that name: with this many, most
 * looks are one request. */
#define LOOK_PAGE 10
/* Listings have this part of RAC_MEMORY, beside the one that was asked for last. */
#define LISTINGS_SHARE 8
/* Buckets come and go more seldom than files. */
#define BUCKET_KEEP_US ((uint64_t)60 * 1000000)

static bool fresh(const struct driver *d, uint64_t at_us, uint64_t now_us)
{
    return at_us && now_us - at_us < driver_ttl_us(d);
}

/* What cannot be a bucket is not asked for: shells and desktops try .git, .Trash, autorun.inf everywhere. */
static bool bucket_name_possible(const char *name)
{
    size_t len = strlen(name);
    if (len < 3 || len > 255 || !isalnum((unsigned char)name[0]))
        return false;
    for (size_t i = 0; i < len; ++i)
        if (!isalnum((unsigned char)name[i]) && name[i] != '.' && name[i] != '-' && name[i] != '_')
            return false;
    return true;
}

static int resolve_bucket(struct driver *d, const char *name, struct cancel *cancel,
                          struct inode_attr *ret_attr, uint64_t *ret_fresh_us, struct err *err)
{
    uint64_t now = clock_mono_us();
    *ret_attr = (struct inode_attr){.kind = INODE_BUCKET, .mtime_ms = d->started_ms};
    *ret_fresh_us = now;
    if (!bucket_name_possible(name))
        return err_set(err, ERR_NOT_FOUND, "%s cannot be a bucket", name);
    inodes_lock(&d->inodes);
    const struct inode *known = inode_child(d->inodes.root, name);
    bool there = known && now - known->fresh_us < BUCKET_KEEP_US;
    inodes_unlock(&d->inodes);
    /* The buckets that the user named were checked at the start. */
    for (size_t i = 0; i < d->options->buckets_len && !there; ++i)
        there = strcmp(d->options->buckets[i].name, name) == 0;
    if (there)
        return 0;
    return s3_bucket_check(d->s3, name, "", cancel, err);
}

/* With the lock. 1: known, 0: not; *ret_exists says what. */
static int known_child(const struct driver *d, struct inode *folder, const char *name,
                       struct inode_attr *ret_attr, uint64_t *ret_fresh_us, bool *ret_exists)
{
    uint64_t now = clock_mono_us();
    const struct listing *l = folder->listing;
    const struct inode *child = inode_child(folder, name);
    if (child && child->writer) { /* nobody knows better than who writes it */
        *ret_exists = true;
        *ret_attr = child->attr;
        *ret_fresh_us = now;
        return 1;
    }
    const struct inode_change *change = inode_find_change(folder, name);
    bool listed = l && fresh(d, l->started_us, now);
    if (change && (!listed || change->at_us >= l->started_us)) {
        *ret_exists = change->exists;
        *ret_attr = change->attr;
        *ret_fresh_us = change->at_us;
        return fresh(d, change->at_us, now);
    }
    if (child && fresh(d, child->fresh_us, now) && (!listed || child->fresh_us >= l->started_us)) {
        *ret_exists = true;
        *ret_attr = child->attr;
        *ret_fresh_us = child->fresh_us;
        return 1;
    }
    if (!listed || d->options->posix)
        return 0;
    const struct listing_entry *entry = listing_find(l, name);
    if (!entry && l->next)
        return 0;
    *ret_exists = entry != NULL;
    if (entry)
        listing_entry_attr(entry, ret_attr);
    *ret_fresh_us = l->started_us;
    return 1;
}

static int missing(const char *name, struct err *err)
{
    return err_set(err, ERR_NOT_FOUND, "%s does not exist", name);
}

/* Listing is forbidden: one key can still be asked for. */
static int look_by_head(struct driver *d, const struct inode_path *path, struct cancel *cancel,
                        struct inode_attr *ret_attr, struct err *err)
{
    cleanup_s3_object struct s3_object object = {0};
    if (s3_head(d->s3, path->bucket, path->key, cancel, &object, NULL, err) < 0)
        return -1;
    *ret_attr = (struct inode_attr){.kind = INODE_FILE, .size = object.size, .mtime_ms = object.mtime_ms};
    memcpy(ret_attr->etag, object.etag, sizeof ret_attr->etag);
    return 0;
}

/* path: as of a file; its key gets a '/' behind it for the second look. */
static int look(struct driver *d, struct inode_path *path, struct cancel *cancel, struct inode_attr *ret_attr,
                struct err *err)
{
    cleanup_s3_page struct s3_page page = {0};
    if (s3_list(d->s3, path->bucket, path->key, "/", NULL, LOOK_PAGE, cancel, &page, err) < 0) {
        if (s3_errno(err) == EACCES)
            return look_by_head(d, path, cancel, ret_attr, err);
        return -1;
    }
    size_t len = strlen(path->key);
    const struct s3_object *object =
        page.objects_len && strcmp(page.objects[0].key, path->key) == 0 ? &page.objects[0] : NULL;
    bool folder = false;
    for (size_t i = 0; i < page.prefixes_len; ++i)
        folder = folder || (strlen(page.prefixes[i]) == len + 1 && page.prefixes[i][len] == '/');
    if (!folder && page.next) {
        cleanup_s3_page struct s3_page below = {0};
        path->key[len] = '/';
        path->key[len + 1] = '\0';
        int result = s3_list(d->s3, path->bucket, path->key, NULL, NULL, 1, cancel, &below, err);
        path->key[len] = '\0';
        if (result < 0)
            return -1;
        folder = below.objects_len > 0;
    }
    if (folder) {
        *ret_attr = (struct inode_attr){.kind = INODE_FOLDER, .mtime_ms = d->started_ms};
        return 0;
    }
    if (!object)
        return missing(path->key, err);
    *ret_attr = (struct inode_attr){.kind = INODE_FILE, .size = object->size, .mtime_ms = object->mtime_ms};
    memcpy(ret_attr->etag, object->etag, sizeof ret_attr->etag);
    return 0;
}

/* With the lock: should the whole folder be listed for this look? */
static bool worth_listing(struct inode *folder)
{
    uint64_t now = clock_mono_us();
    if (now - folder->looks_since_us > LOOKS_WINDOW_US) {
        folder->looks_since_us = now;
        folder->looks = 0;
    }
    return ++folder->looks > LOOKS_MAX && now >= folder->large_until_us;
}

/* Fetches a listing of up to max names and keeps it; or takes the one that is fresh, or that another thread
 * is about to bring. */
static int get_listing(struct driver *d, struct inode *folder, size_t max, struct cancel *cancel,
                       struct listing **ret, struct err *err)
{
    struct inode_path path;
    inodes_lock(&d->inodes);
    for (;;) {
        if (folder->listing && fresh(d, folder->listing->started_us, clock_mono_us()) &&
            (!folder->listing->next || folder->listing->len >= max)) {
            *ret = listing_ref(folder->listing);
            inodes_unlock(&d->inodes);
            return 0;
        }
        if (!folder->listing_busy)
            break;
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += 1; /* to look at the cancel */
        (void)pthread_cond_timedwait(&d->inodes.listed, &d->inodes.lock, &until);
        if (cancel && cancel_fired(cancel)) {
            inodes_unlock(&d->inodes);
            return err_set(err, ERR_CANCELLED, "interrupted");
        }
    }
    folder->listing_busy = true;
    inode_pin(folder);
    bool possible = inode_path(folder, &path);
    inodes_unlock(&d->inodes);

    struct listing *l = NULL;
    int result = possible ? listing_fetch(d->s3, &path, NULL, max, cancel, &l, err)
                          : err_set(err, ERR_NAME_INVALID, "%s: longer than a key may be", path.key);
    inodes_lock(&d->inodes);
    folder->listing_busy = false;
    pthread_cond_broadcast(&d->inodes.listed);
    if (result == 0) {
        inode_set_listing(&d->inodes, folder, l);
        *ret = listing_ref(l);
        uint64_t now = clock_mono_us(), ttl = driver_ttl_us(d);
        inodes_trim_listings(&d->inodes, now > ttl ? now - ttl : 0,
                             d->options->memory_bytes / LISTINGS_SHARE);
        if (!l->next)
            inode_drop_changes(folder, l->started_us);
    }
    inode_unpin(&d->inodes, folder);
    inodes_unlock(&d->inodes);
    return result;
}

int resolve_listing(struct driver *d, struct inode *folder, struct cancel *cancel, struct listing **ret,
                    struct err *err)
{
    return get_listing(d, folder, LISTING_MAX, cancel, ret, err);
}

/* The folder as a whole, for the sake of one name. 1: known now, 0: the folder is too large. */
static int look_by_listing(struct driver *d, struct inode *folder, const char *name, struct cancel *cancel,
                           struct inode_attr *ret_attr, uint64_t *ret_fresh_us, bool *ret_exists,
                           struct err *err)
{
    struct listing *l;
    if (get_listing(d, folder, LOOKS_LIST_MAX, cancel, &l, err) < 0)
        return -1;
    inodes_lock(&d->inodes);
    if (l->next)
        folder->large_until_us = clock_mono_us() + LARGE_KEEP_US;
    int known = known_child(d, folder, name, ret_attr, ret_fresh_us, ret_exists);
    listing_unref(l);
    inodes_unlock(&d->inodes);
    return known;
}

static int fill_posix(struct driver *d, struct inode_path *path, struct cancel *cancel,
                      struct inode_attr *attr, struct err *err)
{
    size_t len = strlen(path->key);
    cleanup_s3_meta struct s3_meta meta = {0};
    cleanup_s3_object struct s3_object object = {0};
    if (attr->kind == INODE_FOLDER && len < S3_KEY_MAX) {
        path->key[len] = '/';
        path->key[len + 1] = '\0';
    }
    struct err head_err = {0};
    int result = s3_head(d->s3, path->bucket, path->key, cancel, &object, &meta, &head_err);
    path->key[len] = '\0';
    if (result == 0) {
        posix_from_meta(&meta, attr);
        return 0;
    }
    if (attr->kind == INODE_FOLDER && head_err.code == ERR_NOT_FOUND)
        return 0; /* a prefix without a marker */
    *err = head_err;
    return -1;
}

int resolve_child(struct driver *d, struct inode *folder, const char *name, bool must_ask,
                  struct cancel *cancel, struct inode_attr *ret_attr, uint64_t *ret_fresh_us, struct err *err)
{
    if (folder->attr.kind == INODE_ROOT)
        return resolve_bucket(d, name, cancel, ret_attr, ret_fresh_us, err);
    struct inode_path path;
    bool exists = false, whole = false;
    int known = 0;
    inodes_lock(&d->inodes);
    bool possible = inode_child_path(folder, name, false, &path);
    const struct inode *child = inode_child(folder, name);
    if (possible && (!must_ask || (child && child->writer))) {
        known = known_child(d, folder, name, ret_attr, ret_fresh_us, &exists);
        whole = !known && !d->options->posix && worth_listing(folder);
    }
    inodes_unlock(&d->inodes);
    if (!possible)
        return err_set(err, ERR_NAME_INVALID, "%s: longer than a key may be", name);
    if (whole) {
        known = look_by_listing(d, folder, name, cancel, ret_attr, ret_fresh_us, &exists, err);
        if (known < 0 && s3_errno(err) != EACCES)
            return -1;
    }
    if (known > 0)
        return exists ? 0 : missing(name, err);

    uint64_t started_us = clock_mono_us();
    int result = look(d, &path, cancel, ret_attr, err);
    if (result == 0 && d->options->posix)
        result = fill_posix(d, &path, cancel, ret_attr, err);
    *ret_fresh_us = started_us;
    if (result < 0 && err->code != ERR_NOT_FOUND)
        return -1;
    /* What this mount did while the server was asked is newer than the answer. */
    inodes_lock(&d->inodes);
    const struct inode_change *change = inode_find_change(folder, name);
    if (change && change->at_us >= started_us) {
        *ret_attr = change->attr;
        *ret_fresh_us = change->at_us;
        result = change->exists ? 0 : missing(name, err);
    }
    inodes_unlock(&d->inodes);
    return result;
}

int resolve_refresh(struct driver *d, struct inode *inode, struct cancel *cancel, struct err *err)
{
    inodes_lock(&d->inodes);
    uint64_t keep_us = inode->attr.kind == INODE_BUCKET ? BUCKET_KEEP_US : driver_ttl_us(d);
    bool current = inode->attr.kind == INODE_ROOT || inode->writer || inode->detached ||
                   (inode->fresh_us && clock_mono_us() - inode->fresh_us < keep_us);
    struct inode *parent = inode->parent;
    cleanup_free char *name = current ? NULL : mem_strdup(inode->name);
    if (!current)
        inode_pin(parent);
    inodes_unlock(&d->inodes);
    if (current)
        return 0;
    struct inode_attr attr;
    uint64_t fresh_us = 0;
    int result = resolve_child(d, parent, name, false, cancel, &attr, &fresh_us, err);
    inodes_lock(&d->inodes);
    bool folder = result == 0 && attr.kind <= INODE_FOLDER;
    if (result == 0 && folder == inode_is_folder(inode) &&
        !(inode->readers && strcmp(attr.etag, inode->attr.etag) != 0))
        inode_refresh(inode, &attr, fresh_us);
    if (result < 0 && (inode->readers || inode->writer))
        result = 0; /* an open file stays what it was, by whatever name */
    inode_unpin(&d->inodes, parent);
    inodes_unlock(&d->inodes);
    return result;
}

int resolve_is_empty(struct driver *d, const struct inode_path *folder, struct cancel *cancel,
                     bool *ret_empty, struct err *err)
{
    cleanup_s3_page struct s3_page page = {0};
    if (s3_list(d->s3, folder->bucket, folder->key, NULL, NULL, 2, cancel, &page, err) < 0)
        return -1;
    *ret_empty = true;
    for (size_t i = 0; i < page.objects_len; ++i)
        *ret_empty = *ret_empty && strcmp(page.objects[i].key, folder->key) == 0;
    return 0;
}
