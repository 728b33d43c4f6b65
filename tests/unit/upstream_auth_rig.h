// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_TESTS_UPSTREAM_AUTH_RIG_H
#define RAC_TESTS_UPSTREAM_AUTH_RIG_H
/* A registry that asks for tokens or passwords, and a client for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/upstream_server.h"

static const struct upstream_limits limits = {
    .connect_timeout_ms = 30000,
    .head_timeout_ms = 30000,
    .stall_timeout_ms = 30000,
    .max_connections = 64,
    .user_agent = "rac-test/1",
};

/* base64 of "user:secret" */
static const char basic_header[] = "\r\nAuthorization: Basic dXNlcjpzZWNyZXQ=\r\n";

/* What the server of a test does; set before the fetch. */
struct fixture {
    struct server *server;
    struct bench bench;
    struct upstream *upstream;
    char challenge[1024]; /* a whole header line without its end, or "" */
    char token_status[64], token_body[4096], token_headers[256];
    unsigned token_delay_ms;
    bool token_endless;
    char accepted[128]; /* Authorization that opens /v2/, "" = nothing does */
    char location[1024], redirect_status[64];
};

/* `text` with the port of a server for each PORT in it. */
static inline void fill_port(char *out, size_t cap, const char *text, const struct server *s)
{
    cleanup_buf struct buf b = {.max = cap - 1};
    for (const char *at; (at = strstr(text, "PORT")) != NULL; text = at + 4) {
        (void)buf_add(&b, text, (size_t)(at - text));
        (void)buf_printf(&b, "%u", s->port);
    }
    (void)buf_add_str(&b, text);
    assert_false(b.overflow);
    memcpy(out, buf_str(&b), b.len + 1);
}

static inline void handle(struct server_conn *c, const char *head, void *arg)
{
    struct fixture *x = arg;
    char want[256], headers[2048];
    (void)snprintf(want, sizeof want, "\r\nAuthorization: %s\r\n", x->accepted);
    if (strncmp(head, "GET /token", 10) == 0) {
        (void)usleep(x->token_delay_ms * 1000);
        if (x->token_endless) {
            (void)conn_printf(c, "HTTP/1.1 200 OK\r\n\r\n{\"token\":\"");
            while (conn_printf(c, "0123456789012345678901234567890123456789012345678901234567890123"))
                ;
            c->close_after = true;
            return;
        }
        conn_reply(c, head, x->token_status, x->token_headers, x->token_body);
    } else if (strstr(head, " /v2/blob-redirect")) {
        (void)snprintf(headers, sizeof headers, "Location: %s\r\n", x->location);
        conn_reply(c, head, x->redirect_status, headers, "moved");
    } else if (strstr(head, " /open")) {
        conn_reply(c, head, "200 OK", "", "opened");
    } else if (strstr(head, want)) {
        conn_reply(c, head, "200 OK", "", "welcome");
    } else {
        (void)snprintf(headers, sizeof headers, "%s%s", x->challenge, x->challenge[0] ? "\r\n" : "");
        conn_reply(c, head, "401 Unauthorized", headers, "{\"errors\":[]}");
    }
}

static inline int set_up(void **state)
{
    struct fixture *x = mem_new(struct fixture);
    x->server = server_start(handle, x);
    x->upstream = upstream_on(x->server, "http", (struct upstream_config){0});
    bench_open(&x->bench, &limits);
    (void)snprintf(x->challenge, sizeof x->challenge,
                   "WWW-Authenticate: Bearer realm=\"http://127.0.0.1:%u/token\",service=\"the service\"",
                   x->server->port);
    (void)strcpy(x->token_status, "200 OK");
    (void)strcpy(x->token_body, "{\"token\":\"t1\",\"expires_in\":300}");
    (void)strcpy(x->accepted, "Bearer t1");
    (void)strcpy(x->redirect_status, "307 Temporary Redirect");
    *state = x;
    return 0;
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

static inline void with_credentials(struct fixture *x, struct upstream_config more)
{
    upstream_unref(x->upstream);
    more.username = "user";
    more.password = "secret";
    x->upstream = upstream_on(x->server, "http", more);
}

static inline void get(struct fixture *x, struct got *g, const char *path)
{
    *g = (struct got){0};
    got_run(g, &x->bench, &(struct fetch_params){.upstream = x->upstream, .path = path, .repository = "a/b"});
}
#endif
