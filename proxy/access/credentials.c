// SPDX-License-Identifier: Apache-2.0
#include "proxy/access/credentials.h"

static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* RFC 4648 section 4, with its padding; bits that would be thrown away must be zero, so that one text has one
 * form only. Returns the length, or -1. */
static ssize_t decode(struct slice in, char *out)
{
    size_t n = 0;
    if (in.len == 0 || in.len % 4)
        return -1;
    for (size_t i = 0; i < in.len; i += 4) {
        unsigned bits = 0, padding = 0;
        for (size_t k = 0; k < 4; ++k) {
            char c = in.p[i + k];
            int v = c == '=' && i + 4 == in.len && k >= 2 ? 0 : value_of(c);
            if (v < 0 || (padding && c != '='))
                return -1;
            padding += c == '=';
            bits = bits << 6 | (unsigned)v;
        }
        if (bits & ((1U << 8 * padding) - 1))
            return -1;
        for (size_t k = 0; k < 3 - padding; ++k)
            out[n++] = (char)(bits >> (16 - 8 * k) & 0xff);
    }
    return (ssize_t)n;
}

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
    ssize_t len = decode(rest, room);
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
