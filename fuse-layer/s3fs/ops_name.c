// SPDX-License-Identifier: Apache-2.0
#include "fuse-layer/s3fs/ops.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/mem.h"
#include "fuse-layer/s3fs/posix.h"
#include "fuse-layer/s3fs/resolve.h"
#include "fuse-layer/s3fs/writer.h"

#define FOLDER_TYPE "application/x-directory"

void ops_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct driver *d = ops_driver(req);
    struct inode *folder = ops_inode(d, parent);
    struct inode_attr attr;
    uint64_t fresh_us = 0;
    struct err err = {0};
    struct cancel *cancel = ops_begin(req);
    int result = resolve_child(d, folder, name, false, cancel, &attr, &fresh_us, &err);
    ops_end(req, cancel);
    if (result == 0) {
        ops_reply_entry(req, folder, name, &attr, fresh_us);
    } else if (err.code ==
               ERR_NOT_FOUND) { /* known not to be: the kernel may believe that for a while, too */
        struct fuse_entry_param none = {.entry_timeout = ops_timeout(d, fresh_us)};
        (void)fuse_reply_entry(req, &none);
    } else {
        (void)fuse_reply_err(req, ops_errno(&err));
    }
}

static void forget(struct driver *d, fuse_ino_t ino, uint64_t lookups)
{
    inodes_lock(&d->inodes);
    struct inode *inode = inode_by_id(&d->inodes, ino);
    if (inode && inode != d->inodes.root)
        inode_forget(&d->inodes, inode, lookups);
    inodes_unlock(&d->inodes);
}

void ops_forget(fuse_req_t req, fuse_ino_t ino, uint64_t lookups)
{
    forget(ops_driver(req), ino, lookups);
    fuse_reply_none(req);
}

void ops_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    for (size_t i = 0; i < count; ++i)
        forget(ops_driver(req), forgets[i].ino, forgets[i].nlookup);
    fuse_reply_none(req);
}

static void reply_attr(fuse_req_t req, struct inode *inode)
{
    struct driver *d = ops_driver(req);
    struct stat st;
    inodes_lock(&d->inodes);
    ops_fill_stat(d, inode, &st);
    double timeout = ops_attr_timeout(d, inode);
    inodes_unlock(&d->inodes);
    (void)fuse_reply_attr(req, &st, timeout);
}

void ops_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)fi;
    struct driver *d = ops_driver(req);
    struct inode *inode = ops_inode(d, ino);
    struct err err = {0};
    struct cancel *cancel = ops_begin(req);
    int result = resolve_refresh(d, inode, cancel, &err);
    ops_end(req, cancel);
    if (result < 0)
        (void)fuse_reply_err(req, ops_errno(&err));
    else
        reply_attr(req, inode);
}

/* The size of a file: of one that is open for writing when it is closed, else at once. */
static int set_size(struct driver *d, struct inode *inode, uint64_t size, bool open, struct err *err)
{
    inodes_lock(&d->inodes);
    bool gone = inode_gone(inode);
    inodes_unlock(&d->inodes);
    if (gone)
        return err_set(err, ERR_STALE, "the file was deleted or replaced");
    if (!open && size && resolve_refresh(d, inode, NULL, err) < 0)
        return -1;
    struct writer *w = writer_open(d, inode, size ? 0 : WRITER_TRUNCATE);
    int result = writer_truncate(w, size, err);
    if (result == 0 && !open)
        result = writer_commit(w, err);
    writer_close(w);
    return result;
}

