// SPDX-License-Identifier: Apache-2.0
/* Any bytes as a chunked body: at once and byte by byte it is the same body, with the same end. */
#include <assert.h>

#include "common/cleanup.h"
#include "proxy/http/chunked.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* 1 at the end, 0 before it, -1 if it is none. */
static int decode(struct slice in, size_t step, struct buf *body, size_t *ret_rest)
{
    struct chunked c = {0};
    while (in.len > 0 && c.state != CHUNKED_DONE) {
        struct slice piece = {in.p, in.len < step ? in.len : step}, data;
        size_t before = piece.len;
        if (chunked_next(&c, &piece, &data) < 0)
            return -1;
        assert(piece.len + data.len <= before && piece.p + piece.len == in.p + before);
        assert(data.len == 0 || (data.p >= in.p && data.p + data.len <= piece.p));
        assert(data.len > 0 || piece.len == 0 || c.state == CHUNKED_DONE);
        (void)buf_add_slice(body, data);
        in.p += before - piece.len;
        in.len -= before - piece.len;
    }
    *ret_rest = in.len;
    return c.state == CHUNKED_DONE;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = {(const char *)data, size};
    cleanup_buf struct buf whole = {0}, pieces = {0};
    size_t rest = 0, rest_of_pieces = 0;
    int end = decode(in, size ? size : 1, &whole, &rest);
    assert(decode(in, 1, &pieces, &rest_of_pieces) == end);
    assert(whole.len == pieces.len && memcmp(buf_str(&whole), buf_str(&pieces), whole.len) == 0);
    assert(end < 1 || rest == rest_of_pieces);
    return 0;
}
