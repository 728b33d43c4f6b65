// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_TOKENS_RATE_H
#define RAC_TOKENS_RATE_H
/*
 * How often an address did something within the minute that began with the first time. Bounded: when more
 * than RATE_ADDRESSES did, the one whose minute began first is forgotten. Any thread.
 */
#include "common/network.h"

#define RATE_ADDRESSES 65536
#define RATE_WINDOW_MS UINT64_C(60000)

struct rate;
struct rate *rate_new(unsigned limit); /* times a minute; 0: no limit */
void rate_free(struct rate *r);        /* NULL is fine */
/* One more time. 0: within the limit; else the seconds until it may do it again. IPv6 addresses count by
 * their /64: whoever has one has all of it. */
unsigned rate_take(struct rate *r, const struct net_address *who);
#endif
