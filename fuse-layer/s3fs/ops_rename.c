// SPDX-License-Identifier: Apache-2.0
#include "fuse-layer/s3fs/ops_rename.h"

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

int ops_place_find(struct driver *d, struct ops_place *p, bool folder, struct err *err)
{
    inodes_lock(&d->inodes);
    bool possible = inode_child_path(p->folder, p->name, folder, &p->path);
    inodes_unlock(&d->inodes);
    return possible ? 0 : err_set(err, ERR_NAME_INVALID, "%s: longer than a key may be", p->name);
}

static int copy_file(struct driver *d, const struct ops_place *from, const struct ops_place *to,
                     const struct inode_attr *attr, char *ret_etag, struct err *err)
{
    struct s3_object source = {.key = (char *)(uintptr_t)from->path.key, .size = attr->size};
    memcpy(source.etag, attr->etag, sizeof source.etag);
    if (s3_copy(d->s3, from->path.bucket, &source, to->path.bucket, to->path.key, NULL, d->ending, ret_etag,
                err) < 0)
        return -1;
    return s3_delete(d->s3, from->path.bucket, from->path.key, d->ending, err);
}

void ops_moved(struct driver *d, const struct ops_place *from, const struct ops_place *to,
               const struct inode_attr *attr)
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

static int rename_file(struct driver *d, struct ops_place *from, struct ops_place *to,
                       struct inode_attr *attr, struct err *err)
{
    if (ops_place_find(d, from, false, err) < 0 || ops_place_find(d, to, false, err) < 0)
        return -1;
    inodes_lock(&d->inodes);
    struct inode *inode = inode_child(from->folder, from->name), *there = inode_child(to->folder, to->name);
    struct writer *w = inode ? writer_of(inode, false) : NULL;
    struct writer *replaced = there && there != inode ? writer_of(there, false) : NULL;
    if (inode) {
        inode_pin(inode);
        ++inode->moving;
    }
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
    inodes_lock(&d->inodes);
    if (result == 0) {
        memcpy(attr->etag, etag, sizeof attr->etag);
        ops_moved(d, from, to, attr);
    }
    if (inode) {
        --inode->moving;
        inode_unpin(&d->inodes, inode);
    }
    inodes_unlock(&d->inodes);
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

static int rename_any(fuse_req_t req, struct ops_place *from, struct ops_place *to, unsigned flags)
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
        return ops_rename_folder(d, from, to, &attr);
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
    struct ops_place from = {.folder = ops_inode(d, parent), .name = name};
    struct ops_place to = {.folder = ops_inode(d, new_parent), .name = new_name};
    (void)fuse_reply_err(req, rename_any(req, &from, &to, flags));
}
