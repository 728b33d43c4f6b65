// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3FS_MOUNT_H
#define RAC_S3FS_MOUNT_H
/*
 * Mounting without fusermount: mount(2) as we are; where that is not permitted, in a user namespace of our
 * own (all ids as they were) with a mount namespace, which works with only /dev/fuse at hand. The mount is
 * then seen there alone: who wants it enters the namespaces of this process (/proc/PID/ns/user,
 * /proc/PID/ns/mnt). Never where the direct way works.
 *
 * Called before there is any thread. A message of a failure names the flag that is missing.
 */
#include <stdbool.h>

#include "common/err.h"

struct mounted {
    int fd;             /* of the connection: the caller's */
    bool own_namespace; /* the mount is in namespaces of this process */
    int id;             /* of the mount, as mountinfo has it; -1: not known, without /proc */
};

int mount_at(const char *mountpoint, bool read_only, struct mounted *ret, struct err *err);
/* Lazily: whoever has files open keeps them until they are closed. Only our mount: somebody may have taken it
 * off already, and what it covered, an empty volume of a pod perhaps, is not ours. */
void mount_remove(const char *mountpoint, const struct mounted *m);
#endif
