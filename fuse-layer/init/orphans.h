// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_INIT_ORPHANS_H
#define RAC_INIT_ORPHANS_H
/*
 * What the command leaves behind: processes that it started and did not wait for. They come to us, as PID 1
 * or as the subreaper. /proc says who they are; without it, or with that of another PID namespace, they are
 * not seen, and end with the container.
 */
#include <stddef.h>
#include <sys/types.h>

#define ORPHANS_SEEN_MAX 8192 /* processes of one look; more are found by the next one */

/* Sends `sig` (0: none) to every process that comes from us, and, if we are PID 1, to all others of the
 * container; not to `driver` and what comes from it, nor to those that have ended. Returns how many there
 * are. */
size_t orphans_signal(pid_t driver, int sig);
#endif
