// SPDX-License-Identifier: Apache-2.0
#include "s3/s3_url.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <strings.h>

static bool host_valid(const char *host)
{
    if (!*host || *host == '.' || *host == '-')
        return false;
    for (const char *p = host; *p; ++p) {
        if (!isalnum((unsigned char)*p) && !strchr("-._", *p))
            return false;
        if (p[0] == '.' && p[1] == '.')
            return false;
    }
    return true;
}

/* Cuts the scheme off *text. */
static int parse_scheme(const char **text, bool *ret_https, struct err *err)
{
    const char *end = strstr(*text, "://");
    *ret_https = true;
    if (!end)
        return 0;
    if (strncasecmp(*text, "http://", 7) == 0)
        *ret_https = false;
    else if (strncasecmp(*text, "https://", 8) != 0)
        return err_set(err, ERR_INVALID, "only http:// and https:// are spoken");
    *text = end + 3;
    return 0;
}

static int parse_port(const char *text, size_t len, uint16_t *ret, struct err *err)
{
    uint64_t port;
    if (!slice_to_u64((struct slice){text, len}, 65535, &port) || port == 0)
        return err_set(err, ERR_INVALID, "'%.*s' is not a port", (int)(len < 20 ? len : 20), text);
    *ret = (uint16_t)port;
    return 0;
}

static int parse_authority(const char *text, size_t len, struct s3_url *u, struct err *err)
{
    const char *host = text, *end = text + len, *host_end;
    const char *port = NULL;
    bool ip6 = len && *text == '[';
    if (ip6) {
        ++host;
        host_end = memchr(host, ']', (size_t)(end - host));
        if (!host_end)
            return err_set(err, ERR_INVALID, "no ']' behind the IPv6 address");
        if (host_end + 1 < end) {
            if (host_end[1] != ':')
                return err_set(err, ERR_INVALID, "a ':' belongs between ']' and the port");
            port = host_end + 2;
        }
    } else {
        const char *colon = memchr(text, ':', len);
        host_end = colon ? colon : end;
        port = colon ? colon + 1 : NULL;
    }
    size_t n = (size_t)(host_end - host);
    if (n > URL_HOST_MAX)
        return err_set(err, ERR_INVALID, "the host is longer than %d characters", URL_HOST_MAX);
    for (size_t i = 0; i < n; ++i)
        u->host[i] = (char)tolower((unsigned char)host[i]);
    u->host[n] = '\0';
    struct in6_addr a;
    u->literal = inet_pton(ip6 ? AF_INET6 : AF_INET, u->host, &a) == 1;
    if (ip6 ? !u->literal : !host_valid(u->host))
        return err_set(err, ERR_INVALID, "'%.100s' is not a host", u->host);
    u->port = u->https ? 443 : 80;
    return port ? parse_port(port, (size_t)(end - port), &u->port, err) : 0;
}

int s3_url_parse(const char *text, struct s3_url *ret, struct err *err)
{
    struct s3_url u = {0};
    for (const char *p = text; *p; ++p) {
        if ((unsigned char)*p <= ' ' || *p == 0x7f || *p == '#' || *p == '\\')
            return err_set(err, ERR_INVALID, "a URL has no spaces, control characters, '#' or '\\'");
    }
    if (parse_scheme(&text, &u.https, err) < 0)
        return -1;
    size_t authority = strcspn(text, "/?");
    if (memchr(text, '@', authority))
        return err_set(err, ERR_INVALID, "no user and password belong in this URL");
    if (parse_authority(text, authority, &u, err) < 0)
        return -1;
    const char *target = text + authority;
    int n = snprintf(u.target, sizeof u.target, "%s%s", *target == '?' ? "/" : "", target);
    if (n < 0 || (size_t)n >= sizeof u.target)
        return err_set(err, ERR_INVALID, "the URL is longer than %d characters", URL_TARGET_MAX);
    *ret = u;
    return 0;
}

void s3_url_authority(const struct s3_url *u, char ret[URL_AUTHORITY_MAX + 1])
{
    bool ip6 = strchr(u->host, ':') != NULL;
    int n = snprintf(ret, URL_AUTHORITY_MAX + 1, ip6 ? "[%s]" : "%s", u->host);
    if (n > 0 && u->port != (u->https ? 443 : 80))
        (void)snprintf(ret + n, (size_t)(URL_AUTHORITY_MAX + 1 - n), ":%u", u->port);
}

bool s3_url_same_server(const struct s3_url *a, const struct s3_url *b)
{
    return a->https == b->https && a->port == b->port && strcmp(a->host, b->host) == 0;
}

bool s3_url_add_escaped(struct buf *b, const char *s, bool slash_stays)
{
    static const char hex[] = "0123456789ABCDEF";
    for (const unsigned char *p = (const unsigned char *)s; *p; ++p) {
        unsigned char c = *p;
        bool stays = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
                     c == '.' || c == '_' || c == '~' || (c == '/' && slash_stays);
        char out[3] = {'%', hex[c >> 4], hex[c & 15]};
        if (!(stays ? buf_add(b, p, 1) : buf_add(b, out, 3)))
            return false;
    }
    return true;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool s3_url_unescape(char *s, bool plus_is_space)
{
    char *out = s;
    for (; *s; ++s, ++out) {
        *out = *s == '+' && plus_is_space ? ' ' : *s;
        if (*s != '%')
            continue;
        int high = hex_value(s[1]), low = high < 0 ? -1 : hex_value(s[2]);
        if (low < 0 || high * 16 + low == 0)
            return false;
        *out = (char)(high * 16 + low);
        s += 2;
    }
    *out = '\0';
    return true;
}
