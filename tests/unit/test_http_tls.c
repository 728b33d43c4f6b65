// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/http_client.h"

#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

/* ---- certificates ---- */

struct pair {
    char dir[40], certificate[64], key[64];
};

static void pair_write(const struct pair *p, const char *name)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    assert_true(key && x);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -60);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)name, -1,
                               -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    assert_true(X509_sign(x, key, EVP_sha256()) > 0);
    FILE *f = fopen(p->certificate, "w");
    assert_true(f && PEM_write_X509(f, x));
    (void)fclose(f);
    f = fopen(p->key, "w");
    assert_true(f && PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL));
    (void)fclose(f);
    X509_free(x);
    EVP_PKEY_free(key);
}

static void pair_make(struct pair *p, const char *name)
{
    strcpy(p->dir, "/tmp/rac-test-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    (void)snprintf(p->certificate, sizeof p->certificate, "%s/certificate", p->dir);
    (void)snprintf(p->key, sizeof p->key, "%s/key", p->dir);
    pair_write(p, name);
}

static void encrypt_key(const struct pair *p)
{
    FILE *f = fopen(p->key, "r+");
    EVP_PKEY *key = f ? PEM_read_PrivateKey(f, NULL, NULL, NULL) : NULL;
    assert_non_null(key);
    rewind(f);
    assert_true(
        PEM_write_PrivateKey(f, key, EVP_aes_128_cbc(), (const unsigned char *)"secret", 6, NULL, NULL));
    assert_int_equal(ftruncate(fileno(f), ftell(f)), 0);
    (void)fclose(f);
    EVP_PKEY_free(key);
}

static void pair_remove(const struct pair *p)
{
    (void)unlink(p->certificate);
    (void)unlink(p->key);
    (void)rmdir(p->dir);
}

/* ---- client ---- */

static SSL_CTX *client_ctx;

/* The name in the server's certificate goes to `name`, the agreed protocol to `protocol`. */
static void tls_hello(struct client *c, const char *alpn, int max_version, char *name, char *protocol)
{
    c->ssl = SSL_new(client_ctx);
    if (alpn)
        assert_int_equal(SSL_set_alpn_protos(c->ssl, (const unsigned char *)alpn, (unsigned)strlen(alpn)), 0);
    SSL_set_max_proto_version(c->ssl, max_version);
    SSL_set_fd(c->ssl, c->fd);
    assert_int_equal(SSL_connect(c->ssl), 1);
    if (name) {
        X509 *x = SSL_get1_peer_certificate(c->ssl);
        X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, name, 32);
        X509_free(x);
    }
    if (protocol) {
        const unsigned char *p;
        unsigned len;
        SSL_get0_alpn_selected(c->ssl, &p, &len);
        (void)snprintf(protocol, 16, "%.*s", (int)len, p ? (const char *)p : "");
    }
}

static void tls_dial(struct client *c, const struct site *s, const char *alpn, int max_version, char *name,
                     char *protocol)
{
    client_dial(c, s);
    tls_hello(c, alpn, max_version, name, protocol);
}

/* ---- HTTP/1 ---- */

struct source {
    int fd;
    uint64_t size, at;
    size_t step;
    bool aborts;
};

static void source_pull(struct request *r, void *arg)
{
    struct source *f = arg;
    uint64_t left = f->size - f->at, n = left < f->step ? left : f->step, at = f->at;
    if (left == 0) {
        response_end(r);
        return;
    }
    if (f->aborts && at > 0) {
        response_abort(r);
        return;
    }
    f->at += n;
    response_write_file(r, f->fd, at, n, NULL, NULL);
}

static void serve(struct request *r, struct site *s)
{
    assert_true(request_is_tls(r));
    if (slice_eq_str(request_path(r), "/hello")) {
        response_send_ref(r, 200, "hello", 5);
        return;
    }
    struct source *shared = s->data, *f = request_alloc(r, sizeof *f);
    *f = *shared;
    response_begin(r, 200, f->size, (struct response_stream){.pull = source_pull, .arg = f});
}

