// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3FS_READER_H
#define RAC_S3FS_READER_H
/*
 * An open file that is read: one version of one object (its ETag goes with every request as If-Match, so what
 * is read is one version or ESTALE), and a window that runs ahead of whoever reads in order.
 *
 *      |<-- 1 MiB -->|                |<- 512 KiB ->|
 *      ....kept......expect...........window end.........    one stream of reads, their disorder tolerated
 *      [chunk  ][chunk        ][chunk ]                      each a ranged GET of up to 8 MiB by the pool
 *
 * - The opening request brings a small object (up to READER_SMALL) whole and the first READER_HEAD bytes of a
 *   large one; it asks without a condition, so that opening sees the newest version.
 * - Reads in order move the window: 1 MiB + 128 KiB, then doubling, up to what the memory budget gives to
 *   each of the handles that read ahead. A read of what is under way waits for it.
 * - Any other read is a GET of just its bytes. Several that fit together begin a window again.
 * - What this mount itself writes to the file is followed, not stale: local programs see local changes.
 *
 * A reader is of one handle; its calls may come from several threads.
 */
#include <stdint.h>
#include <sys/uio.h>

#include "fuse-layer/s3fs/driver.h"

#define READER_SMALL ((uint64_t)1 << 20)
#define READER_HEAD  ((uint64_t)128 << 10)

struct reader;
struct reader_chunk;

/* Bytes of a file, in the reader's memory as long as they are held. */
struct reader_view {
    struct iovec iov[4];
    int iov_len;
    struct reader_chunk *held[4];
    void *own; /* malloc'd for this view alone */
};

/* The caller has the inode pinned for as long as the reader lives. ERR_NOT_FOUND if the object is gone. */
int reader_open(struct driver *d, struct inode *inode, struct cancel *cancel, struct reader **ret,
                struct err *err);
/* Up to len bytes from offset on; fewer only at the end of the file. The view is dropped in any case of
 * success. ERR_STALE: the version is gone. */
int reader_read(struct reader *r, uint64_t offset, size_t len, struct cancel *cancel, struct reader_view *ret,
                struct err *err);
void reader_view_drop(struct reader *r, struct reader_view *view);
/* The version as it was opened; "" if the server gives none. */
const char *reader_etag(const struct reader *r);
/* Ends what is under way. NULL is fine. */
void reader_close(struct reader *r);
#endif
