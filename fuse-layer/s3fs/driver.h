// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3FS_DRIVER_H
#define RAC_S3FS_DRIVER_H
/*
 * The parts of the running driver, which all file operations share. Made by main.c, lives until the process
 * ends; nothing here changes after the start but what has a lock of its own.
 */
#include <stdint.h>

#include "fuse-layer/s3fs/inode.h"
#include "fuse-layer/s3fs/memory.h"
#include "fuse-layer/s3fs/options.h"
#include "fuse-layer/s3fs/pool.h"
#include "s3/s3.h"
#include "fuse-layer/s3fs/spill.h"

struct fuse_session;
struct prefetch;
struct sweep;
struct ops_open;

struct driver {
    const struct options *options;
    struct s3 *s3;
    struct inodes inodes;
    struct memory *memory;
    struct pool *pool;
    struct spill *spill;
    struct prefetch *prefetch;
    struct sweep *sweep;
    struct fuse_session *session;
    struct ops_open *open; /* all open files and folders; with the inodes' lock */
    /* Inode numbers that programs see are ours plus this: in no other file system is that number likely,
     * which makes a file known by its number alone (ops_file.c). */
    uint64_t ino_base;
    int64_t started_ms;       /* wall clock: the time that folders show */
    struct cancel *ending;    /* fired when nothing may wait any longer */
    _Atomic unsigned lost;    /* files that could not be stored, and nobody knows but the log */
    _Atomic unsigned streams; /* handles that read ahead now: the memory is shared out among them */
};

static inline uint64_t driver_ttl_us(const struct driver *d)
{
    return d->options->metadata_ttl_ms * 1000;
}
#endif
