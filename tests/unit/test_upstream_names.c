// SPDX-License-Identifier: Apache-2.0
/* Upstreams as configured, and which of them a name means: one name a line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "proxy/upstream/upstream.h"

static const uint8_t key[32] = "the key of this installation....";

static struct upstream *make(struct upstream_config config)
{
    struct upstream *u = NULL;
    struct err err;
    if (upstream_new(&config, key, &u, &err) < 0)
        fail_msg("%s: %s", config.name, err.msg);
    return u;
}

static void add(struct upstream_set *s, struct upstream_config config)
{
    struct upstream *u = make(config);
    upstream_set_add(s, u);
    upstream_unref(u);
}

static struct upstream_set *known_set(bool allow_any)
{
    struct upstream_set *s = upstream_set_new(allow_any);
    assert_int_equal(upstream_set_add_known(s, key, NULL), 0);
    add(s, (struct upstream_config){.name = "edge", .url = "http://127.0.0.1:5000/prefix/", .by_hand = true});
    add(s,
        (struct upstream_config){.name = "localhost:5001", .url = "http://localhost:5001", .by_hand = true});
    return s;
}

/* want: canonical name, or the error's code. */
static const struct {
    const char *name, *ns, *want;
} cases[] = {
    {"busybox", NULL, "docker.io/library/busybox"},
    {"library/busybox", NULL, "docker.io/library/busybox"},
    {"grafana/grafana", NULL, "docker.io/grafana/grafana"},
    {"a/b/c", NULL, "docker.io/a/b/c"},
    {"docker.io/busybox", NULL, "docker.io/library/busybox"},
    {"docker.io/library/busybox", NULL, "docker.io/library/busybox"},
    {"index.docker.io/busybox", NULL, "docker.io/library/busybox"},
    {"registry-1.docker.io/a/b", NULL, "docker.io/a/b"},
    {"quay.io/nextflow/bash", NULL, "quay.io/nextflow/bash"},
    {"quay.io/one", NULL, "quay.io/one"},
    {"ghcr.io/a/b/c/d", NULL, "ghcr.io/a/b/c/d"},
    {"gcr.io/distroless/static", NULL, "gcr.io/distroless/static"},
    {"registry.k8s.io/pause", NULL, "registry.k8s.io/pause"},
    {"public.ecr.aws/docker/library/alpine", NULL, "public.ecr.aws/docker/library/alpine"},
    {"mcr.microsoft.com/hello-world", NULL, "mcr.microsoft.com/hello-world"},
    {"edge/tool", NULL, "edge/tool"},
    {"edge", NULL, "name_invalid"},
    {"edges/tool", NULL, "docker.io/edges/tool"},
    {"localhost:5001/a", NULL, "localhost:5001/a"},
    {"localhost/a", NULL, "denied"},
    {"localhost:5002/a", NULL, "denied"},
    {"example.com/a", NULL, "denied"},
    {"host:5000/a", NULL, "denied"},
    {"10.0.0.1/a", NULL, "denied"},
    {"quay.io", NULL, "name_invalid"},
    {"quay.io/", NULL, "name_invalid"},
    {"example.com", NULL, "name_invalid"},
    {"", NULL, "name_invalid"},
    {"a//b", NULL, "name_invalid"},
    {"/a", NULL, "name_invalid"},
    {"a/", NULL, "name_invalid"},
    {"a/../b", NULL, "name_invalid"},
    {"quay.io/../../b", NULL, "name_invalid"},
    {"quay.io/a/./b", NULL, "name_invalid"},
    {"a?b", NULL, "name_invalid"},
    {"a b", NULL, "name_invalid"},
    {"a%2fb", NULL, "name_invalid"},
    {"A/b", NULL, "name_invalid"},
    {"a\r\nb", NULL, "name_invalid"},
    {"busybox", "docker.io", "docker.io/library/busybox"},
    {"library/busybox", "docker.io", "docker.io/library/busybox"},
    {"library/busybox", "index.docker.io", "docker.io/library/busybox"},
    {"library/busybox", "registry-1.docker.io", "docker.io/library/busybox"},
    {"library/busybox", "Docker.IO", "docker.io/library/busybox"},
    {"nextflow/bash", "quay.io", "quay.io/nextflow/bash"},
    {"one", "quay.io", "quay.io/one"},
    {"tool", "edge", "edge/tool"},
    {"edge/tool", "quay.io", "quay.io/edge/tool"},
    {"quay.io/a", "docker.io", "docker.io/quay.io/a"},
    {"a", "localhost:5001", "localhost:5001/a"},
    {"a", "localhost:5002", "denied"},
    {"a", "example.com", "denied"},
    {"a", "", "denied"},
    {"a", "169.254.169.254", "denied"},
    {"a", "quay.io/evil", "denied"},
    {"a", "user@quay.io", "denied"},
    {"a", "quay.io?x", "denied"},
    {"a", "quay.io#", "denied"},
    {"a", "http://quay.io", "denied"},
    {"a", "quay.io\r\n", "denied"},
    {"a", "quay.io:99999", "denied"},
    {"a", "..", "denied"},
    {"", "quay.io", "name_invalid"},
};

