// SPDX-License-Identifier: Apache-2.0
/* Challenges, tokens, and one token request for all. */
#include "upstream_auth_rig.h"

static void test_bearer(void **state)
{
    struct fixture *x = *state;
    struct got g;
    get(x, &g, "/v2/a/b/manifests/1");
    assert_false(g.failed);
    assert_int_equal(g.head.status, 200);
    assert_string_equal(buf_str(&g.body), "welcome");
    got_free(&g);
    assert_int_equal(server_count(x->server,
                                  "GET /token?service=the%20service&scope=repository%3aa%2fb%3apull HTTP/1.1",
                                  NULL),
                     1);
    assert_int_equal(server_count(x->server, "GET /v2/", NULL), 2);
    assert_int_equal(server_count(x->server, "GET /token", "Authorization"), 0);
    /* From then on the token goes along at once. */
    get(x, &g, "/v2/a/b/manifests/2");
    assert_int_equal(g.head.status, 200);
    got_free(&g);
    assert_int_equal(server_count(x->server, "GET /v2/", NULL), 3);
    assert_int_equal(server_count(x->server, "GET /token", NULL), 1);
    /* All of it on one connection: bodies of 401 are read. */
    assert_int_equal(server_connections(x->server), 1);
    /* Another repository is another token. */
    got_run(&g, &x->bench,
            &(struct fetch_params){.upstream = x->upstream, .path = "/v2/c/x", .repository = "c"});
    assert_int_equal(server_count(x->server, "GET /token", "scope=repository%3ac%3apull"), 1);
    got_free(&g);
}

/* The challenge's own scope is used if it is ours below a prefix, and never if it is wider. */
static void test_scope(void **state)
{
    static const struct {
        const char *scope, *asked;
    } scopes[] = {
        {"repository:a/b:pull", "repository%3aa%2fb%3apull"},
        {"repository:prefix/a/b:pull", "repository%3aprefix%2fa%2fb%3apull"},
        {"repository:a/b:pull,push", "repository%3aa%2fb%3apull"},
        {"repository:a/b:push", "repository%3aa%2fb%3apull"},
        {"repository:evil/other:pull", "repository%3aa%2fb%3apull"},
        {"repository:xa/b:pull", "repository%3aa%2fb%3apull"},
        {"repository:a/b:pull repository:c/a/b:pull", "repository%3aa%2fb%3apull"},
        {"registry:catalog:*", "repository%3aa%2fb%3apull"},
        {"aws", "repository%3aa%2fb%3apull"},
        {"", "repository%3aa%2fb%3apull"},
    };
    struct fixture *x = *state;
    for (size_t i = 0; i < sizeof scopes / sizeof scopes[0]; ++i) {
        struct got g;
        bench_close(&x->bench);
        bench_open(&x->bench, &limits); /* no token is known */
        (void)snprintf(x->challenge, sizeof x->challenge,
                       "WWW-Authenticate: Bearer realm=\"http://127.0.0.1:%u/token?case=%zu\",scope=\"%s\"",
                       x->server->port, i, scopes[i].scope);
        get(x, &g, "/v2/a/b/x");
        assert_int_equal(g.head.status, 200);
        got_free(&g);
        cleanup_free char *want = mem_printf("GET /token?case=%zu&scope=%s HTTP/1.1", i, scopes[i].asked);
        if (server_count(x->server, want, NULL) != 1)
            fail_msg("scope '%s': no '%s'", scopes[i].scope, want);
    }
}

static void test_credentials_go_to_the_token_server(void **state)
{
    struct fixture *x = *state;
    with_credentials(x, (struct upstream_config){0});
    struct got g;
    get(x, &g, "/v2/a/b/x");
    assert_int_equal(g.head.status, 200);
    assert_true(g.head.has_credentials);
    got_free(&g);
    assert_int_equal(server_count(x->server, "GET /token", basic_header), 1);
    assert_int_equal(server_count(x->server, "GET /v2/", basic_header), 0);
}

