// SPDX-License-Identifier: Apache-2.0
/*
 * A load of GET or HEAD requests over kept connections, one thread. wrk does not know HEAD, and copies every
 * body through a buffer of 8 KiB, so that it, and not the server, is what blobs wait for; here the kernel
 * throws bodies away unread (MSG_TRUNC, tcp(7)).
 *
 *     bench_load [-m HEAD] [-c CONNECTIONS] [-d SECONDS | -o] [-r BYTES [-k RANGES]] ADDRESS:PORT PATH
 *
 *     @FILE for PATH   one path a line: each request asks for one of them, picked at random
 *     -o               once: every connection asks for all of them in their order, and that is all
 *     -r BYTES         ranges of that length, anywhere in what is asked for (a HEAD before says how long it
 * is) -k RANGES        so many of them in one request; more than one is answered as multipart/byteranges
 *
 * Prints one line of JSON. Any answer but 200 (206 to a range) ends it with 1: a server that errs fast is not
 * fast.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"

#define CONNECTIONS_MAX 4096
#define HEAD_MAX        8192
#define DISCARD         ((size_t)1 << 20)
/* Latencies: 32 steps in each power of two, so that none is off by more than 3 %. */
#define STEPS 64
#define SLOTS (STEPS * 40)

#define RANGES_MAX 64
#define ONCE_MAX_S UINT64_C(120) /* no answer in that time is none */

struct connection {
    int fd;
    size_t head_len; /* 0: nothing of the answer has come */
    uint64_t body_left;
    bool in_body, closes;
    uint64_t begin_us;
    size_t asked; /* paths so far */
    char head[HEAD_MAX + 1];
};

static struct addrinfo *address;
static const char *host;
static char **paths;
static size_t path_count;
static bool is_head, is_once;
static uint64_t range_bytes, range_of; /* 0: no ranges */
static unsigned long range_count = 1, open_count;
static int ep;
static uint64_t end_us, requests, bytes, slot[SLOTS];

_Noreturn __attribute__((format(printf, 1, 2))) static void die(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)fputs("bench_load: ", stderr);
    (void)vfprintf(stderr, fmt, ap);
    (void)fputc('\n', stderr);
    va_end(ap);
    exit(1);
}

/* xorshift64*: the same sequence in each run, and none that repeats in one. */
static uint64_t any_of(uint64_t n)
{
    static uint64_t x = UINT64_C(0x9e3779b97f4a7c15);
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    return (x * UINT64_C(0x2545f4914f6cdd1d) >> 16) % n;
}

static size_t add_ranges(char *to, size_t cap)
{
    size_t n = 0;
    for (unsigned long i = 0; i < range_count && n < cap; ++i) {
        uint64_t first = range_of > range_bytes ? any_of(range_of - range_bytes) : 0;
        int more = snprintf(to + n, cap - n, "%s%" PRIu64 "-%" PRIu64, i ? "," : "Range: bytes=", first,
                            first + range_bytes - 1);
        n += (size_t)more;
    }
    return n + (size_t)snprintf(to + (n < cap ? n : cap), n < cap ? cap - n : 0, "\r\n");
}

/* The request for the connection's next path; one that is always the same is put together once. */
static const char *request_of(struct connection *c, size_t *ret_len)
{
    static char request[8192];
    static size_t len;
    if (len && path_count == 1 && !range_bytes) {
        *ret_len = len;
        return request;
    }
    const char *path = paths[is_once ? c->asked : path_count == 1 ? 0 : any_of(path_count)];
    len = (size_t)snprintf(request, sizeof request,
                           "%s %s HTTP/1.1\r\nHost: %s\r\n"
                           "Accept: application/vnd.oci.image.manifest.v1+json\r\n",
                           is_head ? "HEAD" : "GET", path, host);
    if (len < sizeof request && range_bytes)
        len += add_ranges(request + len, sizeof request - len);
    if (len + 2 >= sizeof request)
        die("the request is too long");
    memcpy(request + len, "\r\n", 2);
    *ret_len = len += 2;
    return request;
}

