// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_STATE_REDIS_H
#define RAC_STATE_REDIS_H
/*
 * The store that several replicas share: a Redis (6.2 or later), alone or watched by Sentinels (redis_url.h).
 * Its keys are in docs/redis.md, the reasons in docs/decisions/0013-redis-state.md.
 *
 * Besides what state.h promises: while Redis is away, every call that has a callback is answered
 * ERR_OVERLOADED with the seconds to wait, at once; a put without one is dropped and counted, a drop is kept
 * and done when it is back. What was put with a callback is as durable as that Redis makes it (appendonly,
 * its replicas). Whether a put that failed because Redis went away was done is not known; put again, it is
 * done once.
 */
#include "proxy/state/state.h"

struct redis_options {
    const char *url;      /* redis_url.h */
    const char *password; /* NULL: the URL's, or none */
    uint32_t open_ms;     /* how long a start waits for it; 0: 10 s */
    uint32_t command_ms;  /* an answer within; 0: 3 s */
};

/* Connects, and waits for it. Errors say where Redis is, and why it does not do: away, log-in refused, made
 * by a newer rac-proxy. Blocking; main thread. */
int redis_state_open(const struct redis_options *options, struct state **ret, struct err *err);
#endif
