// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "common/err.h"

static void test_set(void **state)
{
    (void)state;
    struct err err;
    memset(&err, 'x', sizeof err);
    assert_int_equal(err_set(&err, ERR_LIMITED, "%s: answered %d", "quay.io", 429), -1);
    assert_int_equal(err.code, ERR_LIMITED);
    assert_int_equal(err.retry_after_s, 0);
    assert_string_equal(err.msg, "quay.io: answered 429");
    assert_int_equal(err_set(NULL, ERR_IO, "nobody cares"), -1);
    assert_int_equal(err_wrap(NULL, "nobody"), -1);
    assert_int_equal(err_set_errno(NULL, ERR_IO, ENOENT, "nobody"), -1);
    err_clear(NULL);
    err_clear(&err);
    assert_int_equal(err.code, ERR_NONE);
    assert_string_equal(err.msg, "");
}

static void test_errno(void **state)
{
    (void)state;
    static const struct {
        enum err_code code;
        int errno_value;
        enum err_code expected;
    } cases[] = {{ERR_IO, ENOENT, ERR_IO},
                 {ERR_IO, ENOSPC, ERR_NO_SPACE},
                 {ERR_IO, EDQUOT, ERR_NO_SPACE},
                 {ERR_NOT_FOUND, ENOENT, ERR_NOT_FOUND},
                 {ERR_INVALID, ENOSPC, ERR_INVALID}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        struct err err;
        assert_int_equal(err_set_errno(&err, cases[i].code, cases[i].errno_value, "/a/%s", "b"), -1);
        assert_int_equal(err.code, cases[i].expected);
        assert_int_equal(strncmp(err.msg, "/a/b: ", 6), 0);
        assert_string_equal(err.msg + 6, strerror(cases[i].errno_value));
    }
}

static void test_wrap(void **state)
{
    (void)state;
    struct err err;
    (void)err_set(&err, ERR_TIMEOUT, "no answer");
    err.retry_after_s = 7;
    assert_int_equal(err_wrap(&err, "manifest of %s", "busybox"), -1);
    assert_string_equal(err.msg, "manifest of busybox: no answer");
    assert_int_equal(err.code, ERR_TIMEOUT);
    assert_int_equal(err.retry_after_s, 7);
}

/* Whatever is put into it, a message ends inside of its array. */
static void test_long(void **state)
{
    (void)state;
    char text[3 * ERR_MSG_MAX];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    struct {
        struct err err;
        char guard[8];
    } s;
    memset(&s, 'g', sizeof s);
    (void)err_set(&s.err, ERR_IO, "%s", text);
    assert_int_equal(strlen(s.err.msg), ERR_MSG_MAX - 1);
    (void)err_set_errno(&s.err, ERR_IO, EIO, "%s", text);
    assert_int_equal(strlen(s.err.msg), ERR_MSG_MAX - 1);
    (void)err_wrap(&s.err, "front");
    assert_int_equal(strncmp(s.err.msg, "front: aaa", 10), 0);
    (void)err_wrap(&s.err, "%s", text);
    assert_int_equal(strlen(s.err.msg), ERR_MSG_MAX - 1);
    assert_memory_equal(s.guard, "gggggggg", 8);
}

static void test_names(void **state)
{
    (void)state;
    for (int a = ERR_NONE; a <= ERR_CANCELLED; ++a) {
        assert_string_not_equal(err_code_name((enum err_code)a), "unknown");
        for (int b = ERR_NONE; b < a; ++b)
            assert_string_not_equal(err_code_name((enum err_code)a), err_code_name((enum err_code)b));
    }
    assert_string_equal(err_code_name(ERR_NO_SPACE), "no_space");
    assert_string_equal(err_code_name((enum err_code)999), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_set), cmocka_unit_test(test_errno),
                                       cmocka_unit_test(test_wrap), cmocka_unit_test(test_long),
                                       cmocka_unit_test(test_names)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
