// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_INIT_DRIVER_H
#define RAC_INIT_DRIVER_H
/*
 * rac-fuse, as its supervisor sees it. It is started with --ready-fd N and writes one byte there when the
 * mount answers: '1', or 'n' if it stands in a mount namespace of its own (which it makes where the container
 * may not mount), for us to enter. SIGTERM makes it complete the uploads, within RAC_FLUSH_TIMEOUT, and
 * unmount; it exits with 0 if everything is stored.
 *
 * It has its own session, so that the terminal's signals are not for it, none of the command's descriptors,
 * its stdout is our stderr, and it gets SIGTERM when we are killed.
 */
#include <stdbool.h>
#include <sys/types.h>

#include "common/err.h"
#include "fuse-layer/init/user.h"

#define DRIVER_PATH        "/.rac/bin/rac-fuse"
#define DRIVER_MOUNT_POINT "/fusion/s3"

enum driver_news {
    DRIVER_NOT_YET,
    DRIVER_READY,
    DRIVER_READY_ELSEWHERE, /* in a namespace of its own: driver_enter */
    DRIVER_FAILED,          /* it closed the descriptor: it has ended, or is about to, and has said why */
};

struct driver {
    pid_t pid;    /* 0: never started */
    bool running; /* not reaped */
    int status;   /* of waitpid(2), once it has ended */
    int ready_fd; /* to poll for POLLIN; -1 after the news */
};

/* What can be seen from outside to be missing, before anything is started: ERR_UNSUPPORTED, ERR_DENIED or
 * ERR_IO, with the flag to add. */
int driver_check(struct err *err);
/* `user`: shown as the owner of the files; NULL = whoever we are. ERR_INTERNAL. */
int driver_start(struct driver *d, const struct user *user, struct err *err);
/* Reads ready_fd, without waiting. */
enum driver_news driver_news(struct driver *d);
/* Takes this process into the driver's user and mount namespace, at the same working directory. Done before
 * the command starts, so that it, and what is executed in the container later, sees the mount. ERR_DENIED. */
int driver_enter(const struct driver *d, struct err *err);
/* Takes its end from waitpid(2). */
void driver_ended(struct driver *d, int status);
void driver_signal(const struct driver *d, int sig); /* nothing, if it has ended */
/* Did it end by itself, with all stored. */
bool driver_all_stored(const struct driver *d);
/* "exit code 3", "signal 9" into `out`; returns out. */
const char *driver_end_text(const struct driver *d, char out[32]);
/* Removes the mount that a driver which did not end well left. */
void driver_unmount(const struct driver *d);
#endif
