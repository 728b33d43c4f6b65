// SPDX-License-Identifier: Apache-2.0
/* Fetches against a server that does as each test tells it: bodies, faults, limits in time, cancelling,
 * back-pressure. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/upstream_server.h"

static const char digest[] = "sha256:b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c";

static const struct upstream_limits quick = {
    .connect_timeout_ms = 2000,
    .head_timeout_ms = 1000,
    .stall_timeout_ms = 1000,
    .max_connections = 64,
    .user_agent = "rac-test/1",
};

static bool is_path(const char *head, const char *path)
{
    const char *at = strchr(head, ' ');
    size_t n = strlen(path);
    return at && strncmp(at + 1, path, n) == 0 && (at[1 + n] == ' ' || at[1 + n] == '?');
}

/* One path, one way to answer. */
static void handle(struct server_conn *c, const char *head, void *arg)
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

static int set_up(void **state)
{
    struct fixture *x = mem_new(struct fixture);
    x->server = server_start(handle, x);
    x->upstream = upstream_on(x->server, "http", (struct upstream_config){0});
    bench_open(&x->bench, &quick);
    *state = x;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *x = *state;
    bench_close(&x->bench);
    upstream_unref(x->upstream);
    server_stop(x->server);
    free(x);
    return 0;
}

static void get(struct fixture *x, struct got *g, const char *path, bool head)
{
    struct fetch_params params = {.upstream = x->upstream, .path = path, .head = head};
    got_run(g, &x->bench, &params);
}

static void test_plain(void **state)
{
    struct fixture *x = *state;
    struct got g = {0};
    struct fetch_params params = {.upstream = x->upstream,
                                  .path = "/v2/plain?n=1",
                                  .accept = "application/one, application/two",
                                  .if_none_match = "\"old\""};
    got_run(&g, &x->bench, &params);
    assert_false(g.failed);
    assert_int_equal(g.head.status, 200);
    assert_int_equal(g.head.content_length, 5);
    assert_string_equal(g.head.content_type, "application/json");
    assert_string_equal(g.head.content_encoding, "");
    assert_string_equal(g.head.digest.s, digest);
    assert_string_equal(g.head.etag, "\"e\"");
    assert_string_equal(g.head.link, "</v2/x>; rel=\"next\"");
    assert_false(g.head.has_credentials);
    assert_string_equal(buf_str(&g.body), "hello");
    assert_int_equal(server_count(x->server, "GET /v2/plain?n=1 HTTP/1.1\r\n", NULL), 1);
    assert_int_equal(server_count(x->server, "", "\r\nAccept: application/one, application/two\r\n"), 1);
    assert_int_equal(server_count(x->server, "", "\r\nIf-None-Match: \"old\"\r\n"), 1);
    assert_int_equal(server_count(x->server, "", "\r\nUser-Agent: rac-test/1\r\n"), 1);
    assert_int_equal(server_count(x->server, "", "Accept-Encoding"), 0);
    assert_int_equal(server_count(x->server, "", "Authorization"), 0);
    assert_int_equal(server_count(x->server, "", "Range:"), 0);
    got_free(&g);
}

static void test_head(void **state)
{
    struct fixture *x = *state;
    struct got g = {0};
    get(x, &g, "/v2/plain", true);
    assert_false(g.failed);
    assert_int_equal(g.head.status, 200);
    assert_int_equal(g.head.content_length, 5);
    assert_int_equal(g.bytes, 0);
    assert_int_equal(server_count(x->server, "HEAD /v2/plain ", NULL), 1);
    assert_int_equal(server_count(x->server, "", "Accept:"), 0);
    got_free(&g);
    /* The handle goes on as a GET. */
    get(x, &g, "/v2/plain", false);
    assert_int_equal(g.bytes, 5);
    got_free(&g);
}

static void test_prefix_of_the_url(void **state)
{
    struct fixture *x = *state;
    cleanup_free char *url = mem_printf("http://127.0.0.1:%u/prefix", x->server->port);
    struct upstream_config config = {.name = "up", .url = url, .by_hand = true};
    static const uint8_t key[32];
    struct upstream *u = NULL;
    assert_int_equal(upstream_new(&config, key, &u, NULL), 0);
    struct got g = {0};
    got_run(&g, &x->bench, &(struct fetch_params){.upstream = u, .path = "/v2/a"});
    assert_int_equal(g.head.status, 404);
    assert_int_equal(server_count(x->server, "GET /prefix/v2/a ", NULL), 1);
    got_free(&g);
    upstream_unref(u);
}

