// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_CACHE_REPO_H
#define RAC_CACHE_REPO_H
/* A repository upstream, as seen with one set of credentials: what everything cached hangs on. Immutable,
 * counted (atomic), any thread. */
#include "proxy/state/state.h"
#include "proxy/upstream/upstream.h"

struct repo {
    unsigned refs; /* use repo_ref/unref */
    struct upstream *upstream;
    char *repository; /* "library/busybox" */
    char *canonical;  /* "docker.io/library/busybox" */
    char *key;        /* "<scope> <canonical>": unique per repository and scope */
};

/* Takes over the reference name->upstream. */
struct repo *repo_new(const struct upstream_name *name);
struct repo *repo_ref(struct repo *r);
void repo_unref(struct repo *r);                    /* NULL is fine */
struct state_repo repo_state(const struct repo *r); /* borrowed strings */
#endif
