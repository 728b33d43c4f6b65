// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_INIT_COMMAND_H
#define RAC_INIT_COMMAND_H
/*
 * The command as a child: it finds what it would have found as PID 1 (environment, folder, umask, limits,
 * descriptors, signal mask and dispositions), and a process group of its own.
 */
#include <sys/types.h>

#include "common/err.h"
#include "fuse-layer/init/caps.h"
#include "fuse-layer/init/signals.h"
#include "fuse-layer/init/terminal.h"
#include "fuse-layer/init/user.h"

struct command {
    char **argv;
    const struct user *user; /* to become; NULL = stay */
    const struct caps *caps; /* to keep at most; NULL = all that we have */
};

/* The child's pid, which is its process group too. What fails in the child is said there, and is its exit
 * code: 126 or 127. ERR_INTERNAL: no child. */
pid_t command_start(const struct command *c, const struct signals *signals, const struct terminal *terminal,
                    struct err *err);
/* Becomes the command, in this process. Returns only if that cannot be: the exit code, after saying why. */
int command_become(const struct command *c);
#endif
