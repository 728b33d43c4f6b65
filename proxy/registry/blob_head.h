// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_REGISTRY_BLOB_HEAD_H
#define RAC_REGISTRY_BLOB_HEAD_H
/* Asks an upstream whether a repository has a blob, and how large it is: once, for all who want to know it of
 * that name and those credentials at the same time. */
#include "proxy/cache/env.h"
#include "proxy/cache/repo.h"

struct blob_heads; /* any thread */

struct blob_heads *blob_heads_new(const struct cache_env *env);
void blob_heads_free(struct blob_heads *t); /* NULL is fine; nothing may be under way */

/* size: UINT64_MAX if the upstream does not say it. */
typedef void blob_head_fn(void *arg, uint64_t size, const struct err *err);
/* err: the truth as fetch_head_err has it, ERR_BLOB_UNKNOWN for 404. On this loop, never from inside. */
void blob_heads_ask(struct blob_heads *t, struct loop *loop, struct repo *repo, const struct digest *digest,
                    blob_head_fn *fn, void *arg);
#endif
