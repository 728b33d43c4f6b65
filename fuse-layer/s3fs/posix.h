// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3FS_POSIX_H
#define RAC_S3FS_POSIX_H
/*
 * What POSIX has and S3 has not, as user metadata of the object (--posix): mode, uid, gid, mtime, by the
 * names and in the forms that other S3 file systems use too: decimal numbers, the mode with its type bits,
 * the time in seconds. Foreign metadata that says nothing sensible is ignored.
 */
#include "fuse-layer/s3fs/inode.h"
#include "s3/s3.h"

/* Sets mode, uid, gid, mtime_ms and the kind INODE_LINK where the metadata says so. */
void posix_from_meta(const struct s3_meta *meta, struct inode_attr *attr);
/* Adds to (or replaces in) the metadata what attr says; nothing if attr->mode is 0. */
void posix_to_meta(const struct inode_attr *attr, struct s3_meta *meta);
#endif