static int pattern_file(uint64_t size)
{
    char name[] = "/tmp/rac-test-XXXXXX", buf[65536];
    int fd = mkstemp(name);
    assert_true(fd >= 0);
    (void)unlink(name);
    for (uint64_t at = 0; at < size; at += sizeof buf) {
        size_t n = size - at < sizeof buf ? (size_t)(size - at) : sizeof buf;
        pattern_fill(buf, at, n);
        assert_int_equal(write(fd, buf, n), (ssize_t)n);
    }
    return fd;
}

static void tls_site(struct site *s, struct pair *p, struct source *f, bool http2)
{
    pair_make(p, "first");
    *f = (struct source){.fd = pattern_file(5000000), .size = 5000000, .step = 1700000};
    site_init(s, serve);
    s->data = f;
    s->config.tls_certificate = p->certificate;
    s->config.tls_key = p->key;
    s->config.http2 = http2;
    site_start(s);
}

static void tls_site_stop(struct site *s, struct pair *p, struct source *f)
{
    site_stop(s);
    pair_remove(p);
    (void)close(f->fd);
}

static void test_files_over_tls(void **state)
{
    (void)state;
    struct site s;
    struct pair p;
    struct source f;
    tls_site(&s, &p, &f, false);
    static const int versions[] = {TLS1_3_VERSION, TLS1_2_VERSION};
    for (int v = 0; v < 2; ++v) {
        struct client c;
        struct answer a;
        char body[16], protocol[16];
        tls_dial(&c, &s, "\x02h2\x08http/1.1", versions[v], NULL, protocol);
        assert_string_equal(protocol, "http/1.1"); /* HTTP/2 is off unless asked for */
        for (int i = 0; i < 2; ++i) {
            client_get(&c, "/hello");
            assert_int_equal(client_answer(&c, body, sizeof body), 200);
            assert_string_equal(body, "hello");
            client_get(&c, "/file");
            client_head(&c, &a);
            assert_int_equal(a.length, f.size);
            assert_int_equal(client_pattern(&c, 0, f.size), f.size);
        }
        client_close(&c);
    }
    eventually(site_stats(&s).connections_open == 0);
    assert_int_equal(atomic_load(&s.aborted), 0);
    tls_site_stop(&s, &p, &f);
}

static void test_abort_over_tls(void **state)
{
    (void)state;
    struct site s;
    struct pair p;
    struct source f;
    tls_site(&s, &p, &f, false);
    f.aborts = true;
    struct client c;
    struct answer a;
    tls_dial(&c, &s, NULL, 0, NULL, NULL);
    client_get(&c, "/file");
    client_head(&c, &a);
    assert_true(client_pattern(&c, 0, f.size) <= f.step);
    /* No close_notify: nothing says that this was the end. */
    assert_int_equal(SSL_get_shutdown(c.ssl) & SSL_RECEIVED_SHUTDOWN, 0);
    client_close(&c);
    eventually(atomic_load(&s.aborted) == 1);
    tls_site_stop(&s, &p, &f);
}

