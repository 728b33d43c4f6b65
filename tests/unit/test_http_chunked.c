// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/cleanup.h"
#include "proxy/http/chunked.h"

enum verdict { WHOLE, PART, BAD };

/* Feeds `in` in pieces of `step` bytes; *ret_rest: what was left behind the body. */
static enum verdict decode(struct slice in, size_t step, struct buf *body, size_t *ret_rest)
{
    struct chunked c = {0};
    while (in.len > 0 && c.state != CHUNKED_DONE) {
        struct slice piece = {in.p, in.len < step ? in.len : step}, data;
        size_t before = piece.len;
        while (piece.len > 0 && c.state != CHUNKED_DONE) {
            if (chunked_next(&c, &piece, &data) < 0)
                return BAD;
            (void)buf_add_slice(body, data);
        }
        in.p += before - piece.len;
        in.len -= before - piece.len;
    }
    *ret_rest = in.len;
    return c.state == CHUNKED_DONE ? WHOLE : PART;
}

static const struct {
    enum verdict verdict;
    const char *in, *body;
    size_t rest;
} cases[] = {
    {WHOLE, "0\r\n\r\n", "", 0},
    {WHOLE, "3\r\nabc\r\n0\r\n\r\n", "abc", 0},
    {WHOLE, "3\r\nabc\r\n0\r\n\r\nGET /", "abc", 5},
    {WHOLE, "1\r\na\r\n1\r\nb\r\n00\r\n\r\n", "ab", 0},
    {WHOLE, "0a\r\n0123456789\r\n0\r\n\r\n", "0123456789", 0},
    {WHOLE, "A\r\n0123456789\r\n0\r\n\r\n", "0123456789", 0},
    {WHOLE, "5\r\n0\r\n\r\n\r\n0\r\n\r\n", "0\r\n\r\n", 0},
    {WHOLE, "1;x=y;z=\"q\"\r\na\r\n0;last\r\n\r\n", "a", 0},
    {WHOLE, "1\r\na\r\n0\r\nTrailer: value\r\nOther: x\r\n\r\nrest", "a", 4},
    {PART, "", "", 0},
    {PART, "5\r\nabc", "abc", 0},
    {PART, "0\r\n", "", 0},
    {PART, "0\r\nTrailer: x\r\n", "", 0},
    {BAD, "\r\n", "", 0},
    {BAD, "zz\r\n", "", 0},
    {BAD, "0x3\r\nabc\r\n", "", 0},
    {BAD, "+3\r\nabc\r\n", "", 0},
    {BAD, "-3\r\nabc\r\n", "", 0},
    {BAD, " 3\r\nabc\r\n", "", 0},
    {BAD, "3 \r\nabc\r\n", "", 0},
    {BAD, "3\nabc\r\n0\r\n\r\n", "", 0},
    {BAD, "3\r\nabc\n0\r\n\r\n", "abc", 0},
    {BAD, "3\r\nabcd\r\n0\r\n\r\n", "abc", 0},
    {BAD, "3\r\nab\r\n0\r\n\r\n", "ab\r", 0},
    {BAD, "3;x\ny\r\nabc\r\n", "", 0},
    {BAD, "3;x\rabc\r\n", "", 0},
    {BAD, "3\rabc", "", 0},
    {BAD, "0\r\n\n", "", 0},
    {BAD, "0\n\r\n", "", 0},
    {BAD, "0\r\n\rX", "", 0},
    {BAD, "0\r\n folded\r\n\r\n", "", 0},
    {BAD, "0\r\nA: b\n\r\n", "", 0},
    {BAD, "0\r\nA: \x01\r\n\r\n", "", 0},
    {BAD, "10000000000000000\r\n", "", 0},
    {BAD, "fffffffffffffffff\r\n", "", 0},
    {BAD, "8000000000000000\r\n", "", 0}, /* it could pass for negative elsewhere */
};

static void test_cases(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        for (size_t step = 1; step < 12; ++step) {
            cleanup_buf struct buf body = {0};
            size_t rest = 0;
            enum verdict v = decode(slice_of(cases[i].in), step, &body, &rest);
            if (v != cases[i].verdict)
                fail_msg("%d instead of %d in steps of %zu for:\n%s", v, cases[i].verdict, step, cases[i].in);
            assert_string_equal(buf_str(&body), cases[i].body);
            if (v == WHOLE)
                assert_int_equal(rest, cases[i].rest);
        }
    }
}

/* Extensions, trailers and zeros have one budget for the whole body. */
static void test_extras(void **state)
{
    (void)state;
    static const struct {
        const char *before, *after;
        char fill;
    } kinds[] = {{"1;", "\r\na\r\n0\r\n\r\n", 'x'}, {"0\r\nA:", "\r\n\r\n", 'x'}, {"0", "\r\n\r\n", '0'}};
    for (size_t k = 0; k < 3; ++k) {
        for (int more = -8; more <= 8; more += 16) {
            cleanup_buf struct buf in = {0}, body = {0};
            (void)buf_add_str(&in, kinds[k].before);
            for (int i = 0; i < CHUNKED_EXTRAS_MAX + more; ++i)
                (void)buf_add(&in, &kinds[k].fill, 1);
            (void)buf_add_str(&in, kinds[k].after);
            size_t rest;
            enum verdict v = decode((struct slice){in.p, in.len}, 4096, &body, &rest);
            assert_int_equal(v, more > 0 ? BAD : WHOLE);
        }
    }
    cleanup_buf struct buf in = {0}, body = {0};
    for (int i = 0; i < CHUNKED_EXTRAS_MAX; ++i)
        (void)buf_add_str(&in, "1;xx\r\na\r\n");
    size_t rest;
    assert_int_equal(decode((struct slice){in.p, in.len}, 4096, &body, &rest), BAD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_extras),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
