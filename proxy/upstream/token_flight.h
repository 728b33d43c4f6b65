// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_UPSTREAM_TOKEN_FLIGHT_H
#define RAC_UPSTREAM_TOKEN_FLIGHT_H
/*
 * One request to a token server, for all who wait for that key. It belongs to the client of the fetch that
 * leads, not to the fetch: that one may go, the others still want the token. Ends in token_cache_resolve.
 * Private to proxy/upstream.
 */
#include "proxy/upstream/client_impl.h"
#include "proxy/upstream/realm.h"

/* The key's flight is the caller's to lead. The realm is taken. ca_file is the upstream's, or NULL for the
 * system's. */
void token_flight_start(struct upstream_client *c, struct upstream *u, const char *key, struct realm *realm,
                        bool may_be_private, const char *ca_file);
void token_flight_abandon(struct token_flight *f); /* the client goes: somebody else is to ask */
#endif
