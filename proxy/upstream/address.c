// SPDX-License-Identifier: Apache-2.0
#include "proxy/upstream/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

/* IANA IPv4 special-purpose registry (RFC 6890 and its updates), multicast, and class E with the broadcast
 * address. The few globally reachable anycast addresses inside 192.0.0.0/24 are no place for a registry
 * either. */
static const struct {
    uint32_t prefix;
    unsigned bits;
} v4_special[] = {
    {0x00000000, 8},  /* 0.0.0.0/8 this network */
    {0x0a000000, 8},  /* 10.0.0.0/8 private */
    {0x64400000, 10}, /* 100.64.0.0/10 CGNAT */
    {0x7f000000, 8},  /* 127.0.0.0/8 loopback */
    {0xa9fe0000, 16}, /* 169.254.0.0/16 link-local: cloud metadata lives here */
    {0xac100000, 12}, /* 172.16.0.0/12 private */
    {0xc0000000, 24}, /* 192.0.0.0/24 protocol assignments */
    {0xc0000200, 24}, /* 192.0.2.0/24 documentation */
    {0xc0586300, 24}, /* 192.88.99.0/24 6to4 relays */
    {0xc0a80000, 16}, /* 192.168.0.0/16 private */
    {0xc6120000, 15}, /* 198.18.0.0/15 benchmarking */
    {0xc6336400, 24}, /* 198.51.100.0/24 documentation */
    {0xcb007100, 24}, /* 203.0.113.0/24 documentation */
    {0xe0000000, 4},  /* 224.0.0.0/4 multicast */
    {0xf0000000, 4},  /* 240.0.0.0/4 reserved, 255.255.255.255 broadcast */
};

static bool v4_public(uint32_t a)
{
    for (size_t i = 0; i < LEN(v4_special); ++i) {
        if ((a ^ v4_special[i].prefix) >> (32 - v4_special[i].bits) == 0)
            return false;
    }
    return true;
}

static uint32_t v4_at(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

struct v6_prefix {
    uint8_t prefix[16];
    unsigned bits;
};

/* Inside of 2000::/3, the only part of IPv6 that is given out as global unicast. All outside of it (loopback,
 * ULA, link-local, site-local, multicast, discard, segment routing, 64:ff9b:1::/48 of RFC 8215) is not
 * public. */
static const struct v6_prefix v6_special[] = {
    {{0x20, 0x01, 0x00}, 23},       /* 2001::/23 protocol assignments: benchmarking, ORCHID, … */
    {{0x20, 0x01, 0x0d, 0xb8}, 32}, /* 2001:db8::/32 documentation */
    {{0x3f, 0xff, 0x00}, 20},       /* 3fff::/20 documentation (RFC 9637) */
};

static bool v6_in(const uint8_t *a, const struct v6_prefix *p)
{
    unsigned whole = p->bits / 8, rest = p->bits % 8;
    if (memcmp(a, p->prefix, whole) != 0)
        return false;
    return rest == 0 || (a[whole] ^ p->prefix[whole]) >> (8 - rest) == 0;
}

/* Forms that carry an IPv4 address somewhere: they are as public as that address is. */
static const struct {
    struct v6_prefix in;
    unsigned at; /* where the IPv4 address stands, bytes */
} v6_carriers[] = {
    {{{[10] = 0xff, [11] = 0xff}, 96}, 12}, /* ::ffff:0:0/96 v4-mapped */
    {{{[8] = 0xff, [9] = 0xff}, 96}, 12},   /* ::ffff:0:0:0/96 v4-translated (RFC 2765) */
    {{{0x00, 0x64, 0xff, 0x9b}, 96}, 12},   /* 64:ff9b::/96 NAT64 (RFC 6052) */
    {{{0x20, 0x02}, 16}, 2},                /* 2002::/16 6to4 */
    {{{0}, 96}, 12},                        /* ::/96 v4-compatible; :: and ::1 are in 0.0.0.0/8 */
};

static bool v6_public(const uint8_t a[16])
{
    for (size_t i = 0; i < LEN(v6_carriers); ++i) {
        if (v6_in(a, &v6_carriers[i].in))
            return v4_public(v4_at(a + v6_carriers[i].at));
    }
    /* Teredo (RFC 4380 section 4): the server as it is, the client with all its bits turned. */
    static const struct v6_prefix teredo = {{0x20, 0x01, 0x00, 0x00}, 32};
    if (v6_in(a, &teredo))
        return v4_public(v4_at(a + 4)) && v4_public(~v4_at(a + 12));
    if (a[0] >> 5 != 1)
        return false;
    for (size_t i = 0; i < LEN(v6_special); ++i) {
        if (v6_in(a, &v6_special[i]))
            return false;
    }
    return true;
}

bool address_is_public(const struct sockaddr *sa)
{
    if (sa->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, sa, sizeof in);
        return v4_public(ntohl(in.sin_addr.s_addr));
    }
    if (sa->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, sa, sizeof in6);
        return v6_public(in6.sin6_addr.s6_addr);
    }
    return false;
}

