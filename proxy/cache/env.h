// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_CACHE_ENV_H
#define RAC_CACHE_ENV_H
/* What the cache stands on; made once by the app, outlives everything in this room. */
#include "common/jobs.h"
#include "common/loop.h"
#include "proxy/cache/blob_store.h"
#include "proxy/cache/fill_source.h"
#include "proxy/cache/peers.h"
#include "proxy/state/state.h"
#include "proxy/upstream/client.h"

struct s3_blobs;

struct cache_env {
    struct blob_store *store;
    struct state *state;
    struct jobs *jobs;
    struct upstream_client *(*client)(struct loop *loop); /* the upstream client of that worker */
    struct fill_source *second;                           /* asked before the upstream; NULL: none */
    struct peers *peers; /* the other replicas; NULL: this process is alone */
    struct s3_blobs *s3; /* the bucket behind the store; NULL: none */
};
#endif
