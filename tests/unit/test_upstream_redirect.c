// SPDX-License-Identifier: Apache-2.0
/* Where a request may be led, and what it takes along. */
#include "upstream_auth_rig.h"

static void test_redirect_on_the_same_host(void **state)
{
    static const char *const locations[] = {"/v2/a/b/landed", "../v2/a/b/landed", "landed",
                                            "//127.0.0.1:PORT/v2/a/b/landed",
                                            "http://127.0.0.1:PORT/v2/a/b/landed"};
    static const char *const statuses[] = {"301 Moved Permanently", "302 Found", "303 See Other",
                                           "307 Temporary Redirect", "308 Permanent Redirect"};
    struct fixture *x = *state;
    (void)strcpy(x->accepted, "");
    for (size_t i = 0; i < 5; ++i) {
        struct got g;
        fill_port(x->location, sizeof x->location, locations[i], x->server);
        (void)strcpy(x->redirect_status, statuses[i]);
        (void)strcpy(x->accepted, "Bearer t1");
        get(x, &g, "/v2/blob-redirect");
        assert_false(g.failed);
        assert_int_equal(g.head.status, 200);
        assert_string_equal(buf_str(&g.body), "welcome");
        got_free(&g);
    }
    assert_int_equal(server_connections(x->server), 1);
}

/* To another host: there, but without our name. */
static void test_redirect_drops_authorization(void **state)
{
    struct fixture *x = *state;
    struct server *other = server_start(handle, x);
    with_credentials(x, (struct upstream_config){.private_addresses = true});
    struct got g;
    get(x, &g, "/v2/a/b/1"); /* so that there is a token to send along */
    got_free(&g);
    (void)snprintf(x->location, sizeof x->location, "http://127.0.0.1:%u/open?signature=s", other->port);
    got_run(&g, &x->bench,
            &(struct fetch_params){
                .upstream = x->upstream, .path = "/v2/blob-redirect", .repository = "a/b", .range_from = 3});
    assert_false(g.failed);
    assert_string_equal(buf_str(&g.body), "opened");
    got_free(&g);
    assert_int_equal(server_count(x->server, "GET /v2/blob-redirect", "Authorization: Bearer t1\r\n"), 1);
    assert_int_equal(server_count(other, "GET /open?signature=s ", "\r\nRange: bytes=3-\r\n"), 1);
    assert_int_equal(server_count(other, "", "Authorization"), 0);
    /* A 401 from there is final: its challenge is not for us. */
    (void)snprintf(x->location, sizeof x->location, "http://127.0.0.1:%u/v2/closed", other->port);
    unsigned tokens = server_count(x->server, "GET /token", NULL);
    get(x, &g, "/v2/blob-redirect");
    assert_int_equal(g.head.status, 401);
    got_free(&g);
    assert_int_equal(server_count(x->server, "GET /token", NULL), tokens);
    assert_int_equal(server_count(other, "", "Authorization"), 0);
    server_stop(other);
}

/* Where nobody is sent, one a line; PORT is the port of another server of ours. */
static const struct {
    const char *location;
    enum err_code code;
    const char *message;
} refused[] = {
    {"http://169.254.169.254/latest/meta-data/", ERR_DENIED,
     "up: address 169.254.169.254 of host 169.254.169.254 is not public: "},
    {"http://127.0.0.1:PORT/open", ERR_DENIED, "up: address 127.0.0.1 of host 127.0.0.1 is not public: "},
    {"http://localhost:PORT/open", ERR_DENIED, "of host localhost is not public: "},
    {"http://127.1:PORT/open", ERR_DENIED, "address 127.0.0.1"},
    {"http://0x7f000001:PORT/open", ERR_DENIED, "address 127.0.0.1"},
    {"http://[::ffff:127.0.0.1]:PORT/open", ERR_DENIED, "is not public"},
    {"http://[::1]:PORT/open", ERR_DENIED, "address ::1 of host ::1 is not public"},
    {"http://[fe80::1%25lo]:PORT/open", ERR_DENIED, "up: redirect refused"},
    {"http://user@127.0.0.1:PORT/open", ERR_DENIED, "up: redirect refused: its target has user info"},
    {"file:///etc/passwd", ERR_DENIED, "up: redirect refused: its target "},
    {"gopher://127.0.0.1/x", ERR_DENIED, "up: redirect refused: its target "},
    {"ftp://127.0.0.1/x", ERR_DENIED, "up: redirect refused: its target "},
    {"unix:/run/docker.sock", ERR_DENIED, "up: redirect refused"},
    {"http://", ERR_DENIED, "up: redirect refused"},
    {"", ERR_UPSTREAM, "up: redirect without a Location"},
    {"/v2/blob-redirect", ERR_UPSTREAM, "up: more than 5 redirects"},
};

static void test_redirects_that_are_refused(void **state)
{
    struct fixture *x = *state;
    struct server *other = server_start(handle, x);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; ++i) {
        struct got g;
        fill_port(x->location, sizeof x->location, refused[i].location, other);
        get(x, &g, "/v2/blob-redirect");
        if (!g.failed || g.heads || g.err.code != refused[i].code || !strstr(g.err.msg, refused[i].message))
            fail_msg("%s: %s (%d)", refused[i].location, g.err.msg, g.err.code);
        got_free(&g);
    }
    assert_int_equal(server_connections(other), 0);
    assert_int_equal(server_count(x->server, "GET /v2/blob-redirect", NULL), 15 + 6);
    server_stop(other);
}

