// SPDX-License-Identifier: Apache-2.0
/* URLs of endpoints, percent-encoding, and where a bucket's requests go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/mem.h"
#include "s3/s3_place.h"
#include "s3/s3_url.h"

static const struct {
    const char *text, *want; /* scheme authority target; NULL: refused */
} urls[] = {
    {"http://127.0.0.1:9000", "http 127.0.0.1:9000 "},
    {"https://Example.COM/", "https example.com /"},
    {"example.com", "https example.com "},
    {"HTTP://h:80/a/b?c=d", "http h /a/b?c=d"},
    {"https://h:80", "https h:80 "},
    {"https://h:443?x", "https h /?x"},
    {"http://[::1]:8080/x", "http [::1]:8080 /x"},
    {"http://[fd00:ec2::23]/v1", "http [fd00:ec2::23] /v1"},
    {"http://my_host-1.local", "http my_host-1.local "},
    {"ftp://h", NULL},
    {"http://", NULL},
    {"http:///x", NULL},
    {"http://u:p@h", NULL},
    {"http://h:0", NULL},
    {"http://h:65536", NULL},
    {"http://h:", NULL},
    {"http://h:8x", NULL},
    {"http://h/a b", NULL},
    {"http://h/\r\nX: y", NULL},
    {"http://h/#f", NULL},
    {"http://[::1", NULL},
    {"http://[::1]x", NULL},
    {"http://[1.2.3.4]", NULL},
    {"http://[]", NULL},
    {"http://a..b", NULL},
    {"http://.a", NULL},
    {"http://-a", NULL},
    {"http://a\\b", NULL},
    {"", NULL},
};

static void test_parse(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; ++i) {
        struct s3_url u;
        struct err err = {0};
        char authority[URL_AUTHORITY_MAX + 1];
        if (s3_url_parse(urls[i].text, &u, &err) < 0) {
            assert_int_equal(err.code, ERR_INVALID);
            if (urls[i].want)
                fail_msg("<%s>: %s", urls[i].text, err.msg);
            continue;
        }
        s3_url_authority(&u, authority);
        cleanup_free char *got = mem_printf("%s %s %s", u.https ? "https" : "http", authority, u.target);
        if (!urls[i].want || strcmp(got, urls[i].want) != 0)
            fail_msg("<%s>: gave <%s>, wanted <%s>", urls[i].text, got,
                     urls[i].want ? urls[i].want : "refused");
    }
}

static void test_escape(void **state)
{
    (void)state;
    cleanup_buf struct buf b = {0};
    s3_url_add_escaped(&b, "a/b c+%~\xc3\xa9", true);
    assert_string_equal(buf_str(&b), "a/b%20c%2B%25~%C3%A9");
    buf_reset(&b);
    s3_url_add_escaped(&b, "a/b", false);
    assert_string_equal(buf_str(&b), "a%2Fb");
}

static void test_unescape(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to;
        bool plus;
    } cases[] = {
        {"a%20b+c", "a b c", true},
        {"a%20b+c", "a b+c", false},
        {"%e1%88%B4", "\xe1\x88\xb4", true},
        {"", "", true},
        {"%", NULL, true},
        {"%4", NULL, true},
        {"%4g", NULL, true},
        {"%g4", NULL, true},
        {"a%00b", NULL, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        cleanup_free char *s = mem_strdup(cases[i].from);
        bool good = s3_url_unescape(s, cases[i].plus);
        assert_int_equal(good, cases[i].to != NULL);
        if (good)
            assert_string_equal(s, cases[i].to);
    }
}

