// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_LAYERS_INJECT_H
#define RAC_LAYERS_INJECT_H
/*
 * The heart: how an image is rewritten. Pure functions, no clock, no files; the same input gives the same
 * bytes on every machine for ever, so that every replica announces the same digest and anyone can recompute
 * it (docs/injection.md). Any thread.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/digest.h"
#include "common/err.h"
#include "layers/injection.h"
#include "layers/manifest.h"

#define INJECT_LAYERS_MAX 126 /* the overlay driver takes fewer than 127 */

struct inject_result {
    char *manifest; /* the new manifest's or index's bytes, NUL-terminated */
    size_t manifest_len;
    struct digest manifest_digest;
    char media_type[MANIFEST_MEDIA_TYPE_MAX]; /* to serve it as: the source's */
    char *config;                             /* images only */
    size_t config_len;
    struct digest config_digest;
    /* Set: serve the source unchanged, nothing else here is set. A word for rac_injection_skipped_total:
     * "empty", "platform", "schema1", "artifact", "index", "number", "rootfs", "diff_ids", "unchanged".
     * Static. */
    const char *skipped;
};

void inject_result_free(struct inject_result *r); /* its members; r itself is the caller's */

/* Rewrites an image. `config`: bytes that the caller has checked against the manifest's config descriptor.
 * `canonical_name` ("docker.io/library/busybox", no tag) and `source`, the manifest's own digest, are
 * recorded in the result. Layers are chosen by the config's platform. Errors leave *ret untouched:
 * ERR_MANIFEST_INVALID for a config that clients could read in two ways, ERR_SIZE_INVALID where the result
 * would be over a limit of clients. */
int inject_image(const struct manifest *m, const void *config, size_t config_len, const struct injection *inj,
                 const char *canonical_name, const struct digest *source, struct inject_result *ret,
                 struct err *err);

/* Is this child of an index one to look at: an index, or an image of a platform that the injection is for.
 * The rest stays as it is and need not be fetched. Everyone who rewrites an index must choose by this, or
 * digests will not agree. */
bool inject_child_may_change(const struct descriptor *child, const struct injection *inj);

struct inject_child {
    struct digest source, target; /* equal: this one was not rewritten */
    uint64_t target_size;         /* bytes */
};

/* Rewrites an index: listed children get their new digest and size, attestations of rewritten ones go, all
 * else stays in its order. */
int inject_index(const struct manifest *index, const struct inject_child *children, size_t n,
                 struct inject_result *ret, struct err *err);

static inline void cleanup_inject_result_fn(struct inject_result *r)
{
    inject_result_free(r);
}
#define cleanup_inject_result RAC_CLEANUP(cleanup_inject_result_fn)
#endif
