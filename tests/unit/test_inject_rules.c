// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "common/mem.h"
#include "proxy/inject/rules.h"

static struct injection *make(const char *json)
{
    struct err err;
    struct injection *inj = injection_parse(json, strlen(json), INJECTION_FROM_CONFIGURATION, NULL, &err);
    if (!inj)
        fail_msg("%s", err.msg);
    return inj;
}

static void first_match_wins(void **state)
{
    (void)state;
    struct rules *r = rules_new();
    struct injection *one = make("{\"env\":[\"A=1\"]}"), *two = make("{\"env\":[\"A=2\"]}"),
                     *again = make("{\"env\":[\"A=1\"]}"), *empty = make("{}");
    assert_null(rules_find(r, "docker.io", "docker.io/library/busybox")); /* no rules: nothing */
    rules_add(r, "quay.io/nextflow/*", one);
    rules_add(r, "quay.io/*", NULL);
    rules_add(r, "ghcr.io/empty/*", empty);
    rules_add(r, "*", two);
    rules_add(r, "docker.io/never/*", again);
    assert_ptr_equal(rules_find(r, "quay.io", "quay.io/nextflow/bash"), one);
    assert_ptr_equal(rules_find(r, "quay.io", "quay.io/nextflow/deep/er"), one);
    assert_null(rules_find(r, "quay.io", "quay.io/other/bash")); /* a match that says none */
    assert_null(rules_find(r, "ghcr.io", "ghcr.io/empty/x"));    /* nothing in it is none */
    assert_ptr_equal(rules_find(r, "docker.io", "docker.io/never/x"), two);

    rules_add_upstream(r, "edge", again); /* an upstream's own goes before all patterns */
    rules_add_upstream(r, "quay.io", NULL);
    assert_ptr_equal(rules_find(r, "edge", "edge/x"), again);
    assert_null(rules_find(r, "quay.io", "quay.io/nextflow/bash"));

    assert_int_equal(rules_injection_count(r), 2); /* what is the same, and what is empty, does not count */
    assert_ptr_equal(rules_injection_at(r, 0), one);
    assert_ptr_equal(rules_injection_at(r, 1), two);
    injection_unref(one);
    injection_unref(two);
    injection_unref(again);
    injection_unref(empty);
    assert_ptr_equal(rules_find(r, "docker.io", "docker.io/x"), two); /* the rules hold their own */
    rules_free(r);
    rules_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(first_match_wins)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
