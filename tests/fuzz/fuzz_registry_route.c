// SPDX-License-Identifier: Apache-2.0
/* A path below /v2 of any bytes: what is found lies within it, and is what a client wrote there. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/mem.h"
#include "proxy/registry/route.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_inside(struct slice part, struct slice path)
{
    assert(part.len == 0 || (part.p >= path.p && part.p + part.len <= path.p + path.len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = mem_alloc(size + 3); /* exact: a byte too far is found */
    memcpy(text, "/v2", 3);
    if (size)
        memcpy(text + 3, data, size);
    struct slice path = {text, size + 3};
    struct route r = route_parse(path);
    assert(r.kind <= ROUTE_UNKNOWN && route_label(r.kind));
    check_inside(r.name, path);
    check_inside(r.reference, path);
    if (r.kind == ROUTE_MANIFEST || r.kind == ROUTE_BLOB || r.kind == ROUTE_REFERRERS) {
        assert(!r.reference.len || !memchr(r.reference.p, '/', r.reference.len));
        assert(r.name.len + r.reference.len + 3 < path.len);
    }
    free(text);
    return 0;
}