/* A realm on another site gets an anonymous request, unless the configuration names it. */
static void test_foreign_realm(void **state)
{
    struct fixture *x = *state;
    static const char *const listed[] = {"localhost", NULL};
    for (int i = 0; i < 3; ++i) {
        struct got g;
        with_credentials(
            x, (struct upstream_config){.private_addresses = i > 0, .realms = i == 2 ? listed : NULL});
        bench_close(&x->bench);
        bench_open(&x->bench, &limits);
        (void)snprintf(x->challenge, sizeof x->challenge,
                       "WWW-Authenticate: Bearer realm=\"http://localhost:%u/token?case=%d\"",
                       x->server->port, i);
        get(x, &g, "/v2/a/b/x");
        cleanup_free char *front = mem_printf("GET /token?case=%d&", i);
        if (i == 0) {
            /* localhost is a place nobody wrote down: its address is judged. */
            assert_true(g.failed);
            assert_int_equal(g.err.code, ERR_DENIED);
            assert_non_null(strstr(g.err.msg, "up: token server localhost: address "));
            assert_non_null(strstr(g.err.msg, "is not public"));
            assert_int_equal(server_count(x->server, front, NULL), 0);
        } else {
            assert_false(g.failed);
            assert_int_equal(server_count(x->server, front, NULL), 1);
            assert_int_equal(server_count(x->server, front, basic_header), i == 2 ? 1 : 0);
        }
        got_free(&g);
    }
}

static void test_basic(void **state)
{
    struct fixture *x = *state;
    with_credentials(x, (struct upstream_config){0});
    (void)strcpy(x->challenge, "WWW-Authenticate: Basic realm=\"r\"");
    (void)strcpy(x->accepted, "Basic dXNlcjpzZWNyZXQ=");
    struct got g;
    get(x, &g, "/v2/a/b/1");
    assert_int_equal(g.head.status, 200);
    got_free(&g);
    assert_int_equal(server_count(x->server, "GET /v2/", NULL), 2);
    get(x, &g, "/v2/a/b/2");
    assert_int_equal(g.head.status, 200);
    got_free(&g);
    assert_int_equal(server_count(x->server, "GET /v2/", NULL), 3);
    /* Wrong ones: one try, then the truth. */
    (void)strcpy(x->accepted, "Basic other");
    get(x, &g, "/v2/a/b/3");
    assert_int_equal(g.head.status, 401);
    assert_true(g.head.has_credentials);
    got_free(&g);
    assert_int_equal(server_count(x->server, "GET /v2/", NULL), 4);
}

static void test_basic_without_credentials(void **state)
{
    struct fixture *x = *state;
    (void)strcpy(x->challenge, "WWW-Authenticate: Basic realm=\"r\"");
    struct got g;
    get(x, &g, "/v2/a/b/1");
    assert_false(g.failed);
    assert_int_equal(g.head.status, 401);
    assert_false(g.head.has_credentials);
    assert_string_equal(buf_str(&g.body), "{\"errors\":[]}");
    struct err err;
    assert_int_equal(fetch_head_err(&g.head, x->upstream, "manifest up/a/b:1", ERR_MANIFEST_UNKNOWN, &err),
                     -1);
    assert_int_equal(err.code, ERR_UNAUTHORIZED);
    assert_non_null(
        strstr(err.msg, "manifest up/a/b:1: up wants a login (401): no credentials are configured"));
    got_free(&g);
}

static void test_401_in_a_loop(void **state)
{
    struct fixture *x = *state;
    (void)strcpy(x->accepted, "nothing");
    struct got g;
    get(x, &g, "/v2/a/b/1");
    assert_false(g.failed);
    assert_int_equal(g.heads, 1);
    assert_int_equal(g.head.status, 401);
    assert_false(g.head.refused_by_realm);
    got_free(&g);
    assert_int_equal(server_count(x->server, "GET /v2/", NULL), 2);
    assert_int_equal(server_count(x->server, "GET /token", NULL), 1);
    /* With the token known: it is dropped, one more is fetched, and that is it. */
    get(x, &g, "/v2/a/b/2");
    assert_int_equal(g.head.status, 401);
    got_free(&g);
    assert_int_equal(server_count(x->server, "GET /v2/", NULL), 4);
    assert_int_equal(server_count(x->server, "GET /token", NULL), 2);
}

static void test_revoked_token_is_replaced(void **state)
{
    struct fixture *x = *state;
    struct got g;
    get(x, &g, "/v2/a/b/1");
    got_free(&g);
    (void)strcpy(x->accepted, "Bearer t2");
    (void)strcpy(x->token_body, "{\"access_token\":\"t2\"}");
    get(x, &g, "/v2/a/b/2");
    assert_int_equal(g.head.status, 200);
    got_free(&g);
    assert_int_equal(server_count(x->server, "GET /token", NULL), 2);
    get(x, &g, "/v2/a/b/3");
    assert_int_equal(g.head.status, 200);
    got_free(&g);
    assert_int_equal(server_count(x->server, "GET /token", NULL), 2);
}

