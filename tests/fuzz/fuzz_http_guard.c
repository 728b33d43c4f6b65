// SPDX-License-Identifier: Apache-2.0
/* A head of any bytes: refused with a reason, or within its limit and whole. */
#include <assert.h>

#include "proxy/http/guard.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice bytes = {(const char *)data, size};
    struct guard_head head;
    const char *message = NULL;
    int status = guard_check_head(bytes, 4096, size % 2, &head, &message);
    assert(status == 0 || ((status == 400 || status == 417 || status == 431) && message));
    if (status == 0) {
        assert(head.len >= 2 && head.len <= size && head.len <= 4096 && !(head.has_length && head.chunked));
        assert(memcmp(bytes.p + head.len - 2, "\r\n", 2) == 0);
    }
    if (guard_check_target(bytes, &message) == 0)
        assert(size > 0 && bytes.p[0] == '/' && !memchr(bytes.p, '\n', size));
    return 0;
}
