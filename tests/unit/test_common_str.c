// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/cleanup.h"
#include "common/str.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void test_slices(void **state)
{
    (void)state;
    struct slice empty = {NULL, 0}, abc = SLICE_LIT("abc");
    assert_true(slice_eq(empty, slice_of("")));
    assert_true(slice_eq(slice_of(NULL), empty));
    assert_true(slice_eq_str(abc, "abc"));
    assert_false(slice_eq_str(abc, "abd"));
    assert_false(slice_eq_str(abc, "ab"));
    assert_true(slice_starts_with(abc, "") && slice_starts_with(abc, "ab") && slice_starts_with(abc, "abc"));
    assert_false(slice_starts_with(abc, "abcd") || slice_starts_with(abc, "b") ||
                 slice_starts_with(empty, "a"));
    assert_true(slice_starts_with(empty, "") && slice_ends_with(empty, ""));
    assert_true(slice_ends_with(abc, "bc") && slice_ends_with(abc, "abc"));
    assert_false(slice_ends_with(abc, "ab") || slice_ends_with(abc, "xabc"));
    assert_true(slice_ieq_str(SLICE_LIT("BeArEr"), "bearer"));
    assert_false(slice_ieq_str(SLICE_LIT("bear"), "bearer") || slice_ieq_str(SLICE_LIT("bearex"), "bearer"));
    assert_true(slice_ieq_str(empty, ""));
    assert_false(slice_ieq_str(empty, "a"));
    assert_false(slice_ieq_str((struct slice){"a\0b", 3}, "a"));
    assert_true(slice_eq_str(slice_trim(SLICE_LIT(" \t a b\t ")), "a b"));
    assert_int_equal(slice_trim(SLICE_LIT(" \t ")).len, 0);
    assert_true(slice_eq_str(slice_trim(SLICE_LIT("\na\n")), "\na\n")); /* spaces and tabs only */
}

static void test_cut(void **state)
{
    (void)state;
    struct slice rest = SLICE_LIT("a//b");
    assert_true(slice_eq_str(slice_cut(&rest, '/'), "a"));
    assert_true(slice_eq_str(slice_cut(&rest, '/'), ""));
    assert_non_null(rest.p);
    assert_true(slice_eq_str(slice_cut(&rest, '/'), "b"));
    assert_null(rest.p);
    assert_int_equal(slice_cut(&rest, '/').len, 0);
    rest = SLICE_LIT("a/");
    assert_true(slice_eq_str(slice_cut(&rest, '/'), "a"));
    assert_non_null(rest.p); /* an empty last part is there */
    assert_int_equal(rest.len, 0);
}

static void test_to_u64(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t max;
        bool ok;
        uint64_t value;
    } cases[] = {{"0", 10, true, 0},
                 {"10", 10, true, 10},
                 {"11", 10, false, 0},
                 {"00010", 10, true, 10},
                 {"", 10, false, 0},
                 {"-1", 10, false, 0},
                 {"+1", 10, false, 0},
                 {" 1", 10, false, 0},
                 {"1 ", 10, false, 0},
                 {"1e1", 10, false, 0},
                 {"0x1", 10, false, 0},
                 {"18446744073709551615", UINT64_MAX, true, UINT64_MAX},
                 {"18446744073709551616", UINT64_MAX, false, 0},
                 {"99999999999999999999999999", UINT64_MAX, false, 0},
                 {"9223372036854775808", INT64_MAX, false, 0}};
    for (size_t i = 0; i < COUNT(cases); ++i) {
        uint64_t v = 77;
        bool ok = slice_to_u64(slice_of(cases[i].text), cases[i].max, &v);
        if (ok != cases[i].ok || v != (ok ? cases[i].value : 77))
            fail_msg("'%s' gives %d, %llu", cases[i].text, ok, (unsigned long long)v);
    }
    uint64_t v;
    assert_false(slice_to_u64((struct slice){"1\0", 2}, 100, &v));
}

