// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_RECORDS_RING_H
#define RAC_RECORDS_RING_H
/*
 * Messages of one thread to one other, without a lock, a system call or an allocation: bytes in a ring. One
 * thread writes (ring_reserve, ring_commit), one reads (ring_peek, ring_release). A full ring says so, and
 * what did not fit is the writer's to count.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ring;

struct ring *ring_new(size_t bytes); /* a power of two */
void ring_free(struct ring *r);      /* NULL is fine; what is in it is not looked at */

/* Room for len bytes, aligned to 8, or NULL. Nothing is visible before ring_commit. */
void *ring_reserve(struct ring *r, size_t len);
/* Whether ring_reserve would refuse len bytes; if so it counts as refused, so that the caller can leave it at
 * that before it has put the message together. */
bool ring_is_full(struct ring *r, size_t len);
uint64_t ring_refused(const struct ring *r); /* messages there was no room for; any thread */
void ring_commit(struct ring *r);
/* Commit and peek are sequentially consistent: a writer that commits and then sees the reader awake, and a
 * reader that says it sleeps and then sees nothing, cannot both be. */

/* The oldest message, or NULL; the same one until ring_release. */
void *ring_peek(struct ring *r);
void ring_release(struct ring *r);
#endif