static void send_request(struct connection *c)
{
    size_t len;
    const char *request = request_of(c, &len);
    c->head_len = 0;
    c->in_body = c->closes = false;
    c->begin_us = clock_mono_us();
    /* The socket's buffer is empty, so it takes the whole; one that the server has closed says so by EOF. */
    ssize_t n = send(c->fd, request, len, MSG_NOSIGNAL);
    if (n >= 0 && (size_t)n != len)
        die("short write");
}

static void open_connection(struct connection *c)
{
    int one = 1;
    c->fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, address->ai_addr, address->ai_addrlen) < 0)
        die("cannot connect: %s", strerror(errno));
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    (void)fcntl(c->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e) < 0)
        die("epoll: %s", strerror(errno));
    send_request(c);
}

static void record(uint64_t us)
{
    unsigned power = us < STEPS ? 0 : (unsigned)(63 - __builtin_clzll(us)) - 5;
    size_t at = power * STEPS + (us >> power);
    ++slot[at < SLOTS ? at : SLOTS - 1];
}

static uint64_t percentile(double part)
{
    uint64_t seen = 0;
    for (size_t i = 0; i < SLOTS; ++i) {
        seen += slot[i];
        if (seen && (double)seen >= part * (double)requests)
            return (uint64_t)(i % STEPS) << (i / STEPS);
    }
    return 0;
}

static void answered(struct connection *c)
{
    uint64_t now = clock_mono_us();
    if (now < end_us) {
        ++requests;
        record(now - c->begin_us);
    }
    if (is_once && ++c->asked == path_count) {
        (void)close(c->fd);
        --open_count;
    } else if (c->closes) {
        (void)close(c->fd);
        open_connection(c);
    } else {
        send_request(c);
    }
}

static void parse_head(struct connection *c)
{
    c->head[c->head_len] = '\0';
    char *end = strstr(c->head, "\r\n\r\n");
    if (!end) {
        if (c->head_len == HEAD_MAX)
            die("the head of an answer is too long");
        return;
    }
    end[2] = '\0';
    const char *length = strcasestr(c->head, "\r\ncontent-length:");
    const char *status = range_bytes ? "HTTP/1.1 206" : "HTTP/1.1 200";
    if (strncmp(c->head, status, 12) != 0 || !length)
        die("not a %s with Content-Length: %.*s", status + 9, (int)strcspn(c->head, "\r"), c->head);
    c->closes = strcasestr(c->head, "\r\nconnection: close") != NULL;
    uint64_t have = c->head_len - (size_t)(end + 4 - c->head);
    uint64_t size = is_head ? 0 : strtoull(length + 17, NULL, 10);
    if (have > size)
        die("bytes behind the end of an answer");
    bytes += have;
    c->body_left = size - have;
    c->in_body = true;
}

static void on_readable(struct connection *c)
{
    static char nowhere[DISCARD];
    ssize_t n;
    if (c->in_body)
        n = recv(c->fd, nowhere, c->body_left < DISCARD ? (size_t)c->body_left : DISCARD, MSG_TRUNC);
    else
        n = recv(c->fd, c->head + c->head_len, HEAD_MAX - c->head_len, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        if (c->head_len)
            die("an answer was cut off");
        (void)close(c->fd); /* the server had enough of this connection before it read our request */
        open_connection(c);
        return;
    }
    if (c->in_body) {
        c->body_left -= (uint64_t)n;
        bytes += (uint64_t)n;
    } else {
        c->head_len += (size_t)n;
        parse_head(c);
    }
    if (c->in_body && c->body_left == 0)
        answered(c);
}

static void resolve(char *where)
{
    char *colon = strrchr(where, ':');
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    if (!colon)
        die("%s: no port", where);
    *colon = '\0';
    if (getaddrinfo(where, colon + 1, &hints, &address) != 0)
        die("%s: not an address", where);
    *colon = ':';
}

