// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_REGISTRY_RELAY_H
#define RAC_REGISTRY_RELAY_H
/* A small JSON document of an upstream: tag lists and referrers, which are not cached. Who asks for the same,
 * by the same name and with the same credentials, while an answer is on its way, has that one, too. */
#include "common/json.h"
#include "proxy/http/request.h"
#include "proxy/registry/target.h"

struct relays; /* any thread */

struct relays *relays_new(const struct cache_env *env);
void relays_free(struct relays *t); /* NULL is fine; nothing may be under way */

/* On the request's loop. r NULL: the request is gone, only free what is yours. head and json are set on 200
 * (json is the callee's). A status that is no success is an err; its status is in head->status if there was
 * an answer at all (head may be NULL). */
typedef void relay_fn(void *arg, struct request *r, const struct fetch_head *head, json_t *json,
                      const struct err *err);
/* path: "/v2/…" with its query. what: for messages. not_found: what 404 means. */
void relay_json(struct registry *g, struct request *r, struct target *t, const char *path, const char *accept,
                const char *what, enum err_code not_found, relay_fn *fn, void *arg);
#endif
