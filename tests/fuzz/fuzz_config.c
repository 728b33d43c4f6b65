// SPDX-License-Identifier: Apache-2.0
/* An image config of any bytes, its first byte choosing the injection: refused, passed, or rewritten to a
 * config that parses and is an image's; rewritten again it grows again, and twice is the same. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/mem.h"
#include "layers/config.h"
#include "layers/inject.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SUMS                                                                                                 \
    "\"gzipSize\":77,\"gzipDigest\":\"sha256:"                                                               \
    "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc\","                                    \
    "\"tarDigest\":\"sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd\""

static const char *const injections[] = {
    "{\"layers\":[{\"location\":\"https://l/x\",\"name\":\"n\"," SUMS "}],\"entrypoint\":[\"/i\"],"
    "\"entrypointChain\":\"args\",\"env\":[\"A=1\",\"PATH=/x\"],\"labels\":{\"a\":\"b\"}}",
    "{\"layers\":[{\"location\":\"https://l/x\"," SUMS
    "}],\"entrypoint\":[\"/i\",\"j\"],\"entrypointChain\":\"env\","
    "\"user\":\"root-then-drop\",\"workingDir\":\"/w\",\"cmd\":[\"c\"]}",
};

static struct injection *injection_at(size_t i)
{
    static struct injection *made[2];
    if (!made[i])
        made[i] = injection_parse(injections[i], strlen(injections[i]), INJECTION_FROM_CLIENT, NULL, NULL);
    assert(made[i]);
    return made[i];
}

static struct manifest *manifest_with(size_t layers)
{
    struct buf b = {0};
    static const char digest[] =
        "\"digest\":\"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"";
    (void)buf_printf(&b, "{\"config\":{\"mediaType\":\"%s\",\"size\":1,%s},\"layers\":[",
                     MEDIA_TYPE_OCI_CONFIG, digest);
    for (size_t i = 0; i < layers; ++i)
        (void)buf_printf(&b, "%s{\"mediaType\":\"%s\",\"size\":1,%s}", i ? "," : "",
                         MEDIA_TYPE_OCI_LAYER_GZIP, digest);
    (void)buf_add_str(&b, "]}");
    struct manifest *m = manifest_parse(b.p, b.len, NULL, NULL);
    assert(m);
    buf_free(&b);
    return m;
}

/* The layers that the config speaks of, as far as we go along. */
static size_t layers_of(const struct config *c)
{
    const char *reason;
    for (size_t n = 0; n < 4; ++n)
        if (config_rewritable(c, n, &reason))
            return n;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct err err = {0};
    struct config *c = config_parse(data + 1, size - 1, &err);
    if (!c) {
        assert(err.code == ERR_MANIFEST_INVALID || err.code == ERR_SIZE_INVALID);
        return 0;
    }
    size_t layers = layers_of(c);
    struct injection *inj = injection_at(data[0] % 2);
    struct manifest *m = manifest_with(layers), *m_after = manifest_with(layers + 1);
    struct inject_result one = {0}, two = {0}, deeper = {0};
    struct digest source = digest_of("", 0);
    int rc = inject_image(m, data + 1, size - 1, inj, "n", &source, &one, &err);
    assert(rc == 0 || err.code == ERR_SIZE_INVALID);
    if (rc == 0 && !one.skipped) {
        assert(inject_image(m, data + 1, size - 1, inj, "n", &source, &two, &err) == 0);
        assert(digest_eq(&one.manifest_digest, &two.manifest_digest));
        rc = inject_image(m_after, one.config, one.config_len, inj, "n", &source, &deeper, &err);
        assert(rc == 0 && !deeper.skipped);
    }
    inject_result_free(&one);
    inject_result_free(&two);
    inject_result_free(&deeper);
    manifest_free(m);
    manifest_free(m_after);
    config_free(c);
    return 0;
}
