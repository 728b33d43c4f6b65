// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3FS_SWEEP_H
#define RAC_S3FS_SWEEP_H
/*
 * The table of inodes holds what the kernel holds, and that is, after one `find` through a bucket, every name
 * of it: until the kernel is short of memory itself, it forgets nothing. Past RAC_MEMORY / 4 worth of names
 * (32,768 of them with 64 MiB) it is asked to, for files that nobody has open and whose attributes are too
 * old to be believed anyway. What is asked for again is looked up again.
 */
#include "fuse-layer/s3fs/driver.h"

struct sweep;

struct sweep *sweep_new(struct driver *d);
void sweep_free(struct sweep *s); /* after the pool has ended; NULL is fine */
/* Locked. After inodes were added: begins a sweep in the pool if there are too many. */
void sweep_begin(struct sweep *s);
#endif
