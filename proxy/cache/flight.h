// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_CACHE_FLIGHT_H
#define RAC_CACHE_FLIGHT_H
/*
 * One piece of work for all who want its result at the same time, on whatever worker they are.
 *
 * The first to ask for a key leads: it starts the work and ends it with flight_finish, once, on any thread.
 * All who asked meanwhile get the same result (a reference each) or the same error, on their own loops, never
 * from inside flight_join. The work is not tied to those who wait: they may all leave, and it goes on.
 */
#include <stdbool.h>

#include "common/err.h"
#include "common/loop.h"

struct flights; /* sharded table; any thread */
struct flight;
struct flight_waiter;

/* How results are counted; both called on any thread; result NULL never reaches them. */
struct flights *flights_new(void (*ref)(void *result), void (*unref)(void *result));
void flights_free(struct flights *t); /* nothing may be under way */

/* result is the callee's reference, or NULL; err is NULL, or says why. Valid during the call. */
typedef void flight_fn(void *arg, void *result, const struct err *err);

/* *ret_lead is the flight to be led and finished by the caller, or NULL if somebody else leads it. */
struct flight_waiter *flight_join(struct flights *t, const char *key, struct loop *loop, flight_fn *fn,
                                  void *arg, struct flight **ret_lead);
/* Leads without waiting for the result; NULL if it is under way already. */
struct flight *flight_lead(struct flights *t, const char *key);
bool flight_under_way(struct flights *t, const char *key);
/* The waiter's callback never comes. On the waiter's loop; not after the callback came. */
void flight_leave(struct flight_waiter *w);
/* Takes over the reference `result` (may be NULL if err is set). The flight is gone after. */
void flight_finish(struct flight *f, void *result, const struct err *err);
#endif
