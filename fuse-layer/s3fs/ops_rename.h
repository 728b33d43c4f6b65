// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3FS_OPS_RENAME_H
#define RAC_S3FS_OPS_RENAME_H
/* Inside of renaming, for ops_rename.c (the request, and files) and ops_rename_folder.c. S3 has no such
 * thing: a file is copied and deleted, a folder is all of its keys. */
#include "fuse-layer/s3fs/ops.h"

struct ops_place {
    struct inode *folder; /* held by the kernel's request */
    const char *name;
    struct inode_path path; /* set by ops_place_find */
};

int ops_place_find(struct driver *d, struct ops_place *p, bool folder, struct err *err);
/* Locked. The tree says what the server has by now. */
void ops_moved(struct driver *d, const struct ops_place *from, const struct ops_place *to,
               const struct inode_attr *attr);
/*
 * All objects below the folder go to their new keys, and only when the last one is there the old ones are
 * deleted; a failure before that takes the copies back. Files below that are being written are stored first
 * and wait until all is done; open files go on with the copies. Memory does not depend on how many objects
 * there are. Returns an errno.
 */
int ops_rename_folder(struct driver *d, struct ops_place *from, struct ops_place *to,
                      const struct inode_attr *attr);
#endif
