// SPDX-License-Identifier: Apache-2.0
#include "common/need.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Past the log, which is a thread of its own and may be what is missing. */
static _Noreturn void end(const char *what, int why, const char *limit)
{
    (void)fprintf(stderr, "rac: cannot start: no %s: %s (%s)\n", what, strerrordesc_np(why), limit);
    _exit(1);
}

void need_thread(pthread_t *ret, const char *what, void *(*fn)(void *), void *arg)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(ret, NULL, fn, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc != 0)
        end(what, rc, "what limits it: TasksMax of a systemd unit, pids.max of a container, ulimit -u");
}

int need_fd(int fd, const char *what)
{
    if (fd < 0)
        end(what, errno, "what limits it: LimitNOFILE of a systemd unit, ulimit -n");
    return fd;
}
