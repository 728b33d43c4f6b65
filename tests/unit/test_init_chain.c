// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "fuse-layer/init/chain.h"

static char *arguments[] = {"first", "", NULL};

/* The command of a chain and two arguments, its words joined by '|'; "!" and the message where there is none.
 */
static char *joined(const char *chain)
{
    struct err err;
    cleanup_free char **words = chain_command(chain, 2, arguments, &err);
    if (!words)
        return mem_printf("!%s", err.msg);
    char *all = mem_strdup("");
    for (size_t i = 0; words[i]; ++i) {
        char *more = mem_printf("%s%s%s", all, i ? "|" : "", words[i]);
        free(all);
        all = more;
    }
    return all;
}

static void words_stand_in_front(void **state)
{
    static const struct {
        const char *chain, *expected;
    } cases[] = {
        {NULL, "first|"},
        {"", "first|"},
        {"[]", "first|"},
        {" []", " []|first|"},
        {"[ \n]\t", "first|"},
        {"/entry", "/entry|first|"},
        {"/entry with spaces \"and\" quotes", "/entry with spaces \"and\" quotes|first|"},
        {"[", "[|first|"},
        {"[ -f /x ]", "[ -f /x ]|first|"},
        {"[\"a\"]", "a|first|"},
        {"[\"\"]", "|first|"},
        {" \"a\"", " \"a\"|first|"},
        {"[\"sh\",\"-c\",\"echo $1, \\\"x\\\"\"]", "sh|-c|echo $1, \"x\"|first|"},
        {"[ \"a\" ,\r\n\"b\" ]", "a|b|first|"},
        {"[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"]", "\"\\/\b\f\n\r\t|first|"},
        {"[\"\\u0041\\u00e9\\u20AC\\ud83d\\ude00\"]", "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80|first|"},
        {"[\"\xc3\xa9\"]", "\xc3\xa9|first|"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        cleanup_free char *found = joined(cases[i].chain);
        assert_string_equal(found, cases[i].expected);
    }
}

static void what_is_no_array_of_strings_is_refused(void **state)
{
    static const struct {
        const char *chain, *says;
    } cases[] = {
        {"[\"a\"", "no comma and no closing bracket"},
        {"[\"a", "without an end"},
        {"[\"", "without an end"},
        {"[\"a\",]", "no string"},
        {"[\"a\",", "no string"},
        {"[\"a\" \"b\"]", "no comma"},
        {"[\"a\", 1]", "no string"},
        {"[\"a\", null]", "no string"},
        {"[\"a\", [\"b\"]]", "no string"},
        {"[\"a\"] x", "behind its closing bracket"},
        {"[\"a\"]]", "behind its closing bracket"},
        {"[\"\\x\"]", "an escape"},
        {"[\"\\", "an escape"},
        {"[\"\\u00", "four hex digits"},
        {"[\"\\u00g0\"]", "four hex digits"},
        {"[\"\\u0000\"]", "a NUL"},
        {"[\"\\ud800\"]", "surrogate"},
        {"[\"\\ud800\\u0041\"]", "surrogate"},
        {"[\"\\ude00\"]", "surrogate"},
        {"[\"a\nb\"]", "control character"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        cleanup_free char *found = joined(cases[i].chain);
        assert_int_equal(found[0], '!');
        assert_non_null(strstr(found, "WAVE_ENTRY_CHAIN"));
        if (!strstr(found, cases[i].says))
            fail_msg("'%s' for %s, not '%s'", found, cases[i].chain, cases[i].says);
    }
}

static void it_is_bounded(void **state)
{
    (void)state;
    struct err err;
    const size_t words = CHAIN_WORDS_MAX + 1;
    cleanup_free char *many = mem_alloc(4 * words + 2);
    many[0] = '[';
    for (size_t i = 0; i < words; ++i)
        memcpy(many + 1 + 4 * i, "\"a\",", 4);
    memcpy(many + 4 * words, "]", 2);
    assert_null(chain_command(many, 0, NULL, &err));
    assert_int_equal(err.code, ERR_INVALID);
    memcpy(many + 4 * (words - 1), "]", 2);
    cleanup_free char **most = chain_command(many, 2, arguments, &err);
    assert_non_null(most);
    assert_string_equal(most[CHAIN_WORDS_MAX - 1], "a");
    assert_string_equal(most[CHAIN_WORDS_MAX], "first");
    assert_null(most[CHAIN_WORDS_MAX + 2]);

    cleanup_free char *big = mem_alloc(CHAIN_BYTES_MAX + 2);
    memset(big, 'a', CHAIN_BYTES_MAX + 1);
    big[CHAIN_BYTES_MAX + 1] = '\0';
    assert_null(chain_command(big, 0, NULL, &err));
    assert_int_equal(err.code, ERR_SIZE_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_stand_in_front),
        cmocka_unit_test(what_is_no_array_of_strings_is_refused),
        cmocka_unit_test(it_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
