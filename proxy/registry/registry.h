// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_REGISTRY_REGISTRY_H
#define RAC_REGISTRY_REGISTRY_H
/*
 * The distribution API (OCI distribution spec 1.1, pull side): what is under /v2/. Knows requests and
 * responses, the cache and the injections; never h2o or curl.
 */
#include "proxy/cache/document.h"
#include "proxy/cache/fill.h"
#include "proxy/cache/links.h"
#include "proxy/cache/tags.h"
#include "proxy/http/request.h"
#include "proxy/inject/rules.h"
#include "proxy/inject/variant.h"
#include "proxy/tokens/tokens.h"

/* What the configuration says; immutable, counted (atomic): requests under way keep the one they began with.
 */
struct registry_config {
    unsigned refs;
    struct upstream_set *upstreams;
    struct registry_account {
        char *name;
        struct upstream_set *upstreams; /* those of all, but some seen with the account's own credentials */
    } * accounts;                       /* sorted by name; only who has credentials of their own */
    size_t account_count;
    struct rules *rules;
    struct tags_policy tags;
    bool pinned_refuse; /* a pull by an original's digest is refused where an injection applies */
    struct registry_fresh {
        char *upstream;
        uint64_t fresh_ms;
    } * fresh; /* upstreams with a freshness of their own */
    size_t fresh_count;
    char *own_names[2]; /* what this proxy is called; as ns it names no upstream. NULL where there is none */
};
struct registry_config *registry_config_ref(struct registry_config *c);
void registry_config_unref(struct registry_config *c); /* NULL is fine */
/* The upstreams as that account sees them, NULL = anonymous; borrowed. *ret_own (may be NULL): it has some of
 * its own, so what is known for others says nothing. */
struct upstream_set *registry_config_upstreams(const struct registry_config *c, const char *account,
                                               bool *ret_own);

struct registry {
    const struct cache_env *env;
    struct documents *documents;
    struct links *links;
    struct tags *tags;
    struct fills *fills;
    struct blob_heads *blob_heads;
    struct relays *relays;
    struct injected_layers *layers;
    struct variants *variants;
    struct tokens *tokens;
    uint64_t redirect_bytes; /* blobs from that size on are redirected to the bucket; 0: none */
    struct jobs *layer_jobs; /* for what may take long: bodies and layers of container tokens */
    struct access *access;
    struct records *records;                              /* NULL: nothing is recorded */
    struct registry_worker *(*worker)(struct loop *loop); /* of that worker */
};

/* What each worker keeps for itself: the configuration in force, names already understood. */
struct registry_worker;
struct registry_worker *
registry_worker_new(struct registry_config *config); /* takes a reference of its own */
/* Forgets all names, and with them what would go on asking by itself; before the last answers are waited for.
 */
void registry_worker_stop(struct registry_worker *w);
void registry_worker_free(struct registry_worker *w);
void registry_worker_set_config(struct registry_worker *w, struct registry_config *config); /* on its loop */

/* Answers a request whose path begins with /v2. */
void registry_handle(struct registry *g, struct request *r);
#endif
