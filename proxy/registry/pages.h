// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_REGISTRY_PAGES_H
#define RAC_REGISTRY_PAGES_H
/*
 * Lists that come from the upstream in pages (OCI distribution spec 1.1, "Listing Tags", "Listing
 * Referrers"). What a page is asked for by is the upstream's own affair: some have more than n and last
 * (next_page, …). So its link comes back under our name with the query as it was, and the query goes upstream
 * as it came. On the request's worker.
 */
#include "common/str.h"
#include "proxy/http/request.h"

/* Adds a client's query to a path upstream: all of it but `ns`, which is ours, and `own`, which the caller
 * adds himself. Returns what stands before a further parameter: "?" or "&". */
const char *pages_add_query(struct buf *path, struct slice query, const char *own);

/* The Link header for an upstream's own (may be ""), if that has a next page. path: ours, "/v2/…". ns: the
 * client's, or NULL. */
void pages_link(struct request *r, const char *path, const char *ns, const char *upstream_link);
#endif
