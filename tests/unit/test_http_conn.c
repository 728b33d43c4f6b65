// SPDX-License-Identifier: Apache-2.0
/* What a connection lives through: slow senders, bodies in every shape, one request after the other. */
#include "tests/unit/http_client.h"

static void echo(struct request *r, struct site *s)
{
    (void)s;
    /* The head was read before the body came: it must still be there. */
    response_header(r, "X-Echo", request_header(r, "x-echo"));
    response_header(r, "X-Path", request_path(r));
    struct slice body = request_body(r);
    response_send(r, 200, body.p, body.len);
}

static void never(struct request *r, struct site *s)
{
    (void)s;
    (void)r;
    fail_msg("the request reached the handler");
}

/* The refusal of a connection that ends: its status, and that the words are there. */
static void expect_refusal(struct client *c, int status, const char *word)
{
    struct answer a;
    char body[400];
    client_head(c, &a);
    assert_int_equal(a.status, status);
    assert_non_null(strstr(a.head, "\r\nConnection: close\r\n"));
    assert_non_null(strstr(a.head, "\r\nX-Request-Id: "));
    client_body(c, &a, body, sizeof body);
    if (!strstr(body, word))
        fail_msg("no \"%s\" in: %s", word, body);
    client_expect_end(c);
}

static uint64_t since(uint64_t begin_ms)
{
    return clock_mono_ms() - begin_ms;
}

/* A byte now and then does not help: the head has one deadline from its first byte on. */
static void test_a_head_that_trickles(void **state)
{
    (void)state;
    struct site s;
    site_init(&s, never);
    s.config.limits.head_timeout_ms = 600;
    site_start(&s);
    struct client c;
    client_dial(&c, &s);
    (void)usleep(700000); /* before the first byte it is only idle */
    uint64_t begin = clock_mono_ms();
    struct pollfd p = {.fd = c.fd, .events = POLLIN};
    const char *text = "GET /a/path/that/takes/its/time HTTP/1.1\r\nHost: a\r\n";
    while (poll(&p, 1, 50) == 0 && *text) {
        client_send_bytes(&c, text++, 1);
        assert_true(since(begin) < 5000);
    }
    assert_true(since(begin) >= 600 && since(begin) < 2000);
    expect_refusal(&c, 408, "head");
    client_close(&c);
    eventually(atomic_load(&s.finished) == 1);
    site_stop(&s);
}

static void test_an_idle_connection_ends_in_silence(void **state)
{
    (void)state;
    struct site s;
    site_init(&s, echo);
    s.config.limits.idle_timeout_ms = 500;
    site_start(&s);
    struct client fresh, used;
    char body[64];
    client_dial(&fresh, &s);
    client_dial(&used, &s);
    for (int i = 0; i < 4; ++i) { /* each request gives it another while */
        (void)usleep(300000);
        client_get(&used, "/");
        assert_int_equal(client_answer(&used, body, sizeof body), 200);
    }
    client_expect_end(&fresh);
    assert_true(fresh.eof);
    client_expect_end(&used);
    assert_true(used.eof);
    client_close(&fresh);
    client_close(&used);
    assert_int_equal(atomic_load(&s.finished), 4);
    site_stop(&s);
}

static void test_a_body_that_stalls(void **state)
{
    (void)state;
    static const char *heads[] = {
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc",
        "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n40000\r\nabc"};
    struct site s;
    site_init(&s, never);
    s.config.limits.body_timeout_ms = 500;
    site_start(&s);
    for (int i = 0; i < 4; ++i) {
        struct client c;
        client_dial(&c, &s);
        client_send(&c, heads[i % 2]);
        uint64_t begin = clock_mono_ms();
        struct pollfd p = {.fd = c.fd, .events = POLLIN};
        while (i >= 2 && poll(&p, 1, 40) == 0) { /* some come, but too few */
            client_send_bytes(&c, "x", 1);
            assert_true(since(begin) < 5000);
        }
        expect_refusal(&c, 408, "body");
        assert_true(since(begin) >= 450);
        client_close(&c);
    }
    site_stop(&s);
}

/* As slow, but moving: it takes several times the timeout, and arrives. */
static void test_a_body_that_is_slow(void **state)
{
    (void)state;
    struct site s;
    site_init(&s, echo);
    s.config.limits.body_timeout_ms = 500;
    site_start(&s);
    struct client c;
    client_dial(&c, &s);
    enum { PIECE = 10000, COUNT = 8 };
    char head[100], *piece = mem_alloc(PIECE), *body = mem_alloc(PIECE * COUNT + 1);
    (void)snprintf(head, sizeof head,
                   "PUT /slow HTTP/1.1\r\nHost: a\r\nX-Echo: e\r\nContent-Length: %d\r\n\r\n", PIECE * COUNT);
    client_send(&c, head);
    for (int i = 0; i < COUNT; ++i) {
        (void)usleep(200000);
        pattern_fill(piece, (uint64_t)i * PIECE, PIECE);
        client_send_bytes(&c, piece, PIECE);
    }
    struct answer a;
    client_head(&c, &a);
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(a.head, "\r\nX-Echo: e\r\n"));
    assert_non_null(strstr(a.head, "\r\nX-Path: /slow\r\n"));
    assert_int_equal(client_pattern(&c, 0, PIECE * COUNT), PIECE * COUNT);
    free(piece);
    free(body);
    client_close(&c);
    site_stop(&s);
}

