// SPDX-License-Identifier: Apache-2.0
#include "fuse-layer/init/orphans.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/str.h"

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

/* 0 for what is no number. */
static pid_t read_pid(struct slice text)
{
    uint64_t value;
    return slice_to_u64(text, INT32_MAX, &value) ? (pid_t)value : 0;
}

/* Is this the /proc of our PID namespace: else its numbers would name others. */
static bool proc_is_ours(void)
{
    char self[32];
    ssize_t n = readlink("/proc/self", self, sizeof self - 1);
    if (n <= 0)
        return false;
    return read_pid((struct slice){self, (size_t)n}) == getpid();
}

/* proc(5): pid (name) state parent ...; the name may hold anything. */
static bool read_process(pid_t pid, struct process *ret)
{
    char path[64], text[512];
    if (pid == 0)
        return false;
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n <= 0)
        return false;
    text[n] = '\0';
    const char *behind = strrchr(text, ')');
    if (!behind || behind[1] != ' ' || !behind[2] || behind[3] != ' ')
        return false;
    struct slice rest = slice_of(behind + 4);
    ret->state = behind[2];
    ret->parent = read_pid(slice_cut(&rest, ' '));
    ret->pid = pid;
    return true;
}

static size_t read_all(void)
{
    RAC_CLEANUP(close_dir) DIR *dir = proc_is_ours() ? opendir("/proc") : NULL;
    size_t n = 0;
    for (struct dirent *d; dir && n < ORPHANS_SEEN_MAX && (d = readdir(dir));)
        if (read_process(read_pid(slice_of(d->d_name)), &seen[n]))
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
