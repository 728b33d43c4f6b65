// SPDX-License-Identifier: Apache-2.0
/* The small rules, a case a line: tokens, heads, redirects, who may be private, which proxy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "proxy/upstream/answer.h"
#include "proxy/upstream/env_proxy.h"
#include "proxy/upstream/realm.h"
#include "proxy/upstream/redirect.h"
#include "proxy/upstream/token.h"

/* ---- tokens ---- */

static const struct {
    const char *json, *value; /* NULL: refused */
    uint32_t keep_ms;
} tokens[] = {
    {"{\"token\":\"a\"}", "a", 54000},
    {"{\"access_token\":\"a\"}", "a", 54000},
    {"{\"token\":\"a\",\"access_token\":\"b\"}", "a", 54000},
    {"{\"token\":\"\",\"access_token\":\"b\"}", "b", 54000},
    {"{\"token\":null,\"access_token\":\"b\"}", "b", 54000},
    {"{\"token\":\"a\",\"expires_in\":null}", "a", 54000},
    {"{\"token\":\"a\",\"expires_in\":300}", "a", 270000},
    {"{\"token\":\"a\",\"expires_in\":1}", "a", 900},
    {"{\"token\":\"a\",\"expires_in\":1.5}", "a", 900},
    {"{\"token\":\"a\",\"expires_in\":0.5}", "a", 0},
    {"{\"token\":\"a\",\"expires_in\":0}", "a", 0},
    {"{\"token\":\"a\",\"expires_in\":-5}", "a", 0},
    {"{\"token\":\"a\",\"expires_in\":3600}", "a", 3570000},
    {"{\"token\":\"a\",\"expires_in\":3601}", "a", 3570000},
    {"{\"token\":\"a\",\"expires_in\":9223372036854775807}", "a", 3570000},
    {"{\"token\":\"a\",\"expires_in\":1e300}", "a", 3570000},
    {"{\"token\":\"a\",\"expires_in\":\"300\"}", "a", 270000},
    {"{\"token\":\"~!@#$%^&*()_+-=[]{}|;:,./<>?\"}", "~!@#$%^&*()_+-=[]{}|;:,./<>?", 54000},
    {"{\"token\":\"a\",\"expires_in\":\"5m\"}", NULL, 0},
    {"{\"token\":\"a\",\"expires_in\":\"\"}", NULL, 0},
    {"{\"token\":\"a\",\"expires_in\":true}", NULL, 0},
    {"{\"token\":\"a\",\"expires_in\":[]}", NULL, 0},
    {"{\"token\":\"a b\"}", NULL, 0},
    {"{\"token\":\"a\\n\"}", NULL, 0},
    {"{\"token\":\"a\\r\\nX: y\"}", NULL, 0},
    {"{\"token\":\"a\\u0000b\"}", NULL, 0},
    {"{\"token\":\"\\u00e9\"}", NULL, 0},
    {"{\"token\":\"a\\u007f\"}", NULL, 0},
    {"{\"token\":1}", NULL, 0},
    {"{\"token\":[\"a\"]}", NULL, 0},
    {"{\"token\":\"\"}", NULL, 0},
    {"{\"Token\":\"a\"}", NULL, 0},
    {"{\"token\":\"a\",\"token\":\"b\"}", NULL, 0},
    {"{\"token\":\"a\"", NULL, 0},
    {"{\"token\":\"a\"}x", NULL, 0},
    {"[{\"token\":\"a\"}]", NULL, 0},
    {"\"a\"", NULL, 0},
    {"null", NULL, 0},
    {"", NULL, 0},
};

static void test_tokens(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; ++i) {
        cleanup_token struct token *t = NULL;
        struct err err = {0};
        int rc = token_parse(tokens[i].json, strlen(tokens[i].json), &t, &err);
        if ((rc == 0) != (tokens[i].value != NULL))
            fail_msg("%s: %s", tokens[i].json, rc ? err.msg : "accepted");
        if (rc < 0) {
            assert_int_equal(err.code, ERR_UPSTREAM);
            continue;
        }
        assert_string_equal(t->value, tokens[i].value);
        if (t->keep_ms != tokens[i].keep_ms)
            fail_msg("%s: kept %u ms, wanted %u", tokens[i].json, t->keep_ms, tokens[i].keep_ms);
    }
}

