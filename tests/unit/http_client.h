// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_TESTS_HTTP_CLIENT_H
#define RAC_TESTS_HTTP_CLIENT_H
/*
 * For the tests of proxy/http: a server on a free port, and a client that is a bare socket, so that it can
 * misbehave. All functions fail the test rather than return an error; reads give up after 20 s.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/mem.h"
#include "proxy/http/response.h"
#include "proxy/http/server.h"
#include "tests/unit/patience.h"

/* ---- server ---- */

struct site {
    struct http_server *server;
    struct http_config config;
    struct http_listen listen;
    void (*handler)(struct request *r, struct site *site);
    atomic_int finished, aborted, refused, begun, ended;
    void *data;
};

static void site_on_request(struct request *r, void *arg)
{
    struct site *s = arg;
    s->handler(r, s);
}

static void site_on_finished(struct request *r, bool aborted, void *arg)
{
    (void)r;
    struct site *s = arg;
    atomic_fetch_add(&s->finished, 1);
    if (aborted)
        atomic_fetch_add(&s->aborted, 1);
}

static void site_refuse(struct request *r, int status, const char *message, void *arg)
{
    struct site *s = arg;
    atomic_fetch_add(&s->refused, 1);
    response_header_ref(r, "Content-Type", SLICE_LIT("application/json"));
    char text[300];
    int n = snprintf(text, sizeof text, "{\"refused\":\"%s\"}", message);
    response_send(r, status, text, (size_t)n);
}

static void site_worker_begin(struct loop *loop, void *arg)
{
    struct site *s = arg;
    assert_ptr_equal(loop_current(), loop);
    atomic_fetch_add(&s->begun, 1);
}

static void site_worker_end(struct loop *loop, void *arg)
{
    struct site *s = arg;
    (void)loop;
    atomic_fetch_add(&s->ended, 1);
}

/* Defaults, which a test changes before site_start(). */
static inline void site_init(struct site *s, void (*handler)(struct request *r, struct site *site))
{
    memset(s, 0, sizeof *s);
    s->handler = handler;
    s->listen.address = "127.0.0.1:0";
    s->config = (struct http_config){
        .listen = &s->listen,
        .listen_count = 1,
        .workers = 2,
        .limits = http_limits_default,
        .worker_begin = site_worker_begin,
        .worker_end = site_worker_end,
        .on_request = site_on_request,
        .on_finished = site_on_finished,
        .refuse = site_refuse,
        .arg = s,
    };
}

static inline void site_start(struct site *s)
{
    struct err err = {0};
    s->server = http_server_new(&s->config, &err);
    if (!s->server || http_server_start(s->server, &err) < 0)
        fail_msg("%s", err.msg);
    assert_int_equal(atomic_load(&s->begun), (int)s->config.workers);
}

static inline void site_stop(struct site *s)
{
    (void)http_server_drain(s->server, 0);
    struct http_server_stats stats;
    http_server_stats(s->server, &stats);
    assert_int_equal(stats.connections_open, 0);
    assert_int_equal(stats.requests_open, 0);
    assert_int_equal(atomic_load(&s->ended), (int)s->config.workers);
    http_server_free(s->server);
    s->server = NULL;
}

static inline struct http_server_stats site_stats(const struct site *s)
{
    struct http_server_stats stats;
    http_server_stats(s->server, &stats);
    return stats;
}

/* Waits until the condition holds; fails after 20 s (patience.h). */
#define eventually(condition)                                                                                \
    do {                                                                                                     \
        uint64_t eventually_end_ = patience_end_ms(20000);                                                   \
        while (!(condition)) {                                                                               \
            if (clock_mono_ms() > eventually_end_)                                                           \
                fail_msg("never came true: %s", #condition);                                                 \
            (void)usleep(1000);                                                                              \
        }                                                                                                    \
    } while (0)

/* ---- client ---- */

struct client {
    int fd;
    SSL *ssl; /* NULL: plaintext */
    char buf[16384];
    size_t at, len;
    bool eof, reset;
};

static inline in_port_t site_port(const char *address) /* in network order */
{
    return htons((uint16_t)strtoul(strrchr(address, ':') + 1, NULL, 10));
}

/* rcvbuf > 0 makes a reader with a small window. */
static inline void client_dial_with(struct client *c, const struct site *s, int rcvbuf)
{
    memset(c, 0, sizeof *c);
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    sa.sin_port = site_port(http_server_address(s->server, 0));
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(c->fd >= 0);
    if (rcvbuf)
        assert_int_equal(setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof rcvbuf), 0);
    struct timeval timeout = {.tv_sec = (time_t)(patience_ms(20000) / 1000)};
    (void)setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    if (connect(c->fd, (struct sockaddr *)&sa, sizeof sa) != 0)
        fail_msg("connect: %s", strerror(errno));
}

