// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_TESTS_SCRATCH_H
#define RAC_TESTS_SCRATCH_H
/* A folder of a test's own, and what tests of stores need besides: a full disk, waiting with a deadline. */
#include <errno.h>
#include <ftw.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/loop.h"
#include "common/mem.h"
#include "tests/unit/patience.h"

static inline int scratch_remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

#if defined(__SANITIZE_THREAD__)
/* Children of our tests start threads of their own, where the parent has some: their stores are not the
 * parent's. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "die_after_fork=0";
}
#endif

/* malloc'd path of a new folder below TMPDIR. */
static inline char *scratch_new(void)
{
    const char *tmp = getenv("TMPDIR");
    char *path = mem_printf("%s/rac-test-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(path)) {
        perror(path);
        abort();
    }
    return path;
}

static inline void scratch_free(char *path)
{
    (void)nftw(path, scratch_remove_one, 32, FTW_DEPTH | FTW_PHYS);
    free(path);
}

/* Runs the loop until *flag, for 20 s at most (patience.h); false if that was not enough. */
static inline bool scratch_wait(struct loop *loop, const volatile bool *flag)
{
    uint64_t end = patience_end_ms(20000);
    while (!*flag && clock_mono_ms() < end)
        loop_run_once(loop, 100);
    return *flag;
}

/* Runs fn(dir) in a child process. With fs_bytes > 0, dir is a file system of that size, seen by the child
 * alone. Returns the child's exit code, -1 if this system does not allow us such a file system, 1000 + n for
 * signal n. */
static inline int scratch_child(const char *dir, size_t fs_bytes, int (*fn)(const char *dir))
{
#if defined(__SANITIZE_THREAD__)
    return -1;
#endif
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        if (fs_bytes) {
            char options[64];
            (void)snprintf(options, sizeof options, "size=%zu,mode=755", fs_bytes);
            int flags = geteuid() == 0 ? CLONE_NEWNS : CLONE_NEWNS | CLONE_NEWUSER;
            if (unshare(flags) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 ||
                mount("tmpfs", dir, "tmpfs", 0, options) < 0)
                _exit(99);
        }
        _exit(fn(dir));
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFSIGNALED(status))
        return 1000 + WTERMSIG(status);
    return WEXITSTATUS(status) == 99 ? -1 : WEXITSTATUS(status);
}
#endif
