// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/json.h"
#include "common/mem.h"

static json_t *parse(const char *text)
{
    struct err err;
    json_t *j = json_parse(text, strlen(text), JSON_DOCUMENT_MAX, &err);
    if (!j)
        fail_msg("%s: %s", text, err.msg);
    return j;
}

static void test_order_is_kept(void **state)
{
    (void)state;
    const char *text = "{\"z\":1,\"a\":[1,-5,true,false,null,{}],\"m\":\"x\\u00e9/\"}";
    cleanup_json json_t *j = parse(text);
    size_t len = 0;
    cleanup_free char *out = json_format(j, &len);
    assert_string_equal(out, "{\"z\":1,\"a\":[1,-5,true,false,null,{}],\"m\":\"x\xc3\xa9/\"}");
    assert_int_equal(len, strlen(out));
    cleanup_free char *again = json_format(j, NULL);
    assert_string_equal(again, out);
}

static void refused(const char *text, size_t len, enum err_code code)
{
    struct err err;
    json_t *j = json_parse(text, len, 1000, &err);
    if (j)
        fail_msg("taken for JSON: %.60s", text);
    assert_int_equal(err.code, code);
    assert_true(err.msg[0] != '\0');
}

static void test_refused(void **state)
{
    (void)state;
#define R(text) refused(text, sizeof(text) - 1, ERR_INVALID)
    R("");
    R("x");
    R("\"text\"");
    R("1");
    R("{");
    R("{}{}");
    R("{} x");
    R("{}\0");
    R("{\"a\":1,\"a\":2}");
    R("{\"a\":{\"b\":1,\"b\":1}}");
    R("{\"a\":\"\\u0000\"}");
    R("{\"a\":\"\xff\"}");
    R("{\"a\":\"\xed\xa0\x80\"}");
    R("{\"a\":\"\\ud800\"}");
    R("{\"a\":01}");
    R("{\"a\":1e999}");
    R("{\"a\":9223372036854775808}"); /* past 2^63 */
    R("{\"a\":NaN}");
    R("{'a':1}");
    R("{\"a\":1,}");
    R("// comment\n{}");
    R("\xef\xbb\xbf{}");
    struct err err;
    assert_null(json_parse(NULL, 0, 100, &err));
}

static void test_limits(void **state)
{
    (void)state;
    char deep[2 * 40 + 1], flat[1002];
    for (int levels = JSON_DEPTH_MAX - 1; levels <= JSON_DEPTH_MAX + 2; ++levels) {
        memset(deep, '[', (size_t)levels);
        memset(deep + levels, ']', (size_t)levels);
        deep[2 * levels] = '\0';
        cleanup_json json_t *j = json_parse(deep, (size_t)(2 * levels), 1000, NULL);
        assert_int_equal(j != NULL, levels <= JSON_DEPTH_MAX);
    }
    memset(flat, ' ', sizeof flat);
    memcpy(flat, "[]", 2);
    cleanup_json json_t *fits = json_parse(flat, 1000, 1000, NULL);
    assert_non_null(fits);
    refused(flat, 1001, ERR_SIZE_INVALID);
    /* Brackets inside of strings are no levels, a quote that is escaped ends no string. */
    cleanup_json json_t *in_string =
        parse("[\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[[[[[[[[[\"]");
    assert_non_null(in_string);
    size_t many = 1000000;
    cleanup_free char *bomb = mem_alloc(many);
    memset(bomb, '[', many);
    assert_null(json_parse(bomb, many, many, NULL));
}

static void canonical(const char *text, const char *expected)
{
    cleanup_json json_t *j = parse(text);
    size_t len;
    cleanup_free char *out = json_format_canonical(j, &len);
    assert_string_equal(out, expected);
    assert_int_equal(len, strlen(expected));
}

static void test_canonical(void **state)
{
    (void)state;
    canonical("{}", "{}");
    canonical("{ \"b\" : [ 1 , -2, true, null ] , \"a\" : { \"d\" : false, \"c\" : \"\" } }",
              "{\"a\":{\"c\":\"\",\"d\":false},\"b\":[1,-2,true,null]}");
    /* RFC 8785 section 3.2.2.2: two-letter escapes, lower-case hex, nothing else escaped. */
    canonical("[\"\\u20ac$\\u000F\\u000aA'\\u0042\\u0022\\u005c\\\\\\\"\\/\\u007f\\b\\t\\f\\r\"]",
              "[\"\xe2\x82\xac$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\x7f\\b\\t\\f\\r\"]");
    /* The order of section 3.2.3, by UTF-16 code units: the smile (a surrogate pair) before U+FB33. */
    canonical(
        "{\"\\u20ac\":1,\"\\r\":2,\"\\ufb33\":3,\"1\":4,\"\\ud83d\\ude00\":5,\"\\u0080\":6,\"\\u00f6\":7}",
        "{\"\\r\":2,\"1\":4,\"\xc2\x80\":6,\"\xc3\xb6\":7,\"\xe2\x82\xac\":1,\"\xf0\x9f\x98\x80\":5,"
        "\"\xef\xac\xb3\":3}");
    canonical("{\"aa\":1,\"a\":2,\"\":3,\"b\":4,\"A\":5}", "{\"\":3,\"A\":5,\"a\":2,\"aa\":1,\"b\":4}");
    /* Two surrogate pairs with the same first unit. */
    canonical("{\"\\ud83d\\ude01\":1,\"\\ud83d\\ude00\":2}",
              "{\"\xf0\x9f\x98\x80\":2,\"\xf0\x9f\x98\x81\":1}");
    canonical("[9007199254740993,-9223372036854775808]", "[9007199254740993,-9223372036854775808]");
}

static void test_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool unsafe;
    } cases[] = {{"{\"a\":9007199254740992}", false},
                 {"{\"a\":-9007199254740992}", false},
                 {"{\"a\":9007199254740993}", true},
                 {"{\"a\":-9007199254740993}", true},
                 {"{\"a\":1.0}", true},
                 {"{\"a\":1e2}", true},
                 {"[[{\"x\":[0.5]}]]", true},
                 {"[[{\"x\":[\"0.5\",null,true]}]]", false},
                 {"[]", false},
                 {"{}", false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        cleanup_json json_t *j = parse(cases[i].text);
        if (json_has_unsafe_number(j) != cases[i].unsafe)
            fail_msg("%s", cases[i].text);
    }
}

static void test_get_str(void **state)
{
    (void)state;
    cleanup_json json_t *j = parse("{\"s\":\"x\",\"n\":null,\"i\":1,\"o\":{}}");
    struct err err;
    const char *s = "kept";
    assert_int_equal(json_get_str(j, "s", &s, &err), 0);
    assert_string_equal(s, "x");
    assert_int_equal(json_get_str(j, "n", &s, &err), 0);
    assert_null(s);
    assert_int_equal(json_get_str(j, "absent", &s, &err), 0);
    assert_null(s);
    s = "kept";
    assert_true(json_get_str(j, "i", &s, &err) < 0);
    assert_non_null(strstr(err.msg, "'i'"));
    assert_true(json_get_str(j, "o", &s, &err) < 0);
    assert_string_equal(s, "kept");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_order_is_kept), cmocka_unit_test(test_refused),
                                       cmocka_unit_test(test_limits),        cmocka_unit_test(test_canonical),
                                       cmocka_unit_test(test_numbers),       cmocka_unit_test(test_get_str)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
