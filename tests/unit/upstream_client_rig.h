// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_TESTS_UPSTREAM_CLIENT_RIG_H
#define RAC_TESTS_UPSTREAM_CLIENT_RIG_H
/* A server with an answer for each path, and a client for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/upstream_server.h"

static const char digest[] = "sha256:b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c";

/* For tests of the limits; 200 requests at once on a busy machine are not done within them. */
static const struct upstream_limits quick = {
    .connect_timeout_ms = 2000,
    .head_timeout_ms = 1000,
    .stall_timeout_ms = 1000,
    .max_connections = 64,
    .user_agent = "rac-test/1",
};
/* For all others. */
static const struct upstream_limits patient = {
    .connect_timeout_ms = 30000,
    .head_timeout_ms = 30000,
    .stall_timeout_ms = 30000,
    .max_connections = 64,
    .user_agent = "rac-test/1",
};

static inline bool is_path(const char *head, const char *path)
{
    const char *at = strchr(head, ' ');
    size_t n = strlen(path);
    return at && strncmp(at + 1, path, n) == 0 && (at[1 + n] == ' ' || at[1 + n] == '?');
}

/* One path, one way to answer. */
static inline void handle(struct server_conn *c, const char *head, void *arg)
{
    (void)arg;
    if (is_path(head, "/v2/plain")) {
        conn_reply(c, head, "200 OK",
                   "Content-Type: Application/JSON; charset=x\r\nETag: \"e\"\r\nDocker-Content-Digest: "
                   "sha256:b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c\r\nLink: "
                   "</v2/x>; rel=\"next\"\r\n",
                   "hello");
    } else if (is_path(head, "/v2/interim")) {
        (void)conn_printf(c, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nContent-Length: 99\r\n\r\nHTTP/1.1 "
                             "102 Processing\r\n\r\n");
        conn_reply(c, head, "200 OK", "", "hello");
    } else if (is_path(head, "/v2/chunked")) {
        (void)conn_printf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nETag: "
                             "\"trailer\"\r\n\r\n");
    } else if (is_path(head, "/v2/chunked-cut")) {
        (void)conn_printf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
        c->close_after = true;
    } else if (is_path(head, "/v2/until-close")) {
        (void)conn_printf(c, "HTTP/1.1 200 OK\r\n\r\nhello");
        c->close_after = true;
    } else if (is_path(head, "/v2/short")) {
        (void)conn_printf(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
        c->close_after = true;
    } else if (is_path(head, "/v2/reset")) {
        (void)conn_printf(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
        (void)usleep(20000);
        c->close_after = c->reset_after = true;
    } else if (is_path(head, "/v2/long")) {
        (void)conn_printf(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more");
    } else if (is_path(head, "/v2/nothing")) {
        c->close_after = true;
    } else if (is_path(head, "/v2/half-head")) {
        (void)conn_printf(c, "HTTP/1.1 200 OK\r\nContent-");
        c->close_after = true;
    } else if (is_path(head, "/v2/garbage")) {
        (void)conn_printf(c, "SSH-2.0-OpenSSH_9.2\r\n\r\n");
        c->close_after = true;
    } else if (is_path(head, "/v2/two-lengths")) {
        (void)conn_printf(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!");
    } else if (is_path(head, "/v2/negative")) {
        (void)conn_printf(c, "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello!");
        c->close_after = true;
    } else if (is_path(head, "/v2/flood")) {
        (void)conn_printf(c, "HTTP/1.1 200 OK\r\n");
        for (int i = 0; i < 3000; ++i)
            if (!conn_printf(c, "X-Header-%04d: 0123456789012345678901234567\r\n", i))
                break;
        c->close_after = true;
    } else if (is_path(head, "/v2/gzip")) {
        conn_reply(c, head, "200 OK", "Content-Encoding: GZIP\r\n", "not really");
    } else if (is_path(head, "/v2/range")) {
        conn_reply(c, head, "206 Partial Content", "Content-Range: bytes 5-9/10\r\n", "world");
    } else if (is_path(head, "/v2/not-modified")) {
        (void)conn_printf(c, "HTTP/1.1 304 Not Modified\r\nETag: \"e\"\r\n\r\n");
    } else if (is_path(head, "/v2/limited")) {
        conn_reply(c, head, "429 Too Many Requests", "Retry-After: 17\r\n", "slow down");
    } else if (is_path(head, "/v2/silent")) {
        (void)sleep(2);
        c->close_after = true;
    } else if (is_path(head, "/v2/slow-head")) {
        (void)conn_printf(c, "HTTP/1.1 200 OK\r\n");
        for (int i = 0; i < 40 && conn_printf(c, "X: y\r\n"); ++i)
            (void)usleep(50000);
        c->close_after = true;
    } else if (is_path(head, "/v2/stall")) {
        (void)conn_printf(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
        (void)sleep(2);
        c->close_after = true;
    } else if (is_path(head, "/v2/drip")) {
        (void)conn_printf(c, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n");
        for (int i = 0; i < 8 && conn_printf(c, "x"); ++i)
            (void)usleep(250000);
    } else if (is_path(head, "/v2/big")) {
        static const char block[64 << 10];
        (void)conn_printf(c, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", sizeof block * 1024);
        for (int i = 0; i < 1024; ++i)
            if (!conn_write(c, block, sizeof block))
                break;
    } else if (is_path(head, "/v2/stale")) {
        /* The second request on a connection finds it closed, as after an idle timeout. */
        if (c->served == 0)
            conn_reply(c, head, "200 OK", "", "hello");
        c->close_after = c->served > 0;
    } else {
        conn_reply(c, head, "404 Not Found", "", "{}");
    }
}

struct fixture {
    struct bench bench;
    struct server *server;
    struct upstream *upstream;
};

static inline int set_up_with(void **state, const struct upstream_limits *limits)
{
    struct fixture *x = mem_new(struct fixture);
    x->server = server_start(handle, x);
    x->upstream = upstream_on(x->server, "http", (struct upstream_config){0});
    bench_open(&x->bench, limits);
    *state = x;
    return 0;
}

static inline int set_up(void **state)
{
    return set_up_with(state, &patient);
}

static inline int set_up_quick(void **state)
{
    return set_up_with(state, &quick);
}

static inline int tear_down(void **state)
{
    struct fixture *x = *state;
    bench_close(&x->bench);
    upstream_unref(x->upstream);
    server_stop(x->server);
    free(x);
    return 0;
}

static inline void get(struct fixture *x, struct got *g, const char *path, bool head)
{
    struct fetch_params params = {.upstream = x->upstream, .path = path, .head = head};
    got_run(g, &x->bench, &params);
}
#endif