static void test_token_sizes(void **state)
{
    (void)state;
    for (size_t n = TOKEN_MAX; n <= TOKEN_MAX + 1; ++n) {
        cleanup_buf struct buf b = {0};
        cleanup_free char *value = mem_alloc(n);
        memset(value, 't', n);
        (void)buf_printf(&b, "{\"token\":\"");
        (void)buf_add(&b, value, n);
        (void)buf_printf(&b, "\"}");
        cleanup_token struct token *t = NULL;
        assert_int_equal(token_parse(b.p, b.len, &t, NULL), n == TOKEN_MAX ? 0 : -1);
    }
}

/* What an answer held is in no error: it may be a token that was cut short. */
static void test_tokens_are_not_quoted(void **state)
{
    (void)state;
    static const char *const answers[] = {"{\"token\":\"s3cret", "{\"token\":s3cret}", "s3cret",
                                          "{\"s3cret\":1} x"};
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; ++i) {
        struct token *t = NULL;
        struct err err = {0};
        assert_int_equal(token_parse(answers[i], strlen(answers[i]), &t, &err), -1);
        assert_null(strstr(err.msg, "s3cret"));
    }
}

/* ---- heads ---- */

static int read_head(struct answer *a, const char *text, struct err *err)
{
    int rc = 0;
    *a = (struct answer){0};
    while (*text && rc == 0) {
        const char *end = strstr(text, "\n");
        size_t n = end ? (size_t)(end - text) + 1 : strlen(text);
        rc = answer_line(a, text, n, err);
        text += n;
    }
    return rc;
}

#define OK "HTTP/1.1 200 OK\r\n"

static const struct {
    const char *head, *message;
} bad_heads[] = {
    {"\r\n", "without a status line"},
    {"Server: x\r\n\r\n", "without a status line"},
    {"HTTP/1.1\r\n\r\n", "malformed status line"},
    {"HTTP/1.1 20 OK\r\n\r\n", "malformed status line"},
    {"HTTP/1.1 2000 OK\r\n\r\n", "malformed status line"},
    {"HTTP/1.1 099 OK\r\n\r\n", "malformed status line"},
    {"HTTP/1.1 abc OK\r\n\r\n", "malformed status line"},
    {"HTTP/1.1 101 Switching Protocols\r\n\r\n", "answered 101"},
    {OK " folded\r\n\r\n", "folded"},
    {OK "\tfolded\r\n\r\n", "folded"},
    {OK "no colon\r\n\r\n", "without a colon"},
    {OK "X: a\x01z\r\n\r\n", "control character"},
    {OK "X: a\rLocation: z\r\n\r\n", "control character"},
    {OK "Content-Length: -1\r\n\r\n", "malformed Content-Length"},
    {OK "Content-Length: +1\r\n\r\n", "malformed Content-Length"},
    {OK "Content-Length: 1 2\r\n\r\n", "malformed Content-Length"},
    {OK "Content-Length: 0x10\r\n\r\n", "malformed Content-Length"},
    {OK "Content-Length:\r\n\r\n", "malformed Content-Length"},
    {OK "Content-Length: 5, 5\r\n\r\n", "malformed Content-Length"},
    {OK "Content-Length: 9223372036854775808\r\n\r\n", "malformed Content-Length"},
    {OK "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", "differ"},
    {OK "Location: /a\r\nLocation: /b\r\n\r\n", "two Locations"},
};

static void test_bad_heads(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_heads / sizeof bad_heads[0]; ++i) {
        struct answer a;
        struct err err = {0};
        if (read_head(&a, bad_heads[i].head, &err) >= 0 || err.code != ERR_UPSTREAM ||
            !strstr(err.msg, bad_heads[i].message))
            fail_msg("line %zu: '%s', wanted '%s'", i, err.msg, bad_heads[i].message);
        answer_free(&a);
    }
}

static const struct {
    const char *value;
    bool ok;
    uint64_t first, last, total;
} ranges[] = {
    {"bytes 0-4/5", true, 0, 4, 5},
    {"Bytes 5-9/10", true, 5, 9, 10},
    {"bytes 5-9/*", true, 5, 9, UINT64_MAX},
    {"bytes 0-0/9223372036854775807", true, 0, 0, INT64_MAX},
    {"bytes 5-4/10", false, 0, 0, 0},
    {"bytes 5-10/10", false, 0, 0, 0},
    {"bytes */10", false, 0, 0, 0},
    {"bytes 5-/10", false, 0, 0, 0},
    {"bytes -5/10", false, 0, 0, 0},
    {"bytes 5-9", false, 0, 0, 0},
    {"bytes 5-9/", false, 0, 0, 0},
    {"bytes 5 - 9/10", false, 0, 0, 0},
    {"bytes=5-9/10", false, 0, 0, 0},
    {"items 5-9/10", false, 0, 0, 0},
    {"bytes 5-9/18446744073709551616", false, 0, 0, 0},
    {"", false, 0, 0, 0},
};