static void test_token_that_is_used_once(void **state)
{
    struct fixture *x = *state;
    (void)strcpy(x->token_body, "{\"token\":\"t1\",\"expires_in\":0}");
    for (unsigned i = 1; i <= 3; ++i) {
        struct got g;
        get(x, &g, "/v2/a/b/1");
        assert_int_equal(g.head.status, 200);
        got_free(&g);
        assert_int_equal(server_count(x->server, "GET /token", NULL), i);
    }
}

/* Whoever asks to forget leaves nothing for the next one, neither a token nor that Basic is wanted. */
static void test_forget(void **state)
{
    struct fixture *x = *state;
    struct fetch_params params = {.path = "/v2/a/b/1", .repository = "a/b", .forget = true};
    struct got g;
    params.upstream = x->upstream;
    for (unsigned i = 1; i <= 3; ++i) {
        g = (struct got){0};
        got_run(&g, &x->bench, &params);
        assert_int_equal(g.head.status, 200);
        got_free(&g);
        assert_int_equal(server_count(x->server, "GET /token", NULL), i);
    }
    with_credentials(x, (struct upstream_config){0});
    params.upstream = x->upstream;
    (void)strcpy(x->challenge, "WWW-Authenticate: Basic realm=\"r\"");
    (void)strcpy(x->accepted, "Basic dXNlcjpzZWNyZXQ=");
    unsigned before = server_count(x->server, "GET /v2/", NULL);
    for (unsigned i = 1; i <= 3; ++i) {
        g = (struct got){0};
        got_run(&g, &x->bench, &params);
        assert_int_equal(g.head.status, 200);
        got_free(&g);
        assert_int_equal(server_count(x->server, "GET /v2/", NULL), before + 2 * i);
    }
}

/* What the token server does, one a line: a head with its status, or the error. */
static const struct {
    const char *status, *headers, *body;
    int head; /* 0: error */
    enum err_code code;
    const char *message;
} token_answers[] = {
    {"401 Unauthorized", "", "", 401, 0, NULL},
    {"403 Forbidden", "", "", 403, 0, NULL},
    {"404 Not Found", "", "", 0, ERR_UPSTREAM, "up: token server 127.0.0.1 answered 404"},
    {"500 Internal Server Error", "", "", 0, ERR_UPSTREAM, "up: token server 127.0.0.1 answered 500"},
    {"302 Found", "Location: /open\r\n", "", 0, ERR_UPSTREAM, "up: token server 127.0.0.1 answered 302"},
    {"429 Too Many Requests", "Retry-After: 7\r\n", "", 0, ERR_LIMITED,
     "up: token server 127.0.0.1 limits us (429)"},
    {"200 OK", "", "", 0, ERR_UPSTREAM, "up: token server 127.0.0.1: not valid JSON"},
    {"200 OK", "", "<html>", 0, ERR_UPSTREAM, "up: token server 127.0.0.1: not valid JSON"},
    {"200 OK", "", "[]", 0, ERR_UPSTREAM, "not a JSON object"},
    {"200 OK", "", "{}", 0, ERR_UPSTREAM, "neither 'token' nor 'access_token'"},
    {"200 OK", "", "{\"token\":7}", 0, ERR_UPSTREAM, "token"},
    {"200 OK", "", "{\"token\":\"a b\"}", 0, ERR_UPSTREAM, "no header may have"},
    {"200 OK", "", "{\"token\":\"a\\r\\nX: y\"}", 0, ERR_UPSTREAM, "no header may have"},
    {"200 OK", "", "{\"token\":\"t1\",\"expires_in\":\"soon\"}", 0, ERR_UPSTREAM, "'expires_in'"},
    {"200 OK", "Content-Encoding: gzip\r\n", "\x1f\x8b", 0, ERR_UPSTREAM, "not valid JSON"},
};

static void test_token_answers(void **state)
{
    struct fixture *x = *state;
    for (size_t i = 0; i < sizeof token_answers / sizeof token_answers[0]; ++i) {
        struct got g;
        (void)strcpy(x->token_status, token_answers[i].status);
        (void)strcpy(x->token_headers, token_answers[i].headers);
        (void)strcpy(x->token_body, token_answers[i].body);
        get(x, &g, "/v2/a/b/1");
        if (token_answers[i].head) {
            assert_false(g.failed);
            assert_int_equal(g.head.status, token_answers[i].head);
            assert_true(g.head.refused_by_realm);
        } else {
            assert_int_equal(g.heads, 0);
            if (g.err.code != token_answers[i].code || !strstr(g.err.msg, token_answers[i].message))
                fail_msg("line %zu: '%s' (%d)", i, g.err.msg, g.err.code);
            assert_int_equal(g.err.retry_after_s, token_answers[i].code == ERR_LIMITED ? 7 : 0);
        }
        got_free(&g);
    }
    /* Nothing of that was kept. */
    (void)strcpy(x->token_status, "200 OK");
    x->token_headers[0] = '\0';
    (void)strcpy(x->token_body, "{\"token\":\"t1\"}");
    struct got g;
    get(x, &g, "/v2/a/b/1");
    assert_int_equal(g.head.status, 200);
    got_free(&g);
}

