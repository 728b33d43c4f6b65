// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_COMMON_JOBS_H
#define RAC_COMMON_JOBS_H
/*
 * Blocking work off the event loops: disk sync, cold reads, SQLite reads, archives. A few threads, one queue,
 * and one behind it for work that nobody waits for: never on all threads at once (if there are several), and
 * one of it for every JOBS_PASSED that went before.
 *
 * run(arg) is called on a thread of the pool, then done(arg) on `loop` (by its mailbox). The job owns what it
 * works on: the request that wanted it may be gone by then. `loop` NULL: done is called on the pool's thread,
 * or left out if NULL.
 */
#include "common/loop.h"

#define JOBS_PASSED 8

struct jobs;

struct jobs *jobs_new(unsigned threads);
/* Runs what is queued, then ends the threads. Loops that done() callbacks are posted to must still exist. */
void jobs_free(struct jobs *jobs);
void jobs_submit(struct jobs *jobs, struct loop *loop, loop_fn *run, loop_fn *done,
                 void *arg); /* any thread */
void jobs_submit_behind(struct jobs *jobs, struct loop *loop, loop_fn *run, loop_fn *done,
                        void *arg);          /* the same, and nobody waits for it */
unsigned jobs_waiting(struct jobs *jobs);    /* queued and not started; for /metrics */
unsigned jobs_unfinished(struct jobs *jobs); /* queued, or running: its done() is not posted yet */
#endif
