// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fuse-layer/init/options.h"

static int clean(void **state)
{
    (void)state;
    return clearenv();
}

static void nothing_set(void **state)
{
    (void)state;
    struct options o;
    assert_int_equal(options_read(&o, NULL), 0);
    assert_false(o.buckets);
    assert_null(o.chain);
    assert_null(o.user);
}

static void defaults_with_a_bucket(void **state)
{
    (void)state;
    struct options o;
    (void)setenv("RAC_S3_BUCKETS", " ,data", 1);
    assert_int_equal(options_read(&o, NULL), 0);
    assert_true(o.buckets && o.required);
    assert_int_equal(o.mount_timeout_ms, 10000);
    assert_int_equal(o.flush_timeout_ms, 20000);
    assert_int_equal(o.level, SAY_WARN);
}

static void all_set(void **state)
{
    (void)state;
    struct options o;
    (void)setenv("NXF_FUSION_BUCKETS", "data", 1);
    (void)setenv("RAC_MOUNT", "optional", 1);
    (void)setenv("RAC_MOUNT_TIMEOUT", "1500ms", 1);
    (void)setenv("RAC_FLUSH_TIMEOUT", "1h", 1);
    (void)setenv("RAC_LOG_LEVEL", "debug", 1);
    (void)setenv("RAC_USER", "worker", 1);
    (void)setenv("WAVE_ENTRY_CHAIN", "/entry", 1);
    assert_int_equal(options_read(&o, NULL), 0);
    assert_true(o.buckets && !o.required);
    assert_int_equal(o.mount_timeout_ms, 1500);
    assert_int_equal(o.flush_timeout_ms, 3600000);
    assert_int_equal(o.level, SAY_DEBUG);
    assert_string_equal(o.user, "worker");
    assert_string_equal(o.chain, "/entry");
}

static void a_wrong_one_is_named(void **state)
{
    static const char *const wrong[][2] = {
        {"RAC_MOUNT", "yes"},           {"RAC_MOUNT_TIMEOUT", "10 minutes"}, {"RAC_MOUNT_TIMEOUT", "3601s"},
        {"RAC_FLUSH_TIMEOUT", "later"}, {"RAC_FLUSH_TIMEOUT", "-1"},         {"RAC_LOG_LEVEL", "INFO"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; ++i) {
        struct options o;
        struct err err;
        (void)clearenv();
        (void)setenv(wrong[i][0], wrong[i][1], 1);
        /* Of no interest where nothing is mounted: an image starts then as if we were not there. */
        assert_int_equal(options_read(&o, &err), 0);
        (void)setenv("NXF_FUSION_BUCKETS", "data", 1);
        assert_int_equal(options_read(&o, &err), -1);
        assert_non_null(strstr(err.msg, wrong[i][0]));
        assert_non_null(strstr(err.msg, wrong[i][1]));
        (void)setenv(wrong[i][0], "", 1);
        assert_int_equal(options_read(&o, &err), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(nothing_set, clean),
        cmocka_unit_test_setup(defaults_with_a_bucket, clean),
        cmocka_unit_test_setup(all_set, clean),
        cmocka_unit_test_setup(a_wrong_one_is_named, clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