static void test_content_ranges(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; ++i) {
        struct answer a;
        cleanup_free char *text = mem_printf(OK "Content-Range: %s\r\n\r\n", ranges[i].value);
        assert_int_equal(read_head(&a, text, NULL), 1);
        if (a.head.has_range != ranges[i].ok || a.head.range_first != ranges[i].first ||
            a.head.range_last != ranges[i].last || a.head.range_total != ranges[i].total)
            fail_msg("'%s': read wrongly", ranges[i].value);
        answer_free(&a);
    }
}

static void test_retry_after(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        uint32_t min_s, max_s;
    } cases[] = {
        {"0", 0, 0},
        {"17", 17, 17},
        {"86400", 86400, 86400},
        {"86401", 86400, 86400},
        {"99999999999999999999999999", 86400, 86400},
        {"-1", 0, 0},
        {"soon", 0, 0},
        {"", 0, 0},
        {"Fri, 31 Dec 1999 23:59:59 GMT", 1, 1},
        {"Fri, 31 Dec 2399 23:59:59 GMT", 86400, 86400},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        struct answer a;
        cleanup_free char *text = mem_printf(OK "Retry-After: %s\r\n\r\n", cases[i].value);
        assert_int_equal(read_head(&a, text, NULL), 1);
        if (a.head.retry_after_s < cases[i].min_s || a.head.retry_after_s > cases[i].max_s)
            fail_msg("'%s': %u s", cases[i].value, a.head.retry_after_s);
        answer_free(&a);
    }
    char date[64];
    time_t then = time(NULL) + 100;
    struct tm tm;
    assert_true(strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&then, &tm)) > 0);
    struct answer a;
    cleanup_free char *text = mem_printf(OK "Retry-After: %s\r\n\r\n", date);
    assert_int_equal(read_head(&a, text, NULL), 1);
    assert_in_range(a.head.retry_after_s, 90, 100);
    answer_free(&a);
}

static void test_heads(void **state)
{
    (void)state;
    struct answer a;
    assert_int_equal(
        read_head(
            &a,
            "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=x\r\n"
            "www-authenticate: Bearer realm=\"https://y\"\r\nETag:  \"e\" \r\n"
            "Docker-Content-Digest: sha256:beef\r\nContent-Encoding: Identity\r\n"
            "content-length: 5\r\nContent-Length: 5\r\nContent-Type: A/B ; c=d\r\n\r\nETag: trailer\r\n",
            NULL),
        1);
    assert_true(a.challenge.basic && a.challenge.bearer);
    assert_string_equal(a.challenge.realm, "https://y");
    assert_string_equal(a.head.etag, "\"e\"");
    assert_true(a.head.digest_malformed && !digest_is_set(&a.head.digest));
    assert_string_equal(a.head.content_encoding, "");
    assert_string_equal(a.head.content_type, "a/b");
    assert_int_equal(a.head.content_length, 5);
    answer_free(&a);
    /* Of an interim answer nothing is left; its bytes count. */
    static const char two[] =
        "HTTP/1.1 103 Early Hints\r\nETag: a\r\nLocation: /x\r\nWWW-Authenticate: Basic\r\n\r\n"
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 7\r\n\r\n";
    assert_int_equal(read_head(&a, two, NULL), 1);
    assert_int_equal(a.head.status, 200);
    assert_null(a.location);
    assert_false(a.challenge.basic);
    assert_string_equal(a.head.etag, "");
    assert_int_equal(a.head.content_length, -1);
    assert_int_equal(a.bytes, sizeof two - 1);
    answer_free(&a);
    /* What does not fit is not said. */
    char etag[400];
    memset(etag, 'e', sizeof etag - 1);
    etag[sizeof etag - 1] = '\0';
    cleanup_free char *text = mem_printf(OK "ETag: %s\r\n\r\n", etag);
    assert_int_equal(read_head(&a, text, NULL), 1);
    assert_string_equal(a.head.etag, "");
    answer_free(&a);
}

/* ---- redirects ---- */

