// SPDX-License-Identifier: Apache-2.0
/*
 * Many connections that do little: each asks for PATH once and reads the answer, and then stays (idle), or
 * reads it at BYTES_PER_S for as long as it lasts (a slow reader). One thread.
 *
 *     bench_hold [-c CONNECTIONS] [-r BYTES_PER_S] ADDRESS:PORT PATH
 *
 * Prints "ready" once each has its answer (a slow reader: its head); ends when its standard input does.
 * Prints then, in JSON, the bytes read and how many connections the server ended before.
 */
#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"

#define TICK_MS      10
#define SHIFTS       10 /* a reader takes its bytes every SHIFTS ticks, and not all of them in the same */
#define PIECE        ((size_t)64 << 10)
#define OPEN_AT_ONCE 256 /* then their answers are waited for: a listener's queue is not endless */

_Noreturn __attribute__((format(printf, 1, 2))) static void die(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)fputs("bench_hold: ", stderr);
    (void)vfprintf(stderr, fmt, ap);
    (void)fputc('\n', stderr);
    va_end(ap);
    exit(1);
}

static int dial(const struct addrinfo *to, const char *request, bool slow)
{
    int fd = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int small = 64 << 10; /* a slow reader's own kernel does not hold megabytes for it */
    if (slow)
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    if (fd < 0 || connect(fd, to->ai_addr, to->ai_addrlen) < 0)
        die("cannot connect: %s", strerror(errno));
    if (send(fd, request, strlen(request), MSG_NOSIGNAL) < 0)
        die("cannot ask: %s", strerror(errno));
    return fd;
}

/* The head, and all of the body too unless it is read slowly. */
static void first_answer(int fd, bool slow)
{
    static char text[PIECE + 1];
    size_t have = 0;
    char *end = NULL;
    while (!end) {
        ssize_t n = have < 8192 ? recv(fd, text + have, slow ? 1 : PIECE - have, 0) : -1;
        if (n <= 0)
            die("no answer");
        have += (size_t)n;
        text[have] = '\0';
        end = strstr(text, "\r\n\r\n");
    }
    if (strncmp(text, "HTTP/1.1 200", 12) != 0)
        die("not a 200: %.*s", (int)strcspn(text, "\r"), text);
    const char *length = strcasestr(text, "\r\ncontent-length:");
    uint64_t size = length ? strtoull(length + 17, NULL, 10) : 0;
    uint64_t left = size - (have - (size_t)(end + 4 - text));
    while (!slow && left > 0) {
        ssize_t n = recv(fd, text, left < PIECE ? (size_t)left : PIECE, 0);
        if (n <= 0)
            die("a cut answer");
        left -= (uint64_t)n;
    }
}

int main(int argc, char **argv)
{
    unsigned long count = 1, rate = 0;
    int option;
    while ((option = getopt(argc, argv, "c:r:")) != -1) {
        if (option == 'c')
            count = strtoul(optarg, NULL, 10);
        else if (option == 'r')
            rate = strtoul(optarg, NULL, 10);
        else
            return 2;
    }
    char *colon = argc - optind == 2 ? strrchr(argv[optind], ':') : NULL;
    if (!colon || count == 0)
        die("usage: bench_hold [-c CONNECTIONS] [-r BYTES_PER_S] ADDRESS:PORT PATH");
    char request[4096];
    (void)snprintf(
        request, sizeof request,
        "GET %s HTTP/1.1\r\nHost: %s\r\nAccept: application/vnd.oci.image.manifest.v1+json\r\n\r\n",
        argv[optind + 1], argv[optind]);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *to;
    *colon = '\0';
    if (getaddrinfo(argv[optind], colon + 1, &hints, &to) != 0)
        die("%s: not an address", argv[optind]);
    struct rlimit files = {count + 64, count + 64};
    if (setrlimit(RLIMIT_NOFILE, &files) < 0)
        die("cannot have %lu descriptors: %s", count + 64, strerror(errno));
    int *fd = calloc(count, sizeof *fd);
    if (!fd)
        die("out of memory");
    for (unsigned long i = 0, answered = 0; i < count; ++i) {
        fd[i] = dial(to, request, rate > 0);
        for (; i + 1 - answered == OPEN_AT_ONCE || (i + 1 == count && answered < count); ++answered)
            first_answer(fd[answered], rate > 0);
    }
    (void)puts("ready");
    (void)fflush(stdout);
    uint64_t begin_us = clock_mono_us(), bytes = 0, due[SHIFTS] = {0}, ended = 0;
    struct pollfd over = {.fd = STDIN_FILENO, .events = POLLIN};
    for (unsigned shift = 0; poll(&over, 1, rate ? TICK_MS : -1) == 0; shift = (shift + 1) % SHIFTS) {
        /* What each of them may have had by this time, less what it may have had at the last. */
        uint64_t may = (clock_mono_us() - begin_us) * rate / 1000000, more = may - due[shift];
        due[shift] = may;
        for (unsigned long i = shift; more && i < count; i += SHIFTS) {
            ssize_t n = fd[i] < 0 ? 0 : recv(fd[i], NULL, more, MSG_TRUNC | MSG_DONTWAIT);
            if (n > 0) {
                bytes += (uint64_t)n;
            } else if (fd[i] >= 0 && !(n < 0 && errno == EAGAIN)) {
                (void)close(fd[i]);
                fd[i] = -1;
                ++ended;
            }
        }
    }
    (void)printf("{\"bytes\":%" PRIu64 ",\"ended\":%" PRIu64 "}\n", bytes, ended);
    freeaddrinfo(to);
    free(fd);
    return 0;
}