/* Answers, one a line: status, body, or the error. */
static const struct {
    const char *path;
    int status; /* 0: no head at all */
    const char *body;
    enum err_code code; /* ERR_NONE: it ends well */
    const char *message;
} answers[] = {
    {"/v2/plain", 200, "hello", ERR_NONE, NULL},
    {"/v2/interim", 200, "hello", ERR_NONE, NULL},
    {"/v2/chunked", 200, "hello", ERR_NONE, NULL},
    {"/v2/until-close", 200, "hello", ERR_NONE, NULL},
    {"/v2/long", 200, "hello", ERR_NONE, NULL},
    {"/v2/gzip", 200, "not really", ERR_NONE, NULL},
    {"/v2/range", 206, "world", ERR_NONE, NULL},
    {"/v2/not-modified", 304, "", ERR_NONE, NULL},
    {"/v2/missing", 404, "{}", ERR_NONE, NULL},
    {"/v2/limited", 429, "slow down", ERR_NONE, NULL},
    {"/v2/drip", 200, "xxxxxxxx", ERR_NONE, NULL},
    {"/v2/short", 200, "hello", ERR_UPSTREAM, "up: answer ended after 5 of 10 bytes"},
    {"/v2/reset", 200, "hello", ERR_UPSTREAM, "up: answer ended after 5 of 10 bytes"},
    {"/v2/chunked-cut", 200, "hello", ERR_UPSTREAM, "up: answer ended after 5 bytes, before its end"},
    {"/v2/nothing", 0, "", ERR_UPSTREAM, "up: 127.0.0.1 closed the connection without an answer"},
    {"/v2/half-head", 0, "", ERR_UPSTREAM, "up: "},
    {"/v2/garbage", 0, "", ERR_UPSTREAM, "does not speak HTTP"},
    {"/v2/two-lengths", 0, "", ERR_UPSTREAM, "up: two Content-Lengths that differ"},
    {"/v2/negative", 0, "", ERR_UPSTREAM, "up: "},
    {"/v2/flood", 0, "", ERR_UPSTREAM, "up: head of the answer is over the limit of 65536 bytes"},
    {"/v2/silent", 0, "", ERR_TIMEOUT, "up: no answer within 1 s"},
    {"/v2/slow-head", 0, "", ERR_TIMEOUT, "up: no answer within 1 s"},
    {"/v2/stall", 200, "hello", ERR_TIMEOUT, "up: no byte for 1 s, after 5 bytes"},
    {"/v2/a b", 0, "", ERR_INTERNAL, "not encoded"},
    {"/v2/a\r\nX: y", 0, "", ERR_INTERNAL, "not encoded"},
    {"v2/", 0, "", ERR_INTERNAL, "not encoded"},
};

static void test_answers(void **state)
{
    struct fixture *x = *state;
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; ++i) {
        struct got g = {0};
        get(x, &g, answers[i].path, false);
        if (g.heads != (answers[i].status ? 1u : 0u) || (g.heads && g.head.status != answers[i].status))
            fail_msg("%s: %u heads, status %d (%s)", answers[i].path, g.heads, g.head.status, g.err.msg);
        if (strcmp(buf_str(&g.body), answers[i].body) != 0)
            fail_msg("%s: body '%s'", answers[i].path, buf_str(&g.body));
        if (g.failed != (answers[i].code != ERR_NONE) || (g.failed && g.err.code != answers[i].code))
            fail_msg("%s: ended with '%s' (%d)", answers[i].path, g.err.msg, g.err.code);
        if (g.failed && !strstr(g.err.msg, answers[i].message))
            fail_msg("%s: '%s', wanted '%s'", answers[i].path, g.err.msg, answers[i].message);
        got_free(&g);
    }
}

static void test_details_of_heads(void **state)
{
    struct fixture *x = *state;
    struct got g = {0};
    get(x, &g, "/v2/chunked", false);
    assert_int_equal(g.head.content_length, -1);
    assert_string_equal(g.head.etag, "");
    got_free(&g);
    get(x, &g, "/v2/interim", false);
    assert_string_equal(g.head.link, ""); /* that was the interim answer's */
    assert_int_equal(g.head.content_length, 5);
    got_free(&g);
    get(x, &g, "/v2/gzip", false);
    assert_string_equal(g.head.content_encoding, "gzip");
    got_free(&g);
    get(x, &g, "/v2/limited", false);
    assert_int_equal(g.head.retry_after_s, 17);
    struct err err;
    assert_int_equal(fetch_head_err(&g.head, x->upstream, "manifest x", ERR_MANIFEST_UNKNOWN, &err), -1);
    assert_int_equal(err.code, ERR_LIMITED);
    assert_int_equal(err.retry_after_s, 17);
    got_free(&g);
    struct fetch_params params = {.upstream = x->upstream, .path = "/v2/range", .range_from = 5};
    got_run(&g, &x->bench, &params);
    assert_true(g.head.has_range);
    assert_int_equal(g.head.range_first, 5);
    assert_int_equal(g.head.range_last, 9);
    assert_int_equal(g.head.range_total, 10);
    assert_int_equal(server_count(x->server, "", "\r\nRange: bytes=5-\r\n"), 1);
    got_free(&g);
}