bool address_parse(struct slice host, struct sockaddr_storage *ret)
{
    char text[INET6_ADDRSTRLEN];
    if (host.len == 0 || host.len >= sizeof text)
        return false;
    memcpy(text, host.p, host.len);
    text[host.len] = '\0';
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    memset(ret, 0, sizeof *ret);
    if (inet_pton(AF_INET, text, &in.sin_addr) == 1)
        memcpy(ret, &in, sizeof in);
    else if (inet_pton(AF_INET6, text, &in6.sin6_addr) == 1)
        memcpy(ret, &in6, sizeof in6);
    else
        return false;
    return true;
}

const char *address_format(const struct sockaddr *sa, char *out, size_t cap)
{
    const void *bytes = sa->sa_family == AF_INET6
                            ? (const void *)&((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr
                            : (const void *)&((const struct sockaddr_in *)(const void *)sa)->sin_addr;
    if (!inet_ntop(sa->sa_family, bytes, out, (socklen_t)cap))
        (void)snprintf(out, cap, "of an unknown family");
    return out;
}

/* Below these, every customer has a name: two of them are not one site. */
static const char *const shared_domains[] = {
    "amazonaws.com",  "amazonaws.com.cn", "azurecr.io",     "azurewebsites.net",
    "azure.com",      "windows.net",      "cloudfront.net", "googleapis.com",
    "appspot.com",    "run.app",          "github.io",      "gitlab.io",
    "herokuapp.com",  "pages.dev",        "workers.dev",    "netlify.app",
    "vercel.app",     "fly.dev",          "r2.dev",         "ngrok.io",
    "ngrok-free.app", "nip.io",           "sslip.io",       "duckdns.org",
};

static bool under_shared_domain(struct slice host)
{
    for (size_t i = 0; i < LEN(shared_domains); ++i) {
        size_t n = strlen(shared_domains[i]);
        if (slice_ends_with(host, shared_domains[i]) && (host.len == n || host.p[host.len - n - 1] == '.'))
            return true;
    }
    return false;
}

/* The part of a host name that has one owner; empty if there is none. */
static struct slice site_of(struct slice host)
{
    struct slice none = {NULL, 0}, labels[4] = {0};
    size_t n = 0, end = host.len;
    while (end > 0 && n < LEN(labels)) {
        size_t begin = end;
        while (begin > 0 && host.p[begin - 1] != '.')
            --begin;
        if (begin == end)
            return none; /* an empty label */
        labels[n++] = (struct slice){host.p + begin, end - begin};
        if (begin == 0)
            break;
        end = begin - 1;
        if (end == 0)
            return none; /* a dot in front */
    }
    size_t want = n >= 2 && labels[0].len == 2 && labels[1].len <= 3 ? 3 : 2;
    if (n < want)
        return none;
    const char *begin = labels[want - 1].p;
    return (struct slice){begin, (size_t)(host.p + host.len - begin)};
}

bool address_same_site(struct slice host_a, struct slice host_b)
{
    if (host_a.len == 0 || host_b.len == 0)
        return false;
    if (slice_eq(host_a, host_b))
        return true;
    struct sockaddr_storage sa;
    if (address_parse(host_a, &sa) || address_parse(host_b, &sa))
        return false;
    if (under_shared_domain(host_a) || under_shared_domain(host_b))
        return false;
    struct slice a = site_of(host_a), b = site_of(host_b);
    return a.len && slice_eq(a, b);
}
