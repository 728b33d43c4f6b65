// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_RECORDS_SHARE_H
#define RAC_RECORDS_SHARE_H
/*
 * Several replicas' records as one journal, over the stream that they share (state.h):
 *
 *     records here ──> journal, its outbox ──(forward)──> stream ──(follow)──> journals of all the others
 *
 * A record is in its own replica's journal first, so that it is as durable as without a stream; what is to be
 * passed on leaves the outbox when the stream has it. While the store is away the outbox grows with the
 * journal, and is bounded by it. Each record comes to each journal once: the stream may have it twice, after
 * a kill -9 between two steps, and a journal knows the ids that it has.
 *
 * All of it is on one worker's loop, which it asks for work SHARE_TURN_MS after SHARE_TURN_MS; the journal is
 * read, and what came is parsed, on the records' threads. docs/decisions/0018-records-in-the-cluster.md.
 */
#include "proxy/records/records.h"
#include "proxy/state/state.h"

#define SHARE_TURN_MS  200
#define SHARE_RETRY_MS 1000
#define SHARE_PIECE    200 /* entries at once */

struct share;
struct share *share_new(struct records *records, struct state *state);
/* On the loop. */
void share_start(struct share *s, struct loop *loop);
/* On the loop: nothing is begun any more; what is under way ends. */
void share_stop(struct share *s);
bool share_is_busy(const struct share *s); /* something is under way; any thread */
/* The records have ended, and the journal is still open: passes on what is left, as far as the store takes it
 * at once. No loop is needed; blocks. */
void share_finish(struct share *s);
void share_free(struct share *s); /* NULL is fine */
#endif