/* Where any host is allowed. */
static const struct {
    const char *name, *ns, *want;
} any_cases[] = {
    {"example.com/a", NULL, "example.com/a https://example.com"},
    {"example.com:5000/a/b", NULL, "example.com:5000/a/b https://example.com:5000"},
    {"localhost/a", NULL, "localhost/a https://localhost"},
    {"10.0.0.1/a", NULL, "10.0.0.1/a https://10.0.0.1"},
    {"a", "example.com", "example.com/a https://example.com"},
    {"a", "[::1]:5000", "[::1]:5000/a https://[::1]:5000"},
    {"a", "EXAMPLE.com", "example.com/a https://example.com"},
    {"busybox", NULL, "docker.io/library/busybox https://registry-1.docker.io"},
    {"a", "user@example.com", "denied"},
    {"a", "example.com/x", "denied"},
    {"a", "example.com:0", "denied"},
    {"a", "-example.com", "denied"},
    {"a", "a..b", "denied"},
    {"a", "[::1", "denied"},
    {"a", "[::1]x", "denied"},
    {"a", "[zz]", "denied"},
    {"a", "wt", "denied"},
};

static char *resolve(struct upstream_set *s, const char *name, const char *ns, bool with_url)
{
    struct upstream_name got;
    struct err err = {0};
    if (upstream_resolve(s, slice_of(name), ns ? slice_of(ns) : (struct slice){NULL, 0}, &got, &err) < 0) {
        assert_true(err.msg[0] != '\0');
        return mem_strdup(err_code_name(err.code));
    }
    char *joined = mem_printf("%s/%s", got.upstream->name, got.repository);
    assert_string_equal(got.canonical, joined);
    free(joined);
    char *text = with_url ? mem_printf("%s %s", got.canonical, got.upstream->url) : mem_strdup(got.canonical);
    upstream_unref(got.upstream);
    return text;
}

static void test_resolve(void **state)
{
    (void)state;
    struct upstream_set *s = known_set(false);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        cleanup_free char *got = resolve(s, cases[i].name, cases[i].ns, false);
        if (strcmp(got, cases[i].want) != 0)
            fail_msg("name <%s> ns <%s>: gave %s, wanted %s", cases[i].name,
                     cases[i].ns ? cases[i].ns : "none", got, cases[i].want);
    }
    upstream_set_unref(s);
}

static void test_resolve_any(void **state)
{
    (void)state;
    struct upstream_set *s = known_set(true);
    for (size_t i = 0; i < sizeof any_cases / sizeof any_cases[0]; ++i) {
        cleanup_free char *got = resolve(s, any_cases[i].name, any_cases[i].ns, true);
        if (strcmp(got, any_cases[i].want) != 0)
            fail_msg("name <%s> ns <%s>: gave %s, wanted %s", any_cases[i].name,
                     any_cases[i].ns ? any_cases[i].ns : "none", got, any_cases[i].want);
    }
    struct upstream_name got;
    assert_int_equal(upstream_resolve(s, SLICE_LIT("localhost/a"), (struct slice){NULL, 0}, &got, NULL), 0);
    assert_false(got.upstream->by_hand); /* so its address is judged */
    upstream_unref(got.upstream);
    upstream_set_unref(s);
}

static void test_denied_says_what_to_do(void **state)
{
    (void)state;
    struct upstream_set *s = known_set(false);
    struct upstream_name got;
    struct err err;
    assert_int_equal(upstream_resolve(s, SLICE_LIT("example.com/a"), (struct slice){NULL, 0}, &got, &err),
                     -1);
    assert_string_equal(err.msg, "upstream 'example.com' is not allowed here: add it under 'upstreams'");
    upstream_set_unref(s);
}

