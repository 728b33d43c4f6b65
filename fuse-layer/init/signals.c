// SPDX-License-Identifier: Apache-2.0
#include "fuse-layer/init/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* libc's calls leave out the two signals that it keeps for threads, which we have none of: hence the
 * system's. */
static long set_mask(const uint64_t *mask, uint64_t *ret_old)
{
    return syscall(SYS_rt_sigprocmask, SIG_SETMASK, mask, ret_old, sizeof *mask);
}

int signals_take(struct signals *s, struct err *err)
{
    const uint64_t all = UINT64_MAX;
    struct sigaction standard = {.sa_handler = SIG_DFL};
    *s = (struct signals){.fd = -1};
    if (set_mask(&all, &s->mask) < 0 || sigaction(SIGCHLD, &standard, &s->child) < 0)
        return err_set_errno(err, ERR_INTERNAL, errno, "cannot block signals");
    int fd = (int)syscall(SYS_signalfd4, -1, &all, sizeof all, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        return err_set_errno(err, ERR_INTERNAL, errno, "cannot make a signalfd");
    s->fd = fd;
    return 0;
}

void signals_restore(const struct signals *s)
{
    (void)sigaction(SIGCHLD, &s->child, NULL);
    (void)set_mask(&s->mask, NULL);
}

void signals_reset(void)
{
    const uint64_t none = 0;
    struct sigaction standard = {.sa_handler = SIG_DFL};
    for (int sig = 1; sig < NSIG; ++sig)
        (void)sigaction(sig, &standard, NULL); /* fails for some, which cannot be ignored */
    (void)set_mask(&none, NULL);
}

bool signals_ignored(int sig)
{
    struct sigaction now;
    return sigaction(sig, NULL, &now) == 0 && now.sa_handler == SIG_IGN;
}

bool signals_next(const struct signals *s, struct signalfd_siginfo *ret)
{
    for (;;) {
        ssize_t n = read(s->fd, ret, sizeof *ret);
        if (n < 0 && errno == EINTR)
            continue;
        if (n != (ssize_t)sizeof *ret)
            return false;
        if (ret->ssi_code == SI_USER && ret->ssi_pid == (uint32_t)getpid())
            continue;
        return true;
    }
}

void signals_forward(const struct signalfd_siginfo *signal, pid_t to)
{
    union sigval value = {.sival_ptr = (void *)(uintptr_t)signal->ssi_ptr};
    if (signal->ssi_code == SI_QUEUE)
        (void)sigqueue(to, (int)signal->ssi_signo, value);
    else
        (void)kill(to, (int)signal->ssi_signo);
}