/* Mode, owner and time of a stored object: its metadata is replaced by copying it to itself. */
static int store_attr(struct driver *d, struct inode *inode, const struct inode_attr *attr, struct err *err)
{
    struct inode_path path;
    inodes_lock(&d->inodes);
    bool possible = inode_path(inode, &path), detached = inode->detached;
    struct writer *w = writer_of(inode, false);
    inodes_unlock(&d->inodes);
    if (!possible || !path.key[0] || detached) {
        if (w)
            writer_close(w);
        return 0; /* buckets have no metadata, and what a deleted file's path leads to is another file */
    }
    if (w && writer_move(w, err) < 0) {
        writer_close(w);
        return -1;
    }
    cleanup_s3_meta struct s3_meta meta = {0};
    cleanup_s3_object struct s3_object object = {0};
    int result = s3_head(d->s3, path.bucket, path.key, d->ending, &object, &meta, err);
    bool prefix = result < 0 && err->code == ERR_NOT_FOUND && inode_is_folder(inode);
    posix_to_meta(attr, &meta);
    char etag[S3_ETAG_MAX + 1] = "";
    if (prefix) { /* a prefix without a marker gets one */
        result = s3_put(d->s3, path.bucket, path.key, NULL, 0,
                        &(struct s3_put_options){.content_type = FOLDER_TYPE, .meta = &meta}, d->ending, etag,
                        err);
    } else if (result == 0) {
        object.key = mem_strdup(path.key);
        result = s3_copy(d->s3, path.bucket, &object, path.bucket, path.key, &meta, d->ending, etag, err);
    }
    inodes_lock(&d->inodes);
    if (result == 0) {
        inode->attr.mode = attr->mode;
        inode->attr.uid = attr->uid;
        inode->attr.gid = attr->gid;
        inode->attr.mtime_ms = attr->mtime_ms;
        memcpy(inode->attr.etag, etag, sizeof etag);
        if (strcmp(inode->cached_etag, object.etag) == 0)
            memcpy(inode->cached_etag, etag, sizeof etag); /* the bytes are the same */
        ++inode->commits;
        inode->fresh_us = clock_mono_us();
        if (!inode->detached)
            inode_note_change(inode->parent, inode->name, &inode->attr);
    }
    inodes_unlock(&d->inodes);
    if (w) {
        writer_moved(w, result == 0 ? etag : NULL);
        writer_close(w);
    }
    return result;
}

/* What chmod, chown and utimensat ask for; false if it is nothing. */
static bool wanted_attr(const struct driver *d, const struct inode_attr *old, const struct stat *st,
                        int to_set, struct inode_attr *ret)
{
    const int ours = FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID | FUSE_SET_ATTR_MTIME |
                     FUSE_SET_ATTR_MTIME_NOW;
    if (!(to_set & ours))
        return false;
    *ret = *old;
    if (!ret->mode) {
        ret->mode = (mode_t)(old->kind <= INODE_FOLDER ? d->options->dir_mode : d->options->file_mode);
        ret->uid = (uid_t)d->options->uid;
        ret->gid = (gid_t)d->options->gid;
    }
    if (to_set & FUSE_SET_ATTR_MODE)
        ret->mode = st->st_mode & 07777 ? st->st_mode & 07777 : 0400; /* as posix_from_meta reads it back */
    if (to_set & FUSE_SET_ATTR_UID)
        ret->uid = st->st_uid;
    if (to_set & FUSE_SET_ATTR_GID)
        ret->gid = st->st_gid;
    if (to_set & FUSE_SET_ATTR_MTIME_NOW)
        ret->mtime_ms = clock_wall_ms();
    else if (to_set & FUSE_SET_ATTR_MTIME)
        ret->mtime_ms = (int64_t)st->st_mtim.tv_sec * 1000 + st->st_mtim.tv_nsec / 1000000;
    return true;
}

/* A file that is not stored yet takes its metadata along when it is. */
static bool keep_for_commit(struct driver *d, struct inode *inode, const struct inode_attr *attr)
{
    inodes_lock(&d->inodes);
    struct writer *w = writer_of(inode, true);
    if (w) {
        inode->attr.mode = attr->mode;
        inode->attr.uid = attr->uid;
        inode->attr.gid = attr->gid;
        inode->attr.mtime_ms = attr->mtime_ms;
    }
    inodes_unlock(&d->inodes);
    if (w)
        writer_close(w);
    return w != NULL;
}

