// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_INJECT_VARIANT_MAKE_H
#define RAC_INJECT_VARIANT_MAKE_H
/* Makes one variant: variant*.c only. */
#include "proxy/inject/variant.h"

#define VARIANT_DEPTH_MAX 4    /* an index in an index in … */
#define VARIANT_MAKES_MAX 1000 /* manifests below one index, however deep */

/* What lies between an index and the child that is being made: cycles are refused. On the stack of nobody:
 * counted. */
struct variant_path {
    unsigned refs; /* not atomic: one loop */
    struct variant_path *parent;
    struct digest digest;
    unsigned depth;
    unsigned makes; /* of the topmost: manifests looked at so far */
};

struct variant_context {
    const struct cache_env *env;
    struct documents *documents;
    struct links *links;
    struct injected_layers *layers;
};

/* doc: a reference, the rewritten manifest, or the source where `skipped` says why it stays as it is.
 * partial: an index, or one below it, names what its registry does not have; once it does, another manifest
 * is made. */
typedef void variant_made_fn(void *arg, struct document *doc, const char *skipped, bool partial,
                             const struct err *err);
void variant_make(const struct variant_context *c, struct loop *loop, struct repo *repo,
                  const struct digest *source, struct injection *injection, struct variant_path *parent,
                  variant_made_fn *fn, void *arg);
#endif
