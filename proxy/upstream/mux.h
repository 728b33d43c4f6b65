// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_UPSTREAM_MUX_H
#define RAC_UPSTREAM_MUX_H
/*
 * curl on a loop: its sockets, its timers, its rule not to be called from inside its callbacks, and the easy
 * handles that wait for their next use. One per client.
 *
 * There are two multi handles, two lanes, so that a connection that was opened where private addresses are
 * allowed can never be reused by a transfer that may not use them: curl's pool knows hosts, not our rules. A
 * name that led to a private address for one is looked up and judged anew for the other.
 */
#include <stdbool.h>

#include "common/loop.h"
#include "proxy/upstream/client.h"
#include "proxy/upstream/env_proxy.h"
#include "proxy/upstream/transfer.h"

enum { MUX_PUBLIC, MUX_ANY, MUX_LANES };

#define MUX_IDLE_MAX 64 /* easy handles kept */

struct mux;

/* limits and proxies outlive the mux. */
struct mux *mux_new(struct loop *loop, const struct upstream_limits *limits, const struct env_proxy *proxies);
void mux_free(struct mux *mux); /* no transfer is left but cancelled ones; not from inside of a callback */
struct loop *mux_loop(const struct mux *mux);
const struct upstream_limits *mux_limits(const struct mux *mux);
const struct env_proxy *mux_proxies(const struct mux *mux);
uint64_t mux_turn(const struct mux *mux); /* counts the times curl was given something to do */

/* For transfer.c. */
void *mux_take_easy(struct mux *mux);
void mux_give_easy(struct mux *mux, void *easy);
void mux_add(struct mux *mux, struct transfer *t); /* to its lane, now or when curl has returned */
void mux_remove(struct mux *mux,
                struct transfer *t); /* off curl and every list, at once; not from inside of curl */
void mux_bury(struct mux *mux,
              struct transfer *t); /* remove and transfer_free, now or when curl has returned */
void mux_wake(struct mux *mux, struct transfer *t); /* unpause it, soon */
#endif