/* "@FILE": a path a line; else the path itself. */
static void take_paths(const char *what)
{
    static char line[4096];
    size_t cap = 1;
    paths = calloc(cap, sizeof *paths);
    FILE *f = what[0] == '@' ? fopen(what + 1, "re") : NULL;
    if (!paths || (what[0] == '@' && !f))
        die("%s: %s", what, strerror(errno));
    if (!f)
        paths[path_count++] = strdup(what);
    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        if (path_count == cap) {
            cap *= 2;
            paths = realloc(paths, cap * sizeof *paths);
        }
        if (!paths || !(paths[path_count++] = strdup(line)))
            die("out of memory");
    }
    if (f)
        (void)fclose(f);
    if (!path_count)
        die("%s: no paths", what);
}

/* How long it is: by a HEAD on a connection of its own. */
static uint64_t length_of(const char *path)
{
    char text[HEAD_MAX + 1];
    size_t have = 0;
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int n =
        snprintf(text, sizeof text, "HEAD %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, host);
    if (fd < 0 || connect(fd, address->ai_addr, address->ai_addrlen) < 0 || send(fd, text, (size_t)n, 0) != n)
        die("cannot connect: %s", strerror(errno));
    ssize_t got;
    while ((got = recv(fd, text + have, HEAD_MAX - have, 0)) > 0)
        have += (size_t)got;
    (void)close(fd);
    text[have] = '\0';
    const char *length = strcasestr(text, "\r\ncontent-length:");
    uint64_t size = length ? strtoull(length + 17, NULL, 10) : 0;
    if (!size)
        die("%s: HEAD does not say how long it is", path);
    return size;
}

static void run(struct connection *connections, unsigned long count)
{
    for (unsigned long i = 0; i < count; ++i)
        open_connection(&connections[i]);
    open_count = count;
    while (open_count && clock_mono_us() < end_us) {
        struct epoll_event ready[256];
        int n = epoll_wait(ep, ready, 256, 100);
        for (int i = 0; i < n; ++i)
            on_readable(ready[i].data.ptr);
    }
    if (is_once && open_count)
        die("%lu of %lu clients did not come to their end", open_count, count);
}

int main(int argc, char **argv)
{
    static struct connection connections[CONNECTIONS_MAX];
    unsigned long count = 1, seconds = 1;
    int option;
    while ((option = getopt(argc, argv, "m:c:d:or:k:")) != -1) {
        if (option == 'm')
            is_head = strcmp(optarg, "HEAD") == 0;
        else if (option == 'c')
            count = strtoul(optarg, NULL, 10);
        else if (option == 'd')
            seconds = strtoul(optarg, NULL, 10);
        else if (option == 'o')
            is_once = true;
        else if (option == 'r')
            range_bytes = strtoull(optarg, NULL, 10);
        else if (option == 'k')
            range_count = strtoul(optarg, NULL, 10);
        else
            return 2;
    }
    if (argc - optind != 2 || count == 0 || count > CONNECTIONS_MAX || seconds == 0 || range_count == 0 ||
        range_count > RANGES_MAX)
        die("usage: bench_load [-m HEAD] [-c CONNECTIONS] [-d SECONDS | -o] [-r BYTES [-k RANGES]] "
            "ADDRESS:PORT PATH");
    resolve(argv[optind]);
    host = argv[optind];
    take_paths(argv[optind + 1]);
    if (range_bytes)
        range_of = length_of(paths[0]);
    ep = epoll_create1(EPOLL_CLOEXEC);
    uint64_t begin_us = clock_mono_us();
    end_us = begin_us + (is_once ? ONCE_MAX_S : seconds) * UINT64_C(1000000);
    run(connections, count);
    double took = (double)(clock_mono_us() - begin_us) / 1e6;
    (void)printf("{\"requests\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"seconds\":%.6f,\"p50_us\":%" PRIu64
                 ",\"p99_us\":%" PRIu64 ",\"p999_us\":%" PRIu64 "}\n",
                 requests, bytes, took, percentile(0.5), percentile(0.99), percentile(0.999));
    freeaddrinfo(address);
    return 0;
}
