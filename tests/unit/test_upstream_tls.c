// SPDX-License-Identifier: Apache-2.0
/* Certificates of upstreams: own authorities, and what is said when they do not fit. All made here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "tests/unit/upstream_server.h"

static const struct upstream_limits limits = {
    .connect_timeout_ms = 30000,
    .head_timeout_ms = 30000,
    .stall_timeout_ms = 30000,
    .max_connections = 64,
    .user_agent = "rac-test/1",
};

struct identity {
    EVP_PKEY *key;
    X509 *cert;
};

static void add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    assert_non_null(e);
    assert_int_equal(X509_add_ext(cert, e, -1), 1);
    X509_EXTENSION_free(e);
}

/* A certificate signed by `ca`, or by itself if that is NULL; valid from..to seconds from now. */
static struct identity make_identity(const char *name, const struct identity *ca, const char *alt_names,
                                     long from_s, long to_s)
{
    static long serial = 1;
    struct identity id = {.key = EVP_EC_gen("P-256"), .cert = X509_new()};
    assert_non_null(id.key);
    X509_set_version(id.cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(id.cert), serial++);
    X509_gmtime_adj(X509_getm_notBefore(id.cert), from_s);
    X509_gmtime_adj(X509_getm_notAfter(id.cert), to_s);
    X509_set_pubkey(id.cert, id.key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(id.cert), "CN", MBSTRING_ASC,
                               (const unsigned char *)name, -1, -1, 0);
    X509 *issuer = ca ? ca->cert : id.cert;
    X509_set_issuer_name(id.cert, X509_get_subject_name(issuer));
    add_extension(id.cert, issuer, NID_basic_constraints, ca ? "critical,CA:FALSE" : "critical,CA:TRUE");
    if (alt_names)
        add_extension(id.cert, issuer, NID_subject_alt_name, alt_names);
    assert_true(X509_sign(id.cert, ca ? ca->key : id.key, EVP_sha256()) > 0);
    return id;
}

static void free_identity(struct identity *id)
{
    EVP_PKEY_free(id->key);
    X509_free(id->cert);
}

static SSL_CTX *server_context(const struct identity *id)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    assert_int_equal(SSL_CTX_use_certificate(ctx, id->cert), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(ctx, id->key), 1);
    return ctx;
}

static void write_pem(char *path, const struct identity *id)
{
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *f = fdopen(fd, "w");
    assert_int_equal(PEM_write_X509(f, id->cert), 1);
    assert_int_equal(fclose(f), 0);
}

static void handle(struct server_conn *c, const char *head, void *arg)
{
    const char *location = arg;
    if (strstr(head, " /v2/move ")) {
        cleanup_free char *header = mem_printf("Location: %s\r\n", location);
        conn_reply(c, head, "302 Found", header, "");
        return;
    }
    conn_reply(c, head, "200 OK", "", "over TLS");
}

struct fixture {
    struct identity ca, good, expired, early, other_name, stranger;
    char ca_path[32], stranger_path[32];
};

static int make_all(void **state)
{
    struct fixture *x = mem_new(struct fixture);
    static const char here[] = "IP:127.0.0.1,DNS:localhost";
    x->ca = make_identity("RAC test authority", NULL, NULL, -3600, 3600);
    x->good = make_identity("good", &x->ca, here, -3600, 3600);
    x->expired = make_identity("expired", &x->ca, here, -7200, -3600);
    x->early = make_identity("early", &x->ca, here, 3600, 7200);
    x->other_name = make_identity("other", &x->ca, "DNS:registry.example", -3600, 3600);
    x->stranger = make_identity("stranger", NULL, here, -3600, 3600);
    (void)strcpy(x->ca_path, "/tmp/rac-test-ca-XXXXXX");
    (void)strcpy(x->stranger_path, "/tmp/rac-test-ca-XXXXXX");
    write_pem(x->ca_path, &x->ca);
    write_pem(x->stranger_path, &x->stranger);
    *state = x;
    return 0;
}

static int free_all(void **state)
{
    struct fixture *x = *state;
    (void)unlink(x->ca_path);
    (void)unlink(x->stranger_path);
    struct identity *all[] = {&x->ca, &x->good, &x->expired, &x->early, &x->other_name, &x->stranger};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; ++i)
        free_identity(all[i]);
    free(x);
    return 0;
}

