// SPDX-License-Identifier: Apache-2.0
/* AWS's published examples: those of the S3 API reference ("Authenticating Requests", the header variant),
 * and of the Signature Version 4 test suite. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include <sys/uio.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "s3/sigv4.h"

#define EMPTY_HASH "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define S3_TIME    1369353600000 /* 2013-05-24T00:00:00Z */
#define SUITE_TIME 1440938160000 /* 2015-08-30T12:36:00Z */
#define TOKEN                                                                                                \
    "AQoDYXdzEPT//////////"                                                                                  \
    "wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuw"             \
    "thAx7mSEI/qkPpKPi/"                                                                                     \
    "kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHN"          \
    "VXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+"                                                        \
    "scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxB"                                       \
    "A=="

static const struct sigv4_key s3_key = {.access_key_id = "AKIAIOSFODNN7EXAMPLE",
                                        .secret_access_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                                        .region = "us-east-1",
                                        .service = "s3"};
static const struct sigv4_key suite_key = {.access_key_id = "AKIDEXAMPLE",
                                           .secret_access_key = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
                                           .region = "us-east-1",
                                           .service = "service"};

static const struct {
    const char *name, *method, *path;
    struct sigv4_pair query[2], headers[2];
    const char *body, *signed_names, *signature;
    bool s3;
} cases[] = {
    {"S3 GET object",
     "GET",
     "/test.txt",
     {{NULL, NULL}},
     {{"range", "bytes=0-9"}},
     "",
     "host;range;x-amz-content-sha256;x-amz-date",
     "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
     true},
    {"S3 PUT object",
     "PUT",
     "/test%24file.text",
     {{NULL, NULL}},
     {{"x-amz-storage-class", "REDUCED_REDUNDANCY"}, {"date", "Fri, 24 May 2013 00:00:00 GMT"}},
     "Welcome to Amazon S3.",
     "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
     "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
     true},
    {"S3 GET lifecycle",
     "GET",
     "/",
     {{"lifecycle", ""}},
     {{NULL, NULL}},
     "",
     "host;x-amz-content-sha256;x-amz-date",
     "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
     true},
    {"S3 list",
     "GET",
     "/",
     {{"prefix", "J"}, {"max-keys", "2"}},
     {{NULL, NULL}},
     "",
     "host;x-amz-content-sha256;x-amz-date",
     "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
     true},
    {"get-vanilla",
     "GET",
     "/",
     {{NULL, NULL}},
     {{NULL, NULL}},
     "",
     "host;x-amz-date",
     "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
     false},
    {"get-vanilla-query-order-key-case",
     "GET",
     "/",
     {{"Param2", "value2"}, {"Param1", "value1"}},
     {{NULL, NULL}},
     "",
     "host;x-amz-date",
     "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
     false},
    {"get-vanilla-utf8-query",
     "GET",
     "/",
     {{"\xe1\x88\xb4", "bar"}},
     {{NULL, NULL}},
     "",
     "host;x-amz-date",
     "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04",
     false},
    {"get-unreserved",
     "GET",
     "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
     {{NULL, NULL}},
     {{NULL, NULL}},
     "",
     "host;x-amz-date",
     "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
     false},
    {"get-header-value-trim",
     "GET",
     "/",
     {{NULL, NULL}},
     {{"my-header1", " value1"}, {"my-header2", " \"a   b   c\""}},
     "",
     "host;my-header1;my-header2;x-amz-date",
     "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
     false},
    {"post-x-www-form-urlencoded",
     "POST",
     "/",
     {{NULL, NULL}},
     {{"content-type", "application/x-www-form-urlencoded"}},
     "Param1=value1",
     "content-type;host;x-amz-date",
     "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
     false},
};

static size_t pairs(const struct sigv4_pair *p)
{
    return p[0].name ? p[1].name ? 2 : 1 : 0;
}