/* Realms, one a line; PORT is the server's port. */
static const struct {
    const char *challenge;
    enum err_code code;
    const char *message;
} realms[] = {
    {"Bearer service=\"x\"", ERR_UPSTREAM, "up: challenge has no realm"},
    {"Bearer realm=\"/token\"", ERR_DENIED,
     "up: token server refused: the realm of the challenge is not an absolute URL"},
    {"Bearer realm=\"token\"", ERR_DENIED, "up: token server refused"},
    {"Bearer realm=\"http://user:pass@127.0.0.1:PORT/token\"", ERR_DENIED, "has user info"},
    {"Bearer realm=\"file:///etc/passwd\"", ERR_DENIED, "neither https nor http"},
    {"Bearer realm=\"gopher://127.0.0.1/\"", ERR_DENIED, "neither https nor http"},
    {"Bearer realm=\"http://169.254.169.254/token\"", ERR_DENIED,
     "address 169.254.169.254 of host 169.254.169.254 is not public"},
    {"Bearer realm=\"http://[::ffff:127.0.0.1]:PORT/token\"", ERR_DENIED, "is not public"},
    {"Bearer realm=\"http://2130706433:PORT/token\",x=\"is 127.0.0.1\"", ERR_NONE, NULL},
    {"Bearer realm=\"http://0:PORT/token\"", ERR_DENIED, "address 0.0.0.0 of host 0.0.0.0 is not public"},
};

static void test_realms(void **state)
{
    struct fixture *x = *state;
    for (size_t i = 0; i < sizeof realms / sizeof realms[0]; ++i) {
        struct got g;
        bench_close(&x->bench);
        bench_open(&x->bench, &limits); /* no token is known */
        cleanup_free char *line = mem_printf("WWW-Authenticate: %s", realms[i].challenge);
        fill_port(x->challenge, sizeof x->challenge, line, x->server);
        unsigned before = server_count(x->server, "GET /token", NULL);
        get(x, &g, "/v2/a/b/1");
        if (g.failed != (realms[i].code != ERR_NONE) ||
            (g.failed && (g.err.code != realms[i].code || !strstr(g.err.msg, realms[i].message))))
            fail_msg("%s: '%s' (%d)", realms[i].challenge, g.err.msg, g.err.code);
        assert_int_equal(server_count(x->server, "GET /token", NULL) - before, g.failed ? 0 : 1);
        got_free(&g);
    }
    /* A challenge that makes no sense, and none: 401 is the answer. */
    static const char *const none[] = {"WWW-Authenticate: Bearer realm=\"", "WWW-Authenticate: Negotiate",
                                       ""};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; ++i) {
        struct got g;
        bench_close(&x->bench);
        bench_open(&x->bench, &limits);
        (void)strcpy(x->challenge, none[i]);
        get(x, &g, "/v2/a/b/1");
        assert_false(g.failed);
        assert_int_equal(g.head.status, 401);
        got_free(&g);
    }
}

static void test_token_server_without_end(void **state)
{
    struct fixture *x = *state;
    struct got g;
    x->token_endless = true;
    get(x, &g, "/v2/a/b/1");
    assert_true(g.failed);
    assert_int_equal(g.err.code, ERR_UPSTREAM);
    assert_string_equal(g.err.msg, "up: token server 127.0.0.1: answer is over the limit of 1048576 bytes");
    got_free(&g);
    x->token_endless = false;
    struct upstream_limits quick = limits;
    quick.head_timeout_ms = 2000;
    bench_close(&x->bench);
    bench_open(&x->bench, &quick);
    x->token_delay_ms = 3000;
    get(x, &g, "/v2/a/b/1");
    assert_true(g.failed);
    assert_int_equal(g.err.code, ERR_TIMEOUT);
    assert_string_equal(g.err.msg, "up: token server 127.0.0.1: no answer within 2 s");
    got_free(&g);
}

/* ---- one token request for all, whichever worker asks ---- */

enum { WORKERS = 2, FETCHES = 20 };

struct worker {
    struct fixture *x;
    pthread_t thread;
    struct got got[FETCHES];
};