static void test_certificates(void **state)
{
    struct fixture *x = *state;
    const struct {
        const struct identity *shown;
        const char *ca_file, *message; /* NULL: all is well */
    } cases[] = {
        {&x->good, x->ca_path, NULL},
        {&x->stranger, x->stranger_path, NULL},
        {&x->good, NULL,
         "up: certificate of 127.0.0.1 is not trusted (unable to get local issuer certificate): name the "
         "file of its "
         "authority with `ca` of this upstream"},
        {&x->stranger, NULL,
         "up: certificate of 127.0.0.1 is not trusted (self-signed certificate): name the file"},
        {&x->good, x->stranger_path,
         "is not trusted (unable to get local issuer certificate): it is not signed by an authority in the "
         "file"},
        {&x->expired, x->ca_path, "up: certificate of 127.0.0.1 has expired"},
        {&x->early, x->ca_path, "up: certificate of 127.0.0.1 is not valid yet"},
        {&x->other_name, x->ca_path, "up: certificate of 127.0.0.1 is not valid for that name"},
        {&x->good, "/nonexistent/ca.pem", "up: certificates in '/nonexistent/ca.pem' (`ca`) cannot be read"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        struct bench b;
        struct got g = {0};
        struct server *s = server_start_tls(handle, NULL, server_context(cases[i].shown));
        struct upstream *u = upstream_on(s, "https", (struct upstream_config){.ca_file = cases[i].ca_file});
        bench_open(&b, &limits);
        got_run(&g, &b, &(struct fetch_params){.upstream = u, .path = "/v2/x"});
        if (!cases[i].message && g.failed)
            fail_msg("line %zu: %s", i, g.err.msg);
        if (cases[i].message && (g.err.code != ERR_UPSTREAM || !strstr(g.err.msg, cases[i].message)))
            fail_msg("line %zu: '%s', wanted '%s'", i, g.err.msg, cases[i].message);
        assert_string_equal(buf_str(&g.body), cases[i].message ? "" : "over TLS");
        assert_int_equal(server_count(s, "", NULL), cases[i].message ? 0 : 1);
        got_free(&g);
        bench_close(&b);
        upstream_unref(u);
        server_stop(s);
    }
}

/* Two upstreams on one place, one with the right file: its connection is not the other's. */
static void test_trust_is_not_shared(void **state)
{
    struct fixture *x = *state;
    struct bench b;
    struct server *s = server_start_tls(handle, NULL, server_context(&x->good));
    struct upstream *trusting = upstream_on(s, "https", (struct upstream_config){.ca_file = x->ca_path});
    struct upstream *wary = upstream_on(s, "https", (struct upstream_config){0});
    bench_open(&b, &limits);
    for (int i = 0; i < 4; ++i) {
        struct got g = {0};
        got_run(&g, &b, &(struct fetch_params){.upstream = i % 2 ? wary : trusting, .path = "/v2/x"});
        assert_int_equal(g.failed, i % 2);
        got_free(&g);
    }
    bench_close(&b);
    upstream_unref(trusting);
    upstream_unref(wary);
    server_stop(s);
}

static void test_keep_alive(void **state)
{
    struct fixture *x = *state;
    struct bench b;
    struct server *s = server_start_tls(handle, NULL, server_context(&x->good));
    struct upstream *u = upstream_on(s, "https", (struct upstream_config){.ca_file = x->ca_path});
    bench_open(&b, &limits);
    for (int i = 0; i < 10; ++i) {
        struct got g = {0};
        got_run(&g, &b, &(struct fetch_params){.upstream = u, .path = "/v2/x", .head = i % 2});
        assert_false(g.failed);
        got_free(&g);
    }
    assert_int_equal(server_connections(s), 1);
    bench_close(&b);
    upstream_unref(u);
    server_stop(s);
}

static void test_never_down_to_http(void **state)
{
    struct fixture *x = *state;
    struct bench b;
    struct got g = {0};
    struct server *plain = server_start(handle, NULL);
    cleanup_free char *location = mem_printf("http://127.0.0.1:%u/open", plain->port);
    struct server *s = server_start_tls(handle, location, server_context(&x->good));
    struct upstream *u =
        upstream_on(s, "https", (struct upstream_config){.ca_file = x->ca_path, .private_addresses = true});
    bench_open(&b, &limits);
    got_run(&g, &b, &(struct fetch_params){.upstream = u, .path = "/v2/move"});
    assert_true(g.failed);
    assert_int_equal(g.err.code, ERR_DENIED);
    assert_string_equal(g.err.msg, "up: redirect refused: from https to http, host 127.0.0.1");
    assert_int_equal(server_connections(plain), 0);
    got_free(&g);
    bench_close(&b);
    upstream_unref(u);
    server_stop(s);
    server_stop(plain);
}

static void test_url_of_a_layer(void **state)
{
    struct fixture *x = *state;
    struct bench b;
    struct got g = {0};
    struct server *s = server_start_tls(handle, NULL, server_context(&x->good));
    cleanup_free char *url = mem_printf("https://localhost:%u/layer", s->port);
    bench_open(&b, &limits);
    got_run(&g, &b, &(struct fetch_params){.url = url, .private_addresses = true, .ca_file = x->ca_path});
    assert_false(g.failed);
    assert_string_equal(buf_str(&g.body), "over TLS");
    got_free(&g);
    bench_close(&b);
    server_stop(s);
}

int main(void)
{
    unset_proxies();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_certificates),   cmocka_unit_test(test_trust_is_not_shared),
        cmocka_unit_test(test_keep_alive),     cmocka_unit_test(test_never_down_to_http),
        cmocka_unit_test(test_url_of_a_layer),
    };
    return cmocka_run_group_tests_name("upstream tls", tests, make_all, free_all);
}