static inline void client_dial(struct client *c, const struct site *s)
{
    client_dial_with(c, s, 0);
}

static inline void client_close(struct client *c)
{
    if (c->ssl)
        SSL_free(c->ssl);
    if (c->fd >= 0)
        (void)close(c->fd);
    c->fd = -1;
    c->ssl = NULL;
}

static inline void client_send_bytes(struct client *c, const char *p, size_t len)
{
    while (len > 0) {
        ssize_t n = c->ssl ? SSL_write(c->ssl, p, (int)len) : send(c->fd, p, len, MSG_NOSIGNAL);
        if (n <= 0)
            fail_msg("send: %s", strerror(errno));
        p += n;
        len -= (size_t)n;
    }
}

static inline void client_send(struct client *c, const char *text)
{
    client_send_bytes(c, text, strlen(text));
}

static inline void client_get(struct client *c, const char *path)
{
    char text[4096];
    (void)snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: test\r\n\r\n", path);
    client_send(c, text);
}

/* false at the end of the connection: eof or reset is set. */
static inline bool client_fill(struct client *c)
{
    if (c->eof || c->reset)
        return false;
    c->at = c->len = 0;
    ssize_t n = c->ssl ? SSL_read(c->ssl, c->buf, sizeof c->buf) : recv(c->fd, c->buf, sizeof c->buf, 0);
    if (n > 0) {
        c->len = (size_t)n;
        return true;
    }
    if (c->ssl) {
        c->eof = true;
    } else if (n == 0) {
        c->eof = true;
    } else {
        if (errno != ECONNRESET)
            fail_msg("recv: %s", strerror(errno));
        c->reset = true;
    }
    return false;
}

struct answer {
    int status; /* 0: the connection ended before a head */
    char head[8192];
    bool has_length;
    uint64_t length; /* Content-Length */
};

static inline void client_head(struct client *c, struct answer *a)
{
    memset(a, 0, sizeof *a);
    size_t n = 0;
    while (n < 4 || memcmp(a->head + n - 4, "\r\n\r\n", 4) != 0) {
        if (c->at == c->len && !client_fill(c)) {
            a->status = 0;
            return;
        }
        assert_true(n < sizeof a->head - 1);
        a->head[n++] = c->buf[c->at++];
    }
    assert_int_equal(sscanf(a->head, "HTTP/1.1 %d ", &a->status), 1);
    const char *length = strstr(a->head, "Content-Length: ");
    a->has_length = length != NULL;
    if (length)
        a->length = strtoull(length + 16, NULL, 10);
}

/* The byte at an offset of every large body of these tests. */
static inline char pattern_at(uint64_t offset)
{
    return (char)(offset ^ (offset >> 8) ^ (offset >> 17) ^ 0x5a);
}

static inline void pattern_fill(char *p, uint64_t offset, size_t len)
{
    for (size_t i = 0; i < len; ++i)
        p[i] = pattern_at(offset + i);
}

/* Reads up to `want` bytes of a patterned body from `offset` on; returns how many came before the connection
 * ended. */
static inline uint64_t client_pattern(struct client *c, uint64_t offset, uint64_t want)
{
    uint64_t got = 0;
    while (got < want) {
        if (c->at == c->len && !client_fill(c))
            return got;
        if (c->buf[c->at] != pattern_at(offset + got))
            fail_msg("wrong byte at %llu", (unsigned long long)(offset + got));
        ++c->at;
        ++got;
    }
    return got;
}

static inline void client_body(struct client *c, const struct answer *a, char *out, size_t cap)
{
    assert_true(a->length < cap);
    for (uint64_t i = 0; i < a->length; ++i) {
        if (c->at == c->len && !client_fill(c))
            fail_msg("the body ends after %llu of %llu bytes", (unsigned long long)i,
                     (unsigned long long)a->length);
        out[i] = c->buf[c->at++];
    }
    out[a->length] = '\0';
}

/* Head and small body in one; returns the status. */
static inline int client_answer(struct client *c, char *body, size_t cap)
{
    struct answer a;
    client_head(c, &a);
    if (a.status == 0)
        return 0;
    client_body(c, &a, body, cap);
    return a.status;
}

/* Nothing more comes, and the connection ends. */
static inline void client_expect_end(struct client *c)
{
    if (c->at != c->len || client_fill(c))
        fail_msg("more came: %.*s", (int)(c->len - c->at > 80 ? 80 : c->len - c->at), c->buf + c->at);
}
#endif
