// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_REGISTRY_WT_H
#define RAC_REGISTRY_WT_H
/*
 * /v2/wt/<token>/<name>/…: the image of a container token (design: api.md "Container tokens").
 *
 * The token is the right: no role is asked for, and nothing but its image is served. Its tag means the digest
 * that was announced with it, for as long as it lives; a digest is served if it belongs to that image.
 */
#include "proxy/registry/registry.h"
#include "proxy/registry/route.h"

bool wt_is(struct slice name);
/* route: of a named kind (manifest, blob, tags, referrers). */
void wt_handle(struct registry *g, struct request *r, const struct route *route);
#endif