static void *work(void *arg)
{
    struct worker *w = arg;
    struct bench b = {.shared = w->x->bench.shared, .loop = loop_new(1)};
    loop_set_current(b.loop);
    b.client = upstream_client_new(b.loop, b.shared);
    struct fetch_params params = {.upstream = w->x->upstream, .path = "/v2/a/b/1", .repository = "a/b"};
    for (int i = 0; i < FETCHES; ++i)
        got_start(&w->got[i], b.client, &params);
    for (int i = 0; i < FETCHES; ++i)
        (void)pump_until(b.loop, &w->got[i].done);
    upstream_client_free(b.client);
    loop_run_once(b.loop, 0);
    loop_free(b.loop);
    loop_set_current(NULL);
    return NULL;
}

static void test_single_flight(void **state)
{
    struct fixture *x = *state;
    struct worker *workers = mem_zalloc(WORKERS * sizeof *workers);
    x->token_delay_ms = 300;
    for (int i = 0; i < WORKERS; ++i) {
        workers[i].x = x;
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < WORKERS; ++i)
        pthread_join(workers[i].thread, NULL);
    for (int i = 0; i < WORKERS * FETCHES; ++i) {
        struct got *g = &workers[i / FETCHES].got[i % FETCHES];
        assert_true(g->done && !g->failed);
        assert_int_equal(g->head.status, 200);
        got_free(g);
    }
    assert_int_equal(server_count(x->server, "GET /token", NULL), 1);
    free(workers);
}

/* The one who asked goes; the others get their token all the same. */
static void test_leader_leaves(void **state)
{
    struct fixture *x = *state;
    struct got g[3] = {0};
    struct fetch_params params = {.upstream = x->upstream, .path = "/v2/a/b/1", .repository = "a/b"};
    x->token_delay_ms = (unsigned)patience_ms(200);
    got_start(&g[0], x->bench.client, &params);
    uint64_t end_ms = patience_end_ms(10000);
    while (!server_count(x->server, "GET /token", NULL) && clock_mono_ms() < end_ms)
        loop_run_once(x->bench.loop, 5);
    got_start(&g[1], x->bench.client, &params);
    got_start(&g[2], x->bench.client, &params);
    pump_for(x->bench.loop, 50);
    fetch_cancel(g[0].fetch);
    fetch_cancel(g[2].fetch);
    assert_true(pump_until(x->bench.loop, &g[1].done));
    assert_int_equal(g[1].head.status, 200);
    assert_int_equal(g[0].dones + g[2].dones, 0);
    assert_int_equal(server_count(x->server, "GET /token", NULL), 1);
    for (int i = 0; i < 3; ++i)
        got_free(&g[i]);
}

/* The whole client of the leader goes: somebody else asks again. */
static void test_leading_client_goes(void **state)
{
    struct fixture *x = *state;
    struct got leader = {0}, other = {0};
    struct fetch_params params = {.upstream = x->upstream, .path = "/v2/a/b/1", .repository = "a/b"};
    struct upstream_client *leading = upstream_client_new(x->bench.loop, x->bench.shared);
    x->token_delay_ms = (unsigned)patience_ms(200);
    got_start(&leader, leading, &params);
    uint64_t end_ms = patience_end_ms(10000);
    while (!server_count(x->server, "GET /token", NULL) && clock_mono_ms() < end_ms)
        loop_run_once(x->bench.loop, 5);
    got_start(&other, x->bench.client, &params);
    pump_for(x->bench.loop, 50);
    upstream_client_free(leading);
    assert_true(pump_until(x->bench.loop, &other.done));
    assert_int_equal(other.head.status, 200);
    assert_int_equal(leader.dones, 0);
    assert_int_equal(server_count(x->server, "GET /token", NULL), 2);
    got_free(&leader);
    got_free(&other);
}

int main(void)
{
    unset_proxies();
#define with_server(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        with_server(test_bearer),
        with_server(test_scope),
        with_server(test_credentials_go_to_the_token_server),
        with_server(test_foreign_realm),
        with_server(test_basic),
        with_server(test_basic_without_credentials),
        with_server(test_401_in_a_loop),
        with_server(test_revoked_token_is_replaced),
        with_server(test_token_that_is_used_once),
        with_server(test_forget),
        with_server(test_token_answers),
        with_server(test_realms),
        with_server(test_token_server_without_end),
        with_server(test_single_flight),
        with_server(test_leader_leaves),
        with_server(test_leading_client_goes),
    };
    return cmocka_run_group_tests_name("upstream auth", tests, NULL, NULL);
}
