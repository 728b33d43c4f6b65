// SPDX-License-Identifier: Apache-2.0
#include "common/network.h"

#include <arpa/inet.h>

static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static bool parse_bare(struct slice text, struct net_address *ret)
{
    char copy[NET_TEXT_MAX];
    struct net_address a;
    if (text.len == 0 || text.len >= sizeof copy || memchr(text.p, '\0', text.len))
        return false;
    memcpy(copy, text.p, text.len);
    copy[text.len] = '\0';
    if (!memchr(text.p, ':', text.len) || inet_pton(AF_INET6, copy, a.b) != 1) {
        memcpy(a.b, mapped, sizeof mapped);
        if (inet_pton(AF_INET, copy, a.b + sizeof mapped) != 1)
            return false;
    }
    *ret = a;
    return true;
}

static bool is_port(struct slice s)
{
    uint64_t port;
    return slice_to_u64(s, 65535, &port);
}

bool net_parse_address(struct slice text, struct net_address *ret)
{
    if (text.len && text.p[0] == '[') {
        const char *end = memchr(text.p, ']', text.len);
        if (!end || !memchr(text.p, ':', (size_t)(end - text.p)))
            return false;
        struct slice inner = {text.p + 1, (size_t)(end - text.p) - 1};
        struct slice behind = {end + 1, text.len - inner.len - 2};
        if (behind.len && (behind.p[0] != ':' || !is_port((struct slice){behind.p + 1, behind.len - 1})))
            return false;
        return parse_bare(inner, ret);
    }
    struct slice port = text;
    struct slice host = slice_cut(&port, ':');
    /* One colon is IPv4 with a port; more are IPv6. */
    if (port.p && !memchr(port.p, ':', port.len))
        return is_port(port) && parse_bare(host, ret);
    return parse_bare(text, ret);
}

static uint8_t mask_of(unsigned bits, unsigned byte)
{
    if (bits >= 8 * (byte + 1))
        return 0xff;
    if (bits <= 8 * byte)
        return 0;
    return (uint8_t)(0xff00U >> (bits - 8 * byte) & 0xffU);
}

int net_parse_range(const char *text, struct net_range *ret, struct err *err)
{
    struct slice bits = slice_of(text);
    struct slice base = slice_cut(&bits, '/');
    struct net_range r = {.bits = 128};
    if (!parse_bare(base, &r.base))
        return err_set(err, ERR_INVALID, "'%.60s' is not a network: write 10.0.0.0/8 or 2001:db8::/32", text);
    bool dotted = !memchr(base.p, ':', base.len);
    if (bits.p) {
        uint64_t n;
        if (!slice_to_u64(bits, dotted ? 32 : 128, &n))
            return err_set(err, ERR_INVALID, "'%.60s': behind the slash is a number from 0 to %d", text,
                           dotted ? 32 : 128);
        r.bits = (unsigned)n + (dotted ? 96 : 0);
    }
    for (unsigned i = 0; i < sizeof r.base.b; ++i) {
        if (!(r.base.b[i] & (uint8_t)~mask_of(r.bits, i)))
            continue;
        struct net_range cut = r;
        char should[NET_TEXT_MAX];
        for (unsigned k = 0; k < sizeof cut.base.b; ++k)
            cut.base.b[k] = (uint8_t)(cut.base.b[k] & mask_of(r.bits, k));
        return err_set(err, ERR_INVALID, "'%.60s' has bits behind its prefix: the network is %s/%.*s", text,
                       net_format(&cut.base, should), (int)bits.len, bits.p);
    }
    *ret = r;
    return 0;
}

bool net_range_has(const struct net_range *range, const struct net_address *address)
{
    unsigned whole = range->bits / 8;
    if (memcmp(range->base.b, address->b, whole) != 0)
        return false;
    return whole == sizeof address->b ||
           ((range->base.b[whole] ^ address->b[whole]) & mask_of(range->bits, whole)) == 0;
}

bool net_is_ipv4(const struct net_address *a)
{
    return memcmp(a->b, mapped, sizeof mapped) == 0;
}

bool net_is_loopback(const struct net_address *a)
{
    static const struct net_address one = {.b = {[15] = 1}};
    return net_is_ipv4(a) ? a->b[12] == 127 : memcmp(a->b, one.b, sizeof one.b) == 0;
}

/* inet_ntop goes through sprintf here, which each request would feel. */
static void format_ipv4(const uint8_t b[4], char *out)
{
    for (int i = 0; i < 4; ++i) {
        if (i)
            *out++ = '.';
        if (b[i] >= 100)
            *out++ = (char)('0' + b[i] / 100);
        if (b[i] >= 10)
            *out++ = (char)('0' + b[i] / 10 % 10);
        *out++ = (char)('0' + b[i] % 10);
    }
    *out = '\0';
}

char *net_format(const struct net_address *a, char out[NET_TEXT_MAX])
{
    if (net_is_ipv4(a))
        format_ipv4(a->b + sizeof mapped, out);
    else
        (void)inet_ntop(AF_INET6, a->b, out, NET_TEXT_MAX);
    return out;
}
