// SPDX-License-Identifier: Apache-2.0
#include "fuse-layer/init/terminal.h"

#include <fcntl.h>
#include <unistd.h>

void terminal_open(struct terminal *t)
{
    t->fd = -1;
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO && t->fd < 0; ++fd)
        if (tcgetpgrp(fd) == getpgrp())
            t->fd = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
}

/* SIGTTOU, which a background process gets for this, is blocked like all signals. */
void terminal_give(const struct terminal *t, pid_t group)
{
    if (t->fd >= 0)
        (void)tcsetpgrp(t->fd, group);
}

void terminal_take(const struct terminal *t, pid_t group)
{
    if (t->fd >= 0 && tcgetpgrp(t->fd) == group)
        (void)tcsetpgrp(t->fd, getpgrp());
}

bool terminal_is_ours(const struct terminal *t)
{
    return t->fd >= 0 && tcgetpgrp(t->fd) == getpgrp();
}

bool terminal_is_leader(void)
{
    return getsid(0) == getpid();
}

void terminal_close(struct terminal *t)
{
    if (t->fd >= 0)
        (void)close(t->fd);
    t->fd = -1;
}
