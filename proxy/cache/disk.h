// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_CACHE_DISK_H
#define RAC_CACHE_DISK_H
/*
 * Blobs as files:  <data>/blobs/sha256/ab/<hex>   <data>/partial/<hex>   <data>/quarantine/<hex>.<time>
 *
 * There is no index to lose: a file under blobs/ is complete because it got there by rename after fdatasync.
 * A blob's last use is its mtime, refreshed at most every 10 minutes; eviction reads them (two passes, a
 * histogram of ages first, so that memory does not grow with the number of blobs). The total size is counted
 * by a scan in the background at start and kept up to date after; nothing waits for that scan.
 *
 * Eviction begins when blobs, partials and quarantine pass the limit, and goes down to 95 % of it; and when
 * the file system has less than 2 % or 256 MiB free (at most a tenth of it). Partials nobody asked for in 24
 * h, and what was in quarantine for 7 days, are deleted. One process a folder: the caller holds the lock
 * (sqlite_state_open takes it).
 */
#include "common/jobs.h"
#include "proxy/cache/blob_store.h"

struct disk_options {
    const char *dir;        /* <data> */
    uint64_t limit_bytes;   /* 0: limit_percent of the file system */
    unsigned limit_percent; /* 0: 80 */
    unsigned open_blobs;    /* descriptors kept open: 0: 1024 */
};

/* Makes the folders; ERR_IO with the path and what to do. Blocking; main thread. */
int disk_store_open(const struct disk_options *o, struct jobs *jobs, struct blob_store **ret,
                    struct err *err);

/* rac-proxy --scrub: hashes every blob again, quarantines what is wrong; progress() every so often. Blocking.
 * Works beside a running proxy, which goes on serving a damaged blob that it has open until it closes it. */
struct disk_scrub {
    uint64_t blobs, bytes, damaged;
};
int disk_store_scrub(const char *dir, void (*progress)(const struct disk_scrub *, void *arg), void *arg,
                     struct disk_scrub *ret, struct err *err);
#endif