static void test_nobody_listens(void **state)
{
    struct fixture *x = *state;
    struct server *gone = server_start(handle, NULL);
    struct upstream *u = upstream_on(gone, "http", (struct upstream_config){0});
    server_stop(gone);
    struct got g = {0};
    got_run(&g, &x->bench, &(struct fetch_params){.upstream = u, .path = "/v2/plain"});
    assert_true(g.failed);
    assert_int_equal(g.err.code, ERR_UPSTREAM);
    assert_non_null(strstr(g.err.msg, "up: cannot connect to 127.0.0.1, port "));
    assert_non_null(strstr(g.err.msg, "Connection refused"));
    got_free(&g);
    upstream_unref(u);
}

static void test_keep_alive(void **state)
{
    struct fixture *x = *state;
    for (int i = 0; i < 20; ++i) {
        struct got g = {0};
        get(x, &g, i % 3 == 2 ? "/v2/missing" : "/v2/plain", i % 2);
        assert_false(g.failed);
        got_free(&g);
    }
    assert_int_equal(server_connections(x->server), 1);
}

static void test_stale_connection_is_retried(void **state)
{
    struct fixture *x = *state;
    for (int i = 0; i < 4; ++i) {
        struct got g = {0};
        get(x, &g, "/v2/stale", i % 2);
        assert_false(g.failed);
        assert_int_equal(g.head.status, 200);
        got_free(&g);
    }
    assert_int_equal(server_connections(x->server), 4);
}

static void test_cancel_in_callbacks(void **state)
{
    struct fixture *x = *state;
    static const unsigned habits[] = {GOT_CANCEL_IN_HEAD,
                                      GOT_FALSE_IN_HEAD,
                                      GOT_CANCEL_IN_DATA,
                                      GOT_FALSE_IN_DATA,
                                      GOT_CANCEL_IN_HEAD | GOT_FALSE_IN_HEAD,
                                      GOT_CANCEL_IN_DATA | GOT_FALSE_IN_DATA};
    for (size_t i = 0; i < sizeof habits / sizeof habits[0]; ++i) {
        struct got g = {.habits = habits[i]}, after = {0};
        struct fetch_params params = {.upstream = x->upstream, .path = i % 2 ? "/v2/plain" : "/v2/big"};
        got_start(&g, x->bench.client, &params);
        uint64_t end_ms = clock_mono_ms() + 10000;
        while (!g.heads && clock_mono_ms() < end_ms)
            loop_run_once(x->bench.loop, 50);
        pump_for(x->bench.loop, 30);
        assert_int_equal(g.heads, 1);
        assert_int_equal(g.dones, 0);
        assert_true(habits[i] & (GOT_CANCEL_IN_HEAD | GOT_FALSE_IN_HEAD) ? g.bytes == 0 : g.bytes > 0);
        /* All is well with the client. */
        get(x, &after, "/v2/plain", false);
        assert_false(after.failed);
        got_free(&g);
        got_free(&after);
    }
    struct got g = {.habits = GOT_CANCEL_IN_DONE};
    get(x, &g, "/v2/plain", false);
    assert_int_equal(g.dones, 1);
    got_free(&g);
}

static void test_cancel_at_any_time(void **state)
{
    struct fixture *x = *state;
    for (unsigned turns = 0; turns < 12; ++turns) {
        struct got g = {0};
        got_start(&g, x->bench.client, &(struct fetch_params){.upstream = x->upstream, .path = "/v2/big"});
        for (unsigned i = 0; i < turns; ++i)
            loop_run_once(x->bench.loop, 20);
        assert_false(g.done);
        fetch_cancel(g.fetch);
        unsigned heads = g.heads;
        uint64_t bytes = g.bytes;
        pump_for(x->bench.loop, 5);
        assert_int_equal(g.heads, heads);
        assert_int_equal(g.bytes, bytes);
        assert_int_equal(g.dones, 0);
        got_free(&g);
    }
    /* What never started, and a client that goes with fetches under way. */
    struct got bad = {0}, left[4] = {0};
    got_start(&bad, x->bench.client, &(struct fetch_params){.upstream = x->upstream, .path = "bad"});
    fetch_cancel(bad.fetch);
    for (int i = 0; i < 4; ++i)
        got_start(&left[i], x->bench.client,
                  &(struct fetch_params){.upstream = x->upstream, .path = "/v2/big"});
    pump_for(x->bench.loop, 20);
    upstream_client_free(x->bench.client);
    x->bench.client = upstream_client_new(x->bench.loop, x->bench.shared);
    for (int i = 0; i < 4; ++i) {
        assert_int_equal(left[i].dones, 0);
        got_free(&left[i]);
    }
}

