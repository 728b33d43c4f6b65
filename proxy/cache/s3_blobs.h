// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_CACHE_S3_BLOBS_H
#define RAC_CACHE_S3_BLOBS_H
/*
 * Blobs in S3: the second level that replicas share. What is not on this replica's disk is looked for there
 * before an upstream is asked, and what this replica had from an upstream is sent there in the background.
 *
 *      fill, document ── find, read ──> <prefix>/blobs/sha256/ab/<hex>      one object a digest
 *      a stored blob  ── keep ──> <data>/upload/<hex> ──> senders ──> S3    whole or not at all
 *
 * Nothing here is trusted, and nothing is needed: bytes from S3 are hashed like any other, wrong ones are
 * deleted there, and while S3 is away (a failed request shuts it out for 5 s, then twice as long, up to a
 * minute) everything goes on as without it. What waits to be sent stays on disk as long as S3 can be reached:
 * the store does not evict it; with S3 away for long, what the disk needs goes, and is not sent.
 *
 * The loop's side signs URLs only, and the upstream client asks them; what blocks is on threads of its own:
 * two senders, and one that keeps the credentials fresh.
 */
#include "common/jobs.h"
#include "proxy/cache/blob_store.h"
#include "proxy/cache/fill_source.h"

struct s3_blobs;

struct s3_blobs_options {
    const char *url;      /* s3_url.h */
    const char *data_dir; /* upload/ is made there */
    struct blob_store *store;
    struct jobs *jobs;
    struct upstream_client *(*client)(struct loop *loop);
};

/* ERR_INVALID for a URL or an environment that says nonsense, ERR_IO for the folder. Nothing is asked of S3,
 * so it need not be there. Main thread; what an earlier process had not sent goes on now. */
int s3_blobs_open(const struct s3_blobs_options *o, struct s3_blobs **ret, struct err *err);
/* Ends the threads: what is not sent stays for the next start. Before jobs and store are closed. */
void s3_blobs_stop(struct s3_blobs *s); /* NULL is fine */
/* After jobs are freed and loops have ended. */
void s3_blobs_free(struct s3_blobs *s); /* NULL is fine */

/* For fills. */
struct fill_source *s3_blobs_source(struct s3_blobs *s);
/* The store has that blob, and it did not come from S3: send it, unless it is there. Any thread; NULL s is
 * fine. */
void s3_blobs_keep(struct s3_blobs *s, const struct digest *digest);

/* A small blob, whole, verified; bytes malloc'd and the callee's, NULL: not there, or S3 is away. On `loop`,
 * never from inside, within 3 s. */
typedef void s3_blobs_read_fn(void *arg, char *bytes, size_t len);
void s3_blobs_read(struct s3_blobs *s, struct loop *loop, const struct digest *digest, size_t max,
                   s3_blobs_read_fn *fn, void *arg);

/* A URL that gives the blob to whoever has it, for 15 minutes; malloc'd. NULL if it is not known to be there
 * (it is looked for then, behind this call, and sent if it is not there). Never blocks. */
char *s3_blobs_redirect(struct s3_blobs *s, const struct digest *digest);
#endif
