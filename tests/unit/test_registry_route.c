// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proxy/registry/route.h"

static const struct {
    const char *path;
    enum route_kind kind;
    const char *name, *reference;
} cases[] = {
    {"/v2", ROUTE_BASE, "", ""},
    {"/v2/", ROUTE_BASE, "", ""},
    {"/v2/_catalog", ROUTE_CATALOG, "", ""},
    {"/v2/_catalog/", ROUTE_UNKNOWN, "", ""},
    {"/v2x", ROUTE_UNKNOWN, "", ""},
    {"/v2//", ROUTE_UNKNOWN, "", ""},
    {"/v2/busybox/manifests/latest", ROUTE_MANIFEST, "busybox", "latest"},
    {"/v2/library/busybox/manifests/latest", ROUTE_MANIFEST, "library/busybox", "latest"},
    {"/v2/quay.io/a/b/c/manifests/sha256:00", ROUTE_MANIFEST, "quay.io/a/b/c", "sha256:00"},
    {"/v2/localhost:5000/a/manifests/1", ROUTE_MANIFEST, "localhost:5000/a", "1"},
    {"/v2/manifests/manifests/manifests", ROUTE_MANIFEST, "manifests", "manifests"},
    {"/v2/a/blobs/manifests/x", ROUTE_MANIFEST, "a/blobs", "x"},
    {"/v2/a/manifests/b/blobs/sha256:1", ROUTE_BLOB, "a/manifests/b", "sha256:1"},
    {"/v2/a/manifests/", ROUTE_MANIFEST, "a", ""},
    {"/v2/a/manifests", ROUTE_UNKNOWN, NULL, NULL},
    {"/v2/manifests/x", ROUTE_MANIFEST, "", "x"},
    {"/v2//manifests/x", ROUTE_MANIFEST, "", "x"},
    {"/v2/a//manifests/x", ROUTE_MANIFEST, "a/", "x"},
    {"/v2/a/manifests//x", ROUTE_UNKNOWN, NULL, NULL},
    {"/v2/a/manifests/x/", ROUTE_UNKNOWN, NULL, NULL},
    {"/v2/a/Manifests/x", ROUTE_UNKNOWN, NULL, NULL},
    {"/v2/a/blobs/sha256:1", ROUTE_BLOB, "a", "sha256:1"},
    {"/v2/blobs/blobs/blobs", ROUTE_BLOB, "blobs", "blobs"},
    {"/v2/a/blobs/uploads", ROUTE_UPLOAD, "a", NULL},
    {"/v2/a/blobs/uploads/", ROUTE_UPLOAD, "a", NULL},
    {"/v2/a/blobs/uploads/123", ROUTE_UPLOAD, "a", NULL},
    {"/v2/a/blobs/uploads/1/2/3", ROUTE_UPLOAD, "a", NULL},
    {"/v2/a/blobs/uploads123", ROUTE_BLOB, "a", "uploads123"},
    {"/v2/a/tags/list", ROUTE_TAGS, "a", NULL},
    {"/v2/a/b/tags/list", ROUTE_TAGS, "a/b", NULL},
    {"/v2/a/tags/list/", ROUTE_UNKNOWN, NULL, NULL},
    {"/v2/a/tags/other", ROUTE_UNKNOWN, NULL, NULL},
    {"/v2/tags/list", ROUTE_TAGS, "", NULL},
    {"/v2/tags/tags/list", ROUTE_TAGS, "tags", NULL},
    {"/v2/a/referrers/sha256:1", ROUTE_REFERRERS, "a", "sha256:1"},
    {"/v2/a/_catalog", ROUTE_UNKNOWN, NULL, NULL},
    {"/v2/a", ROUTE_UNKNOWN, NULL, NULL},
    {"/v2/a/b", ROUTE_UNKNOWN, NULL, NULL},
    {"/v2/a/manifests/%6catest", ROUTE_MANIFEST, "a", "%6catest"}, /* refused later, as a reference */
    {"/v2/%61/manifests/x", ROUTE_MANIFEST, "%61", "x"},
};

static void table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        struct route r = route_parse(slice_of(cases[i].path));
        if (r.kind != cases[i].kind)
            fail_msg("%s is %s", cases[i].path, route_label(r.kind));
        if (cases[i].name && !slice_eq_str(r.name, cases[i].name))
            fail_msg("%s has name %.*s", cases[i].path, (int)r.name.len, r.name.p);
        if (cases[i].reference && !slice_eq_str(r.reference, cases[i].reference))
            fail_msg("%s has reference %.*s", cases[i].path, (int)r.reference.len, r.reference.p);
    }
}

static void labels(void **state)
{
    (void)state;
    assert_string_equal(route_label(ROUTE_BASE), "base");
    assert_string_equal(route_label(ROUTE_UPLOAD), "uploads");
    assert_string_equal(route_label(ROUTE_UNKNOWN), "v2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(table), cmocka_unit_test(labels)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
