// SPDX-License-Identifier: Apache-2.0
#include "proxy/upstream/env_proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "proxy/upstream/address.h"

static char *read_env(const char *lower, const char *upper)
{
    const char *v = getenv(lower);
    if (!v && upper)
        v = getenv(upper);
    return v && *v ? mem_strdup(v) : NULL;
}

void env_proxy_read(struct env_proxy *p)
{
    cleanup_free char *all = read_env("all_proxy", "ALL_PROXY");
    p->http = read_env("http_proxy", NULL); /* HTTP_PROXY is what a CGI program gets from a `Proxy:` header */
    p->https = read_env("https_proxy", "HTTPS_PROXY");
    p->exceptions = read_env("no_proxy", "NO_PROXY");
    if (all && !p->http)
        p->http = mem_strdup(all);
    if (all && !p->https)
        p->https = mem_strdup(all);
}

void env_proxy_free(struct env_proxy *p)
{
    free(p->http);
    free(p->https);
    free(p->exceptions);
    *p = (struct env_proxy){0};
}

/* The bytes of an IP address; 4, 16, or 0 if it is none. */
static size_t address_bytes(struct slice text, uint8_t out[16])
{
    struct sockaddr_storage ss;
    if (!address_parse(text, &ss))
        return 0;
    if (ss.ss_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, &ss, sizeof in);
        memcpy(out, &in.sin_addr, 4);
        return 4;
    }
    struct sockaddr_in6 in6;
    memcpy(&in6, &ss, sizeof in6);
    memcpy(out, &in6.sin6_addr, 16);
    return 16;
}

static bool in_network(struct slice network, struct slice host)
{
    uint8_t net[16], addr[16];
    uint64_t bits = 0;
    struct slice rest = network, base = slice_cut(&rest, '/');
    size_t n = address_bytes(base, net);
    if (n == 0 || address_bytes(host, addr) != n)
        return false;
    if (!rest.p)
        bits = n * 8;
    else if (!slice_to_u64(rest, n * 8, &bits))
        return false;
    if (memcmp(net, addr, bits / 8) != 0)
        return false;
    return bits % 8 == 0 || (net[bits / 8] ^ addr[bits / 8]) >> (8 - bits % 8) == 0;
}

static bool matches(struct slice item, struct slice host)
{
    if (slice_eq_str(item, "*"))
        return true;
    if (item.len > 2 && item.p[0] == '[' && item.p[item.len - 1] == ']')
        item = (struct slice){item.p + 1, item.len - 2};
    uint8_t ignored[16];
    if (address_bytes(host, ignored))
        return in_network(item, host);
    if (item.len && item.p[0] == '.')
        item = (struct slice){item.p + 1, item.len - 1};
    if (item.len == 0 || host.len < item.len)
        return false;
    struct slice tail = {host.p + host.len - item.len, item.len};
    for (size_t i = 0; i < item.len; ++i) {
        char c = item.p[i];
        if (tail.p[i] != (c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c))
            return false;
    }
    return host.len == item.len || tail.p[-1] == '.';
}

bool env_proxy_excepts(const char *list, const char *host)
{
    while (list && *list) {
        size_t n = strcspn(list, ", \t");
        if (n && matches((struct slice){list, n}, slice_of(host)))
            return true;
        list += n + strspn(list + n, ", \t");
    }
    return false;
}

const char *env_proxy_for(const struct env_proxy *p, const struct url *url)
{
    const char *proxy = url->https ? p->https : p->http;
    return proxy && !env_proxy_excepts(p->exceptions, url->host) ? proxy : NULL;
}