/* Ends that a client owes: its handshake, its word for a request, its farewell after ours. */
static void test_clients_that_say_nothing(void **state)
{
    (void)state;
    struct site s;
    struct pair p;
    struct source f;
    tls_site(&s, &p, &f, false);
    s.config.limits.head_timeout_ms = 400;
    s.config.limits.idle_timeout_ms = 800;
    site_stop(&s); /* it began with other limits */
    atomic_store(&s.begun, 0);
    atomic_store(&s.ended, 0);
    site_start(&s);
    struct client silent, idle, closed;
    char body[16];
    client_dial(&silent, &s);
    tls_dial(&idle, &s, NULL, 0, NULL, NULL);
    tls_dial(&closed, &s, NULL, 0, NULL, NULL);
    client_send(&closed, "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_int_equal(client_answer(&closed, body, sizeof body), 200);
    client_expect_end(&silent);
    client_expect_end(&idle);
    client_expect_end(&closed);
    eventually(site_stats(&s).connections_open == 0); /* though none of them closes its end */
    client_close(&silent);
    client_close(&idle);
    client_close(&closed);
    tls_site_stop(&s, &p, &f);
}

static void test_plaintext_to_a_tls_port(void **state)
{
    (void)state;
    struct site s;
    struct pair p;
    struct source f;
    tls_site(&s, &p, &f, false);
    struct client c;
    client_dial(&c, &s);
    client_get(&c, "/hello");
    while (client_fill(&c)) /* at most an alert */
        assert_true(c.len < 16);
    client_close(&c);
    eventually(site_stats(&s).connections_open == 0);
    tls_site_stop(&s, &p, &f);
}

static void test_reload(void **state)
{
    (void)state;
    struct site s;
    struct pair p;
    struct source f;
    tls_site(&s, &p, &f, false);
    struct client old, c;
    char name[32], body[16];
    tls_dial(&old, &s, NULL, 0, name, NULL);
    assert_string_equal(name, "first");

    pair_write(&p, "second");
    struct err err = {0};
    assert_int_equal(http_server_reload_tls(s.server, &err), 0);
    for (uint64_t end = patience_end_ms(5000);;) { /* each worker takes it in its own turn */
        tls_dial(&c, &s, NULL, 0, name, NULL);
        client_close(&c);
        if (strcmp(name, "second") == 0)
            break;
        assert_true(clock_mono_ms() < end);
    }
    client_get(&old, "/hello"); /* who is connected stays so */
    assert_int_equal(client_answer(&old, body, sizeof body), 200);
    client_close(&old);

    /* A bad pair is refused and changes nothing. */
    FILE *file = fopen(p.key, "w");
    assert_non_null(file);
    (void)fputs("no key", file);
    (void)fclose(file);
    assert_int_equal(http_server_reload_tls(s.server, &err), -1);
    assert_int_equal(err.code, ERR_INVALID);
    assert_non_null(strstr(err.msg, p.key));
    tls_dial(&c, &s, NULL, 0, name, NULL);
    assert_string_equal(name, "second");
    client_close(&c);
    tls_site_stop(&s, &p, &f);
}

/* Connected before a reload, and said nothing until after it: the context it came under is still there. */
static void test_reload_before_the_handshake(void **state)
{
    (void)state;
    enum { SILENT = 8 };
    struct site s;
    struct pair p;
    struct source f;
    tls_site(&s, &p, &f, false);
    struct client silent[SILENT], c;
    char name[32], body[16];
    for (int i = 0; i < SILENT; ++i)
        client_dial(&silent[i], &s);
    eventually(site_stats(&s).connections_open == SILENT);
    pair_write(&p, "second");
    struct err err = {0};
    assert_int_equal(http_server_reload_tls(s.server, &err), 0);
    uint64_t end = patience_end_ms(20000);
    for (int in_a_row = 0; in_a_row < 20; in_a_row = strcmp(name, "second") == 0 ? in_a_row + 1 : 0) {
        assert_true(clock_mono_ms() < end);
        tls_dial(&c, &s, NULL, 0, name, NULL);
        client_close(&c);
    }
    for (int i = 0; i < SILENT; ++i) {
        tls_hello(&silent[i], NULL, 0, name, NULL);
        assert_string_equal(name, "first");
        client_get(&silent[i], "/hello");
        assert_int_equal(client_answer(&silent[i], body, sizeof body), 200);
        client_close(&silent[i]);
    }
    tls_site_stop(&s, &p, &f);
}

static void test_bad_files(void **state)
{
    (void)state;
    struct pair one, other;
    pair_make(&one, "one");
    pair_make(&other, "other");
    struct pair encrypted;
    pair_make(&encrypted, "encrypted");
    encrypt_key(&encrypted);
    const struct {
        const char *certificate, *key, *named;
    } cases[] = {
        {"/nowhere/certificate", one.key, "/nowhere/certificate"},
        {one.certificate, "/nowhere/key", "/nowhere/key"},
        {one.certificate, other.key, other.key},
        {one.key, one.key, one.key},
        {one.certificate, NULL, "both"},
        {one.key, one.key, "nothing of that kind is in it"},
        {one.certificate, one.certificate, "nothing of that kind is in it"},
        {encrypted.certificate, encrypted.key, "it is encrypted"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        struct site s;
        struct err err = {0};
        site_init(&s, serve);
        s.config.tls_certificate = cases[i].certificate;
        s.config.tls_key = cases[i].key;
        assert_null(http_server_new(&s.config, &err));
        assert_int_equal(err.code, ERR_INVALID);
        if (!strstr(err.msg, cases[i].named))
            fail_msg("%s is not named in: %s", cases[i].named, err.msg);
    }
    pair_remove(&one);
    pair_remove(&other);
    pair_remove(&encrypted);
}

/* ---- HTTP/2 ---- */

enum { H2_DATA = 0, H2_HEADERS = 1, H2_RST_STREAM = 3, H2_SETTINGS = 4, H2_GOAWAY = 7, H2_WINDOW_UPDATE = 8 };

static void h2_put(char *out, unsigned type, unsigned flags, unsigned stream, size_t len)
{
    const char head[9] = {(char)(len >> 16),    (char)(len >> 8),    (char)len,
                          (char)type,           (char)flags,         (char)(stream >> 24),
                          (char)(stream >> 16), (char)(stream >> 8), (char)stream};
    memcpy(out, head, 9);
}

static size_t h2_get(char *out, unsigned stream, char path)
{
    /* :method GET, :scheme https, :path /<path>, :authority a */
    const char block[] = {(char)0x82, (char)0x87, 0x04, 2, '/', path, 0x01, 1, 'a'};
    h2_put(out, H2_HEADERS, 0x4 | 0x1, stream, sizeof block);
    memcpy(out + 9, block, sizeof block);
    return 9 + sizeof block;
}

static size_t h2_update(char *out, unsigned stream, unsigned by)
{
    h2_put(out, H2_WINDOW_UPDATE, 0, stream, 4);
    const char n[4] = {(char)(by >> 24), (char)(by >> 16), (char)(by >> 8), (char)by};
    memcpy(out + 9, n, 4);
    return 13;
}

struct h2_frame {
    unsigned type, flags, stream;
    size_t len;
    char payload[16384 + 1];
};

static int h2_byte(struct client *c)
{
    if (c->at == c->len && !client_fill(c))
        return -1;
    return (unsigned char)c->buf[c->at++];
}

static bool h2_next(struct client *c, struct h2_frame *f)
{
    unsigned char head[9];
    for (int i = 0; i < 9; ++i) {
        int b = h2_byte(c);
        if (b < 0)
            return false;
        head[i] = (unsigned char)b;
    }
    f->len = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
    f->type = head[3];
    f->flags = head[4];
    f->stream = (unsigned)head[5] << 24 | (unsigned)head[6] << 16 | (unsigned)head[7] << 8 | head[8];
    assert_true(f->len < sizeof f->payload);
    for (size_t i = 0; i < f->len; ++i) {
        int b = h2_byte(c);
        if (b < 0)
            return false;
        f->payload[i] = (char)b;
    }
    return true;
}

static void h2_dial(struct client *c, const struct site *s)
{
    char protocol[16], settings[9];
    tls_dial(c, s, "\x02h2\x08http/1.1", 0, NULL, protocol);
    assert_string_equal(protocol, "h2");
    client_send(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    h2_put(settings, H2_SETTINGS, 0, 0, 0);
    client_send_bytes(c, settings, sizeof settings);
}

static void test_http2_streams_a_file(void **state)
{
    (void)state;
    struct site s;
    struct pair p;
    struct source f;
    tls_site(&s, &p, &f, true);
    struct client c;
    char out[64];
    h2_dial(&c, &s);
    client_send_bytes(&c, out, h2_get(out, 1, 'f'));
    struct h2_frame *frame = mem_alloc(sizeof *frame);
    uint64_t got = 0;
    int status_200 = 0;
    while (h2_next(&c, frame)) {
        assert_int_not_equal(frame->type, H2_GOAWAY);
        assert_int_not_equal(frame->type, H2_RST_STREAM);
        if (frame->type == H2_HEADERS)
            status_200 = (unsigned char)frame->payload[0] == 0x88;
        if (frame->type != H2_DATA)
            continue;
        for (size_t i = 0; i < frame->len; ++i) {
            if (frame->payload[i] != pattern_at(got + i))
                fail_msg("wrong byte at %llu", (unsigned long long)(got + i));
        }
        got += frame->len;
        if (frame->len > 0) {
            client_send_bytes(&c, out, h2_update(out, 0, (unsigned)frame->len));
            client_send_bytes(&c, out, h2_update(out, 1, (unsigned)frame->len));
        }
        if (frame->flags & 0x1)
            break;
    }
    free(frame);
    assert_true(status_200);
    assert_int_equal(got, f.size);
    eventually(atomic_load(&s.finished) == 1);
    assert_int_equal(atomic_load(&s.aborted), 0);
    client_close(&c);
    tls_site_stop(&s, &p, &f);
}

static void test_http2_reader_that_stops_is_cut(void **state)
{
    (void)state;
    struct site s;
    struct pair p;
    struct source f;
    tls_site(&s, &p, &f, true);
    site_stop(&s); /* again, with a short timeout */
    atomic_store(&s.begun, 0);
    atomic_store(&s.ended, 0);
    s.config.listen = &s.listen;
    s.config.limits.slow_reader_timeout_ms = 200;
    site_start(&s);
    struct client c;
    char out[64];
    h2_dial(&c, &s);
    client_send_bytes(&c, out, h2_get(out, 1, 'f')); /* its window is never opened again */
    eventually(atomic_load(&s.aborted) == 1);
    assert_int_equal(site_stats(&s).slow_readers_cut, 1);
    client_close(&c);
    tls_site_stop(&s, &p, &f);
}

static atomic_int reached;

static void count_and_hold(struct request *r, struct site *s)
{
    (void)r;
    (void)s;
    atomic_fetch_add(&reached, 1);
}

/* CVE-2023-44487: streams opened and reset at once, as fast as they go. */
static void test_rapid_reset_is_cut(void **state)
{
    (void)state;
    struct site s;
    struct pair p;
    struct source f;
    tls_site(&s, &p, &f, true);
    s.handler = count_and_hold;
    atomic_store(&reached, 0);
    struct client c;
    h2_dial(&c, &s);
    char out[64];
    for (unsigned i = 0; i < 5000; ++i) {
        size_t n = h2_get(out, 2 * i + 1, 'x');
        h2_put(out + n, H2_RST_STREAM, 0, 2 * i + 1, 4);
        memcpy(out + n + 9, "\0\0\0\x08", 4);
        if (SSL_write(c.ssl, out, (int)(n + 13)) <= 0)
            break;
    }
    eventually(site_stats(&s).connections_open == 0);
    assert_true(atomic_load(&s.finished) < 5000);
    /* A reset in the turn of its request starts no work at all. */
    assert_true(atomic_load(&reached) <= 200);
    client_close(&c);
    tls_site_stop(&s, &p, &f);
}

static int set_up(void **state)
{
    (void)state;
    (void)signal(SIGPIPE, SIG_IGN);
    client_ctx = SSL_CTX_new(TLS_client_method());
    return client_ctx ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    SSL_CTX_free(client_ctx);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files_over_tls),
        cmocka_unit_test(test_abort_over_tls),
        cmocka_unit_test(test_clients_that_say_nothing),
        cmocka_unit_test(test_plaintext_to_a_tls_port),
        cmocka_unit_test(test_reload),
        cmocka_unit_test(test_reload_before_the_handshake),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_http2_streams_a_file),
        cmocka_unit_test(test_http2_reader_that_stops_is_cut),
        cmocka_unit_test(test_rapid_reset_is_cut),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
