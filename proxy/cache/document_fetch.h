// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_CACHE_DOCUMENT_FETCH_H
#define RAC_CACHE_DOCUMENT_FETCH_H
/* One document from upstream into memory: bounded, verified, and of a manifest also checked to be one. */
#include "proxy/cache/document.h"

struct document_fetched {
    struct digest digest;
    char media_type[256]; /* "" for what is no manifest */
    char *bytes;          /* malloc'd, the callee's */
    size_t len;
    bool is_signed; /* as struct document has it */
};
/* doc NULL if err is set. */
typedef void document_fetch_fn(void *arg, const struct document_fetched *doc, const struct err *err);
/* By digest, or by tag if digest is NULL (then only manifests). On the client's loop; never calls back from
 * inside. */
void document_fetch(struct upstream_client *client, struct repo *repo, const struct digest *digest,
                    const char *tag, enum document_kind kind, document_fetch_fn *fn, void *arg);
/* "/v2/<repository>/manifests/<reference>"; malloc'd. */
char *document_path(const struct repo *repo, const char *what, const char *reference);
#endif
