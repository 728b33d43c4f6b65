// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_RECORDS_FEED_H
#define RAC_RECORDS_FEED_H
/*
 * Tells readers that the journal has grown, and keeps the youngest records as JSON, so that many readers who
 * keep up cost one formatting and no query. Who is further behind reads the journal.
 *
 * A reader lives on one worker's loop; the feed wakes it there, once, after which it says when it wants to be
 * woken again.
 */
#include "common/loop.h"
#include "common/str.h"
#include "proxy/state/journal.h"

#define FEED_RECORDS 1024
#define FEED_BYTES   ((size_t)1 << 20)

struct feed;
struct feed *feed_new(struct journal *journal);
void feed_free(struct feed *f); /* NULL is fine; no reader is left */

/* The records' thread, after each commit. */
void feed_publish(struct feed *f, const struct journal_record *r);
void feed_wake(struct feed *f);
/* Number of the youngest record. Any thread. */
uint64_t feed_last(struct feed *f);

struct feed_reader;
/* fn(arg) comes on the loop, once for each feed_wait, when there is a record behind `after`, or never again
 * after feed_close. */
struct feed_reader *feed_open(struct feed *f, struct loop *loop, loop_fn *fn, void *arg);
void feed_close(struct feed_reader *r); /* on its loop */
void feed_wait(struct feed_reader *r, uint64_t after);

/* Records behind `after` as they are kept, whole ones, oldest first, as `each` formats them (id:
 * journal_event_id), until `out` has max_bytes or more. True with *ret_last the last one's number (or
 * `after`, if there is none yet); false: they are not kept any more, the journal has them. */
typedef void feed_format_fn(struct buf *out, const char *id, enum journal_kind kind, const char *json,
                            size_t len);
bool feed_read(struct feed *f, uint64_t after, size_t max_bytes, feed_format_fn *each, struct buf *out,
               uint64_t *ret_last);
/* How many readers there are. Any thread. */
unsigned feed_readers(struct feed *f);
#endif