static void test_length(void **state)
{
    (void)state;
    struct upstream_set *s = known_set(false);
    struct upstream_name got;
    char name[300];
    memset(name, 'a', sizeof name);
    struct err err;
    assert_int_equal(upstream_resolve(s, (struct slice){name, 255}, SLICE_LIT("quay.io"), &got, &err), 0);
    assert_int_equal(strlen(got.repository), 255);
    upstream_unref(got.upstream);
    assert_int_equal(upstream_resolve(s, (struct slice){name, 256}, SLICE_LIT("quay.io"), &got, &err), -1);
    assert_int_equal(err.code, ERR_NAME_INVALID);
    /* "library/" counts. */
    assert_int_equal(upstream_resolve(s, (struct slice){name, 247}, SLICE_LIT("docker.io"), &got, &err), 0);
    upstream_unref(got.upstream);
    assert_int_equal(upstream_resolve(s, (struct slice){name, 248}, SLICE_LIT("docker.io"), &got, &err), -1);
    assert_int_equal(err.code, ERR_NAME_INVALID);
    upstream_set_unref(s);
}

static void test_set(void **state)
{
    (void)state;
    struct upstream_set *s = upstream_set_new(false);
    struct upstream_name got;
    struct slice none = {NULL, 0};
    struct err err;
    assert_int_equal(upstream_resolve(s, SLICE_LIT("a"), none, &got, &err), -1);
    assert_int_equal(err.code, ERR_DENIED);
    add(s, (struct upstream_config){.name = "one", .url = "https://one.example"});
    add(s, (struct upstream_config){.name = "two", .url = "https://two.example"});
    cleanup_free char *first = resolve(s, "a", NULL, false);
    assert_string_equal(first, "one/a");
    assert_int_equal(upstream_set_default(s, "two", &err), 0);
    cleanup_free char *second = resolve(s, "a", NULL, false);
    assert_string_equal(second, "two/a");
    assert_int_equal(upstream_set_default(s, "three", &err), -1);
    /* The same name again takes the other's place, as the default too. */
    add(s, (struct upstream_config){.name = "two", .url = "https://other.example"});
    assert_int_equal(upstream_set_count(s), 2);
    assert_string_equal(upstream_set_at(s, 1)->url, "https://other.example");
    cleanup_free char *third = resolve(s, "a", NULL, false);
    assert_string_equal(third, "two/a");
    /* An alias is the same upstream. */
    add(s, (struct upstream_config){.name = "docker.io", .url = "https://mirror.example"});
    add(s, (struct upstream_config){.name = "index.docker.io", .url = "https://mirror2.example"});
    assert_int_equal(upstream_set_count(s), 3);
    assert_string_equal(upstream_set_at(s, 2)->name, "docker.io");
    upstream_set_unref(upstream_set_ref(s));
    upstream_set_unref(s);
}

static const struct {
    const char *name, *url, *username, *password, *message;
} bad_configs[] = {
    {NULL, "https://a", NULL, NULL, "name: missing"},
    {"", "https://a", NULL, NULL, "name: missing"},
    {"A", "https://a", NULL, NULL, "name: "},
    {"a/b", "https://a", NULL, NULL, "name: "},
    {"a b", "https://a", NULL, NULL, "name: "},
    {"a@b", "https://a", NULL, NULL, "name: "},
    {"a:", "https://a", NULL, NULL, "name: "},
    {"a:x", "https://a", NULL, NULL, "name: "},
    {".a", "https://a", NULL, NULL, "name: "},
    {"wt", "https://a", NULL, NULL, "container tokens"},
    {"a", NULL, NULL, NULL, "url: missing"},
    {"a", "", NULL, NULL, "url: "},
    {"a", "registry.example", NULL, NULL, "url: "},
    {"a", "ftp://registry.example", NULL, NULL, "url: scheme"},
    {"a", "file:///etc/passwd", NULL, NULL, "url: scheme"},
    {"a", "https://user:pass@registry.example", NULL, NULL, "url: has user info"},
    {"a", "https://user@registry.example", NULL, NULL, "url: has user info"},
    {"a", "https://registry.example/?q", NULL, NULL, "url: cannot have a query"},
    {"a", "https://registry.example/#f", NULL, NULL, "url: cannot have a query"},
    {"a", "https://registry.example:99999", NULL, NULL, "url: "},
    {"a", "https://registry.example:0", NULL, NULL, "url: "},
    {"a", "https://", NULL, NULL, "url: "},
    {"a", "https://a b", NULL, NULL, "url: "},
    {"a", "https://a\r\nb", NULL, NULL, "url: "},
    {"a", "https://ex%41mple.%c3%a9", NULL, NULL, "url: "},
    {"a", "https://a", "u", NULL, "password: missing"},
    {"a", "https://a", NULL, "p", "username: missing"},
    {"a", "https://a", "u:v", "p", "username: cannot have a colon"},
    {"a", "https://a", "u", "p\n", "password: has a control character at its end"},
    {"a", "https://a", "", "p", "username: "},
    {"a", "https://a", "u", "", "password: "},
};