static void test_buf(void **state)
{
    (void)state;
    cleanup_buf struct buf b = {0};
    assert_string_equal(buf_str(&b), "");
    assert_true(buf_add(&b, "", 0) && buf_add_str(&b, "a") && buf_add_slice(&b, SLICE_LIT("bc")));
    assert_true(buf_printf(&b, "%d-%s", 7, "x"));
    assert_string_equal(buf_str(&b), "abc7-x");
    assert_int_equal(b.len, 6);
    for (int i = 0; i < 10000; ++i)
        assert_true(buf_add(&b, "0123456789", 10));
    assert_int_equal(b.len, 100006);
    assert_int_equal(b.p[b.len], '\0');
    buf_reset(&b);
    assert_string_equal(buf_str(&b), "");
    assert_true(buf_add_u64(&b, 0) && buf_add_u64(&b, 1030) && buf_add_u64(&b, UINT64_MAX));
    assert_string_equal(buf_str(&b), "0103018446744073709551615");
    buf_reset(&b);
    assert_true(buf_add_str(&b, "again"));
    cleanup_free char *taken = buf_take(&b);
    assert_string_equal(taken, "again");
    assert_string_equal(buf_str(&b), "");
    cleanup_free char *nothing = buf_take(&b);
    assert_string_equal(nothing, "");
}

static void test_buf_limit(void **state)
{
    (void)state;
    cleanup_buf struct buf b = {.max = 10};
    assert_true(buf_add_str(&b, "0123456789"));
    assert_false(buf_add_str(&b, "x"));
    assert_true(b.overflow);
    assert_string_equal(buf_str(&b), "0123456789");
    buf_reset(&b);
    assert_false(b.overflow);
    assert_false(buf_printf(&b, "%020d", 1));
    assert_false(buf_add_str(&b, "")); /* sticky: the end must not look well */
    assert_int_equal(b.len, 0);
    buf_reset(&b);
    assert_false(buf_add_json_str(&b, SLICE_LIT("0123456789")));
    buf_reset(&b);
    assert_false(buf_add_url_escaped(&b, SLICE_LIT("////")));
    assert_true(b.overflow);
}

static void check_json(const char *bytes, size_t len, const char *expected)
{
    cleanup_buf struct buf b = {0};
    assert_true(buf_add_json_str(&b, (struct slice){bytes, len}));
    assert_string_equal(buf_str(&b), expected);
}

