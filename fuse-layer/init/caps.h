// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_INIT_CAPS_H
#define RAC_INIT_CAPS_H
/*
 * Capabilities (capabilities(7)) of this thread, by the system calls themselves: libcap would be one more
 * library to link statically for three calls.
 */
#include <stdint.h>

#include "common/err.h"

struct caps {
    uint64_t effective, permitted, inheritable, bounding; /* bit n = capability n of linux/capability.h */
};

/* Never fails: what cannot be read is empty. */
void caps_read(struct caps *ret);
/* Gives up what is not in `kept`. Entering a user namespace hands out all capabilities there are in it: the
 * command is to have those that its container was given. ERR_DENIED. */
int caps_limit(const struct caps *kept, struct err *err);
/* Gives up all but the bounding set, which is the container's: a setuid program of the image works as ever.
 */
int caps_drop(struct err *err);
#endif