static void test_continue(void **state)
{
    (void)state;
    struct site s;
    site_init(&s, echo);
    s.config.limits.max_body_bytes = 1000;
    site_start(&s);
    struct client c;
    struct answer a;
    char body[100];
    client_dial(&c, &s);
    for (int i = 0; i < 3; ++i) {
        client_send(&c, i == 1 ? "PUT /c HTTP/1.1\r\nHost: a\r\nX-Echo: e\r\nTransfer-Encoding: chunked\r\n"
                                 "Expect: 100-continue\r\n\r\n"
                               : "PUT /c HTTP/1.1\r\nHost: a\r\nX-Echo: e\r\nContent-Length: 3\r\n"
                                 "Expect: 100-continue\r\n\r\n");
        client_head(&c, &a);
        assert_int_equal(a.status, 100);
        assert_string_equal(a.head, "HTTP/1.1 100 Continue\r\n\r\n");
        client_send(&c, i == 1 ? "3\r\nabc\r\n0\r\n\r\n" : "abc");
        client_head(&c, &a);
        assert_int_equal(a.status, 200);
        assert_non_null(strstr(a.head, "\r\nX-Echo: e\r\n"));
        client_body(&c, &a, body, sizeof body);
        assert_string_equal(body, "abc");
    }
    /* The body came without waiting: nobody is told to go on. */
    client_send(&c, "PUT /c HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc");
    assert_int_equal(client_answer(&c, body, sizeof body), 200);
    /* And nobody is asked for what will be refused. */
    client_send(&c, "PUT /c HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\nExpect: 100-continue\r\n\r\n");
    expect_refusal(&c, 413, "too large");
    client_close(&c);
    site_stop(&s);
}

/* Bodies of both kinds and none, one behind the other, in pieces that begin and end anywhere. */
static void test_requests_in_a_row(void **state)
{
    (void)state;
    static const char row[] = "PUT /0 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nfirst"
                              "\r\nGET /1 HTTP/1.1\r\nHost: a\r\n\r\n"
                              "PUT /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                              "2;a=b\r\nth\r\n3\r\nird\r\n0\r\nTrailer: x\r\n\r\n"
                              "PUT /3 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
                              "PUT /4 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nlast";
    static const char *bodies[] = {"first", "", "third", "", "last"};
    struct site s;
    site_init(&s, echo);
    site_start(&s);
    for (size_t step = 1; step < sizeof row + 40; step += step < 20 ? 1 : 37) {
        struct client c;
        client_dial(&c, &s);
        int on = 1;
        assert_int_equal(setsockopt(c.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), 0);
        for (size_t at = 0; at < sizeof row - 1; at += step) {
            size_t left = sizeof row - 1 - at;
            client_send_bytes(&c, row + at, left < step ? left : step);
        }
        for (int i = 0; i < 5; ++i) {
            struct answer a;
            char body[64], path[32];
            client_head(&c, &a);
            assert_int_equal(a.status, 200);
            (void)snprintf(path, sizeof path, "\r\nX-Path: /%d\r\n", i);
            assert_non_null(strstr(a.head, path));
            client_body(&c, &a, body, sizeof body);
            assert_string_equal(body, bodies[i]);
        }
        client_close(&c);
    }
    assert_int_equal(atomic_load(&s.refused), 0);
    site_stop(&s);
}

/* More requests than any buffer holds, before the first answer is read. */
static void test_a_long_pipeline(void **state)
{
    (void)state;
    struct site s;
    site_init(&s, echo);
    site_start(&s);
    struct client c;
    client_dial(&c, &s);
    enum { N = 3000 };
    char text[128], body[64];
    for (int i = 0; i < N; ++i) {
        (void)snprintf(text, sizeof text, "PUT /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n%04d", i,
                       i);
        client_send(&c, text);
    }
    for (int i = 0; i < N; ++i) {
        assert_int_equal(client_answer(&c, body, sizeof body), 200);
        assert_int_equal(strtol(body, NULL, 10), i);
    }
    client_close(&c);
    site_stop(&s);
}

/* What follows a request that is refused is never looked at. */
/* One empty line before a request is read past; who sends nothing else is not listened to for ever. */
static void test_empty_lines(void **state)
{
    (void)state;
    struct site s;
    site_init(&s, never);
    site_start(&s);
    struct client c;
    client_dial(&c, &s);
    client_send(&c, "\r\n");
    (void)usleep(50000); /* so that they come one by one; together they are refused, too */
    client_send(&c, "\r\n");
    expect_refusal(&c, 400, "refused");
    client_close(&c);
    eventually(atomic_load(&s.finished) == 1);
    site_stop(&s);
}

