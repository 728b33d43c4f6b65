// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_CACHE_LINKS_H
#define RAC_CACHE_LINKS_H
/*
 * Who may read what. Possession of bytes is not permission: a digest is served under a repository only if
 * that repository, seen with the same credentials, is known to refer to it: a manifest served under it lists
 * the digest, or the upstream just said so. Known links stay in memory (bounded) and in the state store.
 */
#include <stdbool.h>

#include "proxy/cache/document.h"

struct links;
struct links *links_new(const struct cache_env *env, size_t max_in_memory);
void links_free(struct links *l);

/* In memory? *ret_size (may be NULL): the blob's size, 0 if not known. */
bool links_try(struct links *l, const struct repo *repo, const struct digest *digest, uint64_t *ret_size);

/* In memory, and added as a manifest: all that it lists is linked, too. What is known only because an index
 * lists it is not, nor what the store failed to keep some seconds ago: links_add is still due. */
bool links_try_manifest(struct links *l, const struct repo *repo, const struct digest *digest);

/* Memory, then state. known: the repository refers to it. err: the state could not be asked, so that nobody
 * can tell: the upstream's yes is one, and its "there is no such thing" says nothing of what was rewritten
 * here. */
typedef void links_fn(void *arg, bool known, uint64_t size, const struct err *err);
void links_get(struct links *l, struct loop *loop, struct repo *repo, const struct digest *digest,
               enum document_kind kind, links_fn *fn, void *arg);

/* The repository refers to this manifest and to all it lists. `done` (may be NULL) comes when it is durable,
 * or with an error if it cannot be: the link then holds in memory, and whoever adds it next tries again. */
void links_add(struct links *l, struct loop *loop, struct repo *repo, const struct document *manifest,
               state_done_fn *done, void *arg);
/* The upstream just let these credentials see that blob; kept in memory, for ttl_ms. */
void links_add_seen(struct links *l, struct repo *repo, const struct digest *digest, uint64_t size,
                    uint64_t ttl_ms);
/* The upstream took it back (401, 403, 404). */
void links_drop(struct links *l, struct repo *repo, const struct digest *manifest);
#endif
