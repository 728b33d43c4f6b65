// SPDX-License-Identifier: Apache-2.0
#include "fuse-layer/init/driver.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "fuse-layer/init/descriptors.h"
#include "fuse-layer/init/say.h"
#include "fuse-layer/init/signals.h"

#define ADD_DEVICE                                                                                           \
    "Add --device /dev/fuse (docker, podman); in Kubernetes use a device plugin for /dev/fuse, or "          \
    "privileged: true"

static int check_device(struct err *err)
{
    cleanup_close int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fd >= 0)
        return 0;
    switch (errno) {
    case ENOENT:
        return err_set(err, ERR_UNSUPPORTED, "there is no /dev/fuse in this container. " ADD_DEVICE);
    case ENODEV:
    case ENXIO:
        return err_set(err, ERR_UNSUPPORTED,
                       "this machine's kernel has no FUSE. Run `modprobe fuse` on it, as root");
    case EPERM:
        return err_set(err, ERR_DENIED,
                       "this container may not open /dev/fuse: its device rules refuse it. " ADD_DEVICE);
    case EACCES:
        return err_set(err, ERR_DENIED,
                       "user %u may not open /dev/fuse. Run `chmod 666 /dev/fuse` on the machine, or run as "
                       "root (--user 0, "
                       "or the rule \"user\": \"root-then-drop\")",
                       (unsigned)geteuid());
    default:
        return err_set_errno(err, ERR_IO, errno, "/dev/fuse cannot be opened");
    }
}

int driver_check(struct err *err)
{
    struct stat st;
    if (access(DRIVER_PATH, X_OK) < 0)
        return err_set_errno(err, ERR_IO, errno, "%s cannot be executed", DRIVER_PATH);
    if (stat(DRIVER_MOUNT_POINT, &st) < 0)
        return err_set_errno(err, ERR_IO, errno, "the mount point %s", DRIVER_MOUNT_POINT);
    return check_device(err);
}

/* In the child: never returns. */
static void __attribute__((noreturn)) become_driver(pid_t parent, int ready_fd, const struct user *user)
{
    char fd[16], uid[16], gid[16], reason[128];
    const char *argv[10] = {DRIVER_PATH, DRIVER_MOUNT_POINT, "--ready-fd", fd};
    (void)snprintf(fd, sizeof fd, "%d", ready_fd);
    if (user) {
        (void)snprintf(uid, sizeof uid, "%u", (unsigned)user->uid);
        (void)snprintf(gid, sizeof gid, "%u", (unsigned)user->gid);
        const char *const owner[] = {"--uid", uid, "--gid", gid};
        memcpy(&argv[4], owner, sizeof owner);
    }
    (void)setsid();
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
    if (getppid() != parent)
        _exit(1);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null >= 0)
        (void)dup2(null, STDIN_FILENO);
    (void)dup2(STDERR_FILENO, STDOUT_FILENO);
    int ignored = chdir("/");
    (void)ignored;
    descriptors_cloexec();
    (void)fcntl(ready_fd, F_SETFD, 0);
    signals_reset();
    extern char **environ;
    (void)execve(DRIVER_PATH, (char *const *)argv, environ);
    say(SAY_ERROR, "cannot start %s: %s", DRIVER_PATH, strerror_r(errno, reason, sizeof reason));
    _exit(127);
}

int driver_start(struct driver *d, const struct user *user, struct err *err)
{
    int ready[2];
    *d = (struct driver){.ready_fd = -1};
    if (pipe2(ready, O_CLOEXEC) < 0)
        return err_set_errno(err, ERR_INTERNAL, errno, "cannot make a pipe");
    pid_t self = getpid(), pid = fork();
    if (pid == 0)
        become_driver(self, ready[1], user);
    (void)close(ready[1]);
    if (pid < 0) {
        int error = errno;
        (void)close(ready[0]);
        return err_set_errno(err, ERR_INTERNAL, error, "cannot start a process for the S3 driver");
    }
    *d = (struct driver){.pid = pid, .running = true, .ready_fd = ready[0]};
    return 0;
}

enum driver_news driver_news(struct driver *d)
{
    char byte;
    struct pollfd p = {.fd = d->ready_fd, .events = POLLIN};
    if (d->ready_fd < 0 || poll(&p, 1, 0) <= 0)
        return DRIVER_NOT_YET;
    ssize_t n = read(d->ready_fd, &byte, 1);
    if (n < 0 && errno == EINTR)
        return DRIVER_NOT_YET;
    (void)close(d->ready_fd);
    d->ready_fd = -1;
    if (n != 1)
        return DRIVER_FAILED;
    return byte == 'n' ? DRIVER_READY_ELSEWHERE : DRIVER_READY;
}

/* The same root and folder by name, in the namespace we came to: setns(2) leaves us at its top, which is
 * another place where the container's root was made by chroot(2). */
static int settle(int root, const char *folder, struct err *err)
{
    struct stat ours, theirs;
    /* An engine that leaves the container no capability for chroot(2) refuses it by seccomp, too, where it
     * would be granted here; and its roots are made by pivot_root(2). */
    bool same = root < 0 || (fstat(root, &theirs) == 0 && stat("/", &ours) == 0 &&
                             ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino);
    if (!same && (fchdir(root) < 0 || chroot(".") < 0))
        return err_set_errno(err, ERR_DENIED, errno, "cannot change the root to the S3 driver's");
    if (chdir(folder) < 0)
        return err_set_errno(err, ERR_DENIED, errno, "cannot return to the folder %s", folder);
    return 0;
}

int driver_enter(const struct driver *d, struct err *err)
{
    char folder[PATH_MAX], path[64];
    (void)snprintf(path, sizeof path, "/proc/%d/root", (int)d->pid);
    cleanup_close int root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (!getcwd(folder, sizeof folder) || folder[0] != '/')
        (void)strcpy(folder, "/");
    cleanup_close int process = (int)syscall(SYS_pidfd_open, d->pid, 0);
    if (process < 0 || setns(process, CLONE_NEWUSER | CLONE_NEWNS) < 0)
        return err_set_errno(
            err, ERR_DENIED, errno,
            "cannot enter the namespace in which the S3 driver could mount. Add --cap-add SYS_ADMIN, "
            "so that none is needed");
    return settle(root, folder, err);
}

void driver_ended(struct driver *d, int status)
{
    d->running = false;
    d->status = status;
}

void driver_signal(const struct driver *d, int sig)
{
    if (d->running)
        (void)kill(d->pid, sig);
}

bool driver_all_stored(const struct driver *d)
{
    return !d->running && WIFEXITED(d->status) && WEXITSTATUS(d->status) == 0;
}

const char *driver_end_text(const struct driver *d, char out[32])
{
    if (d->running)
        (void)snprintf(out, 32, "no answer");
    else if (WIFSIGNALED(d->status))
        (void)snprintf(out, 32, "signal %d", WTERMSIG(d->status));
    else
        (void)snprintf(out, 32, "exit code %d", WEXITSTATUS(d->status));
    return out;
}

void driver_unmount(const struct driver *d)
{
    struct stat st;
    /* Without its driver a mount answers so, and at once; one that is another's answers otherwise. */
    if (!d->running && stat(DRIVER_MOUNT_POINT, &st) < 0 && errno == ENOTCONN)
        (void)umount2(DRIVER_MOUNT_POINT, MNT_DETACH);
}