static const struct {
    const char *endpoint, *region;
    enum s3_addressing addressing;
    const char *bucket, *key, *want; /* NULL: refused */
} places[] = {
    {NULL, NULL, S3_ADDRESSING_AUTO, "bucket", "a/b c", "https bucket.s3.us-east-1.amazonaws.com /a/b%20c"},
    {NULL, "eu-west-1", S3_ADDRESSING_AUTO, "bucket", NULL, "https bucket.s3.eu-west-1.amazonaws.com /"},
    {NULL, "cn-north-1", S3_ADDRESSING_AUTO, "bucket", NULL, "https bucket.s3.cn-north-1.amazonaws.com.cn /"},
    {NULL, NULL, S3_ADDRESSING_AUTO, "dotted.bucket", "k",
     "https s3.us-east-1.amazonaws.com /dotted.bucket/k"},
    {NULL, NULL, S3_ADDRESSING_AUTO, "Old_Bucket", NULL, "https s3.us-east-1.amazonaws.com /Old_Bucket"},
    {NULL, NULL, S3_ADDRESSING_PATH, "bucket", "k", "https s3.us-east-1.amazonaws.com /bucket/k"},
    {NULL, NULL, S3_ADDRESSING_AUTO, NULL, NULL, "https s3.us-east-1.amazonaws.com /"},
    {"http://minio:9000", NULL, S3_ADDRESSING_AUTO, "bucket", "k", "http minio:9000 /bucket/k"},
    {"http://minio:9000/", NULL, S3_ADDRESSING_AUTO, "bucket", NULL, "http minio:9000 /bucket"},
    {"http://minio:9000", NULL, S3_ADDRESSING_AUTO, NULL, NULL, "http minio:9000 /"},
    {"https://gw/s3/", NULL, S3_ADDRESSING_AUTO, "bucket", "k", "https gw /s3/bucket/k"},
    {"http://minio:9000", NULL, S3_ADDRESSING_VIRTUAL, "bucket", "k", "http bucket.minio:9000 /k"},
    {"http://127.0.0.1:1", NULL, S3_ADDRESSING_VIRTUAL, "bucket", "k", "http 127.0.0.1:1 /bucket/k"},
    {"http://minio:9000", NULL, S3_ADDRESSING_AUTO, "bucket", "..", "http minio:9000 /bucket/.."},
    {NULL, NULL, S3_ADDRESSING_AUTO, "ab", "k", NULL},
    {NULL, NULL, S3_ADDRESSING_AUTO, "a/b", "k", NULL},
    {NULL, NULL, S3_ADDRESSING_AUTO, "a..b", "k", NULL},
    {NULL, NULL, S3_ADDRESSING_AUTO, ".hidden", "k", NULL},
    {NULL, NULL, S3_ADDRESSING_AUTO, "evil.com#", "k", NULL},
    {NULL, NULL, S3_ADDRESSING_AUTO, "bucket", "", NULL},
};

static void test_places(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; ++i) {
        struct s3_config config = {.endpoint = (char *)(uintptr_t)places[i].endpoint,
                                   .region = (char *)(uintptr_t)places[i].region,
                                   .addressing = places[i].addressing};
        struct s3_places *p = s3_places_new(&config, NULL);
        cleanup_s3_place struct s3_place place = {.path = NULL};
        char authority[URL_AUTHORITY_MAX + 1];
        struct err err = {0};
        int rc = s3_place_find(p, places[i].bucket, places[i].key, &place, &err);
        s3_places_free(p);
        assert_int_equal(rc, places[i].want ? 0 : -1);
        if (rc < 0)
            continue;
        s3_url_authority(&place.server, authority);
        cleanup_free char *got =
            mem_printf("%s %s %s", place.server.https ? "https" : "http", authority, place.path);
        assert_string_equal(got, places[i].want);
    }
}

static void test_learn(void **state)
{
    (void)state;
    struct s3_config config = {.region = NULL};
    struct s3_places *p = s3_places_new(&config, NULL);
    struct s3_place place;
    assert_true(s3_place_learn(p, "bucket", "eu-west-1", "us-east-1"));
    assert_false(s3_place_learn(p, "bucket", "eu-west-1", "eu-west-1"));
    assert_false(s3_place_learn(p, "bucket", "", "us-east-1"));
    assert_int_equal(s3_place_find(p, "bucket", NULL, &place, NULL), 0);
    assert_string_equal(place.server.host, "bucket.s3.eu-west-1.amazonaws.com");
    assert_string_equal(place.region, "eu-west-1");
    s3_place_free(&place);
    assert_int_equal(s3_place_find(p, "another", NULL, &place, NULL), 0);
    assert_string_equal(place.region, "us-east-1");
    s3_place_free(&place);
    /* More buckets than are remembered: memory stays bounded, answers stay right. */
    for (int i = 0; i < 3000; ++i) {
        char name[16];
        (void)snprintf(name, sizeof name, "b-%d", i);
        assert_true(s3_place_learn(p, name, "eu-north-1", "us-east-1"));
    }
    assert_int_equal(s3_place_find(p, "b-2999", NULL, &place, NULL), 0);
    assert_string_equal(place.region, "eu-north-1");
    s3_place_free(&place);
    s3_places_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),  cmocka_unit_test(test_escape), cmocka_unit_test(test_unescape),
        cmocka_unit_test(test_places), cmocka_unit_test(test_learn),
    };
    return cmocka_run_group_tests_name("s3 url and place", tests, NULL, NULL);
}
