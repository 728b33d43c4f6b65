// SPDX-License-Identifier: Apache-2.0
/*
 * 1,000 random images: what comes out parses again, says what it should, and is the same every time. The seed
 * is printed; RAC_SEED=n runs it again.
 */
#include "layers_doc.h"

#include <stdlib.h>
#include <time.h>

#include "common/json.h"
#include "layers/config.h"
#include "layers/manifest_impl.h"

#define IMAGES 1000

static uint64_t rng;

static uint32_t roll(uint32_t n)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return (uint32_t)(rng >> 32) % n;
}

static char *random_digest(void)
{
    char text[16];
    int n = snprintf(text, sizeof text, "%u", roll(UINT32_MAX));
    struct digest d = digest_of(text, (size_t)n);
    return mem_strdup(d.s);
}

static const char *random_word(void)
{
    static const char *const words[] = {"",      "a",          "/bin/sh", "-c",       "PATH=/bin",
                                        "x y",   "\"quoted\"", "\\",      "\xc3\xa9", "\xf0\x9f\x90\xb3",
                                        "tab\t", "nl\n",       "K=V",     "0",        "<&>",
                                        "/"};
    return words[roll(sizeof words / sizeof words[0])];
}

static json_t *random_list(void)
{
    json_t *a = json_array();
    for (uint32_t n = roll(5); n--;)
        (void)json_array_append_new(a, json_string(random_word()));
    return a;
}

static json_t *random_value(int depth)
{
    switch (roll(depth > 3 ? 5 : 7)) {
    case 0:
        return json_null();
    case 1:
        return json_boolean(roll(2));
    case 2:
        return json_integer((json_int_t)roll(UINT32_MAX) * (roll(2) ? 1 : -1));
    case 3:
        return json_real(1.5);
    case 4:
        return json_string(random_word());
    case 5:
        return random_list();
    default: {
        json_t *o = json_object();
        for (uint32_t n = roll(4); n--;) {
            char key[32];
            (void)snprintf(key, sizeof key, "zz-%u", roll(1000));
            (void)json_object_set_new(o, key, random_value(depth + 1));
        }
        return o;
    }
    }
}

/* One member in three is absent, one in five of the others null. */
static void maybe(json_t *obj, const char *key, json_t *value)
{
    if (roll(3) == 0)
        json_decref(value);
    else if (roll(5) == 0) {
        json_decref(value);
        (void)json_object_set_new(obj, key, json_null());
    } else
        (void)json_object_set_new(obj, key, value);
}

static void sprinkle(json_t *obj)
{
    if (roll(2)) {
        char key[32];
        (void)snprintf(key, sizeof key, "zz-%u", roll(1000));
        (void)json_object_set_new(obj, key, random_value(0));
    }
}

static json_t *random_config(size_t layers)
{
    static const char *const platforms[][2] = {{"linux", "amd64"}, {"linux", "arm64"}, {"windows", "amd64"}};
    size_t p = roll(10) ? roll(2) : 2;
    json_t *c = json_object(), *run = json_object(), *rootfs = json_object(), *ids = json_array();
    for (size_t i = 0; i < layers; ++i) {
        cleanup_free char *d = random_digest();
        (void)json_array_append_new(ids, json_string(d));
    }
    (void)json_object_set_new(c, "os", json_string(platforms[p][0]));
    (void)json_object_set_new(c, "architecture", json_string(platforms[p][1]));
    maybe(c, "created", json_string("2021-01-01T00:00:00Z"));
    sprinkle(c);
    maybe(run, "Env", random_list());
    maybe(run, "Entrypoint", random_list());
    sprinkle(run);
    maybe(run, "Cmd", random_list());
    maybe(run, "User", json_string(random_word()));
    maybe(run, "WorkingDir", json_string(random_word()));
    maybe(run, "Labels", json_object());
    maybe(c, "config", run);
    maybe(c, "history", json_array());
    (void)json_object_set_new(rootfs, "type", json_string("layers"));
    (void)json_object_set_new(rootfs, "diff_ids", ids);
    (void)json_object_set_new(c, "rootfs", rootfs);
    return c;
}

static json_t *random_descriptor(const char *type, const char *digest, size_t size)
{
    json_t *d = json_object();
    sprinkle(d);
    (void)json_object_set_new(d, "mediaType", json_string(type));
    (void)json_object_set_new(d, "size", json_integer((json_int_t)size));
    (void)json_object_set_new(d, "digest", json_string(digest));
    sprinkle(d);
    return d;
}

