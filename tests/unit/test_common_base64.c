// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <openssl/evp.h>

#include "common/base64.h"
#include "common/cleanup.h"

/* NULL: refused. */
static const struct {
    const char *text, *strict, *loose, *url;
} cases[] = {
    {"", "", "", ""},
    {"Zg==", "f", "f", NULL},
    {"Zg", NULL, "f", "f"},
    {"Zm8=", "fo", "fo", NULL},
    {"Zm8", NULL, "fo", "fo"},
    {"Zm9v", "foo", "foo", "foo"},
    {"Zm9vYg==", "foob", "foob", NULL},
    {"+/+/", "\xfb\xff\xbf", "\xfb\xff\xbf", NULL},
    {"-_-_", NULL, NULL, "\xfb\xff\xbf"},
    {"Zh==", NULL, "f", NULL}, /* a bit behind the end */
    {"Zm9=", NULL, "fo", NULL},
    {"Zm9vYg", NULL, "foob", "foob"},
    {"Z", NULL, NULL, NULL},
    {"Zm9vY", NULL, NULL, NULL},
    {"Zg=", NULL, NULL, NULL},
    {"=", NULL, NULL, NULL},
    {"====", NULL, NULL, NULL},
    {"Z===", NULL, NULL, NULL},
    {"Zg==Zg==", NULL, NULL, NULL},
    {"Z=g=", NULL, NULL, NULL},
    {"Zm9 ", NULL, NULL, NULL},
    {"Zm9\n", NULL, NULL, NULL},
    {"Zm9\x80", NULL, NULL, NULL},
    {"Zm9v\n", NULL, NULL, NULL},
};

static void decode_one(const char *text, enum base64_form form, const char *want)
{
    cleanup_buf struct buf b = {.max = 100};
    struct err err = {0};
    char raw[BASE64_DECODED_MAX(16)];
    int rc = base64_decode_buf(slice_of(text), form, &b, &err);
    ssize_t n = base64_decode(slice_of(text), form, raw, NULL);
    if ((rc == 0) != (want != NULL) || (n >= 0) != (want != NULL))
        fail_msg("'%s' in form %d: %s", text, (int)form, rc == 0 ? "accepted" : err.msg);
    if (!want) {
        assert_int_equal(err.code, ERR_INVALID);
        return;
    }
    assert_string_equal(buf_str(&b), want);
    assert_int_equal(n, strlen(want));
    assert_memory_equal(raw, want, n);
}

static void test_forms(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        decode_one(cases[i].text, BASE64_STRICT, cases[i].strict);
        decode_one(cases[i].text, BASE64_LOOSE, cases[i].loose);
        decode_one(cases[i].text, BASE64_URL, cases[i].url);
    }
}

/* All bytes, all phases, against OpenSSL's encoder. */
static void test_what_openssl_encodes(void **state)
{
    (void)state;
    unsigned char bytes[259], back[BASE64_DECODED_MAX(400)];
    char text[400];
    for (size_t i = 0; i < sizeof bytes; ++i)
        bytes[i] = (unsigned char)(i * 7);
    for (int len = 250; len <= (int)sizeof bytes; ++len) {
        int n = EVP_EncodeBlock((unsigned char *)text, bytes, len);
        assert_int_equal(base64_decode((struct slice){text, (size_t)n}, BASE64_STRICT, back, NULL), len);
        assert_memory_equal(back, bytes, len);
    }
}

static void test_buf_is_bounded(void **state)
{
    (void)state;
    struct err err = {0};
    cleanup_buf struct buf b = {.max = 5};
    assert_int_equal(base64_decode_buf(SLICE_LIT("Zm8="), BASE64_STRICT, &b, &err), 0);
    assert_int_equal(base64_decode_buf(SLICE_LIT("Zm9v"), BASE64_STRICT, &b, &err), 0);
    assert_string_equal(buf_str(&b), "fofoo"); /* appended, to the last byte */
    assert_int_equal(base64_decode_buf(SLICE_LIT("Zg"), BASE64_URL, &b, &err), -1);
    assert_int_equal(err.code, ERR_SIZE_INVALID);
    assert_string_equal(buf_str(&b), "fofoo");
}

static void test_what_is_wrong_is_named(void **state)
{
    (void)state;
    struct err err = {0};
    char out[BASE64_DECODED_MAX(8)];
    assert_int_equal(base64_decode(SLICE_LIT("Zm9vY!=="), BASE64_LOOSE, out, &err), -1);
    assert_string_equal(err.msg, "character 6 of the base64 is none");
    assert_int_equal(base64_decode(SLICE_LIT("Zm9vY"), BASE64_LOOSE, out, &err), -1);
    assert_string_equal(err.msg, "base64 is cut short");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_what_openssl_encodes),
        cmocka_unit_test(test_buf_is_bounded),
        cmocka_unit_test(test_what_is_wrong_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