static void test_bad_configs(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_configs / sizeof bad_configs[0]; ++i) {
        struct upstream_config config = {
            .name = bad_configs[i].name,
            .url = bad_configs[i].url,
            .username = bad_configs[i].username,
            .password = bad_configs[i].password,
        };
        struct upstream *u = NULL;
        struct err err = {0};
        if (upstream_new(&config, key, &u, &err) >= 0)
            fail_msg("line %zu was accepted (wanted: %s)", i, bad_configs[i].message);
        if (err.code != ERR_INVALID || !strstr(err.msg, bad_configs[i].message))
            fail_msg("line %zu: '%s', wanted '%s'", i, err.msg, bad_configs[i].message);
    }
}

static void test_url_is_normalised(void **state)
{
    (void)state;
    static const struct {
        const char *url, *want, *host;
    } urls[] = {
        {"https://Registry.Example/", "https://registry.example", "registry.example"},
        {"https://registry.example:443", "https://registry.example", "registry.example"},
        {"http://127.0.0.1:5000/prefix//", "http://127.0.0.1:5000/prefix", "127.0.0.1"},
        {"http://[::1]:5000", "http://[::1]:5000", "::1"},
        {"HTTP://localhost", "http://localhost", "localhost"},
    };
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; ++i) {
        struct upstream *u = make((struct upstream_config){.name = "a", .url = urls[i].url});
        assert_string_equal(u->url, urls[i].want);
        assert_string_equal(u->host, urls[i].host);
        upstream_unref(u);
    }
}

static void test_scope(void **state)
{
    (void)state;
    struct upstream *anon = make((struct upstream_config){.name = "a", .url = "https://a"});
    struct upstream *one = make(
        (struct upstream_config){.name = "a", .url = "https://a", .username = "u", .password = "secret"});
    struct upstream *same = make(
        (struct upstream_config){.name = "a", .url = "https://a", .username = "u", .password = "secret"});
    struct upstream *other = make(
        (struct upstream_config){.name = "a", .url = "https://a", .username = "u", .password = "secreT"});
    struct upstream *elsewhere = make(
        (struct upstream_config){.name = "b", .url = "https://a", .username = "u", .password = "secret"});
    assert_string_equal(anon->scope, "anon");
    assert_int_equal(strlen(one->scope), 34);
    assert_int_equal(strncmp(one->scope, "u:", 2), 0);
    assert_string_equal(one->scope, same->scope);
    assert_string_not_equal(one->scope, other->scope);
    assert_string_not_equal(one->scope, elsewhere->scope);
    /* Another installation has another key: scopes cannot be compared, nor guessed, across them. */
    static const uint8_t other_key[32] = {1};
    struct upstream_config config = {.name = "a", .url = "https://a", .username = "u", .password = "secret"};
    struct upstream *foreign = NULL;
    assert_int_equal(upstream_new(&config, other_key, &foreign, NULL), 0);
    assert_string_not_equal(one->scope, foreign->scope);
    upstream_unref(anon);
    upstream_unref(one);
    upstream_unref(same);
    upstream_unref(other);
    upstream_unref(elsewhere);
    upstream_unref(foreign);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resolve),
        cmocka_unit_test(test_resolve_any),
        cmocka_unit_test(test_denied_says_what_to_do),
        cmocka_unit_test(test_length),
        cmocka_unit_test(test_set),
        cmocka_unit_test(test_bad_configs),
        cmocka_unit_test(test_url_is_normalised),
        cmocka_unit_test(test_scope),
    };
    return cmocka_run_group_tests_name("upstream names", tests, NULL, NULL);
}
