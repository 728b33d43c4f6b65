// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_INIT_SUPERVISE_H
#define RAC_INIT_SUPERVISE_H
/*
 * The life of a container with a mount, from PID 1 (or from a subreaper below another init):
 *
 *     STARTING --mount answers--> RUNNING --command ended--> ORPHANS --none left--> FLUSHING --driver
 * ended--> DONE |                                                     | 2 s: killed          | ^ |
 * +----------------------+ RAC_FLUSH_TIMEOUT      | | v                        | | KILLING --ended, or 1
 * s-----+
 *         +--driver ended, RAC_MOUNT_TIMEOUT, told to end--> FLUSHING (1 s)
 *
 * Every state but RUNNING has a deadline. In RUNNING all signals go to the command, at once. No order to
 * upload goes along with them: a file that was closed is stored already, since close(2) waits for it; one
 * that is open is not complete before the command closes it, which its end does; and large ones are on their
 * way while they are written.
 *
 * PID 1 stays to the end: when it exits the kernel kills the driver, and what it has not sent is lost.
 */
#include "common/err.h"
#include "fuse-layer/init/command.h"
#include "fuse-layer/init/options.h"

#define SUPERVISE_GRACE_MS      2000 /* between SIGTERM and SIGKILL to what the command left behind */
#define SUPERVISE_KILL_MS       1000 /* for the driver to end, when it is not asked any more */
#define SUPERVISE_FLUSH_MORE_MS 1000 /* on top of RAC_FLUSH_TIMEOUT, at which the driver itself gives up */

enum {
    SUPERVISE_NO_MOUNT = 1,   /* the exit code with RAC_MOUNT=required */
    SUPERVISE_UNSTORED = 174, /* the command succeeded, and not everything is stored */
    SUPERVISE_GO_ON = 256, /* no exit code: RAC_MOUNT=optional and no mount: the caller becomes the command */
};

/* The exit code: the command's, 128 + its signal, or one of the above. ERR_INTERNAL: nothing was started. */
int supervise(const struct options *options, struct command *command, struct err *err);
#endif
