// SPDX-License-Identifier: Apache-2.0
/*
 * Stands for rac-fuse where a test is about its supervisor: does what FAKE_DRIVER says (words, by spaces),
 * and notes what happens to it in the file /fake.log, a line an event.
 *
 *   mount     a tmpfs on the mount point            elsewhere  in a user and mount namespace of its own
 *   silent    never says that it is ready           fail=N     exits with N instead of getting ready
 *   flush=MS  takes that long after SIGTERM         exit=N     exits with N after SIGTERM
 *   deaf      ignores SIGTERM
 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int log_fd = -1;

static void __attribute__((format(printf, 1, 2))) note(const char *fmt, ...)
{
    char line[512];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line - 1, fmt, ap);
    va_end(ap);
    line[n++] = '\n';
    if (write(log_fd, line, (size_t)n) != n)
        _exit(99);
}

static const char *word(const char *name)
{
    const char *all = getenv("FAKE_DRIVER");
    size_t len = strlen(name);
    for (const char *at = all ? all : ""; *at; at += strcspn(at, " "), at += strspn(at, " "))
        if (strncmp(at, name, len) == 0 && strchr(" =", at[len]))
            return at + len + (at[len] == '=');
    return NULL;
}

static int number(const char *name)
{
    const char *value = word(name);
    return value ? atoi(value) : 0;
}

static void put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text)) {
        perror(path);
        _exit(98);
    }
    (void)close(fd);
}

/* The identity: of all, or of the one that a user may map. */
static void put_maps(pid_t pid)
{
    static const char *const files[] = {"uid_map", "gid_map"};
    const unsigned ids[] = {geteuid(), getegid()};
    char path[64], map[64];
    if (geteuid() != 0) {
        (void)snprintf(path, sizeof path, "/proc/%d/setgroups", (int)pid);
        put(path, "deny");
    }
    for (int i = 0; i < 2; ++i) {
        (void)snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, files[i]);
        (void)snprintf(map, sizeof map, "%u %u 1", ids[i], ids[i]);
        put(path, geteuid() == 0 ? "0 0 4294967295" : map);
    }
}

/* Maps are written by a helper that stays outside. */
static void own_namespace(void)
{
    int go[2];
    if (pipe(go) < 0)
        _exit(97);
    pid_t self = getpid(), helper = fork();
    if (helper == 0) {
        char byte;
        (void)close(go[1]);
        (void)!read(go[0], &byte, 1);
        put_maps(self);
        _exit(0);
    }
    (void)close(go[0]);
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0) {
        perror("unshare");
        _exit(96);
    }
    (void)close(go[1]);
    int status;
    if (waitpid(helper, &status, 0) != helper || status)
        _exit(95);
}

int main(int argc, char **argv)
{
    log_fd = open("/fake.log", O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (log_fd < 0) /* a read-only root */
        log_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    sigset_t signals;
    int sig, ready = -1;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    note("pid %d sid %d", (int)getpid(), (int)getsid(0));
    for (int i = 1; i < argc; ++i) {
        note("arg %s", argv[i]);
        if (strcmp(argv[i - 1], "--ready-fd") == 0)
            ready = atoi(argv[i]);
    }
    for (int fd = 0; fd < 64; ++fd)
        if (fd != log_fd && fcntl(fd, F_GETFD) >= 0)
            note("fd %d%s", fd, fd == ready ? " ready" : "");
    if (word("fail"))
        return number("fail");
    if (word("elsewhere"))
        own_namespace();
    if (word("mount") && mount("fake", argv[1], "tmpfs", 0, "mode=0777") < 0) {
        perror("mount");
        return 1;
    }
    if (!word("silent") && write(ready, word("elsewhere") ? "n" : "1", 1) != 1)
        return 94;
    do {
        if (sigwait(&signals, &sig) != 0)
            return 93;
        note("signal %d", sig);
    } while (word("deaf"));
    (void)usleep((useconds_t)number("flush") * 1000);
    note("flushed");
    if (word("mount"))
        (void)umount2(argv[1], MNT_DETACH);
    return number("exit");
}
