// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_TESTS_UPSTREAM_SERVER_H
#define RAC_TESTS_UPSTREAM_SERVER_H
/*
 * A server for tests of proxy/upstream: bare sockets, a thread a connection, so that it can misbehave in any
 * way. Each request's head is logged and given to the handler, which writes bytes and may close. And the
 * other half: a fetch that remembers what it got.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/mem.h"
#include "common/str.h"
#include "proxy/upstream/client.h"
#include "tests/unit/patience.h"

enum { SERVER_CONNS_MAX = 256, SERVER_LOG_MAX = 4096 };

struct server;
struct server_conn {
    struct server *server;
    pthread_t thread;
    int fd;
    SSL *ssl;
    unsigned served;  /* requests on this connection before this one */
    bool close_after; /* set by the handler */
    bool reset_after; /* … with a RST */
};
typedef void server_handler(struct server_conn *c, const char *head, void *arg);

struct server {
    int fd;
    uint16_t port;
    SSL_CTX *tls;
    server_handler *handler;
    void *arg;
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows */
    struct server_conn *conns[SERVER_CONNS_MAX];
    unsigned conns_len;
    char *log[SERVER_LOG_MAX]; /* heads */
    unsigned log_len;
    _Atomic bool stopping;
};

static inline bool conn_write(struct server_conn *c, const void *p, size_t len)
{
    const char *at = p;
    while (len) {
        ssize_t n = c->ssl ? (ssize_t)SSL_write(c->ssl, at, (int)len) : send(c->fd, at, len, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

__attribute__((format(printf, 2, 3))) static inline bool conn_printf(struct server_conn *c, const char *fmt,
                                                                     ...)
{
    char text[8192];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    assert(n >= 0 && (size_t)n < sizeof text);
    return conn_write(c, text, (size_t)n);
}

/* "200 OK" with a body and further headers, each ended by "\r\n"; no body if the request is HEAD. */
static inline void conn_reply(struct server_conn *c, const char *head, const char *status,
                              const char *headers, const char *body)
{
    (void)conn_printf(c, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n%s\r\n%s", status, strlen(body), headers,
                      strncmp(head, "HEAD ", 5) == 0 ? "" : body);
}

static inline ssize_t conn_read(struct server_conn *c, char *p, size_t cap)
{
    return c->ssl ? (ssize_t)SSL_read(c->ssl, p, (int)cap) : recv(c->fd, p, cap, 0);
}

/* One request's head; requests of these tests have no body and are not pipelined. */
static inline bool conn_read_head(struct server_conn *c, char *head, size_t cap)
{
    size_t n = 0;
    while (n + 1 < cap) {
        ssize_t got = conn_read(c, head + n, cap - 1 - n);
        if (got <= 0)
            return false;
        n += (size_t)got;
        head[n] = '\0';
        if (strstr(head, "\r\n\r\n"))
            return true;
    }
    return false;
}

static inline void *conn_run(void *arg)
{
    struct server_conn *c = arg;
    struct server *s = c->server;
    char *head = mem_alloc(128 << 10);
    bool open = true;
    if (s->tls) {
        c->ssl = SSL_new(s->tls);
        SSL_set_fd(c->ssl, c->fd);
        open = SSL_accept(c->ssl) == 1;
    }
    while (open && !c->close_after && conn_read_head(c, head, 128 << 10)) {
        pthread_mutex_lock(&s->lock);
        assert(s->log_len < SERVER_LOG_MAX);
        s->log[s->log_len++] = mem_strdup(head);
        pthread_mutex_unlock(&s->lock);
        s->handler(c, head, s->arg);
        ++c->served;
    }
    if (c->reset_after)
        (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    else if (c->ssl && open)
        (void)SSL_shutdown(c->ssl);
    pthread_mutex_lock(&s->lock);
    (void)close(c->fd);
    c->fd = -1;
    pthread_mutex_unlock(&s->lock);
    SSL_free(c->ssl);
    free(head);
    return NULL;
}

static inline void *server_run(void *arg)
{
    struct server *s = arg;
    for (;;) {
        int fd = accept(s->fd, NULL, NULL);
        if (fd < 0)
            return NULL;
        struct server_conn *c = mem_new(struct server_conn);
        c->server = s;
        c->fd = fd;
        pthread_mutex_lock(&s->lock);
        assert(s->conns_len < SERVER_CONNS_MAX);
        s->conns[s->conns_len++] = c;
        pthread_mutex_unlock(&s->lock);
        if (pthread_create(&c->thread, NULL, conn_run, c) != 0)
            abort();
    }
}

static inline struct server *server_start_tls(server_handler *handler, void *arg, SSL_CTX *tls)
{
    struct server *s = mem_new(struct server);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    s->handler = handler;
    s->arg = arg;
    s->tls = tls;
    pthread_mutex_init(&s->lock, NULL);
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(s->fd, (struct sockaddr *)&a, len) != 0 || listen(s->fd, 128) != 0 ||
        getsockname(s->fd, (struct sockaddr *)&a, &len) != 0)
        abort();
    s->port = ntohs(a.sin_port);
    if (pthread_create(&s->thread, NULL, server_run, s) != 0)
        abort();
    return s;
}

static inline struct server *server_start(server_handler *handler, void *arg)
{
    return server_start_tls(handler, arg, NULL);
}

static inline void server_stop(struct server *s)
{
    s->stopping = true;
    (void)shutdown(s->fd, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    (void)close(s->fd);
    pthread_mutex_lock(&s->lock);
    for (unsigned i = 0; i < s->conns_len; ++i) {
        if (s->conns[i]->fd >= 0)
            (void)shutdown(s->conns[i]->fd, SHUT_RDWR);
    }
    pthread_mutex_unlock(&s->lock);
    for (unsigned i = 0; i < s->conns_len; ++i) {
        pthread_join(s->conns[i]->thread, NULL);
        free(s->conns[i]);
    }
    for (unsigned i = 0; i < s->log_len; ++i)
        free(s->log[i]);
    pthread_mutex_destroy(&s->lock);
    SSL_CTX_free(s->tls);
    free(s);
}

/* Requests whose head begins with `front` ("" for all) and has `part` in it (NULL: whatever). */
static inline unsigned server_count(struct server *s, const char *front, const char *part)
{
    unsigned n = 0;
    pthread_mutex_lock(&s->lock);
    for (unsigned i = 0; i < s->log_len; ++i)
        n += strncmp(s->log[i], front, strlen(front)) == 0 && (!part || strstr(s->log[i], part));
    pthread_mutex_unlock(&s->lock);
    return n;
}

static inline unsigned server_connections(struct server *s)
{
    pthread_mutex_lock(&s->lock);
    unsigned n = s->conns_len;
    pthread_mutex_unlock(&s->lock);
    return n;
}

/* ---- a fetch and what came of it ---- */

enum got_habit {
    GOT_CANCEL_IN_HEAD = 1,
    GOT_FALSE_IN_HEAD = 2,
    GOT_CANCEL_IN_DATA = 4,
    GOT_FALSE_IN_DATA = 8,
    GOT_CANCEL_IN_DONE = 16,
    GOT_PAUSE_IN_HEAD = 32,
    GOT_PAUSE_IN_DATA = 64
};

struct got {
    unsigned habits; /* set before the start */
    struct fetch *fetch;
    unsigned heads, dones;
    uint64_t bytes;
    bool done, failed;
    struct fetch_head head;
    struct buf body; /* the first 1 MiB */
    struct err err;
    void (*then)(void *arg); /* called in on_done */
    void *then_arg;
};

static inline bool got_on_head(void *arg, const struct fetch_head *head)
{
    struct got *g = arg;
    assert(!g->done && g->heads == 0);
    ++g->heads;
    g->head = *head;
    if (g->habits & GOT_CANCEL_IN_HEAD)
        fetch_cancel(g->fetch);
    if (g->habits & GOT_PAUSE_IN_HEAD)
        fetch_pause(g->fetch);
    return !(g->habits & GOT_FALSE_IN_HEAD);
}

static inline bool got_on_data(void *arg, const void *p, size_t len)
{
    struct got *g = arg;
    assert(!g->done && g->heads == 1 && len > 0);
    g->bytes += len;
    if (g->body.len + len <= (size_t)1 << 20)
        (void)buf_add(&g->body, p, len);
    if (g->habits & GOT_CANCEL_IN_DATA)
        fetch_cancel(g->fetch);
    if (g->habits & GOT_PAUSE_IN_DATA)
        fetch_pause(g->fetch);
    return !(g->habits & GOT_FALSE_IN_DATA);
}

static inline void got_on_done(void *arg, const struct err *err)
{
    struct got *g = arg;
    assert(!g->done);
    ++g->dones;
    g->done = true;
    g->failed = err != NULL;
    if (err)
        g->err = *err;
    if (g->habits & GOT_CANCEL_IN_DONE)
        fetch_cancel(g->fetch);
    g->fetch = NULL;
    if (g->then)
        g->then(g->then_arg);
}

static const struct fetch_ops got_ops = {got_on_head, got_on_data, got_on_done};

static inline void got_start(struct got *g, struct upstream_client *c, const struct fetch_params *params)
{
    g->fetch = fetch_start(c, params, &got_ops, g);
    assert(g->fetch && !g->heads && !g->dones);
}

/* Runs the loop until *flag, 30 s at most (patience.h). */
static inline bool pump_until(struct loop *loop, const bool *flag)
{
    uint64_t end_ms = patience_end_ms(30000);
    while (!*flag && clock_mono_ms() < end_ms)
        loop_run_once(loop, 50);
    return *flag;
}

static inline void pump_for(struct loop *loop, uint64_t ms)
{
    uint64_t end_ms = clock_mono_ms() + ms;
    while (clock_mono_ms() < end_ms)
        loop_run_once(loop, 5);
}

/* The proxies of whoever runs the tests are not for these servers. */
static inline void unset_proxies(void)
{
    static const char *const names[] = {"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy",
                                        "ALL_PROXY",  "no_proxy",    "NO_PROXY"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; ++i)
        (void)unsetenv(names[i]);
}

/* A loop, what its process shares, and a client. */
struct bench {
    struct loop *loop;
    struct upstream_shared *shared;
    struct upstream_client *client;
};

static inline void bench_open(struct bench *b, const struct upstream_limits *limits)
{
    b->loop = loop_new(0);
    loop_set_current(b->loop);
    b->shared = upstream_shared_new(limits);
    b->client = upstream_client_new(b->loop, b->shared);
}

static inline void bench_close(struct bench *b)
{
    upstream_client_free(b->client);
    loop_run_once(b->loop, 0);
    loop_free(b->loop);
    upstream_shared_free(b->shared);
    loop_set_current(NULL);
}

/* Starts, waits, and leaves the rest to the caller. */
static inline void got_run(struct got *g, struct bench *b, const struct fetch_params *params)
{
    got_start(g, b->client, params);
    if (!pump_until(b->loop, &g->done))
        abort();
}

static inline void got_free(struct got *g)
{
    buf_free(&g->body);
    *g = (struct got){0};
}

/* An upstream called "up" on a server of ours; `extra` gives the rest of its configuration. */
static inline struct upstream *upstream_on(const struct server *s, const char *scheme,
                                           struct upstream_config extra)
{
    static const uint8_t key[32] = {1, 2, 3};
    cleanup_free char *url = mem_printf("%s://127.0.0.1:%u", scheme, s->port);
    struct upstream *u = NULL;
    struct err err;
    extra.name = "up";
    extra.url = url;
    extra.by_hand = true;
    if (upstream_new(&extra, key, &u, &err) < 0) {
        (void)fprintf(stderr, "%s\n", err.msg);
        abort();
    }
    return u;
}
#endif