/* Starts one fetch more from inside of each callback of the one before. */
struct chain {
    struct fixture *x;
    struct got inner[3];
    unsigned started;
};

static void start_inner(struct chain *c)
{
    struct fetch_params params = {.upstream = c->x->upstream, .path = "/v2/plain"};
    if (c->started < 3)
        got_start(&c->inner[c->started], c->x->bench.client, &params);
    ++c->started;
}

static bool chain_on_head(void *arg, const struct fetch_head *head)
{
    (void)head;
    start_inner(arg);
    return true;
}

static bool chain_on_data(void *arg, const void *p, size_t len)
{
    (void)p;
    (void)len;
    start_inner(arg);
    return true;
}

static void chain_on_done(void *arg, const struct err *err)
{
    (void)err;
    start_inner(arg);
}

static void test_start_in_callbacks(void **state)
{
    struct fixture *x = *state;
    static const struct fetch_ops ops = {chain_on_head, chain_on_data, chain_on_done};
    struct chain c = {.x = x};
    (void)fetch_start(x->bench.client, &(struct fetch_params){.upstream = x->upstream, .path = "/v2/plain"},
                      &ops, &c);
    uint64_t end_ms = clock_mono_ms() + 10000;
    while (!(c.inner[0].done && c.inner[1].done && c.inner[2].done) && clock_mono_ms() < end_ms)
        loop_run_once(x->bench.loop, 50);
    for (int i = 0; i < 3; ++i) {
        assert_string_equal(buf_str(&c.inner[i].body), "hello");
        got_free(&c.inner[i]);
    }
    assert_int_equal(c.started, 3);
}

/* One fetch cancels another while curl has both in hand. */
static bool cancel_other(void *arg, const struct fetch_head *head)
{
    struct got *other = arg;
    (void)head;
    if (other->fetch)
        fetch_cancel(other->fetch);
    other->fetch = NULL;
    return true;
}

static bool take_data(void *arg, const void *p, size_t len)
{
    (void)arg;
    (void)p;
    return len > 0;
}

static _Atomic unsigned ends;

static void count_end(void *arg, const struct err *err)
{
    (void)arg;
    (void)err;
    ++ends;
}

static void test_cancel_of_another(void **state)
{
    struct fixture *x = *state;
    static const struct fetch_ops ops = {cancel_other, take_data, count_end};
    for (int i = 0; i < 20; ++i) {
        struct got other = {.habits = GOT_PAUSE_IN_DATA}; /* so that it cannot end by itself first */
        ends = 0;
        got_start(&other, x->bench.client,
                  &(struct fetch_params){.upstream = x->upstream, .path = "/v2/big"});
        (void)fetch_start(x->bench.client,
                          &(struct fetch_params){.upstream = x->upstream, .path = "/v2/plain"}, &ops, &other);
        uint64_t end_ms = clock_mono_ms() + 10000;
        while (!ends && clock_mono_ms() < end_ms)
            loop_run_once(x->bench.loop, 50);
        assert_int_equal(ends, 1);
        assert_int_equal(other.dones, 0);
        got_free(&other);
    }
}

