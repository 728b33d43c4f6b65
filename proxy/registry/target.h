// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_REGISTRY_TARGET_H
#define RAC_REGISTRY_TARGET_H
/*
 * What a name in a request means under the configuration in force: the repository upstream, the injection,
 * the freshness. Kept per worker for names that were asked for before, so that a warm pull parses and matches
 * nothing twice.
 */
#include "proxy/registry/registry.h"

struct target {
    unsigned refs; /* not atomic: lives on one worker */
    struct registry_config *config;
    struct repo *repo;
    struct injection *injection; /* NULL: plain */
    struct tags_policy tags;
    struct reported *reported; /* report.h: what was served under this name */
    unsigned reported_count;
    struct target *plain; /* wt.c: the same without the injection, made when first needed; else NULL */
};

struct target *target_ref(struct target *t);
void target_unref(struct target *t); /* NULL is fine */

/* account: who asks, NULL = anonymous; one with upstream credentials of its own sees a repository of its own,
 * where nothing is known that others were shown. ns.p NULL = none. The caller's reference. ERR_NAME_INVALID,
 * ERR_DENIED. */
int target_get(struct registry_worker *w, const char *account, struct slice name, struct slice ns,
               struct target **ret, struct err *err);
/* The configuration in force on this worker; borrowed. */
const struct registry_config *registry_worker_config(const struct registry_worker *w);
#endif
