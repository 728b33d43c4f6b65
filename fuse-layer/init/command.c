// SPDX-License-Identifier: Apache-2.0
#include "fuse-layer/init/command.h"

#include <errno.h>
#include <unistd.h>

#include "fuse-layer/init/lookup.h"
#include "fuse-layer/init/say.h"

int command_become(const struct command *c)
{
    struct err err;
    if ((c->caps && caps_limit(c->caps, &err) < 0) || (c->user && user_become(c->user, &err) < 0)) {
        say(SAY_ERROR, "%s", err.msg);
        return LOOKUP_NOT_EXECUTABLE;
    }
    /* As the new user: what it may not execute is not found for it. */
    return lookup_exec(c->argv);
}

pid_t command_start(const struct command *c, const struct signals *signals, const struct terminal *terminal,
                    struct err *err)
{
    pid_t pid = fork();
    if (pid < 0)
        return err_set_errno(err, ERR_INTERNAL, errno, "cannot start a process for the command");
    if (pid > 0) {
        /* Both sides do it, so that it is done whoever runs first. */
        (void)setpgid(pid, pid);
        return pid;
    }
    (void)setpgid(0, 0);
    terminal_give(terminal, getpid());
    signals_restore(signals);
    _exit(command_become(c));
}