/* A paused fetch takes no more, whatever the upstream sends, and no stall is counted against it. */
static void test_back_pressure(void **state)
{
    struct fixture *x = *state;
    struct got g = {.habits = GOT_PAUSE_IN_DATA};
    got_start(&g, x->bench.client, &(struct fetch_params){.upstream = x->upstream, .path = "/v2/big"});
    uint64_t end_ms = clock_mono_ms() + 10000;
    while (!g.bytes && clock_mono_ms() < end_ms)
        loop_run_once(x->bench.loop, 50);
    uint64_t first = g.bytes;
    assert_true(first > 0 && first <= 16384);
    pump_for(x->bench.loop, 1500); /* longer than the stall timeout */
    assert_int_equal(g.bytes, first);
    assert_false(g.done);
    /* Each resume is good for one piece; none comes from inside of fetch_resume. */
    for (int i = 0; i < 50; ++i) {
        uint64_t before = g.bytes;
        fetch_resume(g.fetch);
        assert_int_equal(g.bytes, before);
        end_ms = clock_mono_ms() + 10000;
        while (g.bytes == before && clock_mono_ms() < end_ms)
            loop_run_once(x->bench.loop, 50);
        assert_true(g.bytes > before && g.bytes <= before + 16384);
    }
    /* Resume and pause at once: nothing comes. */
    uint64_t before = g.bytes;
    fetch_resume(g.fetch);
    fetch_pause(g.fetch);
    pump_for(x->bench.loop, 30);
    assert_int_equal(g.bytes, before);
    g.habits = 0;
    fetch_resume(g.fetch);
    assert_true(pump_until(x->bench.loop, &g.done));
    assert_false(g.failed);
    assert_int_equal(g.bytes, (uint64_t)64 << 20);
    got_free(&g);
}

static void test_pause_in_head(void **state)
{
    struct fixture *x = *state;
    struct got g = {.habits = GOT_PAUSE_IN_HEAD};
    got_start(&g, x->bench.client, &(struct fetch_params){.upstream = x->upstream, .path = "/v2/plain"});
    pump_for(x->bench.loop, 100);
    assert_int_equal(g.heads, 1);
    assert_int_equal(g.bytes, 0);
    assert_false(g.done);
    fetch_resume(g.fetch);
    assert_true(pump_until(x->bench.loop, &g.done));
    assert_string_equal(buf_str(&g.body), "hello");
    got_free(&g);
    /* Cancelled while paused, and while a resume is on its way. */
    for (int i = 0; i < 2; ++i) {
        g.habits = GOT_PAUSE_IN_HEAD;
        got_start(&g, x->bench.client, &(struct fetch_params){.upstream = x->upstream, .path = "/v2/plain"});
        pump_for(x->bench.loop, 30);
        if (i)
            fetch_resume(g.fetch);
        fetch_cancel(g.fetch);
        pump_for(x->bench.loop, 10);
        assert_int_equal(g.bytes, 0);
        got_free(&g);
    }
}

static void sum_stats(const char *name, const struct upstream_stats *n, void *arg)
{
    struct upstream_stats *sum = arg;
    assert_string_equal(name, "up");
    *sum = *n;
}

static void test_stats(void **state)
{
    struct fixture *x = *state;
    static const char *const paths[] = {"/v2/plain", "/v2/missing", "/v2/short"};
    for (int i = 0; i < 3; ++i) {
        struct got g = {0};
        get(x, &g, paths[i], false);
        got_free(&g);
    }
    struct upstream_stats n = {0};
    upstream_shared_stats(x->bench.shared, sum_stats, &n);
    assert_int_equal(n.requests, 3);
    assert_int_equal(n.errors, 1);
    assert_int_equal(n.bytes, 12);
    assert_int_equal(n.token_requests, 0);
    assert_true(n.latency_us_sum > 0);
}

static void test_many_at_once(void **state)
{
    struct fixture *x = *state;
    enum { N = 200 };
    struct got *g = mem_zalloc(N * sizeof *g);
    for (int i = 0; i < N; ++i)
        got_start(&g[i], x->bench.client,
                  &(struct fetch_params){.upstream = x->upstream, .path = "/v2/plain", .head = i % 2});
    for (int i = 0; i < N; ++i) {
        assert_true(pump_until(x->bench.loop, &g[i].done));
        assert_false(g[i].failed);
        assert_int_equal(g[i].bytes, i % 2 ? 0 : 5);
        got_free(&g[i]);
    }
    assert_true(server_connections(x->server) <= quick.max_connections);
    free(g);
}

int main(void)
{
    unset_proxies();
#define with_server(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        with_server(test_plain),
        with_server(test_head),
        with_server(test_prefix_of_the_url),
        with_server(test_answers),
        with_server(test_details_of_heads),
        with_server(test_nobody_listens),
        with_server(test_keep_alive),
        with_server(test_stale_connection_is_retried),
        with_server(test_cancel_in_callbacks),
        with_server(test_cancel_at_any_time),
        with_server(test_start_in_callbacks),
        with_server(test_cancel_of_another),
        with_server(test_back_pressure),
        with_server(test_pause_in_head),
        with_server(test_stats),
        with_server(test_many_at_once),
    };
    return cmocka_run_group_tests_name("upstream client", tests, NULL, NULL);
}
