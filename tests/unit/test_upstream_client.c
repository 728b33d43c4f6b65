// SPDX-License-Identifier: Apache-2.0
/* What answers mean, which connections are used again, what is counted. */
#include "upstream_client_rig.h"

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
struct answer {
    const char *path;
    int status; /* 0: no head at all */
    const char *body;
    enum err_code code; /* ERR_NONE: it ends well */
    const char *message;
};
static const struct answer answers[] = {
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
    {"/v2/short", 200, "hello", ERR_UPSTREAM, "up: answer ended after 5 of 10 bytes"},
    {"/v2/reset", 200, "hello", ERR_UPSTREAM, "up: answer ended after 5 of 10 bytes"},
    {"/v2/chunked-cut", 200, "hello", ERR_UPSTREAM, "up: answer ended after 5 bytes, before its end"},
    {"/v2/nothing", 0, "", ERR_UPSTREAM, "up: 127.0.0.1 closed the connection without an answer"},
    {"/v2/half-head", 0, "", ERR_UPSTREAM, "up: "},
    {"/v2/garbage", 0, "", ERR_UPSTREAM, "does not speak HTTP"},
    {"/v2/two-lengths", 0, "", ERR_UPSTREAM, "up: two Content-Lengths that differ"},
    {"/v2/negative", 0, "", ERR_UPSTREAM, "up: "},
    {"/v2/flood", 0, "", ERR_UPSTREAM, "up: head of the answer is over the limit of 65536 bytes"},
    {"/v2/a b", 0, "", ERR_INTERNAL, "not encoded"},
    {"/v2/a\r\nX: y", 0, "", ERR_INTERNAL, "not encoded"},
    {"v2/", 0, "", ERR_INTERNAL, "not encoded"},
};
/* Under limits of a second: a byte each quarter of it is progress, an unfinished head is none. */
static const struct answer slow_answers[] = {
    {"/v2/drip", 200, "xxxxxxxx", ERR_NONE, NULL},
    {"/v2/silent", 0, "", ERR_TIMEOUT, "up: no answer within 1 s"},
    {"/v2/slow-head", 0, "", ERR_TIMEOUT, "up: no answer within 1 s"},
    {"/v2/stall", 200, "hello", ERR_TIMEOUT, "up: no byte for 1 s, after 5 bytes"},
};

static void check_answers(struct fixture *x, const struct answer *a, size_t count)
{
    for (const struct answer *end = a + count; a < end; ++a) {
        struct got g = {0};
        get(x, &g, a->path, false);
        if (g.heads != (a->status ? 1u : 0u) || (g.heads && g.head.status != a->status))
            fail_msg("%s: %u heads, status %d (%s)", a->path, g.heads, g.head.status, g.err.msg);
        if (strcmp(buf_str(&g.body), a->body) != 0)
            fail_msg("%s: body '%s'", a->path, buf_str(&g.body));
        if (g.failed != (a->code != ERR_NONE) || (g.failed && g.err.code != a->code))
            fail_msg("%s: ended with '%s' (%d)", a->path, g.err.msg, g.err.code);
        if (g.failed && !strstr(g.err.msg, a->message))
            fail_msg("%s: '%s', wanted '%s'", a->path, g.err.msg, a->message);
        got_free(&g);
    }
}

static void test_answers(void **state)
{
    check_answers(*state, answers, sizeof answers / sizeof answers[0]);
}

static void test_slow_answers(void **state)
{
    check_answers(*state, slow_answers, sizeof slow_answers / sizeof slow_answers[0]);
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
    assert_true(server_connections(x->server) <= patient.max_connections);
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
        cmocka_unit_test_setup_teardown(test_slow_answers, set_up_quick, tear_down),
        with_server(test_details_of_heads),
        with_server(test_nobody_listens),
        with_server(test_keep_alive),
        with_server(test_stale_connection_is_retried),
        with_server(test_stats),
        with_server(test_many_at_once),
    };
    return cmocka_run_group_tests_name("upstream client", tests, NULL, NULL);
}