void ops_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set, struct fuse_file_info *fi)
{
    struct driver *d = ops_driver(req);
    struct inode *inode = ops_inode(d, ino);
    struct err err = {0};
    int result = 0;
    if (d->options->read_only) {
        (void)fuse_reply_err(req, EROFS);
        return;
    }
    if (to_set & FUSE_SET_ATTR_SIZE)
        result = set_size(d, inode, (uint64_t)st->st_size, fi != NULL, &err);
    struct inode_attr attr;
    /* Without --posix the rest is granted and not done: cp -p, tar and rsync would fail for nothing. */
    if (result == 0 && d->options->posix) {
        result = resolve_refresh(d, inode, NULL, &err);
        inodes_lock(&d->inodes);
        bool wanted = result == 0 && wanted_attr(d, &inode->attr, st, to_set, &attr);
        inodes_unlock(&d->inodes);
        if (wanted && !keep_for_commit(d, inode, &attr))
            result = store_attr(d, inode, &attr, &err);
    }
    if (result < 0)
        (void)fuse_reply_err(req, ops_errno(&err));
    else
        reply_attr(req, inode);
}

/* A small object that stands for something: a folder's marker, a link. */
static int put_named(struct driver *d, struct inode *parent, const char *name, const struct inode_attr *attr,
                     const char *text, struct err *err)
{
    struct inode_path path;
    bool folder = attr->kind == INODE_FOLDER;
    inodes_lock(&d->inodes);
    bool possible = inode_child_path(parent, name, folder, &path);
    inodes_unlock(&d->inodes);
    if (!possible)
        return err_set(err, ERR_NAME_INVALID, "%s: longer than a key may be", name);
    cleanup_s3_meta struct s3_meta meta = {0};
    posix_to_meta(attr, &meta);
    struct s3_put_options options = {.content_type = folder ? FOLDER_TYPE : NULL, .meta = &meta};
    struct iovec iov = {(void *)(uintptr_t)text, strlen(text)};
    return s3_put(d->s3, path.bucket, path.key, &iov, iov.iov_len ? 1 : 0, &options, d->ending, NULL, err);
}

static void make_named(fuse_req_t req, fuse_ino_t parent, const char *name, const struct inode_attr *attr,
                       const char *text)
{
    struct driver *d = ops_driver(req);
    struct inode *folder = ops_inode(d, parent);
    struct err err = {0};
    int refused = ops_may_change(d, folder);
    if (refused || put_named(d, folder, name, attr, text, &err) < 0) {
        (void)fuse_reply_err(req, refused ? refused : ops_errno(&err));
        return;
    }
    inodes_lock(&d->inodes);
    inode_note_change(folder, name, attr);
    inodes_unlock(&d->inodes);
    ops_reply_entry(req, folder, name, attr, clock_mono_us());
}

void ops_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    struct inode_attr attr;
    ops_new_attr(req, INODE_FOLDER, mode, &attr);
    make_named(req, parent, name, &attr, "");
}

void ops_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    if (!ops_driver(req)->options->posix) {
        (void)fuse_reply_err(req,
                             EPERM); /* as link(2) and symlink(2) have it for file systems without them */
        return;
    }
    struct inode_attr attr;
    ops_new_attr(req, INODE_LINK, 0777, &attr);
    attr.size = strlen(target);
    make_named(req, parent, name, &attr, target);
}

void ops_readlink(fuse_req_t req, fuse_ino_t ino)
{
    struct driver *d = ops_driver(req);
    struct inode *inode = ops_inode(d, ino);
    struct inode_path path;
    inodes_lock(&d->inodes);
    bool possible = inode_path(inode, &path);
    inodes_unlock(&d->inodes);
    char target[PATH_MAX];
    size_t len = 0;
    struct err err = {0};
    struct cancel *cancel = ops_begin(req);
    int result = possible ? s3_get(d->s3, path.bucket, path.key, 0, sizeof target - 1, NULL, cancel, target,
                                   &len, NULL, &err)
                          : err_set(&err, ERR_NAME_INVALID, "name");
    ops_end(req, cancel);
    if (result < 0) {
        (void)fuse_reply_err(req, ops_errno(&err));
        return;
    }
    target[len] = '\0';
    (void)fuse_reply_readlink(req, target);
}

