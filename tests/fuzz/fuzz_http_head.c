// SPDX-License-Identifier: Apache-2.0
/* A head of any bytes, in pieces of any size: refused with a reason, or whole, and every part of it inside.
 */
#include <assert.h>
#include <stdlib.h>

#include "proxy/http/head.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void assert_inside(struct slice part, struct slice whole)
{
    assert(part.len == 0 || (part.p >= whole.p && part.p + part.len <= whole.p + whole.len));
    assert(!memchr(part.p, '\n', part.len) && !memchr(part.p, '\r', part.len) &&
           !memchr(part.p, '\0', part.len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice bytes = {(const char *)data, size};
    struct head_scan scan = {0}, in_pieces = {0};
    const char *message = NULL;
    size_t len = 0, len_in_pieces = 0;
    int status = head_find_end(bytes, 4096, &scan, &len, &message), again = 0;
    for (size_t n = 1; n <= size && again == 0 && len_in_pieces == 0; n += 1 + n % 3)
        again = head_find_end((struct slice){bytes.p, n}, 4096, &in_pieces, &len_in_pieces, &message);
    if (again == 0 && len_in_pieces == 0)
        again = head_find_end(bytes, 4096, &in_pieces, &len_in_pieces, &message);
    assert(again == status && len == len_in_pieces);
    if (head_check_target(bytes, &message) == 0)
        assert(size > 0 && bytes.p[0] == '/' && !memchr(bytes.p, '\n', size));
    if (status) {
        assert((status == 400 || status == 431) && message && len == 0);
        return 0;
    }
    if (len == 0)
        return 0;
    assert(len <= size && len <= 4096 && memcmp(bytes.p + len - 2, "\r\n", 2) == 0);
    /* A copy of its own size: reading past the head is seen. */
    char *copy = malloc(len);
    assert(copy);
    memcpy(copy, bytes.p, len);
    struct slice head = {copy, len};
    static struct head h;
    message = NULL;
    status = head_parse(head, &h, &message);
    assert(status == 0 || ((status == 400 || status == 417 || status == 431 || status == 505) && message));
    assert_inside(h.method, head);
    assert(h.field_count <= HEAD_FIELDS_MAX);
    for (unsigned i = 0; i < h.field_count; ++i) {
        assert(h.fields[i].name.len > 0);
        assert_inside(h.fields[i].name, head);
        assert_inside(h.fields[i].value, head);
    }
    if (status == 0) {
        assert_inside(h.target, head);
        assert_inside(h.host, head);
        assert(h.target.p[0] == '/' && !(h.has_length && h.is_chunked));
    }
    free(copy);
    return 0;
}
