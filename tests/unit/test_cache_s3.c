// SPDX-License-Identifier: Apache-2.0
/* Where blobs are in S3: the URL that says so, and which keys are blobs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "proxy/cache/s3_gc.h"
#include "proxy/cache/s3_url.h"

#define HEX "6ad733544a6317992a6fac4eb19fe1df577d4dec7529efec28a5bd0edad0fd30"

static void check(const char *got, const char *want)
{
    if (want)
        assert_string_equal(got, want);
    else
        assert_null(got);
}

static void test_urls(void **state)
{
    (void)state;
    static const struct {
        const char *text, *bucket, *prefix, *endpoint, *region, *ca, *storage_class, *sse;
        bool path_style;
    } cases[] = {
        {.text = "s3://data", .bucket = "data", .prefix = ""},
        {.text = "s3://data/", .bucket = "data", .prefix = ""},
        {.text = "s3://data/a/b/", .bucket = "data", .prefix = "a/b"},
        {.text = "s3://data/x?endpoint=http://127.0.0.1:9000&region=eu-1&path-style=1",
         .bucket = "data",
         .prefix = "x",
         .endpoint = "http://127.0.0.1:9000",
         .region = "eu-1",
         .path_style = true},
        {.text = "s3://data?endpoint=https%3A%2F%2Fs3.lab%2Fa&path-style=0",
         .bucket = "data",
         .prefix = "",
         .endpoint = "https://s3.lab/a"},
        {.text = "s3://data?ca=/etc/my%20ca.pem", .bucket = NULL},
        {.text = "s3://data?ca=/etc/ca.pem&storage-class=STANDARD_IA&sse=aws:kms",
         .bucket = "data",
         .prefix = "",
         .ca = "/etc/ca.pem",
         .storage_class = "STANDARD_IA",
         .sse = "aws:kms"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        struct s3_blobs_url u = {0};
        struct err err;
        int rc = s3_blobs_url_parse(cases[i].text, &u, &err);
        assert_int_equal(rc, cases[i].bucket ? 0 : -1);
        if (rc < 0)
            continue;
        assert_string_equal(u.bucket, cases[i].bucket);
        assert_string_equal(u.prefix, cases[i].prefix);
        check(u.endpoint, cases[i].endpoint);
        check(u.region, cases[i].region);
        check(u.ca_file, cases[i].ca);
        check(u.storage_class, cases[i].storage_class);
        check(u.sse, cases[i].sse);
        assert_int_equal(u.path_style, cases[i].path_style);
        s3_blobs_url_free(&u);
    }
}

static void test_urls_that_are_wrong(void **state)
{
    (void)state;
    static const char *const cases[] = {"",
                                        "data",
                                        "S3://data",
                                        "s3:/data",
                                        "s3://",
                                        "s3:///x",
                                        "s3://a/b",
                                        "s3://data//x",
                                        "s3://data/x//y",
                                        "s3://data/x y",
                                        "s3://data/x%20y",
                                        "s3://data?",
                                        "s3://data?region",
                                        "s3://data?region=",
                                        "s3://data?region=a/b",
                                        "s3://data?region=a&region=b",
                                        "s3://data?endpoint=ftp://x",
                                        "s3://data?endpoint=http://u:p@x",
                                        "s3://data?endpoint=http://x%3Fy",
                                        "s3://data?path-style=yes",
                                        "s3://data?sse=a%0d%0ab",
                                        "s3://data?ca=%00",
                                        "s3://data?ca=%zz",
                                        "s3://data?key=x"};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        struct s3_blobs_url u;
        struct err err;
        if (s3_blobs_url_parse(cases[i], &u, &err) == 0)
            fail_msg("taken: %s", cases[i]);
        assert_int_equal(err.code, ERR_INVALID);
    }
}

static void test_keys(void **state)
{
    (void)state;
    static const struct {
        const char *prefix, *key;
        bool is_blob;
    } cases[] = {
        {"", "blobs/sha256/6a/" HEX, true},
        {"cache", "cache/blobs/sha256/6a/" HEX, true},
        {"cache", "blobs/sha256/6a/" HEX, false},
        {"", "cache/blobs/sha256/6a/" HEX, false},
        {"cac", "cache/blobs/sha256/6a/" HEX, false},
        {"", "blobs/sha256/6b/" HEX, false},
        {"", "blobs/sha256/6a/" HEX "0", false},
        {"", "blobs/sha256/6a/" HEX "/x", false},
        {"", "blobs/sha256/6a/6ad7", false},
        {"", "blobs/sha512/6a/" HEX, false},
        {"", "blobs/sha512/6a/" HEX HEX, true},
        {"", "blobs/md5/6a/" HEX, false},
        {"", "blobs/sha256/" HEX, false},
        {"", "", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i)
        if (s3_gc_is_blob(cases[i].prefix, cases[i].key) != cases[i].is_blob)
            fail_msg("'%s' below '%s'", cases[i].key, cases[i].prefix);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_urls),
        cmocka_unit_test(test_urls_that_are_wrong),
        cmocka_unit_test(test_keys),
    };
    return cmocka_run_group_tests_name("blobs in S3", tests, NULL, NULL);
}
