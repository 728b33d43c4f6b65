// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3FS_RESOLVE_H
#define RAC_S3FS_RESOLVE_H
/*
 * From a name to what the server has there. A folder where a few names were looked at in short time is listed
 * as a whole, and further looks, for names that do not exist too, cost nothing until RAC_METADATA_TTL is
 * over; a folder of too many names is not, and each look is one small list request. Never a HEAD for each
 * file, except where listing is forbidden, and with --posix, whose attributes stand nowhere else.
 *
 * Blocks; without the inodes' lock.
 */
#include <stdbool.h>

#include "fuse-layer/s3fs/driver.h"
#include "fuse-layer/s3fs/listing.h"

/* What `name` in `folder` is. 0 with *ret_attr and the time it was true at; ERR_NOT_FOUND if it does not
 * exist (then *ret_fresh_us is set, too). must_ask: nothing older than this call. */
int resolve_child(struct driver *d, struct inode *folder, const char *name, bool must_ask,
                  struct cancel *cancel, struct inode_attr *ret_attr, uint64_t *ret_fresh_us,
                  struct err *err);
/* The names of a folder as the server gave them, not older than RAC_METADATA_TTL; what this mount changed
 * since stands in folder->changes. Several callers at once share one fetch. A reference is the caller's (drop
 * it with the lock). */
int resolve_listing(struct driver *d, struct inode *folder, struct cancel *cancel, struct listing **ret,
                    struct err *err);
/* Brings inode->attr up to date if it is older than the TTL. Attributes of a version that handles hold open
 * stay as they are. ERR_NOT_FOUND: it is gone. */
int resolve_refresh(struct driver *d, struct inode *inode, struct cancel *cancel, struct err *err);
/* *ret_empty: the folder holds nothing but its marker. Asks the server. */
int resolve_is_empty(struct driver *d, const struct inode_path *folder, struct cancel *cancel,
                     bool *ret_empty, struct err *err);
#endif
