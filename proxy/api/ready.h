// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_API_READY_H
#define RAC_API_READY_H
/* GET /readyz: 200 if state and blob store take a write, else 503 naming the one that does not. Upstreams are
 * not asked: what is cached is served without them. With ?exclude=state (the parameter's name is
 * kube-apiserver's) the state is not asked either: one that replicas share must not take them all out of
 * service when it is away, since pulls go on without it. */
#include "proxy/api/api.h"

void ready_handle(struct api *api, struct request *r);
#endif
