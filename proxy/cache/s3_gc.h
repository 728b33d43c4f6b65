// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_CACHE_S3_GC_H
#define RAC_CACHE_S3_GC_H
/*
 * rac-proxy --gc-s3: deletes blobs from S3 that are old. S3 knows no last use, so what is used is made young:
 * replicas copy an object onto itself when it was asked for and is older than a day. No state is asked: what
 * is deleted and wanted again comes from its upstream, and goes to S3 once more.
 *
 * Multipart uploads that were begun before that age are aborted. Keys below the prefix that are no blobs are
 * left alone. Blocks; main thread; beside running replicas.
 */
#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

struct s3_gc {
    uint64_t blobs, bytes;   /* seen */
    uint64_t old, old_bytes; /* of them, older: deleted, or with dry_run to be deleted */
    uint64_t uploads;        /* aborted, or to be aborted */
    uint64_t others;         /* keys that are no blobs */
    uint64_t failed;         /* objects and uploads that could not be deleted */
};

typedef void s3_gc_progress_fn(const struct s3_gc *g, void *arg);
/* url: s3_url.h. -1: S3 cannot be asked, or not on; *ret is what was done until then. */
int s3_blobs_gc(const char *url, uint64_t older_than_ms, bool dry_run, s3_gc_progress_fn *progress, void *arg,
                struct s3_gc *ret, struct err *err);
/* Whether `key` is a blob's below that prefix ("" or without slashes at its ends). Pure. */
bool s3_gc_is_blob(const char *prefix, const char *key);
#endif
