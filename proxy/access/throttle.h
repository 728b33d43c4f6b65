// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_ACCESS_THROTTLE_H
#define RAC_ACCESS_THROTTLE_H
/*
 * Who guesses is slowed: a leaky bucket of failed logins for each address (IPv6: its /64) and each name.
 *
 * A try is taken before it is known to be wrong, and given back if it was right; so a thousand tries at once
 * are no more than a thousand in a row. The table is of fixed size: where it is full, the bucket that has
 * leaked most makes room. Not locked: the owner's lock guards it. Time is the caller's, in microseconds.
 */
#include <stdint.h>

#include "common/network.h"
#include "common/str.h"

struct throttle;

/* burst: tries at once; leak_ms: a try comes back in that time. salt: 16 bytes that keys are made with, or
 * NULL: random ones. */
struct throttle *throttle_new(uint32_t burst, uint32_t leak_ms, const uint8_t *salt);
void throttle_free(struct throttle *t); /* NULL is fine */

/* Keys of buckets; salted, so that nobody can choose names that share one. */
uint64_t throttle_key_address(const struct throttle *t, const struct net_address *ip);
uint64_t throttle_key_name(const struct throttle *t, struct slice name);

/* 0 if a try may be made now, else the seconds until it may. Takes nothing. */
uint32_t throttle_wait_s(const struct throttle *t, uint64_t key, uint64_t now_us);
void throttle_take(struct throttle *t, uint64_t key, uint64_t now_us);
/* The bucket takes so long to be empty, at least. */
void throttle_raise(struct throttle *t, uint64_t key, uint64_t level_us, uint64_t now_us);
void throttle_give_back(struct throttle *t, uint64_t key);
#endif
