// SPDX-License-Identifier: Apache-2.0
/* An Authorization header of any bytes: name and secret lie within the header or the room, and what was
 * decoded encodes to what was read, so that one password has one header. */
#include <assert.h>
#include <openssl/evp.h>
#include <stdint.h>

#include "common/mem.h"
#include "proxy/access/credentials.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_within(struct slice s, const char *p, size_t len)
{
    return s.len == 0 || (s.p >= p && s.p + s.len <= p + len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *header = mem_alloc(size ? size : 1);
    char *room = mem_alloc(CREDENTIALS_MAX);
    if (size)
        memcpy(header, data, size);
    struct credentials c = credentials_parse((struct slice){header, size}, room);
    if (c.kind == CREDENTIALS_BEARER)
        assert(c.secret.len && is_within(c.secret, header, size) && !memchr(c.secret.p, ' ', c.secret.len));
    if (c.kind == CREDENTIALS_BASIC) {
        assert(c.name.len && !memchr(c.name.p, ':', c.name.len) && c.name.p == room);
        assert(is_within(c.secret, room, CREDENTIALS_MAX) && c.secret.p == room + c.name.len + 1);
        size_t len = c.name.len + 1 + c.secret.len;
        unsigned char text[CREDENTIALS_MAX + 8];
        int n = EVP_EncodeBlock(text, (const unsigned char *)room, (int)len);
        struct slice sent = {header, size};
        (void)slice_cut(&sent, ' ');
        sent = slice_trim(sent);
        assert(slice_eq(sent, (struct slice){(const char *)text, (size_t)n}));
    }
    free(room);
    free(header);
    return 0;
}
