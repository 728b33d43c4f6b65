// SPDX-License-Identifier: Apache-2.0
/* Names, tags, references, platforms and media types: one case a line. */
#include "layers_doc.h"

#include "layers/media_type.h"
#include "layers/platform.h"
#include "layers/reference.h"

static char *repeat(char c, size_t n)
{
    char *s = mem_alloc(n + 1);
    memset(s, c, n);
    s[n] = '\0';
    return s;
}

static void good_names(void **state)
{
    (void)state;
    static const char *const names[] = {
        "a",
        "0",
        "library/busybox",
        "a.b/c_d/e__f/g-h/i---j",
        "docker.io/library/x",
        "a/manifests/b",
        "blobs/blobs",
        "wt/0123/library/x",
        "x1.2.3",
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; ++i) {
        struct err err;
        if (reference_check_name(slice_of(names[i]), &err) < 0)
            fail_msg("'%s' refused: %s", names[i], err.msg);
    }
}

static void bad_names(void **state)
{
    (void)state;
    static const char *const names[] = {
        "",    "A",   "a/B",  "/a",       "a/",    "a//b", "..",    "a/../b", ".",       "a/./b", "_a",
        "a_",  "-a",  "a-",   "a..b",     "a___b", "a.-b", "a_.b",  "a%2fb",  "a%2e%2e", "a b",   "a\tb",
        "a:b", "a@b", "a\\b", "\xc3\xa9", "a?b",   "a#b",  "a\x7f", "a*",     "a/ ",     " a",    "a\n",
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; ++i) {
        struct err err = {0};
        if (reference_check_name(slice_of(names[i]), &err) == 0)
            fail_msg("'%s' accepted", names[i]);
        assert_int_equal(err.code, ERR_NAME_INVALID);
    }
    assert_int_equal(reference_check_name((struct slice){"a\0b", 3}, NULL), -1);
    assert_int_equal(reference_check_name((struct slice){NULL, 0}, NULL), -1);
}

static void name_limit_is_255(void **state)
{
    (void)state;
    char *s = repeat('a', 256);
    struct err err;
    assert_int_equal(reference_check_name((struct slice){s, 255}, &err), 0);
    assert_int_equal(reference_check_name((struct slice){s, 256}, &err), -1);
    assert_non_null(strstr(err.msg, "256"));
    free(s);
}

static void messages_hold_no_control_characters(void **state)
{
    (void)state;
    struct err err;
    assert_int_equal(reference_check_name(SLICE_LIT("x\x1b[31m\r\ny"), &err), -1);
    for (const char *p = err.msg; *p; ++p)
        assert_true(*p >= 0x20 && *p < 0x7f);
    assert_int_equal(reference_check_tag(SLICE_LIT("x\ny"), &err), -1);
    assert_null(strchr(err.msg, '\n'));
}

static void tags(void **state)
{
    (void)state;
    static const char *const good[] = {"latest", "_", "1.2.3", "A-b_C.d", "0"};
    static const char *const bad[] = {"", ".a", "-a", "a/b", "a:b", "a b", "a%", "\xc3\xa9", "a\n"};
    struct err err;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; ++i)
        if (reference_check_tag(slice_of(good[i]), &err) < 0)
            fail_msg("'%s' refused", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
        if (reference_check_tag(slice_of(bad[i]), &err) == 0)
            fail_msg("'%s' accepted", bad[i]);
        assert_int_equal(err.code, ERR_MANIFEST_INVALID);
    }
    char *s = repeat('t', 129);
    assert_int_equal(reference_check_tag((struct slice){s, 128}, &err), 0);
    assert_int_equal(reference_check_tag((struct slice){s, 129}, &err), -1);
    free(s);
}

static void references(void **state)
{
    (void)state;
    struct reference r;
    struct err err;
    assert_int_equal(reference_parse(SLICE_LIT(DIGEST_A), &r, &err), 0);
    assert_true(r.is_digest);
    assert_string_equal(r.digest.s, DIGEST_A);
    assert_int_equal(reference_parse(SLICE_LIT("v1.0"), &r, &err), 0);
    assert_false(r.is_digest);
    assert_string_equal(r.tag, "v1.0");
    static const char *const bad[] = {"sha256:abc",    "sha256:", "md5:" HEX_A, "sha256:" HEX_A "a",
                                      "SHA256:" HEX_A, ":",       "a:b"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
        if (reference_parse(slice_of(bad[i]), &r, &err) == 0)
            fail_msg("'%s' accepted", bad[i]);
        assert_int_equal(err.code, ERR_DIGEST_INVALID);
    }
    assert_string_equal(r.tag, "v1.0"); /* untouched by failures */
}

