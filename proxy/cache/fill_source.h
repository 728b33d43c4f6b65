// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_CACHE_FILL_SOURCE_H
#define RAC_CACHE_FILL_SOURCE_H
/*
 * A place besides the upstream that may have the bytes of a blob: the second level that replicas share. A
 * fill asks it before anything else, once, if who asks may read the blob whatever the upstream would say; it
 * is not trusted: the bytes are hashed like any other, and what is missing, breaks, stalls or lies there is
 * had from elsewhere, from the byte on that is there.
 *
 * Functions are called on the fill's loop, and never call back before they return.
 */
#include "common/digest.h"
#include "common/loop.h"
#include "proxy/upstream/client.h"

struct fill_source;

/* How to ask for it, valid during the call; NULL: it is not there, or is not to be asked. */
typedef void fill_source_fn(void *arg, const struct fetch_params *params);

enum fill_source_end {
    SOURCE_GAVE,    /* the rest of the blob came from there, and the digest of all is right */
    SOURCE_MISSING, /* 404 */
    SOURCE_BROKE,   /* another status, no byte for too long, or the answer ended early */
    SOURCE_LIED,    /* every byte came from there, and they have another digest */
};

struct fill_source_ops {
    /* Says how that blob is had from byte `from` on: params->range_from is set by the fill. Answers in
     * bounded time, once. */
    void (*find)(struct fill_source *, struct loop *, const struct digest *, uint64_t from, fill_source_fn *,
                 void *arg);
    /* What came of the answer of find; not if the fill ended for another reason. */
    void (*ended)(struct fill_source *, struct loop *, const struct digest *, enum fill_source_end);
    /* The blob store has that blob, and bytes of it came from the upstream: this replica downloaded it. */
    void (*stored)(struct fill_source *, struct loop *, const struct digest *, uint64_t size);
};

struct fill_source {
    const struct fill_source_ops *ops;
    const char *name; /* in logs and metrics: "s3" */
};
#endif