void ops_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
    (void)ino;
    (void)parent;
    (void)name;
    (void)fuse_reply_err(req, EOPNOTSUPP);
}

void ops_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct driver *d = ops_driver(req);
    struct inode *folder = ops_inode(d, parent);
    struct inode_path path;
    struct err err = {0};
    inodes_lock(&d->inodes);
    bool possible = inode_child_path(folder, name, false, &path);
    struct inode *child = inode_child(folder, name);
    struct writer *w = child ? writer_of(child, false) : NULL;
    inodes_unlock(&d->inodes);
    int refused = ops_may_change(d, folder);
    if (!possible && !refused)
        refused = ENAMETOOLONG;
    if (w && !refused)
        writer_unlink(w, true); /* before, or a commit of now would bring it back */
    int result = refused ? -1 : s3_delete(d->s3, path.bucket, path.key, d->ending, &err);
    if (w && !refused && result < 0)
        writer_unlink(w, false);
    inodes_lock(&d->inodes);
    if (result == 0) {
        inode_note_change(folder, name, NULL);
        child = inode_child(folder, name);
        if (child)
            inode_detach(&d->inodes, child);
    }
    inodes_unlock(&d->inodes);
    if (w)
        writer_close(w);
    (void)fuse_reply_err(req, refused ? refused : result < 0 ? ops_errno(&err) : 0);
}

static bool being_written_below(struct inode *folder)
{
    struct inode *child, *next;
    HASH_ITER (hh_name, folder->children, child, next)
        if (child->writer || being_written_below(child))
            return true;
    return false;
}

static int remove_folder(struct driver *d, struct inode *folder, const char *name, struct err *err)
{
    struct inode_path path;
    inodes_lock(&d->inodes);
    bool possible = inode_child_path(folder, name, true, &path);
    struct inode *child = inode_child(folder, name);
    bool written = child && being_written_below(child);
    inodes_unlock(&d->inodes);
    bool empty = false;
    if (!possible)
        return ENAMETOOLONG;
    if (!written && resolve_is_empty(d, &path, d->ending, &empty, err) < 0)
        return ops_errno(err);
    if (!empty)
        return ENOTEMPTY;
    return s3_delete(d->s3, path.bucket, path.key, d->ending, err) < 0 ? ops_errno(err) : 0;
}

void ops_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct driver *d = ops_driver(req);
    struct inode *folder = ops_inode(d, parent);
    struct err err = {0};
    int error = ops_may_change(d, folder);
    if (!error)
        error = remove_folder(d, folder, name, &err);
    inodes_lock(&d->inodes);
    struct inode *child = inode_child(folder, name);
    if (!error) {
        inode_note_change(folder, name, NULL);
        if (child)
            inode_detach(&d->inodes, child);
    }
    inodes_unlock(&d->inodes);
    (void)fuse_reply_err(req, error);
}

void ops_statfs(fuse_req_t req, fuse_ino_t ino)
{
    (void)ino;
    /* There is always room; some programs refuse to write where there is none. */
    struct statvfs st = {.f_bsize = 4096,
                         .f_frsize = 4096,
                         .f_blocks = (fsblkcnt_t)1 << 38,
                         .f_bfree = (fsblkcnt_t)1 << 38,
                         .f_bavail = (fsblkcnt_t)1 << 38,
                         .f_files = (fsfilcnt_t)1 << 40,
                         .f_ffree = (fsfilcnt_t)1 << 40,
                         .f_favail = (fsfilcnt_t)1 << 40,
                         .f_namemax = INODE_NAME_MAX};
    (void)fuse_reply_statfs(req, &st);
}
