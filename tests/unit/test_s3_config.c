// SPDX-License-Identifier: Apache-2.0
/* Settings from the environment: which variable wins, what is refused, and by which name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/mem.h"
#include "common/str.h"
#include "s3/s3_config.h"
#include "scratch.h"

/* Every variable of the table, and HOME, out of the way. */
static void clear(void)
{
    for (const struct s3_option *o = s3_options; o->names; ++o) {
        struct slice rest = slice_of(o->names);
        while (rest.p) {
            struct slice one = slice_cut(&rest, ',');
            cleanup_free char *name = mem_dup(one.p, one.len);
            (void)unsetenv(name);
        }
    }
    (void)unsetenv("AWS_PROFILE");
    (void)unsetenv("AWS_SHARED_CREDENTIALS_FILE");
    (void)unsetenv("AWS_CONFIG_FILE");
    (void)setenv("HOME", "/nonexistent", 1);
}

static void test_empty(void **state)
{
    (void)state;
    cleanup_s3_config struct s3_config c = {0};
    clear();
    assert_int_equal(s3_config_load(&c, NULL), 0);
    assert_null(c.endpoint);
    assert_null(c.region);
    assert_null(c.ca_file);
    assert_true(c.checksums && !c.anonymous && !c.requester_pays && c.tries_max == 10 &&
                c.connections_max == 32);
}

static void test_precedence(void **state)
{
    (void)state;
    static const struct {
        const char *set[4]; /* NAME=VALUE */
        const char *endpoint, *region;
    } cases[] = {
        {{"AWS_S3_ENDPOINT=http://c", "AWS_ENDPOINT_URL=http://b", "AWS_ENDPOINT_URL_S3=http://a"},
         "http://a",
         NULL},
        {{"AWS_S3_ENDPOINT=http://c", "AWS_ENDPOINT_URL=http://b"}, "http://b", NULL},
        {{"AWS_S3_ENDPOINT=http://c", "AWS_ENDPOINT_URL="}, "http://c", NULL},
        {{"FUSION_AWS_REGION=r3", "AWS_DEFAULT_REGION=r2", "AWS_REGION=r1"}, NULL, "r1"},
        {{"FUSION_AWS_REGION=r3", "AWS_DEFAULT_REGION=r2"}, NULL, "r2"},
        {{"FUSION_AWS_REGION=r3"}, NULL, "r3"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        cleanup_s3_config struct s3_config c = {0};
        clear();
        for (size_t k = 0; cases[i].set[k]; ++k) {
            cleanup_free char *name = mem_strdup(cases[i].set[k]);
            char *value = strchr(name, '=');
            *value++ = '\0';
            (void)setenv(name, value, 1);
        }
        assert_int_equal(s3_config_load(&c, NULL), 0);
        assert_int_equal(!c.endpoint, !cases[i].endpoint);
        assert_int_equal(!c.region, !cases[i].region);
        if (c.endpoint)
            assert_string_equal(c.endpoint, cases[i].endpoint);
        if (c.region)
            assert_string_equal(c.region, cases[i].region);
    }
}

static void test_profile(void **state)
{
    (void)state;
    char *dir = scratch_new();
    cleanup_free char *path = mem_printf("%s/config", dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    (void)fputs("[default]\nregion = eu-west-1\nendpoint_url = http://p\n", f);
    (void)fclose(f);
    clear();
    (void)setenv("AWS_CONFIG_FILE", path, 1);
    cleanup_s3_config struct s3_config c = {0};
    assert_int_equal(s3_config_load(&c, NULL), 0);
    assert_string_equal(c.region, "eu-west-1");
    assert_string_equal(c.endpoint, "http://p");
    s3_config_free(&c);
    (void)setenv("AWS_REGION", "us-west-2", 1);
    assert_int_equal(s3_config_load(&c, NULL), 0);
    assert_string_equal(c.region, "us-west-2");
    scratch_free(dir);
}

static void test_ca(void **state)
{
    (void)state;
    cleanup_s3_config struct s3_config c = {0};
    clear();
    (void)setenv("SSL_CERT_FILE", "/nonexistent.pem", 1);
    assert_int_equal(s3_config_load(&c, NULL), 0);
    assert_null(c.ca_file);
    (void)setenv("SSL_CERT_FILE", "/proc/self/exe", 1);
    assert_int_equal(s3_config_load(&c, NULL), 0);
    assert_string_equal(c.ca_file, "/proc/self/exe");
    s3_config_free(&c);
    (void)setenv("AWS_CA_BUNDLE", "/nonexistent.pem", 1);
    assert_int_equal(s3_config_load(&c, NULL), 0);
    assert_string_equal(c.ca_file, "/nonexistent.pem");
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value;
        bool good;
    } cases[] = {
        {"AWS_ENDPOINT_URL", "ftp://x", false},
        {"AWS_ENDPOINT_URL", "http://x?y", false},
        {"AWS_REGION", "a/b", false},
        {"AWS_REGION", "us.evil.com", false},
        {"RAC_S3_ADDRESSING", "both", false},
        {"RAC_S3_ADDRESSING", "virtual", true},
        {"FUSION_AWS_SERVER_SIDE_ENCRYPTION", "none", false},
        {"FUSION_AWS_SERVER_SIDE_ENCRYPTION", "AES256", true},
        {"FUSION_AWS_SSEKMS_KEY_ID", "a\r\nX: y", false},
        {"FUSION_TAGS", "[", false},
        {"FUSION_TAGS", "false", true},
        {"RAC_S3_CHECKSUMS", "maybe", false},
        {"RAC_S3_CHECKSUMS", "off", true},
        {"RAC_S3_CONNECTIONS", "0", false},
        {"RAC_S3_CONNECTIONS", "1025", false},
        {"RAC_S3_CONNECTIONS", "1024", true},
        {"RAC_S3_TRIES", "x", false},
        {"RAC_S3_COPY_MAX", "4MiB", false},
        {"RAC_S3_COPY_MAX", "80%", false},
        {"RAC_S3_COPY_MAX", "6GiB", false},
        {"RAC_S3_COPY_MAX", "5GiB", true},
        {"RAC_S3_STALL_TIMEOUT", "0", false},
        {"RAC_S3_STALL_TIMEOUT", "2h", false},
        {"RAC_S3_STALL_TIMEOUT", "10s", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        struct s3_config c;
        struct err err = {0};
        clear();
        (void)setenv(cases[i].name, cases[i].value, 1);
        if ((s3_config_load(&c, &err) == 0) != cases[i].good)
            fail_msg("%s=%s: %s", cases[i].name, cases[i].value, cases[i].good ? err.msg : "taken");
        if (!cases[i].good) {
            assert_int_equal(err.code, ERR_INVALID);
            assert_ptr_equal(strstr(err.msg, cases[i].name), err.msg);
        }
        s3_config_free(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty), cmocka_unit_test(test_precedence), cmocka_unit_test(test_profile),
        cmocka_unit_test(test_ca),    cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests_name("s3 config", tests, NULL, NULL);
}