static const struct {
    const char *from, *location, *want; /* NULL: refused */
} redirects[] = {
    {"https://a.example/v2/x/blobs/y?q=1", "/z", "https://a.example/z"},
    {"https://a.example/v2/x/blobs/y", "z", "https://a.example/v2/x/blobs/z"},
    {"https://a.example/v2/x/blobs/y", "?k=v", "https://a.example/v2/x/blobs/y?k=v"},
    {"https://a.example/v2/x", "//b.example/z", "https://b.example/z"},
    {"https://a.example/v2/x", "https://B.example:8443/z?s=%2F%3d#f", "https://b.example:8443/z?s=%2F%3d#f"},
    {"http://a.example/v2/x", "https://a.example/v2/x", "https://a.example/v2/x"},
    {"http://a.example/v2/x", "http://b.example/", "http://b.example/"},
    {"https://a.example/v2/x", "HTTPS://b.example/", "https://b.example/"},
    {"https://a.example/v2/x", "https://b.example/a b", "https://b.example/a%20b"},
    {"https://a.example/v2/x", "/../../z", "https://a.example/z"},
    {"https://a.example/v2/x", "http://a.example/v2/x", NULL},
    {"https://a.example/v2/x", "http:/z", NULL},
    {"https://a.example/v2/x", "https://user@b.example/", NULL},
    {"https://a.example/v2/x", "https://user:pass@b.example/", NULL},
    {"https://a.example/v2/x", "https://:@b.example/", NULL},
    {"https://a.example/v2/x", "//user@b.example/", NULL},
    {"https://a.example/v2/x", "file:///etc/passwd", NULL},
    {"https://a.example/v2/x", "ftp://b.example/", NULL},
    {"https://a.example/v2/x", "gopher://b.example/", NULL},
    {"https://a.example/v2/x", "dict://b.example/", NULL},
    {"https://a.example/v2/x", "javascript://b.example/", NULL},
    {"https://a.example/v2/x", "https://", NULL},
    {"https://a.example/v2/x", "https://b.example:99999/", NULL},
    {"https://a.example/v2/x", "https://b.example:0/", NULL},
    {"https://a.example/v2/x", "https://b.example:port/", NULL},
    {"https://a.example/v2/x", "https://[fe80::1%25eth0]/", NULL},
    {"https://a.example/v2/x", "https://b%2eexample%00/", NULL},
    {"https://a.example/v2/x", "https://2130706433/", "https://127.0.0.1/"},
    {"https://a.example/v2/x", "https://213070643%33/", NULL},
    {"https://a.example/v2/x", "https://127.%31/", NULL},
    {"https://a.example/v2/x", "https://127.0.0.%31/", "https://127.0.0.1/"},
    {"https://a.example/v2/x", "https://b.example%23@c.example/", NULL},
    {"https://a.example/v2/x", "https://\xc3\xa9.example/", NULL},
    {"https://a.example/v2/x", "https://b.example\\@c.example/", NULL},
    {"https://a.example/v2/x", "", NULL},
};

static void test_redirects(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof redirects / sizeof redirects[0]; ++i) {
        cleanup_url struct url from = {0}, to = {0};
        struct err err = {0};
        assert_int_equal(url_parse(redirects[i].from, &from, NULL), 0);
        int rc = redirect_follow(&from, redirects[i].location, 0, &to, &err);
        cleanup_free char *got = rc == 0 ? url_format(&to) : mem_strdup("refused");
        if (strcmp(got, redirects[i].want ? redirects[i].want : "refused") != 0)
            fail_msg("%s: %s (%s)", redirects[i].location, got, err.msg);
        assert_int_equal(redirect_follow(&from, redirects[i].location, REDIRECT_MAX, &(struct url){0}, NULL),
                         -1);
    }
}

static void test_who_may_be_private(void **state)
{
    (void)state;
    static const struct {
        bool by_hand, private_addresses;
        const char *to;
        bool may;
    } cases[] = {
        {true, false, "http://10.0.0.1:5000/x", true},  {true, false, "https://10.0.0.1:5000/x", true},
        {true, false, "http://10.0.0.1:5001/x", false}, {true, false, "http://10.0.0.1/x", false},
        {true, false, "http://10.0.0.2:5000/x", false}, {false, false, "http://10.0.0.1:5000/x", false},
        {true, true, "http://10.0.0.2:6000/x", true},   {false, true, "http://10.0.0.2:6000/x", true},
    };
    cleanup_url struct url own = {0};
    assert_int_equal(url_parse("http://10.0.0.1:5000/prefix", &own, NULL), 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        cleanup_url struct url to = {0};
        struct upstream u = {.by_hand = cases[i].by_hand, .private_addresses = cases[i].private_addresses};
        assert_int_equal(url_parse(cases[i].to, &to, NULL), 0);
        if (redirect_may_be_private(&u, &own, &to) != cases[i].may)
            fail_msg("line %zu: %s", i, cases[i].to);
    }
}

