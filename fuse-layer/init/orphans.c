// SPDX-License-Identifier: Apache-2.0
#include "fuse-layer/init/orphans.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"

struct process {
    pid_t pid, parent;
    char state;
};

static struct process seen[ORPHANS_SEEN_MAX];

static void close_dir(DIR **dir)
{
    if (*dir)
        (void)closedir(*dir);
}

/* Is this the /proc of our PID namespace: else its numbers would name others. */
static bool proc_is_ours(void)
{
    char self[32];
    ssize_t n = readlink("/proc/self", self, sizeof self - 1);
    if (n <= 0)
        return false;
    self[n] = '\0';
    return atoi(self) == getpid();
}

/* proc(5): pid (name) state parent ...; the name may hold anything. */
static bool read_process(pid_t pid, struct process *ret)
{
    char path[64], text[512];
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n <= 0)
        return false;
    text[n] = '\0';
    const char *behind = strrchr(text, ')');
    int parent;
    if (!behind || sscanf(behind + 1, " %c %d", &ret->state, &parent) != 2)
        return false;
    ret->pid = pid;
    ret->parent = parent;
    return true;
}

static size_t read_all(void)
{
    RAC_CLEANUP(close_dir) DIR *dir = proc_is_ours() ? opendir("/proc") : NULL;
    size_t n = 0;
    for (struct dirent *d; dir && n < ORPHANS_SEEN_MAX && (d = readdir(dir));)
        if (d->d_name[0] >= '1' && d->d_name[0] <= '9' && read_process(atoi(d->d_name), &seen[n]))
            ++n;
    return n;
}

static pid_t parent_of(pid_t pid, size_t n)
{
    for (size_t i = 0; i < n; ++i)
        if (seen[i].pid == pid)
            return seen[i].parent;
    return 0;
}

/* Up from a process: to us, and not by way of the driver. A container's other processes (exec) have no parent
 * that can be seen in it. */
static bool is_orphan(const struct process *p, size_t n, pid_t driver)
{
    pid_t self = getpid(), at = p->pid;
    if (p->state == 'Z' || p->state == 'X' || at == self)
        return false;
    for (size_t depth = 0; depth < n && at > 0; ++depth) {
        if (at == driver)
            return false;
        if (at == self)
            return true;
        at = parent_of(at, n);
    }
    return self == 1;
}

size_t orphans_signal(pid_t driver, int sig)
{
    size_t n = read_all(), count = 0;
    for (size_t i = 0; i < n; ++i) {
        if (!is_orphan(&seen[i], n, driver))
            continue;
        ++count;
        if (sig)
            (void)kill(seen[i].pid, sig);
    }
    return count;
}
