// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_CACHE_DOCUMENT_H
#define RAC_CACHE_DOCUMENT_H
/*
 * Documents: manifests, indexes and configs, whole in memory, immutable, verified against their digest.
 *
 * The most recently used stay in memory (bounded), all are kept in the blob store; what is in neither is
 * asked for upstream, once for all who want it. Signed schema 1 manifests are in memory only: the store goes
 * by the digest of bytes, and theirs is another. struct document is counted (atomic); functions are for any
 * worker's loop.
 */
#include "proxy/cache/env.h"
#include "proxy/cache/flight.h"
#include "proxy/cache/repo.h"

#define DOCUMENT_MAX ((size_t)4 << 20) /* podman refuses manifests from 4 MiB on; configs are far smaller */

struct document {
    unsigned refs; /* use document_ref/unref */
    struct digest digest;
    char etag[DIGEST_STR_MAX + 3]; /* the digest in quotes */
    char media_type[256];          /* of a manifest: what it is served as; "" for other blobs */
    bool is_signed; /* schema 1: the digest is that of the signed payload, not of these bytes */
    char *bytes;
    size_t len;
};
struct document *document_ref(struct document *d);
void document_unref(struct document *d); /* NULL is fine */

struct documents;
struct documents *documents_new(const struct cache_env *env, uint64_t memory_bytes);
void documents_free(struct documents *t);
uint64_t documents_bytes(struct documents *t);

/* From memory only, a reference; NULL if it is not there. */
struct document *documents_try(struct documents *t, const struct digest *digest);
/* A document that was just made or received and verified: into memory, and into the store in the background.
 * Takes over `bytes` (malloc'd). A reference for the caller. */
struct document *documents_add(struct documents *t, struct loop *loop, const struct digest *digest,
                               const char *media_type, char *bytes, size_t len);

enum document_kind { DOCUMENT_MANIFEST, DOCUMENT_BLOB };
/* Memory, store, bucket, upstream, in this order. The result is a struct document reference for fn.
 * local_only: no upstream, and the bucket for manifests only; what is not here is ERR_NOT_FOUND. The caller
 * has seen to it that `repo` may read it, or lets the upstream decide (what is in memory or store is given
 * without asking). */
void documents_get(struct documents *t, struct loop *loop, struct repo *repo, const struct digest *digest,
                   enum document_kind kind, bool local_only, flight_fn *fn, void *arg);
/* From the upstream, by digest or tag, whatever is here: asks `repo` and verifies. For a tag, `digest` is
 * NULL. */
void documents_fetch(struct documents *t, struct loop *loop, struct repo *repo, const struct digest *digest,
                     const char *tag, enum document_kind kind, flight_fn *fn, void *arg);
#endif
