// SPDX-License-Identifier: Apache-2.0
/* Eight bytes of size, then a Range header of any bytes: whatever it asks for, what is answered lies within
 * the blob, is in order, does not overlap, and so is never larger than the blob. */
#include <assert.h>
#include <stdint.h>

#include "common/mem.h"
#include "proxy/registry/range.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct range r[RANGES_MAX];
    uint64_t blob;
    size_t n = 0;
    if (size < sizeof blob)
        return 0;
    memcpy(&blob, data, sizeof blob);
    size -= sizeof blob;
    char *header = mem_alloc(size ? size : 1);
    if (size)
        memcpy(header, data + sizeof blob, size);
    enum range_verdict v = range_parse((struct slice){header, size}, blob, r, &n);
    assert((v == RANGE_SOME) == (n > 0) && n <= RANGES_MAX);
    for (size_t i = 0; i < n; ++i) {
        assert(r[i].first <= r[i].last && r[i].last < blob);
        assert(i == 0 || r[i].first > r[i - 1].last + 1);
    }
    free(header);
    return 0;
}
