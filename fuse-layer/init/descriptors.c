// SPDX-License-Identifier: Apache-2.0
#include "fuse-layer/init/descriptors.h"

#include <fcntl.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <linux/close_range.h>
#include <unistd.h>

/* Where the kernel has no close_range (before 5.9; CLOEXEC: 5.11). */
#define LOOP_END 4096

void descriptors_reserve(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
        if (fcntl(fd, F_GETFD) >= 0)
            continue;
        /* The lowest that is free is this one. An image may have no /dev/null; it has a root. */
        int got = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (got < 0)
            got = open("/", O_PATH | O_CLOEXEC);
        if (got > STDERR_FILENO)
            (void)close(got);
    }
}

void descriptors_cloexec(void)
{
    if (syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC) == 0)
        return;
    for (int fd = STDERR_FILENO + 1; fd < LOOP_END; ++fd)
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static bool is_kept(int fd, const int *keep, size_t n)
{
    for (size_t i = 0; i < n; ++i)
        if (keep[i] == fd)
            return true;
    return false;
}

void descriptors_release(const int *keep, size_t n)
{
    int top = STDERR_FILENO;
    for (size_t i = 0; i < n; ++i)
        if (keep[i] > top)
            top = keep[i];
    bool closed = syscall(SYS_close_range, (unsigned)top + 1, ~0U, 0) == 0;
    for (int fd = STDERR_FILENO + 1; fd < (closed ? top : LOOP_END); ++fd)
        if (!is_kept(fd, keep, n))
            (void)close(fd);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0)
        return;
    (void)dup3(null, STDIN_FILENO, O_CLOEXEC);
    (void)dup3(null, STDOUT_FILENO, O_CLOEXEC);
    (void)close(null);
}
