// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_TOKENS_STEADY_H
#define RAC_TOKENS_STEADY_H
/*
 * The clock on the wall, as the sweep of injections may believe it. A request for a token puts its injection,
 * with an end that is hours away, before it has made the token: if the clock jumps ahead in between (a
 * machine that slept), the hours must not be over at once.
 *
 *     jumps ahead    followed at STEADY_PACE times the pace of time, and wholly after STEADY_FOLLOW_MS
 * without another jump: what was under way is through by then. A machine without a battery begins in 1970,
 * and would not be in the present for years otherwise. jumps back     followed at once: everything stays a
 * while longer
 *
 * Pure; one thread.
 */
#include <stdint.h>

#define STEADY_TICK_MS   1000 /* from one call of steady_tick to the next */
#define STEADY_PACE      4
#define STEADY_FOLLOW_MS (UINT64_C(3600) * 1000)

struct steady {
    int64_t now_ms, wall_ms;
    uint64_t jumped_ms; /* monotonic */
};

void steady_start(struct steady *s, int64_t wall_ms, uint64_t mono_ms);
/* The time that it is by this clock. */
int64_t steady_tick(struct steady *s, int64_t wall_ms, uint64_t mono_ms);
#endif
