// SPDX-License-Identifier: Apache-2.0
#include "fuse-layer/s3fs/ops.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "common/clock.h"
#include "fuse-layer/s3fs/sweep.h"

#define BLOCK_BYTES (256 * 1024) /* st_blksize: what cp and cat take at a time */
#define WRITE_BYTES ((unsigned)1 << 20)
#define BACKGROUND  64 /* read-ahead requests of the kernel that may wait */

int ops_errno(const struct err *err)
{
    switch (err->code) {
    case ERR_NO_SPACE:
        return ENOSPC;
    case ERR_SIZE_INVALID:
        return EFBIG;
    case ERR_NAME_INVALID:
        return ENAMETOOLONG;
    case ERR_UNSUPPORTED:
        return EOPNOTSUPP;
    default:
        return s3_errno(err);
    }
}

struct inode *ops_inode(struct driver *d, fuse_ino_t ino)
{
    inodes_lock(&d->inodes);
    struct inode *inode = inode_by_id(&d->inodes, ino);
    inodes_unlock(&d->inodes);
    assert(inode); /* the kernel holds a lookup of what it names */
    return inode;
}

void ops_open_add(struct driver *d, struct ops_open *open, void (*close)(struct driver *, struct ops_open *))
{
    open->close = close;
    inodes_lock(&d->inodes);
    DL_APPEND(d->open, open);
    inodes_unlock(&d->inodes);
}

void ops_open_remove(struct driver *d, struct ops_open *open)
{
    inodes_lock(&d->inodes);
    DL_DELETE(d->open, open);
    inodes_unlock(&d->inodes);
}

void ops_close_all(struct driver *d)
{
    struct ops_open *open;
    while ((open = d->open)) {
        ops_open_remove(d, open);
        open->close(d, open);
    }
}

void ops_fill_stat(const struct driver *d, const struct inode *inode, struct stat *ret)
{
    const struct inode_attr *a = &inode->attr;
    const struct options *o = d->options;
    mode_t type = a->kind <= INODE_FOLDER ? S_IFDIR : a->kind == INODE_LINK ? S_IFLNK : S_IFREG;
    mode_t standard = type == S_IFDIR ? (mode_t)o->dir_mode : type == S_IFLNK ? 0777 : (mode_t)o->file_mode;
    int64_t mtime_ms = a->mtime_ms ? a->mtime_ms : d->started_ms;
    *ret = (struct stat){
        .st_ino = d->ino_base + inode->id,
        .st_mode = type | (a->mode ? a->mode : standard),
        .st_nlink = 1, /* of folders, too: their number of subfolders is not known */
        .st_uid = a->mode ? a->uid : (uid_t)o->uid,
        .st_gid = a->mode ? a->gid : (gid_t)o->gid,
        .st_size = (off_t)a->size,
        .st_blksize = BLOCK_BYTES,
        .st_blocks = (blkcnt_t)((a->size + 511) / 512),
        .st_mtim = {.tv_sec = mtime_ms / 1000, .tv_nsec = mtime_ms % 1000 * 1000000},
    };
    ret->st_atim = ret->st_ctim = ret->st_mtim;
}

double ops_timeout(const struct driver *d, uint64_t fresh_us)
{
    uint64_t age = clock_mono_us() - fresh_us;
    return age < driver_ttl_us(d) ? (double)(driver_ttl_us(d) - age) / 1e6 : 0;
}

double ops_attr_timeout(const struct driver *d, const struct inode *inode)
{
    return inode->unstored ? 0 : ops_timeout(d, inode->writer ? clock_mono_us() : inode->fresh_us);
}

double ops_fill_entry(const struct driver *d, const struct inode *inode, struct fuse_entry_param *ret)
{
    *ret = (struct fuse_entry_param){.ino = inode->id};
    ops_fill_stat(d, inode, &ret->attr);
    ret->attr_timeout = ret->entry_timeout = ops_attr_timeout(d, inode);
    return ret->entry_timeout;
}

void ops_reply_entry(fuse_req_t req, struct inode *parent, const char *name, const struct inode_attr *attr,
                     uint64_t fresh_us)
{
    struct driver *d = ops_driver(req);
    struct fuse_entry_param entry;
    inodes_lock(&d->inodes);
    struct inode *inode = inode_look(&d->inodes, parent, name, attr, fresh_us);
    sweep_begin(d->sweep);
    (void)ops_fill_entry(d, inode, &entry);
    inodes_unlock(&d->inodes);
    if (fuse_reply_entry(req, &entry) < 0) { /* nobody waited for it: the kernel does not know the inode */
        inodes_lock(&d->inodes);
        inode_forget(&d->inodes, inode, 1);
        inodes_unlock(&d->inodes);
    }
}

int ops_may_change(const struct driver *d, const struct inode *parent)
{
    return d->options->read_only ? EROFS : parent->attr.kind == INODE_ROOT ? EPERM : 0;
}

void ops_new_attr(fuse_req_t req, enum inode_kind kind, mode_t mode, struct inode_attr *ret)
{
    const struct fuse_ctx *ctx = fuse_req_ctx(req);
    *ret = (struct inode_attr){.kind = kind, .mtime_ms = clock_wall_ms()};
    if (!ops_driver(req)->options->posix)
        return;
    ret->mode = mode & 07777;
    ret->uid = ctx->uid;
    ret->gid = ctx->gid;
}

static void ops_init(void *userdata, struct fuse_conn_info *conn)
{
    const struct driver *d = userdata;
    conn->max_write = WRITE_BYTES;
    conn->max_background = BACKGROUND;
    conn->congestion_threshold = BACKGROUND;
    conn->time_gran = 1000000;
    conn->want |= conn->capable & (FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_ASYNC_READ);
    /* Data comes and goes as memory: a pipe in between is one more way. */
    conn->want &= ~(unsigned)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
    if (d->options->posix) /* attributes of each file are a request of their own: only for who asks */
        conn->want &= ~(unsigned)(FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO);
}

const struct fuse_lowlevel_ops ops_table = {
    .init = ops_init,
    .lookup = ops_lookup,
    .forget = ops_forget,
    .forget_multi = ops_forget_multi,
    .getattr = ops_getattr,
    .setattr = ops_setattr,
    .readlink = ops_readlink,
    .mkdir = ops_mkdir,
    .unlink = ops_unlink,
    .rmdir = ops_rmdir,
    .symlink = ops_symlink,
    .rename = ops_rename,
    .link = ops_link,
    .open = ops_open,
    .read = ops_read,
    .write = ops_write,
    .flush = ops_flush,
    .release = ops_release,
    .fsync = ops_fsync,
    .opendir = ops_opendir,
    .readdir = ops_readdir,
    .readdirplus = ops_readdirplus,
    .releasedir = ops_releasedir,
    .statfs = ops_statfs,
    .create = ops_create,
};
