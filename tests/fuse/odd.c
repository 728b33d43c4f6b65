// SPDX-License-Identifier: Apache-2.0
/*
 * odd WHAT COMMAND...: starts a command in a state that a runtime could hand on, and that is to be found
 * unchanged. state  a umask, limits, signals blocked (USR1, TERM, RTMIN + 3) and ignored (HUP, USR2) chld
 * SIGCHLD ignored caps   only some capabilities, in the bounding set too user   as 1234:1235, without any
 * capability
 */
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* CHOWN, DAC_OVERRIDE, FOWNER, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE, SYS_CHROOT, SYS_ADMIN,
 * SETFCAP (without which user 0 may be mapped into no namespace) */
static const uint64_t some = 1 << 0 | 1 << 1 | 1 << 3 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 |
                             1 << 18 | 1 << 21 | (uint64_t)1 << 31;

static int fail(const char *what)
{
    perror(what);
    return 99;
}

static int set_state(void)
{
    struct rlimit files = {123, 456}, core = {0, 0};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGRTMIN + 3);
    (void)umask(0137);
    (void)signal(SIGHUP, SIG_IGN);
    (void)signal(SIGUSR2, SIG_IGN);
    return sigprocmask(SIG_SETMASK, &set, NULL) < 0 || setrlimit(RLIMIT_NOFILE, &files) < 0 ||
           setrlimit(RLIMIT_CORE, &core) < 0;
}

static int set_caps(void)
{
    for (int i = 0; i < 64; ++i)
        if (!(some >> i & 1) && prctl(PR_CAPBSET_READ, i, 0, 0, 0) == 1 &&
            prctl(PR_CAPBSET_DROP, i, 0, 0, 0) < 0)
            return 1;
    return 0;
}

static int set_inheritable(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    if (syscall(SYS_capget, &head, data) < 0)
        return 1;
    for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; ++i)
        data[i].inheritable = data[i].permitted;
    if (syscall(SYS_capset, &head, data) < 0)
        return 1;
    for (int i = 0; i < 64; ++i)
        if (prctl(PR_CAPBSET_READ, i, 0, 0, 0) == 1 &&
            prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i, 0, 0) < 0)
            return 1;
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 98;
    const char *what = argv[1];
    if (strcmp(what, "state") == 0 && set_state())
        return fail("state");
    if (strcmp(what, "chld") == 0)
        (void)signal(SIGCHLD, SIG_IGN);
    if (strcmp(what, "caps") == 0 && set_caps())
        return fail("caps");
    if (strcmp(what, "inh") == 0 && set_inheritable())
        return fail("inh");
    if (strcmp(what, "user") == 0 && (setgroups(0, NULL) < 0 || setgid(1235) < 0 || setuid(1234) < 0))
        return fail("user");
    (void)execv(argv[2], argv + 2);
    return fail(argv[2]);
}
