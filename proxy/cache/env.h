// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_CACHE_ENV_H
#define RAC_CACHE_ENV_H
/* What the cache stands on; made once by the app, outlives everything in this room. */
#include "common/jobs.h"
#include "common/loop.h"
#include "proxy/cache/blob_store.h"
#include "proxy/state/state.h"
#include "proxy/upstream/client.h"

struct cache_env {
    struct blob_store *store;
    struct state *state;
    struct jobs *jobs;
    struct upstream_client *(*client)(struct loop *loop); /* the upstream client of that worker */
};
#endif