static json_t *random_manifest(bool docker, size_t layers, const char *config, size_t config_len)
{
    json_t *m = json_object(), *list = json_array();
    struct digest digest = digest_of(config, config_len);
    (void)json_object_set_new(m, "schemaVersion", json_integer(2));
    (void)json_object_set_new(m, "mediaType",
                              json_string(docker ? MEDIA_TYPE_DOCKER_MANIFEST : MEDIA_TYPE_OCI_MANIFEST));
    sprinkle(m);
    (void)json_object_set_new(
        m, "config",
        random_descriptor(docker ? MEDIA_TYPE_DOCKER_CONFIG : MEDIA_TYPE_OCI_CONFIG, digest.s, config_len));
    for (size_t i = 0; i < layers; ++i) {
        cleanup_free char *d = random_digest();
        (void)json_array_append_new(
            list, random_descriptor(docker ? MEDIA_TYPE_DOCKER_LAYER_GZIP : MEDIA_TYPE_OCI_LAYER_GZIP, d,
                                    roll(1000)));
    }
    (void)json_object_set_new(m, "layers", list);
    sprinkle(m);
    maybe(m, "annotations", json_object());
    return m;
}

/* The result says that it is the source with these layers on top, and nothing that was there is gone. */
static void check_result(const struct manifest *source, const struct inject_result *r, size_t added)
{
    struct err err;
    cleanup_manifest struct manifest *m = manifest_parse(r->manifest, r->manifest_len, r->media_type, &err);
    if (!m)
        fail_msg("%s", err.msg);
    assert_int_equal(manifest_kind(m), manifest_kind(source));
    assert_int_equal(manifest_count(m), manifest_count(source) + added);
    assert_string_equal(manifest_at(m, 0)->digest.s, r->config_digest.s);
    assert_int_equal(manifest_at(m, 0)->size, r->config_len);
    for (size_t i = 1; i < manifest_count(source); ++i)
        assert_memory_equal(manifest_at(m, i), manifest_at(source, i), sizeof(struct descriptor));
    struct digest d = digest_of(r->config, r->config_len);
    assert_string_equal(d.s, r->config_digest.s);
    cleanup_config struct config *c = config_parse(r->config, r->config_len, &err);
    if (!c)
        fail_msg("%s", err.msg);
    const char *reason = NULL;
    assert_true(config_rewritable(c, manifest_count(m) - 1, &reason));
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)manifest_tree(source), key, value)
        if (strncmp(key, "zz-", 3) == 0)
            assert_true(json_equal(value, json_object_get(manifest_tree(m), key)));
}

static void random_images(void **state)
{
    (void)state;
    static const char *const injections[] = {
        "{" ONE_LAYER ",'entrypoint':['/i'],'env':['K=new','NEW=1'],'labels':{'a':'b'}}",
        "{" ONE_LAYER
        ",'entrypoint':['/i'],'entrypointChain':'env','user':'root-then-drop','workingDir':'/w'}",
        "{'cmd':['x'],'env':['PATH=/rac']}",
        "{'layers':[{'location':'f','platform':'amd64','gzipDigest':'" DIGEST_A
        "','gzipSize':7,'tarDigest':'" DIGEST_B "'}]}",
    };
    size_t rewritten = 0, passed = 0;
    for (size_t i = 0; i < IMAGES; ++i) {
        bool docker = roll(2);
        size_t layers = roll(8);
        cleanup_json json_t *config = random_config(layers);
        cleanup_free char *config_text = json_dumps(config, roll(2) ? JSON_INDENT(3) : JSON_ENSURE_ASCII);
        cleanup_json json_t *tree = random_manifest(docker, layers, config_text, strlen(config_text));
        cleanup_free char *text = json_dumps(tree, roll(2) ? JSON_INDENT(3) : JSON_ESCAPE_SLASH);
        struct err err;
        cleanup_manifest struct manifest *m = manifest_parse(text, strlen(text), NULL, &err);
        if (!m)
            fail_msg("image %zu: %s\n%s", i, err.msg, text);
        cleanup_injection struct injection *inj =
            injection_of(injections[roll(4)], INJECTION_FROM_CONFIGURATION);
        struct digest source = digest_of(text, strlen(text));
        cleanup_inject_result struct inject_result one = {0}, two = {0};
        if (inject_image(m, config_text, strlen(config_text), inj, "docker.io/library/x", &source, &one,
                         &err) < 0)
            fail_msg("image %zu: %s\n%s", i, err.msg, config_text);
        cleanup_manifest struct manifest *again = manifest_parse(text, strlen(text), NULL, &err);
        assert_int_equal(inject_image(again, config_text, strlen(config_text), inj, "docker.io/library/x",
                                      &source, &two, &err),
                         0);
        if (one.skipped) {
            assert_string_equal(one.skipped, two.skipped);
            assert_string_equal(one.skipped, "platform");
            ++passed;
            continue;
        }
        ++rewritten;
        assert_string_equal(one.manifest, two.manifest);
        assert_string_equal(one.config, two.config);
        check_result(m, &one, injection_layer_count(inj));
    }
    assert_true(rewritten > IMAGES / 2);
    assert_true(passed > 0);
}

int main(void)
{
    const char *seed = getenv("RAC_SEED");
    rng = seed ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL);
    (void)printf("RAC_SEED=%llu\n", (unsigned long long)rng);
    rng = rng * 0x9e3779b97f4a7c15ull | 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_images)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
