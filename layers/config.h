// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_LAYERS_CONFIG_H
#define RAC_LAYERS_CONFIG_H
/*
 * An image's config blob (OCI image spec, config.md): parsed and checked. Immutable after config_parse, so
 * any number of threads may read one.
 */
#include <stddef.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "layers/platform.h"

#define CONFIG_BYTES_MAX ((size_t)4 << 20)

struct config;

/* NULL with ERR_MANIFEST_INVALID for what is not JSON by our rules, for case variants of known names and for
 * known members of a wrong type; ERR_SIZE_INVALID past CONFIG_BYTES_MAX. To be config_free'd. */
struct config *config_parse(const void *bytes, size_t len, struct err *err);
void config_free(struct config *c); /* NULL is fine */

/* What the image runs on; "linux" where it does not say its system, "" for an architecture that it does not
 * say. */
const struct platform *config_platform(const struct config *c); /* borrowed */
/* May it be rewritten, for an image of `layers` layers? Else *ret_reason is a word for
 * rac_injection_skipped_total: "rootfs" (none: not an image), "diff_ids" (not one a layer), "number". Static.
 */
bool config_rewritable(const struct config *c, size_t layers, const char **ret_reason);

static inline void cleanup_config_fn(struct config **c)
{
    config_free(*c);
}
#define cleanup_config RAC_CLEANUP(cleanup_config_fn)
#endif
