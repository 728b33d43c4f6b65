// SPDX-License-Identifier: Apache-2.0
#include "proxy/access/credentials.h"

#include "common/base64.h"

static bool is_token(struct slice s)
{
    for (size_t i = 0; i < s.len; ++i)
        if (s.p[i] <= ' ' || s.p[i] > '~')
            return false;
    return s.len > 0;
}

struct credentials credentials_parse(struct slice header, char *room)
{
    struct credentials c = {CREDENTIALS_BAD, {NULL, 0}, {NULL, 0}};
    if (header.len > CREDENTIALS_MAX)
        return c;
    struct slice rest = header;
    struct slice scheme = slice_cut(&rest, ' ');
    rest = slice_trim(rest);
    if (!rest.p || !is_token(rest))
        return c;
    if (slice_ieq_str(scheme, "bearer")) {
        c.kind = CREDENTIALS_BEARER;
        c.secret = rest;
        return c;
    }
    if (!slice_ieq_str(scheme, "basic"))
        return c;
    ssize_t len = base64_decode(rest, BASE64_STRICT, room, NULL);
    if (len < 0)
        return c;
    struct slice secret = {room, (size_t)len};
    struct slice name = slice_cut(&secret, ':');
    if (secret.p && secret.len == 0 && name.len == 0)
        c.kind = CREDENTIALS_NONE;
    if (!secret.p || name.len == 0)
        return c;
    c = (struct credentials){CREDENTIALS_BASIC, name, secret};
    return c;
}
