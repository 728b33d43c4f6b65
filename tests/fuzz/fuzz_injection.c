// SPDX-License-Identifier: Apache-2.0
/* An injection of any bytes, from a client and from a configuration: refused with a line, or its canonical
 * form and its stored form read as the same injection; and its layers decode within their limit. */
#include <assert.h>
#include <stdint.h>

#include "layers/injection.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(struct injection *inj, enum injection_trust trust)
{
    const char *json = injection_json(inj);
    struct err err;
    struct injection *again = injection_parse(json, strlen(json), INJECTION_FROM_CONFIGURATION, "/", &err);
    assert(again && digest_eq(injection_digest(again), injection_digest(inj)));
    assert(strcmp(injection_json(again), json) == 0);
    injection_unref(again);
    for (size_t i = 0; i < injection_layer_count(inj); ++i) {
        const struct injection_layer *layer = injection_layer_at(inj, i);
        enum layer_location kind;
        assert(injection_layer_location(layer, &kind, &err) == 0);
        assert(kind != LAYER_FILE || (trust == INJECTION_FROM_CONFIGURATION && layer->location[0] == '/'));
        struct buf bytes = {0};
        if (injection_layer_decode(layer, 100000, &bytes, &err) == 0)
            assert(bytes.len <= 100000 && (kind == LAYER_DATA || kind == LAYER_GZIP));
        buf_free(&bytes);
    }
    static const struct platform windows = {.os = "windows", .architecture = "amd64"};
    assert(!injection_applies(inj, &windows));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (int trust = 0; trust < 2; ++trust) {
        struct err err = {0};
        struct injection *inj = injection_parse(data, size, (enum injection_trust)trust, "/", &err);
        if (inj)
            check(inj, (enum injection_trust)trust);
        else
            assert(err.code == ERR_INVALID || err.code == ERR_SIZE_INVALID);
        injection_unref(inj);
    }
    return 0;
}