static void test_json_str(void **state)
{
    (void)state;
#define J(in, out) check_json(in, sizeof(in) - 1, out)
    J("", "\"\"");
    J("a\"b\\c/", "\"a\\\"b\\\\c/\"");
    J("\n\r\t\b\0\x1f\x7f", "\"\\n\\r\\t\\u0008\\u0000\\u001f\\u007f\"");
    J("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"");
    J("\xff", "\"\xef\xbf\xbd\"");
    J("a\xc3", "\"a\xef\xbf\xbd\"");                                               /* cut off */
    J("\xc0\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\"");                                 /* overlong */
    J("\xe0\x80\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");                 /* overlong */
    J("\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");                 /* a surrogate */
    J("\xf4\x90\x80\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""); /* past U+10FFFF */
    J("\xf0\x9f\x98", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
    J("\xc3\"", "\"\xef\xbf\xbd\\\"\""); /* the quote is not taken for a part of the sequence */
}

static void test_url_escaped(void **state)
{
    (void)state;
    cleanup_buf struct buf b = {0};
    assert_true(buf_add_url_escaped(&b, (struct slice){"aZ09-._~ /:?\0\xff%", 15}));
    assert_string_equal(buf_str(&b), "aZ09-._~%20%2F%3A%3F%00%FF%25");
}

static void test_glob(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *text;
        bool match;
    } cases[] = {{"", "", true},
                 {"", "a", false},
                 {"*", "", true},
                 {"*", "a/b", true},
                 {"a", "a", true},
                 {"a", "A", false},
                 {"a*", "a", true},
                 {"a*c", "abc", true},
                 {"a*c", "abcd", false},
                 {"*c", "abcabc", true},
                 {"*b*b*", "abab", true},
                 {"*b*b*b*", "abab", false},
                 {"**", "x", true},
                 {"a?c", "abc", false},
                 {"a?c", "a?c", true},
                 {"[a]", "a", false},
                 {"quay.io/nextflow/*", "quay.io/nextflow/bash", true},
                 {"quay.io/nextflow/*", "quay.io/nextflow", false},
                 {"quay.io/nextflow/*", "quay.iox/nextflow/bash", false},
                 {"*a*a*a*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false}};
    for (size_t i = 0; i < COUNT(cases); ++i)
        if (str_glob_match(cases[i].pattern, cases[i].text) != cases[i].match)
            fail_msg("'%s' and '%s'", cases[i].pattern, cases[i].text);
}

static void test_sizes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool ok;
        uint64_t value;
        bool percent;
    } cases[] = {{"0", true, 0, false},
                 {"1048576", true, 1048576, false},
                 {"1 B", true, 1, false},
                 {"10 GiB", true, (uint64_t)10 << 30, false},
                 {"10gib", true, (uint64_t)10 << 30, false},
                 {"512MiB", true, 512 << 20, false},
                 {"1.5KiB", true, 1536, false},
                 {"2TiB", true, (uint64_t)2 << 40, false},
                 {"1kB", true, 1000, false},
                 {"1MB", true, 1000000, false},
                 {"1GB", true, 1000000000, false},
                 {"1TB", true, 1000000000000, false},
                 {"80%", true, 80, true},
                 {"80 %", true, 80, true},
                 {"100%", true, 100, true},
                 {"101%", false, 0, false},
                 {"", false, 0, false},
                 {"GiB", false, 0, false},
                 {"-1", false, 0, false},
                 {"+1", false, 0, false},
                 {" 1", false, 0, false},
                 {"1 GiB ", false, 0, false},
                 {"1 PB", false, 0, false},
                 {"1 GiBx", false, 0, false},
                 {"1.2.3", false, 0, false},
                 {".5 GiB", false, 0, false},
                 {"0x10", false, 0, false},
                 {"1e3", false, 0, false},
                 {"1e3%", false, 0, false},
                 {"nan", false, 0, false},
                 {"inf", false, 0, false},
                 {"99999999999 TiB", false, 0, false},
                 {"99999999999999999999999", false, 0, false}};
    for (size_t i = 0; i < COUNT(cases); ++i) {
        uint64_t v = 0;
        bool percent = false, ok = str_parse_size(cases[i].text, &v, &percent);
        if (ok != cases[i].ok || (ok && (v != cases[i].value || percent != cases[i].percent)))
            fail_msg("'%s' gives %d, %llu, %d", cases[i].text, ok, (unsigned long long)v, percent);
    }
}

static void test_durations(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool ok;
        uint64_t ms;
    } cases[] = {
        {"0", true, 0},       {"10", true, 10000},    {"500ms", true, 500},    {"10s", true, 10000},
        {"5m", true, 300000}, {"5min", true, 300000}, {"24h", true, 86400000}, {"7d", true, 604800000},
        {"1.5s", true, 1500}, {"10 s", true, 10000},  {"", false, 0},          {"s", false, 0},
        {"-1s", false, 0},    {"10S", false, 0},      {"10 weeks", false, 0},  {"1h30m", false, 0},
        {"0x10s", false, 0},  {"1e2s", false, 0},     {"1s ", false, 0},       {"999999999999d", false, 0}};
    for (size_t i = 0; i < COUNT(cases); ++i) {
        uint64_t ms = 0;
        bool ok = str_parse_duration(cases[i].text, &ms);
        if (ok != cases[i].ok || (ok && ms != cases[i].ms))
            fail_msg("'%s' gives %d, %llu", cases[i].text, ok, (unsigned long long)ms);
    }
}

static void test_format_size(void **state)
{
    (void)state;
    static const struct {
        uint64_t bytes;
        const char *text;
    } cases[] = {{0, "0 B"},           {1023, "1023 B"},         {1024, "1.0 KiB"},
                 {1536, "1.5 KiB"},    {102400, "100 KiB"},      {(uint64_t)3 << 30, "3.0 GiB"},
                 {1048575, "1.0 MiB"}, {UINT64_MAX, "16384 PiB"}};
    for (size_t i = 0; i < COUNT(cases); ++i) {
        char out[16];
        assert_ptr_equal(str_format_size(cases[i].bytes, out, sizeof out), out);
        assert_string_equal(out, cases[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_slices),      cmocka_unit_test(test_cut),
                                       cmocka_unit_test(test_to_u64),      cmocka_unit_test(test_buf),
                                       cmocka_unit_test(test_buf_limit),   cmocka_unit_test(test_json_str),
                                       cmocka_unit_test(test_url_escaped), cmocka_unit_test(test_glob),
                                       cmocka_unit_test(test_sizes),       cmocka_unit_test(test_durations),
                                       cmocka_unit_test(test_format_size)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