static void test_nothing_follows_a_refusal(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *text;
    } cases[] = {
        {400, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"},
        {400, "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\nx\r\n0\r\n\r\n"},
        {400, "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxx\r\n0\r\n\r\n"},
        {400,
         "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nA\x01: b\r\n\r\n"},
        {413, "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n7ffffffffffffff\r\nx"},
        {413, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775807\r\n\r\nx"},
        {400, "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n"},
        {505, "GET / HTTP/2.0\r\nHost: a\r\n\r\n"},
    };
    struct site s;
    site_init(&s, never);
    site_start(&s);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        struct client c;
        client_dial(&c, &s);
        client_send(&c, cases[i].text);
        client_send(&c, "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
        expect_refusal(&c, cases[i].status, "refused");
        client_close(&c);
    }
    eventually(atomic_load(&s.finished) == (int)(sizeof cases / sizeof cases[0]));
    site_stop(&s);
}

/* Bodies are held in memory until they are whole: many large ones at once are too many. */
static void test_bodies_have_a_limit_together(void **state)
{
    (void)state;
    struct site s;
    site_init(&s, echo);
    s.config.workers = 1;
    s.config.limits.max_bodies_bytes = 5 << 20;
    site_start(&s);
    enum { SIZE = 2 << 20 };
    char *bytes = mem_zalloc(SIZE), text[200];
    struct client c[3];
    for (int i = 0; i < 3; ++i) {
        client_dial(&c[i], &s);
        (void)snprintf(text, sizeof text, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", SIZE);
        client_send(&c[i], text);
        client_send_bytes(&c[i], bytes, SIZE - 1);
        if (i < 2)
            (void)usleep(300000);
    }
    expect_refusal(&c[2], 503, "bodies");
    for (int i = 0; i < 2; ++i) { /* those that were there before go on */
        struct answer a;
        client_send_bytes(&c[i], bytes, 1);
        client_head(&c[i], &a);
        assert_int_equal(a.status, 200);
        assert_int_equal(a.length, SIZE);
        while (a.length > 0 && (c[i].at < c[i].len || client_fill(&c[i]))) {
            a.length -= c[i].len - c[i].at;
            c[i].at = c[i].len;
        }
        assert_int_equal(a.length, 0);
    }
    /* What they held is free again. */
    (void)snprintf(text, sizeof text, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", SIZE);
    client_send(&c[0], text);
    client_send_bytes(&c[0], bytes, SIZE);
    struct answer a;
    client_head(&c[0], &a);
    assert_int_equal(a.status, 200);
    free(bytes);
    for (int i = 0; i < 3; ++i)
        client_close(&c[i]);
    site_stop(&s);
}

static void test_clients_that_leave(void **state)
{
    (void)state;
    static const char *texts[] = {
        "",
        "GET / HT",
        "\r",
        "\r\n",
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc",
        "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n"};
    struct site s;
    site_init(&s, never);
    site_start(&s);
    for (int reset = 0; reset < 2; ++reset) {
        for (size_t i = 0; i < sizeof texts / sizeof texts[0]; ++i) {
            struct client c;
            client_dial(&c, &s);
            client_send(&c, texts[i]);
            (void)usleep(20000);
            struct linger hard = {.l_onoff = 1};
            if (reset)
                assert_int_equal(setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard), 0);
            client_close(&c);
        }
    }
    eventually(site_stats(&s).connections_open == 0);
    assert_int_equal(site_stats(&s).requests_open, 0);
    assert_int_equal(atomic_load(&s.aborted), 6);
    assert_int_equal(atomic_load(&s.finished), 6);
    site_stop(&s);
}

static void test_a_server_that_ends_while_bodies_come(void **state)
{
    (void)state;
    struct site s;
    site_init(&s, never);
    site_start(&s);
    struct client c[4];
    for (int i = 0; i < 4; ++i) {
        client_dial(&c[i], &s);
        client_send(&c[i], i % 2 ? "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc"
                                 : "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab");
    }
    eventually(site_stats(&s).requests_open == 4);
    assert_int_equal(http_server_drain(s.server, 100), 4);
    for (int i = 0; i < 4; ++i)
        client_close(&c[i]);
    site_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_head_that_trickles),
        cmocka_unit_test(test_an_idle_connection_ends_in_silence),
        cmocka_unit_test(test_a_body_that_stalls),
        cmocka_unit_test(test_a_body_that_is_slow),
        cmocka_unit_test(test_continue),
        cmocka_unit_test(test_requests_in_a_row),
        cmocka_unit_test(test_a_long_pipeline),
        cmocka_unit_test(test_empty_lines),
        cmocka_unit_test(test_nothing_follows_a_refusal),
        cmocka_unit_test(test_bodies_have_a_limit_together),
        cmocka_unit_test(test_clients_that_leave),
        cmocka_unit_test(test_a_server_that_ends_while_bodies_come),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
