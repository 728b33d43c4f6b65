// SPDX-License-Identifier: Apache-2.0
/* A request for a container token: whatever the bytes, it is refused with a reason, or holds only what a
 * client may ask for, within the limits; and what it asks for can be written down and read again. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/tokens/token_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct token_request_limits limits = {
        .layers = 3, .includes = 2, .layer_bytes = 1000, .total_bytes = 2000, .unpacked_bytes = 1 << 20};
    struct token_request *q = NULL;
    struct err err = {0};
    if (token_request_parse(data, size, &limits, &q, &err) < 0) {
        assert(!q && err.code != ERR_NONE && err.msg[0]);
        return 0;
    }
    assert(q->injection && injection_layer_count(q->injection) <= 3 && q->include_count <= 2);
    for (size_t i = 0; i < injection_layer_count(q->injection); ++i) {
        const struct injection_layer *layer = injection_layer_at(q->injection, i);
        enum layer_location where;
        assert(layer->gzip_size <= 1000 && injection_layer_location(layer, &where, &err) == 0);
        assert(where != LAYER_FILE && where != LAYER_IMAGE);
    }
    const struct image_name *image = &q->image;
    assert(image->name.p >= image->text &&
           image->name.p + image->name.len <= image->text + strlen(image->text));
    assert(reference_check_name(image->name, &err) == 0);
    assert(image->reference.is_digest || reference_check_tag(slice_of(image->reference.tag), &err) == 0);
    const char *json = injection_json(q->injection);
    cleanup_injection struct injection *again =
        injection_parse(json, strlen(json), INJECTION_FROM_CONFIGURATION, "/", &err);
    assert(again && digest_eq(injection_digest(again), injection_digest(q->injection)));
    token_request_free(q);
    return 0;
}
