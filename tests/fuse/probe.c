// SPDX-License-Identifier: Apache-2.0
/*
 * Says how it was started, as JSON in one line: ids, groups, capabilities, environment, folder, umask,
 * limits, open descriptors, signal mask and dispositions, process group and session. `probe ARG...`: the
 * arguments are shown too.
 */
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

static void put_string(const char *s)
{
    putchar('"');
    for (; *s; ++s) {
        if (*s == '"' || *s == '\\' || (unsigned char)*s < 0x20)
            printf("\\u%04x", (unsigned char)*s);
        else
            putchar(*s);
    }
    putchar('"');
}

static void put_list(const char *name, char **list)
{
    printf(",\"%s\":[", name);
    for (int i = 0; list[i]; ++i) {
        if (i)
            putchar(',');
        put_string(list[i]);
    }
    putchar(']');
}

/* The lines of /proc/self/status that tell of signals and capabilities. */
static void put_status(void)
{
    static const char *const wanted[] = {"SigBlk", "SigIgn", "CapInh", "CapPrm",
                                         "CapEff", "CapBnd", "CapAmb"};
    char line[512], value[64];
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; ++i)
            if (strncmp(line, wanted[i], 6) == 0 && sscanf(line + 7, "%63s", value) == 1)
                printf(",\"%s\":\"%s\"", wanted[i], value);
    if (f)
        (void)fclose(f);
}

static void put_limits(void)
{
    printf(",\"limits\":[");
    for (int i = 0; i < RLIM_NLIMITS; ++i) {
        struct rlimit l = {0};
        (void)getrlimit(i, &l);
        printf("%s[\"%llu\",\"%llu\"]", i ? "," : "", (unsigned long long)l.rlim_cur,
               (unsigned long long)l.rlim_max);
    }
    printf("]");
}

int main(int argc, char **argv)
{
    char cwd[4096];
    gid_t groups[512];
    int n = getgroups(512, groups);
    mode_t mask = umask(0);
    char fds[1024] = "";
    (void)argc;
    for (int fd = 0; fd < 256; ++fd)
        if (fcntl(fd, F_GETFD) >= 0)
            (void)snprintf(fds + strlen(fds), sizeof fds - strlen(fds), "%s%d", *fds ? "," : "", fd);
    if (getenv("PROBE_OUT") && !freopen(getenv("PROBE_OUT"), "w", stdout))
        return 1;
    printf("{\"pid\":%d,\"ppid\":%d,\"pgrp\":%d,\"sid\":%d,\"uid\":%d,\"gid\":%d,\"umask\":%d,\"foreground\":"
           "%d,\"cwd\":",
           getpid(), getppid(), getpgrp(), getsid(0), getuid(), getgid(), (int)mask, (int)tcgetpgrp(0));
    put_string(getcwd(cwd, sizeof cwd) ? cwd : "?");
    printf(",\"groups\":[");
    for (int i = 0; i < n; ++i)
        printf("%s%d", i ? "," : "", (int)groups[i]);
    printf("],\"fds\":[%s]", fds);
    put_list("args", argv);
    put_list("env", environ);
    put_status();
    put_limits();
    printf("}\n");
    return fflush(stdout) != 0;
}
