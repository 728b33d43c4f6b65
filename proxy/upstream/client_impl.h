// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_UPSTREAM_CLIENT_IMPL_H
#define RAC_UPSTREAM_CLIENT_IMPL_H
/* What client.c, fetch.c and token_flight.c know of each other. Private to proxy/upstream. */

#include "common/hash.h"
#include "proxy/upstream/client.h"
#include "proxy/upstream/env_proxy.h"
#include "proxy/upstream/mux.h"
#include "proxy/upstream/token_cache.h"

/* One row of upstream_shared_stats; lives as long as the shared. Members are atomic, relaxed. */
struct stats_row {
    char *name;
    struct upstream_stats n;
    UT_hash_handle hh;
};

struct token_flight;

struct upstream_client {
    struct loop *loop;
    struct upstream_shared *shared;
    struct mux *mux;
    bool stopped;
    struct fetch *fetches;
    struct token_flight *flights;
};

struct token_cache *upstream_shared_tokens(struct upstream_shared *s);
/* The row of that name, made if there is room; "other" once there are too many names. Any thread. */
struct stats_row *upstream_shared_row(struct upstream_shared *s, const char *name);

static inline void stats_add(uint64_t *n, uint64_t more)
{
    (void)__atomic_add_fetch(n, more, __ATOMIC_RELAXED);
}

/* Credentials as they go into a header: "Authorization: Basic …", malloc'd; wipe it after. NULL without
 * credentials. */
char *upstream_client_basic(const struct upstream *u);
#endif
