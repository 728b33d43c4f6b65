// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_REGISTRY_BLOB_HEAD_H
#define RAC_REGISTRY_BLOB_HEAD_H
/* Asks an upstream whether a repository has a blob, and how large it is. */
#include "proxy/cache/repo.h"
#include "proxy/upstream/client.h"

/* size: UINT64_MAX if the upstream does not say it. */
typedef void blob_head_fn(void *arg, uint64_t size, const struct err *err);
/* err: the truth as fetch_head_err has it, ERR_BLOB_UNKNOWN for 404. Never calls back from inside. */
void blob_head(struct upstream_client *client, struct repo *repo, const struct digest *digest,
               blob_head_fn *fn, void *arg);
#endif
