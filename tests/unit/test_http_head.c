// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "common/mem.h"
#include "proxy/http/head.h"

/* As http1.c does it: 0, or the status of the refusal. */
static int read_head(struct slice bytes, size_t max, struct head *h, size_t *ret_len,
                     const char **ret_message)
{
    struct head_scan scan = {0};
    int status = head_find_end(bytes, max, &scan, ret_len, ret_message);
    if (status == 0 && *ret_len == 0) {
        *ret_message = "not whole";
        return -1;
    }
    return status ? status : head_parse((struct slice){bytes.p, *ret_len}, h, ret_message);
}

struct head_case {
    int status; /* -1: the head is not whole */
    const char *head;
};

static const struct head_case cases[] = {
    {0, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {0, "GET / HTTP/1.1\r\nhost:a\r\nContent-Length: 5\r\n\r\nhello"},
    {0, "GET / HTTP/1.1\r\nhost:a\r\nContent-Length: \t5 \t\r\n\r\nhello"},
    {0, "GET / HTTP/1.1\r\nhost:a\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n"},
    {0, "GET / HTTP/1.1\r\nhost:a\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n1"},
    {0, "GET / HTTP/1.1\r\nhost:\r\nContent-Lengthy: 1\r\nContent-Length: 1\r\n\r\n"},
    {0, "GET / HTTP/1.1\r\nHost: [::1]:5000\r\nX:\r\nY: \x80\xff\ttab\r\n\r\n"},
    {0, "M-SEARCH!#$%&'*+-.^_`|~ / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {0, "GET / HTTP/1.0\r\n\r\n"},
    {0,
     "GET / HTTP/1.2\r\nHost: a\r\n\r\n"}, /* RFC 9110 section 2.5: a higher minor version is read as ours */
    {400, "GET / HTTP/1.1\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"},
    {400, "GET / HTTP/1.1\nHost: a\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\n\n"},
    {400, "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"}, /* the one empty line that is allowed was read before */
    {400, " GET / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET /  HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET / HTTP/1.1 \r\nHost: a\r\n\r\n"},
    {400, "GET /\tHTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "G\xc3\x84T / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET / http/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET / HTTP/1,1\r\nHost: a\r\n\r\n"},
    {400, "GET / HTTP/11\r\nHost: a\r\n\r\n"},
    {400, "GET / HTTP/1.10\r\nHost: a\r\n\r\n"},
    {400, "GET / HTTP/1.\r\nHost: a\r\n\r\n"},
    {400, "GET /\r\n\r\n"},
    {400, "GET\r\n\r\n"},
    {505, "PRI * HTTP/2.0\r\n\r\n"},
    {505, "GET / HTTP/0.9\r\nHost: a\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\n Host: a\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost : a\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nnocolon\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nA\x01: b\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nA: b\rc\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nA: 12345678\x01\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nA: 1234567\x7f"
          "9\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\ncontent-length: 1\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 1\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 1\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775808\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0b"
          "chunked\r\n\r\n"},
    {400, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"},
    {417, "GET / HTTP/1.1\r\nHost: a\r\nExpect: a-pony\r\n\r\n"},
    {-1, "GET / HTTP/1.1\r\nHost: a\r\n"},
    {-1, "GET / HTTP/1.1\r\nHost: a\r\n\r"},
    {-1, ""},
};

static void test_heads(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        struct head h;
        const char *message = NULL;
        size_t len;
        int status = read_head(slice_of(cases[i].head), 4096, &h, &len, &message);
        if (status != cases[i].status)
            fail_msg("%d instead of %d (%s) for:\n%s", status, cases[i].status, message ? message : "-",
                     cases[i].head);
        if (status)
            assert_non_null(message);
    }
    static const char nul[] = "GET / HTTP/1.1\r\nHost: a\r\nX: 123456789\0\r\n\r\n";
    struct head h;
    const char *message;
    size_t len;
    assert_int_equal(read_head((struct slice){nul, sizeof nul - 1}, 4096, &h, &len, &message), 400);
}

/* Byte by byte, and in pieces of every size: the same verdict, and no byte looked at twice. */
static void test_ends_in_pieces(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        struct slice whole = slice_of(cases[i].head);
        const char *message;
        struct head_scan at_once = {0};
        size_t len_at_once = 0;
        int expected = head_find_end(whole, 4096, &at_once, &len_at_once, &message);
        for (size_t step = 1; step < 9; ++step) {
            struct head_scan scan = {0};
            size_t len = 0;
            int status = 0;
            for (size_t n = step; status == 0 && len == 0; n += step) {
                struct slice part = {whole.p, n < whole.len ? n : whole.len};
                status = head_find_end(part, 4096, &scan, &len, &message);
                if (part.len == whole.len)
                    break;
            }
            assert_int_equal(status, expected);
            assert_int_equal(len, len_at_once);
        }
    }
}

static void test_what_a_head_says(void **state)
{
    (void)state;
    struct head h;
    const char *message;
    size_t len;
    struct slice bytes =
        SLICE_LIT("POST /a?b HTTP/1.1\r\nHost: reg:5000\r\nAccept:  one \r\nContent-Length: 2\r\nX-Empty:\r\n"
                  "Upgrade: h2c\r\nEXPECT: 100-continue\r\n\r\nhiGET / HTTP/1.1\r\n");
    assert_int_equal(read_head(bytes, 4096, &h, &len, &message), 0);
    assert_memory_equal(bytes.p + len, "hiGET", 5);
    assert_true(slice_eq_str(h.method, "POST") && slice_eq_str(h.target, "/a?b"));
    assert_true(slice_eq_str(h.host, "reg:5000"));
    assert_true(h.keep_alive && h.expects_continue && h.has_length && !h.is_chunked && !h.is_http_1_0);
    assert_int_equal(h.content_length, 2);
    assert_int_equal(h.field_count, 2); /* the rest is the transport's */
    assert_true(slice_eq_str(h.fields[0].name, "Accept") && slice_eq_str(h.fields[0].value, "one"));
    assert_true(slice_eq_str(h.fields[1].name, "X-Empty") && h.fields[1].value.len == 0);

    /* Its size counts to the byte, and not what stands behind it. */
    assert_int_equal(read_head(bytes, len, &h, &len, &message), 0);
    assert_int_equal(read_head(bytes, len - 1, &h, &len, &message), 431);

    static const struct {
        bool keep_alive;
        const char *head;
    } connections[] = {
        {true, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"},
        {false, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"},
        {false, "GET / HTTP/1.1\r\nHost: a\r\nConnection: x, CLOSE ,y\r\n\r\n"},
        {false, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n"},
        {true, "GET / HTTP/1.1\r\nHost: a\r\nConnection: closed\r\n\r\n"},
        {false, "GET / HTTP/1.0\r\nHost: a\r\n\r\n"},
        {true, "GET / HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n"},
        {false, "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive, close\r\n\r\n"},
    };
    for (size_t i = 0; i < sizeof connections / sizeof connections[0]; ++i) {
        assert_int_equal(read_head(slice_of(connections[i].head), 4096, &h, &len, &message), 0);
        if (h.keep_alive != connections[i].keep_alive)
            fail_msg("%s", connections[i].head);
    }
    /* An expectation of a client that cannot read "100 Continue". */
    assert_int_equal(
        read_head(SLICE_LIT("PUT / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"), 4096, &h,
                  &len, &message),
        0);
    assert_false(h.expects_continue);
}

static void test_many_headers(void **state)
{
    (void)state;
    char *text = mem_alloc(8192);
    for (int count = HEAD_FIELDS_MAX - 1; count <= HEAD_FIELDS_MAX + 1; ++count) {
        int n = sprintf(text, "GET / HTTP/1.1\r\nHost: a\r\n");
        for (int i = 0; i < count; ++i)
            n += sprintf(text + n, "X-%d: %d\r\n", i, i);
        n += sprintf(text + n, "\r\n");
        struct head h;
        const char *message;
        size_t len;
        int status = read_head((struct slice){text, (size_t)n}, 8192, &h, &len, &message);
        assert_int_equal(status, count > HEAD_FIELDS_MAX ? 431 : 0);
    }
    free(text);
}

static void test_targets(void **state)
{
    (void)state;
    static const char *good[] = {
        "/", "/v2/", "/v2/a/b/manifests/latest?ns=docker.io&x=%00", "/a%20b%2Fc", "//", "/..", "/a%7e"};
    static const char *bad[] = {"",       "*",         "v2/",   "http://a/v2/", "/a b",   "/a\tb",
                                "/a\x7f", "/\xc3\xa4", "/a%00", "/a%0a",        "/a%1f",  "/a%7F",
                                "/a%2",   "/a%",       "/a%zz", "/a%2g",        "/?\x01", "/a\r\n"};
    const char *message;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; ++i) {
        if (head_check_target(slice_of(good[i]), &message) != 0)
            fail_msg("refused: %s", good[i]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
        if (head_check_target(slice_of(bad[i]), &message) != 400)
            fail_msg("let through: %s", bad[i]);
    }
    assert_int_equal(head_check_target((struct slice){"/\0a", 3}, &message), 400);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heads),
        cmocka_unit_test(test_ends_in_pieces),
        cmocka_unit_test(test_what_a_head_says),
        cmocka_unit_test(test_many_headers),
        cmocka_unit_test(test_targets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
