// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_API_CONTAINER_H
#define RAC_API_CONTAINER_H
/*
 * Container tokens (design: api.md): POST /container-token and /v1alpha2/container make one, GET and DELETE
 * /container-token/<token> tell of it and revoke it.
 *
 * Whoever has a token may see what it stands for. Revoking needs an account: the one that made it, or an
 * admin; for a token that was made anonymously, any account that may ask for tokens.
 */
#include "proxy/api/api.h"

void container_create(struct api *api, struct request *r);
void container_describe(struct api *api, struct request *r);
void container_revoke(struct api *api, struct request *r);

/* "registry.example:5000/wt/<token>/<name>:<tag>" or "…@<digest>" into `out`. ERR_INVALID if the request
 * names no host that could be ours and the configuration says none. */
int container_target_image(const struct api *api, struct request *r, const char *text,
                           const struct grant *token, struct buf *out, struct err *err);
/* "2026-01-02T03:04:05.678Z" into out; returns out. */
#define CONTAINER_TIME_MAX 32
const char *container_time(int64_t ms, char out[CONTAINER_TIME_MAX]);
#endif
