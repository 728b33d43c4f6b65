// SPDX-License-Identifier: Apache-2.0
#include "fuse-layer/s3fs/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"

#define MAP_MAX 4096 /* bytes of a uid_map that we write: the kernel takes one page */

static int open_device(struct err *err)
{
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fd >= 0)
        return fd;
    int error = errno;
    const char *hint =
        error == ENOENT || error == EPERM
            ? "start the container with --device /dev/fuse (Kubernetes: a device plugin, or privileged)"
        : error == EACCES                   ? "this user may not open it: a group that may, or user root"
        : error == ENXIO || error == ENODEV ? "the host's kernel needs: modprobe fuse"
                                            : "it cannot be used";
    return err_set_errno(err, ERR_DENIED, error, "/dev/fuse: %s", hint);
}

/* 0, or an errno. */
static int mount_fd(const char *mountpoint, int fd, bool read_only)
{
    char data[128];
    (void)snprintf(data, sizeof data, "fd=%d,rootmode=40000,user_id=%u,group_id=%u,allow_other", fd,
                   geteuid(), getegid());
    unsigned long flags = MS_NOSUID | MS_NODEV | (read_only ? MS_RDONLY : 0);
    return mount("rac-fuse", mountpoint, "fuse.rac-fuse", flags, data) == 0 ? 0 : errno;
}

static int explain(int error, const char *mountpoint, struct err *err)
{
    const char *hint = "mount(2) failed";
    if (error == EPERM)
        hint = "not permitted: start the container with --cap-add SYS_ADMIN (podman: --device /dev/fuse "
               "alone is "
               "enough where user namespaces are allowed)";
    else if (error == EACCES)
        hint =
            "refused by a security module: start the container with --security-opt apparmor=unconfined (or "
            "SELinux: label=disable)";
    else if (error == ENODEV)
        hint = "the host's kernel has no FUSE: modprobe fuse";
    else if (error == ENOENT || error == ENOTDIR)
        hint = "there is no such folder";
    return err_set_errno(err, error == ENOENT || error == ENOTDIR ? ERR_NOT_FOUND : ERR_DENIED, error,
                         "%s: %s", mountpoint, hint);
}

static bool write_file(const char *path, const char *text)
{
    cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

/* The lines of our own map with the inner ids on both sides: in the new namespace all ids are what they are
 * here. Without the right to map others, ours alone. */
static bool write_map(pid_t pid, const char *which, unsigned id)
{
    char path[64], own[64], map[MAP_MAX] = "", line[128];
    (void)snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, which);
    (void)snprintf(own, sizeof own, "/proc/self/%s", which);
    cleanup_fclose FILE *f = fopen(own, "re");
    size_t used = 0;
    unsigned long inside, outside, count;
    while (f && fgets(line, sizeof line, f) && used + 64 < sizeof map)
        if (sscanf(line, "%lu %lu %lu", &inside, &outside, &count) == 3)
            used += (size_t)snprintf(map + used, sizeof map - used, "%lu %lu %lu\n", inside, inside, count);
    if (used && write_file(path, map))
        return true;
    (void)snprintf(map, sizeof map, "%u %u 1\n", id, id);
    return write_file(path, map);
}

/* The helper: waits until its parent is in the new namespaces, then writes the maps from outside. */
static int write_maps_of(pid_t parent, int go)
{
    char byte;
    if (read(go, &byte, 1) != 1)
        return 1;
    char setgroups[64];
    (void)snprintf(setgroups, sizeof setgroups, "/proc/%d/setgroups", (int)parent);
    if (!write_map(parent, "uid_map", geteuid()))
        return 1;
    if (write_map(parent, "gid_map", getegid()))
        return 0;
    /* Who may not map groups has to give up setgroups(2) first. */
    return write_file(setgroups, "deny") && write_map(parent, "gid_map", getegid()) ? 0 : 1;
}

static bool enter_namespaces(void)
{
    int pipe_fds[2], status = 0;
    if (pipe2(pipe_fds, O_CLOEXEC) < 0)
        return false;
    cleanup_close int from = pipe_fds[0], to = pipe_fds[1];
    pid_t parent = getpid(), helper = fork();
    if (helper < 0)
        return false;
    if (helper == 0) {
        (void)close(to);
        _exit(write_maps_of(parent, from));
    }
    bool entered = unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0;
    if (!entered || write(to, "g", 1) != 1)
        (void)close(steal_fd(&to)); /* the helper sees the end, and ends */
    while (waitpid(helper, &status, 0) < 0 && errno == EINTR)
        ;
    return entered && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Of the mount that a path leads to. It is not asked for anything: its driver is us. */
static int mount_id(const char *path)
{
    char info[64], line[128];
    cleanup_close int fd = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    (void)snprintf(info, sizeof info, "/proc/self/fdinfo/%d", fd);
    cleanup_fclose FILE *f = fd >= 0 ? fopen(info, "re") : NULL;
    int id = -1;
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "mnt_id: %d", &id) == 1)
            break;
    return id;
}

int mount_at(const char *mountpoint, bool read_only, struct mounted *ret, struct err *err)
{
    cleanup_close int fd = open_device(err);
    if (fd < 0)
        return -1;
    int error = mount_fd(mountpoint, fd, read_only);
    if (error == EPERM && enter_namespaces()) {
        /* The device has to be opened by who mounts: in the namespace. */
        (void)close(steal_fd(&fd));
        fd = open_device(err);
        if (fd < 0)
            return -1;
        error = mount_fd(mountpoint, fd, read_only);
        ret->own_namespace = error == 0;
    } else {
        ret->own_namespace = false;
    }
    if (error)
        return explain(error, mountpoint, err);
    ret->fd = steal_fd(&fd);
    ret->id = mount_id(mountpoint);
    return 0;
}

void mount_remove(const char *mountpoint, const struct mounted *m)
{
    if (m->id >= 0 && mount_id(mountpoint) != m->id)
        return;
    (void)umount2(mountpoint, MNT_DETACH | UMOUNT_NOFOLLOW);
}
