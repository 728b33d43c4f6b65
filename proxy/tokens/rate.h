// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_TOKENS_RATE_H
#define RAC_TOKENS_RATE_H
/*
 * How often an address did something within the minute that began with the first time. Bounded: when more
 * than RATE_ADDRESSES did, the one whose minute began first is forgotten. Any thread.
 *
 * Replicas that share a state count together: what one lets through it tells the state, off the path, and
 * what the answer says of all counts here from then on. So nobody waits for it, each replica counts for
 * itself while the state is away, and who asks all of them at once gets a few more times than from one: those
 * that are under way.
 */
#include "common/network.h"
#include "proxy/state/state.h"

#define RATE_ADDRESSES 65536
#define RATE_WINDOW_MS UINT64_C(60000)

struct rate;
/* limit: times a minute; 0: none. state: whose replicas count together, under `what`; NULL, or one process's:
 * none do. */
struct rate *rate_new(unsigned limit, struct state *state, const char *what);
void rate_free(struct rate *r); /* NULL is fine; after the state's end */
/* One more time. 0: within the limit; else the seconds until it may do it again. IPv6 addresses count by
 * their /64: whoever has one has all of it. */
unsigned rate_take(struct rate *r, const struct net_address *who);
#endif
