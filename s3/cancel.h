// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3_CANCEL_H
#define RAC_S3_CANCEL_H
/*
 * A way out of a blocking call: given to any number of calls on any threads, fired once from any thread, it
 * wakes their waiting (for a socket, a name, a free connection, the pause before a retry) at once. A call
 * that was cancelled ends with ERR_CANCELLED. It stays fired; a new wish takes a new one.
 *
 * Costs one eventfd. NULL, wherever a cancel is taken, is one that never fires.
 */
#include <stdbool.h>

#include "common/cleanup.h"

struct cancel;

struct cancel *cancel_new(void); /* stops the program if the process has no descriptor left */
/* Not while a call that was given it still runs. NULL is fine. */
void cancel_free(struct cancel *c);
void cancel_fire(struct cancel *c); /* any thread, any number of times; async-signal-safe */
bool cancel_fired(const struct cancel *c);
/* For poll: readable once it is fired; -1 for NULL, which poll ignores. Borrowed; MUST NOT be read. */
int cancel_fd(const struct cancel *c);

static inline void cleanup_cancel_fn(struct cancel **c)
{
    cancel_free(*c);
}
#define cleanup_cancel RAC_CLEANUP(cleanup_cancel_fn)
#endif