static void test_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        char hash[SIGV4_HASH_MAX + 1];
        sigv4_hash(&(struct iovec){(void *)(uintptr_t)cases[i].body, strlen(cases[i].body)}, 1, hash);
        struct sigv4_request q = {.method = cases[i].method,
                                  .host = cases[i].s3 ? "examplebucket.s3.amazonaws.com"
                                                      : "example.amazonaws.com",
                                  .path = cases[i].path,
                                  .query = cases[i].query,
                                  .query_len = pairs(cases[i].query),
                                  .headers = cases[i].headers,
                                  .headers_len = pairs(cases[i].headers),
                                  .payload = hash,
                                  .payload_header = cases[i].s3};
        cleanup_buf struct buf b = {0};
        struct err err = {0};
        int rc = sigv4_add_headers(&b, &q, cases[i].s3 ? &s3_key : &suite_key,
                                   cases[i].s3 ? S3_TIME : SUITE_TIME, &err);
        assert_int_equal(rc, 0);
        cleanup_free char *want =
            mem_printf("SignedHeaders=%s, Signature=%s\r\n", cases[i].signed_names, cases[i].signature);
        if (!strstr(buf_str(&b), want))
            fail_msg("%s:\ngave   %s\nwanted %s", cases[i].name, buf_str(&b), want);
    }
}

static void test_token_is_signed(void **state)
{
    (void)state;
    struct sigv4_request q = {
        .method = "POST", .host = "example.amazonaws.com", .path = "/", .payload = EMPTY_HASH};
    struct sigv4_key key = suite_key;
    cleanup_buf struct buf b = {0};
    key.session_token = TOKEN;
    assert_int_equal(sigv4_add_headers(&b, &q, &key, SUITE_TIME, NULL), 0);
    assert_non_null(strstr(buf_str(&b), "x-amz-security-token: " TOKEN "\r\n"));
    assert_non_null(
        strstr(buf_str(&b), "Signature=85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"));
}

static void test_query(void **state)
{
    (void)state;
    const struct sigv4_pair query[] = {{"b", "2"}, {"a+", "x y/z"}, {"a", ""}, {"a", "%"}, {"a-", "1"}};
    cleanup_buf struct buf b = {0};
    sigv4_add_query(&b, query, 5);
    assert_string_equal(buf_str(&b), "a=&a=%25&a%2B=x%20y%2Fz&a-=1&b=2");
}

/* AWS, "Authenticating Requests: Using Query Parameters", the example. */
static void test_presigned(void **state)
{
    (void)state;
    struct sigv4_request q = {.method = "GET", .host = "examplebucket.s3.amazonaws.com", .path = "/test.txt"};
    struct sigv4_key key = {.access_key_id = "AKIAIOSFODNN7EXAMPLE",
                            .secret_access_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                            .region = "us-east-1",
                            .service = "s3"};
    cleanup_buf struct buf b = {0}, with_token = {0};
    struct err err = {0};
    assert_int_equal(sigv4_add_presigned(&b, &q, &key, INT64_C(1369353600000), 86400, NULL), 0);
    assert_string_equal(
        buf_str(&b), "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-"
                     "east-1%2Fs3%2F"
                     "aws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&"
                     "X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404");
    key.session_token = TOKEN;
    assert_int_equal(sigv4_add_presigned(&with_token, &q, &key, INT64_C(1369353600000), 900, NULL), 0);
    assert_non_null(strstr(buf_str(&with_token), "&X-Amz-Security-Token="));
    struct sigv4_pair header = {"x", "y"};
    q.headers = &header;
    q.headers_len = 1;
    assert_int_equal(sigv4_add_presigned(&b, &q, &key, 0, 900, &err), -1);
    assert_int_equal(err.code, ERR_INVALID);
}

static void test_limits(void **state)
{
    (void)state;
    struct sigv4_pair many[SIGV4_HEADERS_MAX];
    for (size_t i = 0; i < SIGV4_HEADERS_MAX; ++i)
        many[i] = (struct sigv4_pair){"x", "y"};
    struct sigv4_request q = {.method = "GET",
                              .host = "h",
                              .path = "/",
                              .headers = many,
                              .headers_len = SIGV4_HEADERS_MAX - 3,
                              .payload = EMPTY_HASH};
    cleanup_buf struct buf b = {0};
    struct err err = {0};
    assert_int_equal(sigv4_add_headers(&b, &q, &suite_key, 0, &err), -1);
    assert_int_equal(err.code, ERR_INVALID);
    q.headers_len = SIGV4_HEADERS_MAX - 4;
    assert_int_equal(sigv4_add_headers(&b, &q, &suite_key, 0, &err), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors), cmocka_unit_test(test_token_is_signed),
        cmocka_unit_test(test_query),   cmocka_unit_test(test_presigned),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests_name("s3 sigv4", tests, NULL, NULL);
}
