// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3FS_OPS_H
#define RAC_S3FS_OPS_H
/*
 * The kernel's requests, as libfuse's low-level API hands them over: ops_name.c (names: lookup, attributes,
 * making and removing), ops_rename.c, ops_file.c (open files), ops_folder.c (open folders), ops_interrupt.c
 * (who is killed while it waits). Each runs on one of the session's threads and blocks it until it is
 * answered.
 *
 * An interrupted request ends early only if who asked is dying: a close or a read that fails because of some
 * timer's signal would surprise more programs than one that cannot be interrupted. Uploads are not
 * interrupted at all: the file would be lost.
 */
#define FUSE_USE_VERSION 312
#include <fuse3/fuse_lowlevel.h>

#include "fuse-layer/s3fs/driver.h"

extern const struct fuse_lowlevel_ops ops_table;

/* What a program is told; positive. */
int ops_errno(const struct err *err);

static inline struct driver *ops_driver(fuse_req_t req)
{
    return fuse_req_userdata(req);
}
/* The inode of a number that the kernel knows. Valid during the request. */
struct inode *ops_inode(struct driver *d, fuse_ino_t ino);

/*
 * What every open file or folder begins with. The kernel says when it is closed, but not if the mount goes
 * away first: what is open then is closed by us.
 */
struct ops_open {
    void (*close)(struct driver *d, struct ops_open *open); /* frees it; after ops_open_remove */
    struct ops_open *prev, *next;                           /* in d->open */
};
void ops_open_add(struct driver *d, struct ops_open *open, void (*close)(struct driver *, struct ops_open *));
void ops_open_remove(struct driver *d, struct ops_open *open);
void ops_close_all(struct driver *d); /* after the session has ended */

/* Is the process that asks ending: then the kernel asks, on its behalf, and nobody hears the answer. */
bool ops_asker_is_ending(fuse_req_t req);
/* A cancel for a request; ops_end before the reply. */
struct cancel *ops_begin(fuse_req_t req);
void ops_end(fuse_req_t req, struct cancel *cancel);

/* Locked. */
void ops_fill_stat(const struct driver *d, const struct inode *inode, struct stat *ret);
double ops_fill_entry(const struct driver *d, const struct inode *inode, struct fuse_entry_param *ret);
/* Seconds that the kernel may believe what was true at fresh_us, and the inode. */
double ops_timeout(const struct driver *d, uint64_t fresh_us);
double ops_attr_timeout(const struct driver *d, const struct inode *inode);
/* Makes or finds the inode with one lookup more and answers with it. */
void ops_reply_entry(fuse_req_t req, struct inode *parent, const char *name, const struct inode_attr *attr,
                     uint64_t fresh_us);
/* EROFS, or EPERM in the root: 0 if names in `parent` may be changed. */
int ops_may_change(const struct driver *d, const struct inode *parent);
/* Attributes of something new, made by the request. */
void ops_new_attr(fuse_req_t req, enum inode_kind kind, mode_t mode, struct inode_attr *ret);

/* -- ops_name.c */
void ops_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void ops_forget(fuse_req_t req, fuse_ino_t ino, uint64_t lookups);
void ops_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void ops_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi);
void ops_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void ops_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void ops_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void ops_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void ops_readlink(fuse_req_t req, fuse_ino_t ino);
void ops_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name);
void ops_statfs(fuse_req_t req, fuse_ino_t ino);
/* -- ops_rename.c */
void ops_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                const char *new_name, unsigned flags);
/* -- ops_file.c */
void ops_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi);
void ops_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);
void ops_write(fuse_req_t req, fuse_ino_t ino, const char *p, size_t size, off_t offset,
               struct fuse_file_info *fi);
void ops_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_fsync(fuse_req_t req, fuse_ino_t ino, int only_data, struct fuse_file_info *fi);
void ops_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
/* -- ops_folder.c */
void ops_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);
void ops_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);
void ops_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
#endif
