// SPDX-License-Identifier: Apache-2.0
/* A manifest of any bytes, its first byte choosing the upstream's Content-Type: refused, or what it holds is
 * within all limits; and a rewritten one parses, is the same twice, and has its layer. */
#include <assert.h>
#include <stdint.h>

#include "layers/inject.h"
#include "layers/schema1.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char injection_text[] =
    "{\"layers\":[{\"location\":\"https://l/x\",\"gzipSize\":77,"
    "\"gzipDigest\":\"sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc\","
    "\"tarDigest\":\"sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd\"}]}";

static void check_descriptors(const struct manifest *m)
{
    assert(manifest_count(m) <= MANIFEST_DESCRIPTORS_MAX);
    for (size_t i = 0; i < manifest_count(m); ++i) {
        const struct descriptor *d = manifest_at(m, i);
        struct digest again;
        assert(digest_parse(slice_of(d->digest.s), &again, NULL) == 0);
        assert(d->size <= INT64_MAX && (!d->is_attestation || digest_is_set(&d->attests)));
    }
}

/* A config with as many diff_ids as there are layers. */
static void check_inject(const struct manifest *m)
{
    static struct injection *inj;
    if (!inj)
        inj = injection_parse(injection_text, sizeof injection_text - 1, INJECTION_FROM_CLIENT, NULL, NULL);
    assert(inj);
    struct buf config = {0};
    (void)buf_add_str(&config, "{\"rootfs\":{\"diff_ids\":[");
    for (size_t i = 1; i < manifest_count(m); ++i)
        (void)buf_printf(&config, "%s\"%s\"", i > 1 ? "," : "", manifest_at(m, i)->digest.s);
    (void)buf_add_str(&config, "]}}");
    struct inject_result one = {0}, two = {0};
    struct err err;
    struct digest source = digest_of("", 0);
    if (inject_image(m, config.p, config.len, inj, "docker.io/library/x", &source, &one, &err) < 0) {
        assert(err.code == ERR_SIZE_INVALID);
    } else {
        assert(!one.skipped);
        struct manifest *after = manifest_parse(one.manifest, one.manifest_len, one.media_type, &err);
        assert(after && manifest_count(after) == manifest_count(m) + 1);
        assert(manifest_kind(after) == manifest_kind(m));
        assert(digest_eq(&manifest_at(after, 0)->digest, &one.config_digest));
        assert(inject_image(m, config.p, config.len, inj, "docker.io/library/x", &source, &two, &err) == 0);
        assert(digest_eq(&one.manifest_digest, &two.manifest_digest));
        manifest_free(after);
    }
    inject_result_free(&one);
    inject_result_free(&two);
    buf_free(&config);
}

/* Whatever bytes: refused with a reason, or a payload that is a prefix of them and a short tail. */
static void check_payload(const uint8_t *data, size_t size)
{
    struct buf payload = {0};
    struct err err = {0};
    if (schema1_payload(data, size, &payload, &err) < 0) {
        assert(!payload.p && (err.code == ERR_MANIFEST_INVALID || err.code == ERR_SIZE_INVALID));
    } else {
        assert(payload.len >= 2 && payload.len <= size + 64);
    }
    buf_free(&payload);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const types[] = {NULL, MEDIA_TYPE_OCI_MANIFEST, MEDIA_TYPE_DOCKER_MANIFEST,
                                        MEDIA_TYPE_DOCKER_SCHEMA1, "text/html; x"};
    if (size == 0)
        return 0;
    check_payload(data + 1, size - 1);
    struct err err = {0};
    const char *reason = NULL;
    struct manifest *m = manifest_parse(data + 1, size - 1, types[data[0] % 5], &err);
    if (!m) {
        assert(err.code == ERR_MANIFEST_INVALID || err.code == ERR_DIGEST_INVALID ||
               err.code == ERR_SIZE_INVALID);
        return 0;
    }
    check_descriptors(m);
    assert(manifest_media_type(m)[0]);
    if (manifest_rewritable(m, &reason))
        check_inject(m);
    else
        assert(reason);
    manifest_free(m);
    return 0;
}
