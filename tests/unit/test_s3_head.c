// SPDX-License-Identifier: Apache-2.0
/* Heads and chunked bodies: what is understood, what is refused, and that no cut is read past its end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "s3/http_head.h"

#define OK  "HTTP/1.1 200 OK\r\n"
#define BAD "refused"

/* Expected: "status[ keep][ chunked][ length=N]". */
static const struct {
    const char *head, *want;
} heads[] = {
    {OK "\r\n", "200 keep"},
    {"HTTP/1.0 200 OK\r\n\r\n", "200"},
    {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", "200 keep"},
    {"HTTP/1.1 206\r\n\r\n", "206 keep"},
    {"HTTP/1.1 503 Slow Down, please\r\nContent-Length: 0\r\n\r\n", "503 keep length=0"},
    {OK "content-length:5\r\nConnection: Foo, close\r\n\r\n", "200 length=5"},
    {OK "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", "200 keep length=5"},
    {OK "Transfer-Encoding: Chunked\r\n\r\n", "200 keep chunked"},
    {OK "X-Empty:\r\nX-Tab:\ta\tb\r\n\r\n", "200 keep"},
    {OK "X: \xc3\xa9\r\n\r\n", "200 keep"},
    {OK "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", BAD},
    {OK "Content-Length: +5\r\n\r\n", BAD},
    {OK "Content-Length: 5, 5\r\n\r\n", BAD},
    {OK "Content-Length: 99999999999999999999\r\n\r\n", BAD},
    {OK "Content-Length: -1\r\n\r\n", BAD},
    {OK "Content-Length:\r\n\r\n", BAD},
    {OK "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", BAD},
    {OK "Transfer-Encoding: gzip, chunked\r\n\r\n", BAD},
    {OK "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", BAD},
    {OK "No colon\r\n\r\n", BAD},
    {OK "Space : x\r\n\r\n", BAD},
    {OK ": x\r\n\r\n", BAD},
    {OK "A: b\r\n folded\r\n\r\n", BAD},
    {OK "A: b\nB: c\r\n\r\n", BAD},
    {OK "A: b\rc\r\n\r\n", BAD},
    {OK "A: \x01\r\n\r\n", BAD},
    {"HTTP/2 200 OK\r\n\r\n", BAD},
    {"HTTP/1.2 200 OK\r\n\r\n", BAD},
    {"HTTP/1.1 20 OK\r\n\r\n", BAD},
    {"HTTP/1.1 2000 OK\r\n\r\n", BAD},
    {"HTTP/1.1 099 OK\r\n\r\n", BAD},
    {"HTTP/1.1  200 OK\r\n\r\n", BAD},
    {"ICY 200 OK\r\n\r\n", BAD},
    {"\r\n\r\n", BAD},
};

static void test_heads(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; ++i) {
        struct http_head h = {0};
        struct err err = {0};
        cleanup_buf struct buf got = {0};
        if (http_head_parse(&h, heads[i].head, strlen(heads[i].head), &err) < 0) {
            assert_int_equal(err.code, ERR_IO);
            (void)buf_add_str(&got, BAD);
        } else {
            (void)buf_printf(&got, "%d%s%s", h.status, h.keep_alive ? " keep" : "",
                             h.chunked ? " chunked" : "");
            if (h.has_length)
                (void)buf_printf(&got, " length=%llu", (unsigned long long)h.length);
        }
        http_head_free(&h);
        if (strcmp(buf_str(&got), heads[i].want) != 0)
            fail_msg("<%s>: gave <%s>, wanted <%s>", heads[i].head, buf_str(&got), heads[i].want);
    }
}

static void test_head_end(void **state)
{
    (void)state;
    static const char text[] = OK "A: b\r\n\r\nbody\r\n\r\n";
    size_t end = sizeof OK - 1 + 8;
    for (size_t n = 0; n < sizeof text; ++n) {
        cleanup_free char *copy = mem_alloc(n);
        memcpy(copy, text, n);
        assert_int_equal(http_head_end(copy, n), n < end ? 0 : end);
    }
}

static void test_many_headers(void **state)
{
    (void)state;
    for (int n = HTTP_HEADERS_MAX; n <= HTTP_HEADERS_MAX + 1; ++n) {
        cleanup_buf struct buf b = {0};
        struct http_head h = {0};
        (void)buf_add_str(&b, OK);
        for (int i = 0; i < n; ++i)
            (void)buf_printf(&b, "H%d: v%d\r\n", i, i);
        (void)buf_add_str(&b, "\r\n");
        assert_int_equal(http_head_parse(&h, b.p, b.len, NULL), n == HTTP_HEADERS_MAX ? 0 : -1);
        if (n == HTTP_HEADERS_MAX)
            assert_true(slice_eq_str(http_head_get(&h, "h127"), "v127"));
        http_head_free(&h);
    }
}