/* An upstream that nobody configured is judged by its address, too; and a connection that is open for one who
 * may is not for one who may not. */
static void test_addresses_of_upstreams(void **state)
{
    struct fixture *x = *state;
    (void)strcpy(x->accepted, "");
    struct got g;
    get(x, &g, "/open");
    assert_int_equal(g.head.status, 200);
    got_free(&g);
    cleanup_free char *url = mem_printf("http://127.0.0.1:%u", x->server->port);
    static const uint8_t key[32];
    struct upstream *stranger = NULL;
    assert_int_equal(
        upstream_new(&(struct upstream_config){.name = "stranger", .url = url}, key, &stranger, NULL), 0);
    got_run(&g, &x->bench, &(struct fetch_params){.upstream = stranger, .path = "/open"});
    assert_true(g.failed);
    assert_int_equal(g.err.code, ERR_DENIED);
    assert_non_null(strstr(g.err.msg, "stranger: address 127.0.0.1 of host 127.0.0.1 is not public"));
    got_free(&g);
    upstream_unref(stranger);
    assert_int_equal(server_count(x->server, "GET /open", NULL), 1);
}

static void test_urls_of_layers(void **state)
{
    struct fixture *x = *state;
    struct got g;
    struct server *gone = server_start(handle, x);
    uint16_t closed_port = gone->port;
    server_stop(gone);
    cleanup_free char *http = mem_printf("http://127.0.0.1:%u/open", closed_port);
    cleanup_free char *https = mem_printf("https://127.0.0.1:%u/open", closed_port);
    static const struct {
        bool tls, private_addresses;
        enum err_code code;
        const char *message;
    } cases[] = {
        {false, true, ERR_DENIED, "127.0.0.1: the URL must be https"},
        {true, false, ERR_DENIED, "127.0.0.1: address 127.0.0.1 of host 127.0.0.1 is not public"},
        {true, true, ERR_UPSTREAM, "127.0.0.1: cannot connect to 127.0.0.1, port "},
    };
    for (size_t i = 0; i < 3; ++i) {
        g = (struct got){0};
        got_run(&g, &x->bench,
                &(struct fetch_params){.url = cases[i].tls ? https : http,
                                       .private_addresses = cases[i].private_addresses});
        if (!g.failed || g.err.code != cases[i].code || !strstr(g.err.msg, cases[i].message))
            fail_msg("line %zu: %s (%d)", i, g.err.msg, g.err.code);
        got_free(&g);
    }
    g = (struct got){0};
    got_run(&g, &x->bench, &(struct fetch_params){.url = "not a url"});
    assert_true(g.failed);
    got_free(&g);
}

/* The environment's proxy may be anywhere; what is asked for behind it may not. */
static void test_proxy_of_the_environment(void **state)
{
    struct fixture *x = *state;
    static const struct {
        const char *url, *message; /* NULL: the proxy was asked */
    } cases[] = {
        {"http://registry.example", NULL},
        {"http://8.8.8.8", NULL},
        {"http://10.0.0.1", "up: host 10.0.0.1 is not public"},
        {"http://169.254.169.254", "up: host 169.254.169.254 is not public"},
        {"http://[::ffff:127.0.0.1]", "is not public"},
        {"http://localhost", "up: host localhost is not public"},
    };
    static const uint8_t key[32];
    cleanup_free char *proxy = mem_printf("http://127.0.0.1:%u", x->server->port);
    (void)setenv("http_proxy", proxy, 1);
    bench_close(&x->bench);
    bench_open(&x->bench, &limits);
    (void)unsetenv("http_proxy");
    x->challenge[0] = '\0';
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        struct upstream *u = NULL;
        struct got g = {0};
        assert_int_equal(
            upstream_new(&(struct upstream_config){.name = "up", .url = cases[i].url}, key, &u, NULL), 0);
        got_run(&g, &x->bench, &(struct fetch_params){.upstream = u, .path = "/v2/x"});
        cleanup_free char *front = mem_printf("GET %s/v2/x HTTP/1.1", cases[i].url);
        assert_int_equal(server_count(x->server, front, NULL), cases[i].message ? 0 : 1);
        assert_int_equal(g.failed, cases[i].message != NULL);
        if (g.failed && (g.err.code != ERR_DENIED || !strstr(g.err.msg, cases[i].message)))
            fail_msg("%s: %s", cases[i].url, g.err.msg);
        got_free(&g);
        upstream_unref(u);
    }
}

int main(void)
{
    unset_proxies();
#define with_server(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        with_server(test_redirect_on_the_same_host),
        with_server(test_redirect_drops_authorization),
        with_server(test_redirects_that_are_refused),
        with_server(test_addresses_of_upstreams),
        with_server(test_urls_of_layers),
        with_server(test_proxy_of_the_environment),
    };
    return cmocka_run_group_tests_name("upstream auth", tests, NULL, NULL);
}
