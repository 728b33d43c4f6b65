// SPDX-License-Identifier: Apache-2.0
#include "proxy/tokens/steady.h"

#define STEP_MS (STEADY_PACE * STEADY_TICK_MS)

void steady_start(struct steady *s, int64_t wall_ms, uint64_t mono_ms)
{
    *s = (struct steady){.now_ms = wall_ms, .wall_ms = wall_ms, .jumped_ms = mono_ms};
}

int64_t steady_tick(struct steady *s, int64_t wall_ms, uint64_t mono_ms)
{
    if (wall_ms - s->wall_ms > STEP_MS)
        s->jumped_ms = mono_ms;
    s->wall_ms = wall_ms;
    if (wall_ms <= s->now_ms + STEP_MS || mono_ms - s->jumped_ms >= STEADY_FOLLOW_MS)
        s->now_ms = wall_ms;
    else
        s->now_ms += STEP_MS;
    return s->now_ms;
}
