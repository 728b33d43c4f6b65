// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proxy/http/guard.h"

struct head_case {
    int status;
    const char *head;
};

static const struct head_case cases[] = {
    {0, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {0, "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {0, "GET / HTTP/1.1\r\nhost:a\r\nContent-Length: 5\r\n\r\nhello"},
    {0, "GET / HTTP/1.1\r\nhost:a\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n"},
    {0, "GET / HTTP/1.1\r\nhost:a\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n1"},
    {0, "GET / HTTP/1.1\r\nhost:\r\nContent-Lengthy: 1\r\nContent-Length: 1\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"},
    {400, "GET / HTTP/1.1\nHost: a\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\n\n"},
    {400, "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\ncontent-length: 1\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n"},
    {417, "GET / HTTP/1.1\r\nHost: a\r\nExpect: a-pony\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\n"},
    {400, ""},
};

static void test_heads(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        struct guard_head head;
        const char *message = NULL;
        int status = guard_check_head(slice_of(cases[i].head), 4096, false, &head, &message);
        if (status != cases[i].status)
            fail_msg("%d instead of %d (%s) for:\n%s", status, cases[i].status, message ? message : "-",
                     cases[i].head);
        if (status)
            assert_non_null(message);
    }
}

static void test_what_a_head_says(void **state)
{
    (void)state;
    struct guard_head head;
    const char *message;
    struct slice bytes =
        SLICE_LIT("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhiGET / HTTP/1.1\r\n");
    assert_int_equal(guard_check_head(bytes, 4096, false, &head, &message), 0);
    assert_int_equal(head.len, sizeof "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n" - 1);
    assert_true(head.has_host && head.has_length && !head.chunked);

    /* Its size counts to the byte, and not what stands behind it. */
    assert_int_equal(guard_check_head(bytes, head.len, false, &head, &message), 0);
    assert_int_equal(guard_check_head(bytes, head.len - 1, false, &head, &message), 431);

    struct slice old = SLICE_LIT("GET / HTTP/1.0\r\n\r\n");
    assert_int_equal(guard_check_head(old, 4096, true, &head, &message), 0);
    assert_false(head.has_host);
    struct slice old_chunked = SLICE_LIT("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_int_equal(guard_check_head(old_chunked, 4096, true, &head, &message), 400);
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
        if (guard_check_target(slice_of(good[i]), &message) != 0)
            fail_msg("refused: %s", good[i]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
        if (guard_check_target(slice_of(bad[i]), &message) != 400)
            fail_msg("let through: %s", bad[i]);
    }
    assert_int_equal(guard_check_target((struct slice){"/\0a", 3}, &message), 400);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heads),
        cmocka_unit_test(test_what_a_head_says),
        cmocka_unit_test(test_targets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
