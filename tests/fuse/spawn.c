// SPDX-License-Identifier: Apache-2.0
/*
 * What does a program in front of another cost: `spawn N BEFORE COMMAND` starts `COMMAND` and `BEFORE
 * COMMAND` N times each, in turns, and prints the two medians in microseconds; the first word is 1 if
 * anything failed.
 */
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;
static int failed;

static double once(char **argv)
{
    struct timespec began, ended;
    pid_t pid;
    int status = 0;
    (void)clock_gettime(CLOCK_MONOTONIC, &began);
    if (posix_spawn(&pid, argv[0], NULL, NULL, argv, environ) != 0 || waitpid(pid, &status, 0) != pid ||
        status != 0)
        failed = 1;
    (void)clock_gettime(CLOCK_MONOTONIC, &ended);
    return (double)(ended.tv_sec - began.tv_sec) * 1e6 + (double)(ended.tv_nsec - began.tv_nsec) / 1e3;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    int n = atoi(argv[1]);
    double *plain = calloc((size_t)n, sizeof *plain), *ours = calloc((size_t)n, sizeof *ours);
    for (int i = 0; i < n; ++i) {
        plain[i] = once(argv + 3);
        ours[i] = once(argv + 2);
    }
    qsort(plain, (size_t)n, sizeof *plain, compare);
    qsort(ours, (size_t)n, sizeof *ours, compare);
    printf("%d %.0f %.0f\n", failed, plain[n / 2], ours[n / 2]);
    return failed;
}
