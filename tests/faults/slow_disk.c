// SPDX-License-Identifier: Apache-2.0
/*
 * A disk that is slow, or hangs, for some files: LD_PRELOADed into rac-proxy. Each write and sync of a file
 * whose path has SLOW_DISK_MATCH in it takes as many milliseconds as the file SLOW_DISK_MS says, or for ever
 * if that says "hang", until it says something else.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int matches(int fd)
{
    char link[64], path[4096];
    const char *match = getenv("SLOW_DISK_MATCH");
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0 || !match)
        return 0;
    path[n] = '\0';
    return strstr(path, match) != NULL;
}

static void dawdle(int fd)
{
    char text[32] = "";
    if (!matches(fd))
        return;
    do {
        int file = open(getenv("SLOW_DISK_MS"), O_RDONLY | O_CLOEXEC);
        ssize_t n = file < 0 ? 0 : read(file, text, sizeof text - 1);
        text[n > 0 ? n : 0] = '\0';
        if (file >= 0)
            (void)close(file);
        (void)usleep(strncmp(text, "hang", 4) == 0 ? 20000 : (useconds_t)atoi(text) * 1000);
    } while (strncmp(text, "hang", 4) == 0);
}

/* The function of that name that this one stands in front of. */
#define NEXT(name) __typeof__(&name) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

ssize_t pwrite64(int fd, const void *p, size_t len, off64_t at);
ssize_t pwrite64(int fd, const void *p, size_t len, off64_t at)
{
    NEXT(pwrite64);
    dawdle(fd);
    return next(fd, p, len, at);
}

ssize_t pwrite(int fd, const void *p, size_t len, off_t at)
{
    NEXT(pwrite);
    dawdle(fd);
    return next(fd, p, len, at);
}

int fsync(int fd)
{
    NEXT(fsync);
    dawdle(fd);
    return next(fd);
}

int fdatasync(int fd)
{
    NEXT(fdatasync);
    dawdle(fd);
    return next(fd);
}
