// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_REGISTRY_RELAY_H
#define RAC_REGISTRY_RELAY_H
/* A small JSON document of an upstream for one request: tag lists and referrers, which are not cached. */
#include "common/json.h"
#include "proxy/http/request.h"
#include "proxy/registry/target.h"

/* r NULL: the request is gone, only free what is yours. head and json are set on 200 (json is the callee's).
 * A status that is no success is an err; its status is in head->status if there was an answer at all (head
 * may be NULL). */
typedef void relay_fn(void *arg, struct request *r, const struct fetch_head *head, json_t *json,
                      const struct err *err);
/* path: "/v2/…" with its query. what: for messages. not_found: what 404 means. */
void relay_json(struct registry *g, struct request *r, struct target *t, const char *path, const char *accept,
                const char *what, enum err_code not_found, relay_fn *fn, void *arg);
#endif