static const struct {
    const char *in, *out; /* NULL: refused, "...": out, not finished */
    bool done;
} bodies[] = {
    {"0\r\n\r\n", "", true},
    {"5\r\nhello\r\n0\r\n\r\n", "hello", true},
    {"5;a=\"b\"\r\nhello\r\n00\r\nTrailer: x\r\nMore: y\r\n\r\n", "hello", true},
    {"a\r\n0123456789\r\nB\r\n0123456789x\r\n0\r\n\r\nnext", "01234567890123456789x", true},
    {"5 \r\nhello\r\n0\r\n\r\n", "hello", true},
    {"5\r\nhel", "hel", false},
    {"5\r\nhello\r\n0\r\n", "hello", false},
    {"\r\n", NULL, false},
    {"g\r\n", NULL, false},
    {"5\nhello", NULL, false},
    {"5\r\nhelloX", NULL, false},
    {"5\r\nhello\rX", NULL, false},
    {"-5\r\n", NULL, false},
    {"0x5\r\n", NULL, false},
    {"10000000000000000\r\n", NULL, false},
    {"5;\n", NULL, false},
    {"0\r\nbad\nline\r\n\r\n", NULL, false},
};

/* The whole input, step bytes at a time, each piece where the sanitizer sees its end. */
static bool feed(const char *in, size_t step, struct buf *out, bool *ret_done)
{
    struct http_chunked c = {0};
    size_t len = strlen(in), at = 0;
    while (at < len && c.state != HTTP_CHUNK_DONE) {
        size_t n = len - at < step ? len - at : step;
        cleanup_free char *copy = mem_alloc(n);
        struct slice data;
        memcpy(copy, in + at, n);
        ptrdiff_t used = http_chunked_next(&c, copy, n, &data, NULL);
        if (used < 0)
            return false;
        assert_true(used > 0 && (size_t)used <= n && data.len <= (size_t)used);
        (void)buf_add(out, data.p, data.len);
        at += (size_t)used;
    }
    *ret_done = c.state == HTTP_CHUNK_DONE;
    return true;
}

static void test_chunked(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; ++i) {
        for (size_t step = 1; step <= strlen(bodies[i].in); ++step) {
            cleanup_buf struct buf out = {0};
            bool done = false, good = feed(bodies[i].in, step, &out, &done);
            if (good != (bodies[i].out != NULL) || (good && strcmp(buf_str(&out), bodies[i].out) != 0))
                fail_msg("<%s> by %zu: %s <%s>", bodies[i].in, step, good ? "gave" : "refused",
                         buf_str(&out));
            if (good)
                assert_int_equal(done, bodies[i].done);
        }
    }
}

static void test_ranges(void **state)
{
    (void)state;
    struct http_range r;
    assert_true(http_range_parse(SLICE_LIT("bytes 0-9/100"), &r));
    assert_true(r.known_range && r.first == 0 && r.last == 9 && r.total == 100);
    assert_true(http_range_parse(SLICE_LIT("bytes */100"), &r));
    assert_true(!r.known_range && r.total == 100);
    static const char *const wrong[] = {"bytes 0-9/*",  "bytes 9-0/100", "bytes 0-100/100", "bytes 0-9",
                                        "items 0-9/10", "bytes -9/100",  "bytes 0-/100",    "",
                                        "bytes 0-9/-1", "bytes 0-9/10x", "bytes  0-9/10"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; ++i)
        assert_false(http_range_parse(slice_of(wrong[i]), &r));
}

static void test_times(void **state)
{
    (void)state;
    int64_t ms;
    assert_true(http_date_parse(SLICE_LIT("Fri, 24 May 2013 00:00:00 GMT"), &ms));
    assert_true(ms == 1369353600000);
    assert_false(http_date_parse(SLICE_LIT("Fri, 24 May 2013 00:00:00 CET"), &ms));
    assert_false(http_date_parse(SLICE_LIT("yesterday"), &ms));
    assert_false(http_date_parse((struct slice){NULL, 0}, &ms));
    assert_int_equal(http_retry_after(SLICE_LIT("7"), 0), 7);
    assert_int_equal(http_retry_after(SLICE_LIT("999999999999"), 0), 3600);
    assert_int_equal(http_retry_after(SLICE_LIT("Fri, 24 May 2013 00:00:10 GMT"), 1369353600000), 10);
    assert_int_equal(http_retry_after(SLICE_LIT("Fri, 24 May 2013 00:00:10 GMT"), 1369353700000), 0);
    assert_int_equal(http_retry_after((struct slice){NULL, 0}, 0), 0);
    assert_int_equal(http_retry_after(SLICE_LIT("soon"), 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heads),   cmocka_unit_test(test_head_end), cmocka_unit_test(test_many_headers),
        cmocka_unit_test(test_chunked), cmocka_unit_test(test_ranges),   cmocka_unit_test(test_times),
    };
    return cmocka_run_group_tests_name("s3 http head", tests, NULL, NULL);
}
