// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "fuse-layer/init/user.h"

static const char passwd_text[] = "# a comment\n"
                                  "\n"
                                  "root:x:0:0:root:/root:/bin/sh\n"
                                  "broken\n"
                                  "nogid:x:5\n"
                                  "worker:x:1000:1001:A. Worker,,:/h/worker:/bin/sh\n"
                                  "again:x:1000:1002::/h/again:/bin/sh\n"
                                  "2000:x:3000:3001::/h/digits:/bin/sh\n"
                                  "homeless:x:1500:1500:::\n"
                                  "huge:x:4294967295:1::/:/bin/sh\n"
                                  "  spaced:x:1600:1600::/s:/bin/sh \n"
                                  "last:x:1700:1700::/h/last:/bin/sh"; /* no newline */
static const char group_text[] = "root:x:0:root\n"
                                 "workers:x:1001:\n"
                                 "docker:x:900:other,worker\n"
                                 "video:x:44:worker,worker\n"
                                 "own:x:1001:worker\n"
                                 "77:x:1234:\n"
                                 "almost:x:45:workers,work\n"
                                 "bad:x:-1:worker\n"
                                 "digits:x:901:2000";

/* "uid:gid home groups", or "!code message". */
static const char *told(const char *text)
{
    static char out[512];
    struct user u;
    struct err err;
    if (user_parse(text, SLICE_LIT(passwd_text), SLICE_LIT(group_text), &u, &err) < 0) {
        (void)snprintf(out, sizeof out, "!%s", err_code_name(err.code));
        assert_non_null(strstr(err.msg, "RAC_USER"));
        return out;
    }
    int n = snprintf(out, sizeof out, "%u:%u %s", u.uid, u.gid, u.home);
    for (size_t i = 0; i < u.groups_len; ++i)
        n += snprintf(out + n, sizeof out - (size_t)n, " %u", u.groups[i]);
    assert_string_equal(u.root_home, "/root");
    return out;
}

static void as_the_engines_have_it(void **state)
{
    (void)state;
    assert_string_equal(told("worker"), "1000:1001 /h/worker 1001 900 44");
    assert_string_equal(told("1000"), "1000:1001 /h/worker 1001 900 44");
    assert_string_equal(told("again"), "1000:1002 /h/again 1002");
    assert_string_equal(told("worker:docker"), "1000:900 /h/worker 900");
    assert_string_equal(told("worker:12345"), "1000:12345 /h/worker 12345");
    assert_string_equal(told("worker:"), "1000:1001 /h/worker 1001 900 44");
    assert_string_equal(told("4242"), "4242:0 / 0");
    assert_string_equal(told("4242:docker"), "4242:900 / 900");
    assert_string_equal(told("0"), "0:0 /root 0");
    assert_string_equal(told(":docker"), "0:900 /root 900");
    assert_string_equal(told("2147483647:2147483647"), "2147483647:2147483647 / 2147483647");
    /* Digits that are a name, too. */
    assert_string_equal(told("2000"), "3000:3001 /h/digits 3001 901");
    assert_string_equal(told("worker:77"), "1000:1234 /h/worker 1234");
    assert_string_equal(told("homeless"), "1500:1500 / 1500");
    assert_string_equal(told("spaced"), "1600:1600 /s 1600");
    assert_string_equal(told("last"), "1700:1700 /h/last 1700");
}

static void what_is_not_there(void **state)
{
    (void)state;
    assert_string_equal(told("nobody"), "!not_found");
    assert_string_equal(told("broken"), "!not_found");
    assert_string_equal(told("nogid"), "!not_found");
    assert_string_equal(told("huge"), "!not_found");
    assert_string_equal(told("WORKER"), "!not_found");
    assert_string_equal(told("worker:nothing"), "!not_found");
    assert_string_equal(told("worker:bad"), "!not_found");
    assert_string_equal(told("2147483648"), "!not_found");
    assert_string_equal(told("-1"), "!not_found");
    assert_string_equal(told("+1"), "!not_found");
    assert_string_equal(told("1000 "), "!not_found");
}

static void what_is_no_user(void **state)
{
    (void)state;
    assert_string_equal(told(""), "!invalid");
    assert_string_equal(told(":"), "!invalid");
    assert_string_equal(told("a:b:c"), "!invalid");
    assert_string_equal(told("worker:1:"), "!invalid");
    assert_string_equal(told("worker\nroot"), "!invalid");
}

static void without_files(void **state)
{
    (void)state;
    struct user u;
    struct err err;
    const struct slice none = {0};
    assert_int_equal(user_parse("1000:2000", none, none, &u, &err), 0);
    assert_int_equal(u.uid, 1000);
    assert_int_equal(u.gid, 2000);
    assert_string_equal(u.home, "/");
    assert_string_equal(u.root_home, "/");
    assert_int_equal(user_parse("worker", none, none, &u, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
}

static void groups_are_bounded(void **state)
{
    (void)state;
    cleanup_buf struct buf groups = {0};
    struct user u;
    struct err err;
    for (unsigned i = 1; i < USER_GROUPS_MAX; ++i)
        assert_true(buf_printf(&groups, "g%u:x:%u:worker\n", i, 10000 + i));
    assert_int_equal(
        user_parse("worker", SLICE_LIT(passwd_text), (struct slice){groups.p, groups.len}, &u, &err), 0);
    assert_int_equal(u.groups_len, USER_GROUPS_MAX);
    assert_true(buf_add_str(&groups, "one:x:9:worker\n"));
    assert_int_equal(
        user_parse("worker", SLICE_LIT(passwd_text), (struct slice){groups.p, groups.len}, &u, &err), -1);
    assert_int_equal(err.code, ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_the_engines_have_it), cmocka_unit_test(what_is_not_there),
        cmocka_unit_test(what_is_no_user),        cmocka_unit_test(without_files),
        cmocka_unit_test(groups_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