static void test_realms(void **state)
{
    (void)state;
    static const char *listed[] = {"tokens.elsewhere.example", NULL};
    static const struct {
        const char *own, *realm;
        int want; /* -1 refused, 0 anonymous, 1 with credentials */
    } cases[] = {
        {"https://registry-1.docker.io", "https://auth.docker.io/token", 1},
        {"https://registry-1.docker.io", "https://auth.docker.io:8443/token", 1},
        {"https://registry-1.docker.io", "https://auth.docker.io.evil.example/token", 0},
        {"https://registry-1.docker.io", "https://evil.example/token", 0},
        {"https://registry-1.docker.io", "https://tokens.elsewhere.example/token", 1},
        {"https://registry-1.docker.io", "https://x.tokens.elsewhere.example/token", 0},
        {"https://registry-1.docker.io", "http://auth.docker.io/token", -1},
        {"https://registry-1.docker.io", "https://u:p@auth.docker.io/token", -1},
        {"https://registry-1.docker.io", "https://u@auth.docker.io/token", -1},
        {"https://registry-1.docker.io", "/token", -1},
        {"https://registry-1.docker.io", "//auth.docker.io/token", -1},
        {"https://registry-1.docker.io", "auth.docker.io", -1},
        {"https://registry-1.docker.io", "file:///token", -1},
        {"https://registry-1.docker.io", "", -1},
        {"http://127.0.0.1:5000", "http://127.0.0.1:5001/token", 1},
        {"http://127.0.0.1:5000", "https://127.0.0.1:5001/token", 1},
        {"http://127.0.0.1:5000", "http://127.0.0.2:5000/token", 0},
        {"http://[::1]:5000", "http://[::1]:5001/token", 1},
        {"http://localhost:5000", "http://localhost/token", 1},
        {"http://localhost:5000", "http://127.0.0.1/token", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        cleanup_url struct url own = {0};
        char name[] = "user";
        struct upstream u = {.username = name, .realms = (char **)listed};
        struct challenge *c = mem_new(struct challenge);
        struct realm realm = {0};
        (void)strcpy(c->realm, cases[i].realm);
        assert_int_equal(url_parse(cases[i].own, &own, NULL), 0);
        int rc = realm_of(&u, &own, c, "a/b", &realm, NULL);
        if ((rc < 0 ? -1 : (int)realm.credentials) != cases[i].want)
            fail_msg("%s for %s: %d, wanted %d", cases[i].realm, cases[i].own,
                     rc < 0 ? -1 : realm.credentials, cases[i].want);
        realm_free(&realm);
        u.username = NULL;
        if (realm_of(&u, &own, c, NULL, &realm, NULL) == 0)
            assert_false(realm.credentials);
        realm_free(&realm);
        free(c);
    }
}

/* ---- proxies of the environment ---- */

static void test_no_proxy(void **state)
{
    (void)state;
    static const struct {
        const char *list, *host;
        bool excepted;
    } cases[] = {
        {"", "a.example", false},
        {"*", "a.example", true},
        {"example", "a.example", true},
        {"a.example", "a.example", true},
        {"A.Example", "a.example", true},
        {".a.example", "a.example", true},
        {".example", "a.example", true},
        {"a.example", "x.a.example", true},
        {"a.example", "xa.example", false},
        {"a.example", "a.example.evil", false},
        {"x, a.example", "a.example", true},
        {"x a.example", "a.example", true},
        {"x,,a.example,", "a.example", true},
        {"localhost,127.0.0.1", "127.0.0.1", true},
        {"localhost,127.0.0.1", "localhost", true},
        {"10.0.0.0/8", "10.1.2.3", true},
        {"10.0.0.0/8", "11.1.2.3", false},
        {"10.0.0.0/9", "10.128.0.1", false},
        {"10.0.0.0/33", "10.0.0.1", false},
        {"10.0.0.0/x", "10.0.0.1", false},
        {"0.0.1", "127.0.0.1", false},
        {"::1", "::1", true},
        {"[::1]", "::1", true},
        {"fd00::/8", "fd12::1", true},
        {"fd00::/8", "fe80::1", false},
        {"10.0.0.0/8", "a.example", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        if (env_proxy_excepts(cases[i].list, cases[i].host) != cases[i].excepted)
            fail_msg("'%s' and %s", cases[i].list, cases[i].host);
    }
}

static void test_env_proxy(void **state)
{
    (void)state;
    static const char *const names[] = {"http_proxy", "https_proxy", "HTTPS_PROXY", "HTTP_PROXY",
                                        "all_proxy",  "ALL_PROXY",   "no_proxy",    "NO_PROXY"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; ++i)
        (void)unsetenv(names[i]);
    cleanup_url struct url http = {0}, https = {0}, excepted = {0};
    assert_int_equal(url_parse("http://a.example/", &http, NULL), 0);
    assert_int_equal(url_parse("https://a.example/", &https, NULL), 0);
    assert_int_equal(url_parse("https://b.example/", &excepted, NULL), 0);
    struct env_proxy p = {0};
    env_proxy_read(&p);
    assert_null(env_proxy_for(&p, &http));
    assert_null(env_proxy_for(&p, &https));
    env_proxy_free(&p);
    (void)setenv("HTTPS_PROXY", "http://proxy:3128", 1);
    (void)setenv("HTTP_PROXY", "http://evil:3128", 1); /* what a Proxy: header would become */
    (void)setenv("NO_PROXY", "b.example", 1);
    env_proxy_read(&p);
    assert_null(env_proxy_for(&p, &http));
    assert_string_equal(env_proxy_for(&p, &https), "http://proxy:3128");
    assert_null(env_proxy_for(&p, &excepted));
    env_proxy_free(&p);
    (void)setenv("ALL_PROXY", "http://all:3128", 1);
    env_proxy_read(&p);
    assert_string_equal(env_proxy_for(&p, &http), "http://all:3128");
    assert_string_equal(env_proxy_for(&p, &https), "http://proxy:3128");
    env_proxy_free(&p);
}

/* ---- statuses ---- */

static void test_statuses(void **state)
{
    (void)state;
    static const struct {
        int status;
        bool by_realm, credentials;
        int code; /* 0: fine */
        const char *message;
    } cases[] = {
        {200, false, false, 0, NULL},
        {206, false, false, 0, NULL},
        {401, false, false, ERR_UNAUTHORIZED,
         "manifest x: up wants a login (401): no credentials are configured for it"},
        {401, true, true, ERR_UNAUTHORIZED,
         "manifest x: the token server of up wants a login (401): the credentials that are configured for it "
         "are not enough"},
        {403, false, true, ERR_DENIED, "manifest x: up refuses it (403): the credentials"},
        {404, false, false, ERR_MANIFEST_UNKNOWN, "manifest x: unknown to up (404)"},
        {429, false, false, ERR_LIMITED, "manifest x: up limits us (429)"},
        {416, false, false, ERR_UPSTREAM, "manifest x: up answered 416"},
        {500, false, false, ERR_UPSTREAM, "manifest x: up answered 500"},
        {502, false, false, ERR_UPSTREAM, "manifest x: up answered 502"},
        {504, false, false, ERR_TIMEOUT, "manifest x: up is too slow (504)"},
        {304, false, false, ERR_UPSTREAM, "manifest x: up answered 304"},
        {418, false, false, ERR_UPSTREAM, "manifest x: up answered 418"},
    };
    char name[] = "up";
    struct upstream u = {.name = name};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        struct fetch_head head = {.status = cases[i].status,
                                  .refused_by_realm = cases[i].by_realm,
                                  .has_credentials = cases[i].credentials};
        struct err err = {0};
        int rc = fetch_head_err(&head, &u, "manifest x", ERR_MANIFEST_UNKNOWN, &err);
        assert_int_equal(rc, cases[i].code ? -1 : 0);
        assert_int_equal(err.code, cases[i].code);
        if (cases[i].message && !strstr(err.msg, cases[i].message))
            fail_msg("%d: %s", cases[i].status, err.msg);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_token_sizes),
        cmocka_unit_test(test_tokens_are_not_quoted),
        cmocka_unit_test(test_bad_heads),
        cmocka_unit_test(test_content_ranges),
        cmocka_unit_test(test_retry_after),
        cmocka_unit_test(test_heads),
        cmocka_unit_test(test_redirects),
        cmocka_unit_test(test_who_may_be_private),
        cmocka_unit_test(test_realms),
        cmocka_unit_test(test_no_proxy),
        cmocka_unit_test(test_env_proxy),
        cmocka_unit_test(test_statuses),
    };
    return cmocka_run_group_tests_name("upstream rules", tests, NULL, NULL);
}