static void platforms(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"linux/amd64", "linux/amd64"},
        {"amd64", "linux/amd64"},
        {"x86_64", "linux/amd64"},
        {"x86-64", "linux/amd64"},
        {"linux/x86_64", "linux/amd64"},
        {"aarch64", "linux/arm64"},
        {"arm64v8", "linux/arm64"},
        {"arm64/v8", "linux/arm64"},
        {"linux/arm64/v8", "linux/arm64"},
        {"linux/arm64/v9", "linux/arm64/v9"},
        {"arm/v7", "linux/arm/v7"},
        {"linux/arm", "linux/arm"},
        {"armhf", "linux/arm/v7"},
        {"armel", "linux/arm/v6"},
        {"i386", "linux/386"},
        {"amd64/v1", "linux/amd64"},
        {"linux/amd64/v3", "linux/amd64/v3"},
        {"windows/amd64", "windows/amd64"},
        {"", NULL},
        {"linux", NULL},
        {"linux/", NULL},
        {"/amd64", NULL},
        {"a/b/c/d", NULL},
        {"a/b/c/d/e", NULL},
        {"Linux/amd64", NULL},
        {"linux/amd 64", NULL},
        {"linux//v8", NULL},
        {"windows", NULL},
        {"linux/abcdefghijklmnopqrstuvwxyzabcdef", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        struct platform p;
        struct err err = {0};
        char text[PLATFORM_STR_MAX];
        int rc = platform_parse(slice_of(cases[i][0]), &p, &err);
        if (!cases[i][1] && rc == 0)
            fail_msg("'%s' accepted", cases[i][0]);
        if (cases[i][1] && rc < 0)
            fail_msg("'%s' refused: %s", cases[i][0], err.msg);
        if (cases[i][1])
            assert_string_equal(platform_format(&p, text), cases[i][1]);
    }
}

static void platform_matching(void **state)
{
    (void)state;
    static const struct {
        const char *wanted;
        struct platform have;
        bool match;
    } cases[] = {
        {"amd64", {"linux", "amd64", ""}, true},     {"amd64", {"linux", "amd64", "v3"}, true},
        {"amd64/v3", {"linux", "amd64", ""}, false}, {"amd64/v3", {"linux", "amd64", "v3"}, true},
        {"amd64", {"windows", "amd64", ""}, false},  {"amd64", {"linux", "arm64", ""}, false},
        {"arm64/v8", {"linux", "arm64", ""}, true},  {"arm64", {"linux", "arm64", "v8"}, true},
        {"arm/v7", {"linux", "arm", ""}, true},      {"arm/v7", {"linux", "arm", "v6"}, false},
        {"arm", {"linux", "arm", "v6"}, true},       {"amd64", {"linux", "", ""}, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        struct platform wanted;
        assert_int_equal(platform_parse(slice_of(cases[i].wanted), &wanted, NULL), 0);
        if (platform_matches(&wanted, &cases[i].have) != cases[i].match)
            fail_msg("case %zu: %s", i, cases[i].wanted);
    }
}

static void media_types(void **state)
{
    (void)state;
    assert_int_equal(media_type_kind(SLICE_LIT(MEDIA_TYPE_OCI_INDEX)), MEDIA_OCI_INDEX);
    assert_int_equal(media_type_kind(SLICE_LIT(MEDIA_TYPE_DOCKER_LIST)), MEDIA_DOCKER_LIST);
    assert_int_equal(media_type_kind(SLICE_LIT(MEDIA_TYPE_OCI_MANIFEST " ; charset=utf-8")),
                     MEDIA_OCI_MANIFEST);
    assert_int_equal(media_type_kind(SLICE_LIT(MEDIA_TYPE_DOCKER_MANIFEST)), MEDIA_DOCKER_MANIFEST);
    assert_int_equal(media_type_kind(SLICE_LIT(MEDIA_TYPE_DOCKER_SCHEMA1)), MEDIA_DOCKER_SCHEMA1);
    assert_int_equal(media_type_kind(SLICE_LIT(MEDIA_TYPE_DOCKER_SCHEMA1_SIGNED)), MEDIA_DOCKER_SCHEMA1);
    assert_int_equal(media_type_kind(SLICE_LIT("application/json")), MEDIA_OTHER);
    assert_int_equal(media_type_kind((struct slice){NULL, 0}), MEDIA_OTHER);
    assert_true(media_type_is_layer(SLICE_LIT("application/vnd.oci.image.layer.v1.tar+zstd")));
    assert_true(media_type_is_layer(SLICE_LIT("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")));
    assert_false(media_type_is_layer(SLICE_LIT("application/vnd.in-toto+json")));
    assert_true(media_type_is_config(SLICE_LIT(MEDIA_TYPE_OCI_CONFIG)));
    assert_false(media_type_is_config(SLICE_LIT("application/vnd.cncf.helm.config.v1+json")));
}

static void accept_names_every_type_once(void **state)
{
    (void)state;
    struct slice rest = slice_of(media_type_accept_all());
    unsigned seen = 0, n = 0;
    enum media_kind last = MEDIA_OTHER;
    while (rest.p) {
        last = media_type_kind(slice_trim(slice_cut(&rest, ',')));
        assert_int_not_equal(last, MEDIA_OTHER);
        seen |= 1u << last;
        ++n;
    }
    assert_int_equal(n, 6);
    assert_int_equal(seen, 0x3e);
    assert_int_equal(last, MEDIA_DOCKER_SCHEMA1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_names),
        cmocka_unit_test(bad_names),
        cmocka_unit_test(name_limit_is_255),
        cmocka_unit_test(messages_hold_no_control_characters),
        cmocka_unit_test(tags),
        cmocka_unit_test(references),
        cmocka_unit_test(platforms),
        cmocka_unit_test(platform_matching),
        cmocka_unit_test(media_types),
        cmocka_unit_test(accept_names_every_type_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
