// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3FS_PREFETCH_H
#define RAC_S3FS_PREFETCH_H
/*
 * Small files of a listed folder, before they are asked for. Whoever opens two that follow each other in the
 * listing most likely wants the next ones, too: PREFETCH_AHEAD of them are fetched whole, side by side, and
 * opening one of them then costs no request.
 *
 * What is fetched so is at most RAC_METADATA_TTL old when it is opened, as attributes are; what this mount
 * did to the file meanwhile wins. Contents are of the memory budget: with none left nothing is fetched ahead.
 *
 * Any thread.
 */
#include "fuse-layer/s3fs/driver.h"

#define PREFETCH_AHEAD     16
#define PREFETCH_FILE_MAX  ((uint64_t)64 << 10)
#define PREFETCH_FILES_MAX 256

struct prefetch;

struct prefetch *prefetch_new(struct driver *d);
void prefetch_free(struct prefetch *p); /* after the pool has ended; NULL is fine */

/* A file is being opened: fetches what comes next, if it looks like that. */
void prefetch_note_open(struct prefetch *p, struct inode *inode);
/* The contents of a file, if they are here or on their way: then true, *ret_data is a block of the memory of
 * *ret_len bytes, the caller's, and the whole object as it was at *ret_us. False when cancelled, too. */
bool prefetch_take(struct prefetch *p, struct inode *inode, struct cancel *cancel, char **ret_data,
                   size_t *ret_len, struct s3_object *ret_info, uint64_t *ret_us);
#endif
