// SPDX-License-Identifier: Apache-2.0
#include "proxy/options/address.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "common/str.h"

#define HOST_MAX          253 /* RFC 1035 section 3.1, as text */
#define LABEL_MAX         63
#define UPSTREAM_NAME_MAX 128
#define URL_MAX           2000

static bool is_port(struct slice s, bool zero_too)
{
    uint64_t port;
    return s.len <= 5 && slice_to_u64(s, 65535, &port) && (zero_too || port != 0);
}

static bool is_ip(int family, struct slice s)
{
    char text[INET6_ADDRSTRLEN + 1];
    unsigned char bytes[sizeof(struct in6_addr)];
    if (s.len == 0 || s.len >= sizeof text)
        return false;
    memcpy(text, s.p, s.len);
    text[s.len] = '\0';
    return inet_pton(family, text, bytes) == 1;
}

/* Letters, digits and hyphens between dots (RFC 1123 section 2.1); an underscore too, which internal names
 * have. What ends like an IPv4 address has to be one (WHATWG URL, "ends in a number"). */
static bool is_host_name(struct slice s)
{
    if (s.len == 0 || s.len > HOST_MAX)
        return false;
    struct slice rest = s, label = {NULL, 0};
    while (rest.p) {
        label = slice_cut(&rest, '.');
        if (label.len == 0 || label.len > LABEL_MAX || label.p[0] == '-' || label.p[label.len - 1] == '-')
            return false;
        for (size_t i = 0; i < label.len; ++i)
            if (!isalnum((unsigned char)label.p[i]) && label.p[i] != '-' && label.p[i] != '_')
                return false;
    }
    uint64_t number;
    return !slice_to_u64(label, UINT64_MAX, &number);
}

static bool is_host(struct slice s)
{
    if (s.len > 2 && s.p[0] == '[' && s.p[s.len - 1] == ']')
        return is_ip(AF_INET6, (struct slice){s.p + 1, s.len - 2});
    return is_ip(AF_INET, s) || is_host_name(s);
}

/* Cuts ":port" off `s`, outside of brackets. False if there are two colons and no brackets. */
static bool split_port(struct slice s, struct slice *ret_host, struct slice *ret_port, bool *ret_has_port)
{
    size_t from = 0;
    if (s.len && s.p[0] == '[') {
        const char *end = memchr(s.p, ']', s.len);
        if (!end)
            return false;
        from = (size_t)(end - s.p) + 1;
        if (from < s.len && s.p[from] != ':')
            return false;
    }
    const char *colon = from < s.len ? memchr(s.p + from, ':', s.len - from) : NULL;
    *ret_has_port = colon != NULL;
    *ret_host = (struct slice){s.p, colon ? (size_t)(colon - s.p) : s.len};
    *ret_port = colon ? (struct slice){colon + 1, s.len - ret_host->len - 1} : (struct slice){NULL, 0};
    return !colon || !memchr(ret_port->p, ':', ret_port->len);
}

static char *lower(const char *text)
{
    char *s = mem_strdup(text);
    for (char *c = s; *c; ++c)
        *c = (char)tolower((unsigned char)*c);
    return s;
}

int option_check_listen(const char *text, const char *where, struct err *err)
{
    static const char expected[] = "write 127.0.0.1:9090, [::1]:9090, or :9090 for all addresses";
    struct slice host, port;
    bool has_port;
    if (!*text)
        return err_set(err, ERR_INVALID, "%s: an address is empty: %s", where, expected);
    if (is_ip(AF_INET6, slice_of(text)) || !split_port(slice_of(text), &host, &port, &has_port))
        return err_set(err, ERR_INVALID, "%s: '%s': an IPv6 address stands in brackets: [::1]:9090", where,
                       text);
    if (!has_port)
        return err_set(err, ERR_INVALID, "%s: '%s' has no port: %s", where, text, expected);
    if (!is_port(port, true))
        return err_set(err, ERR_INVALID, "%s: '%s': '%.*s' is not a port: from 0 (any free one) to 65535",
                       where, text, (int)port.len, port.p);
    if (host.len && !is_host(host))
        return err_set(err, ERR_INVALID, "%s: '%s': '%.*s' is not an address: %s", where, text, (int)host.len,
                       host.p, expected);
    return 0;
}

static int check_url_path(struct slice path, const char *text, const char *where, struct err *err)
{
    for (size_t i = 0; i < path.len; ++i)
        if (!isalnum((unsigned char)path.p[i]) && !strchr("/-._~", path.p[i]))
            return err_set(err, ERR_INVALID, "%s: '%s': the path may hold letters, digits and -._~ only",
                           where, text);
    struct slice rest = path;
    while (rest.p) {
        struct slice segment = slice_cut(&rest, '/');
        if (segment.len == 0 || slice_eq_str(segment, ".") || slice_eq_str(segment, ".."))
            return err_set(err, ERR_INVALID, "%s: '%s': the path has an empty or dot segment", where, text);
        if (slice_eq_str(segment, "v2") && !rest.p)
            return err_set(err, ERR_INVALID, "%s: '%s': leave out /v2, it is added", where, text);
    }
    return 0;
}

int option_parse_url(const char *text, bool plain_http, char **ret, const char *where, struct err *err)
{
    struct slice s = slice_of(text);
    const char *scheme = plain_http ? "http://" : "";
    /* Before anything is shown: what stands before an @ or behind a ? may be a secret. */
    if (memchr(s.p, '@', s.len))
        return err_set(
            err, ERR_INVALID,
            "%s: the URL carries credentials, which process lists and logs would show: put username and "
            "password-file under 'upstreams' of the configuration file",
            where);
    if (strpbrk(text, "?#"))
        return err_set(err, ERR_INVALID,
                       "%s: the URL has a query or a fragment: scheme, host, port and path only", where);
    if (s.len > URL_MAX)
        return err_set(err, ERR_INVALID, "%s: the URL is longer than %d bytes", where, URL_MAX);
    if (strstr(text, "://")) {
        if (strncasecmp(text, "https://", 8) != 0 && strncasecmp(text, "http://", 7) != 0)
            return err_set(err, ERR_INVALID, "%s: '%s' is neither http:// nor https://", where, text);
        if (plain_http && strncasecmp(text, "https://", 8) == 0)
            return err_set(err, ERR_INVALID, "%s: '%s' is https://, and plain-http is true", where, text);
        scheme = tolower((unsigned char)text[4]) == 's' ? "https://" : "http://";
        s = slice_of(text + strlen(scheme));
    } else if (!plain_http) {
        return err_set(err, ERR_INVALID, "%s: '%s' does not begin with https:// or http://", where, text);
    }
    while (s.len && s.p[s.len - 1] == '/')
        --s.len;
    struct slice path = s, host, port;
    struct slice authority = slice_cut(&path, '/');
    bool has_port;
    if (authority.len == 0)
        return err_set(err, ERR_INVALID, "%s: '%s' names no host", where, text);
    if (!split_port(authority, &host, &port, &has_port) || !is_host(host))
        return err_set(err, ERR_INVALID, "%s: '%s': '%.*s' is not a host", where, text, (int)authority.len,
                       authority.p);
    if (has_port && !is_port(port, false))
        return err_set(err, ERR_INVALID, "%s: '%s': '%.*s' is not a port: from 1 to 65535", where, text,
                       (int)port.len, port.p);
    if (path.p && check_url_path(path, text, where, err) < 0)
        return -1;
    cleanup_free char *place = mem_strndup(authority.p, authority.len);
    cleanup_free char *low = lower(place);
    *ret = mem_printf("%s%s%s%.*s", scheme, low, path.p ? "/" : "", (int)path.len, path.p ? path.p : "");
    return 0;
}

/* One path segment of a reference (distribution spec, <name>), which a host is too. */
static bool is_segment(struct slice s)
{
    bool after_word = false;
    for (size_t i = 0; i < s.len;) {
        if (islower((unsigned char)s.p[i]) || isdigit((unsigned char)s.p[i])) {
            after_word = true;
            ++i;
            continue;
        }
        if (!after_word)
            return false;
        after_word = false;
        if (s.p[i] == '-')
            while (i < s.len && s.p[i] == '-')
                ++i;
        else if (s.p[i] == '_' && i + 1 < s.len && s.p[i + 1] == '_')
            i += 2;
        else if (s.p[i] == '.' || s.p[i] == '_')
            ++i;
        else
            return false;
    }
    return after_word;
}

int option_parse_upstream_name(const char *text, char **ret, const char *where, struct err *err)
{
    static const char *const docker_io[] = {"index.docker.io", "registry-1.docker.io"};
    /* Segments that mean something else at that place of a path; library is where docker.io's own images are.
     */
    static const char *const reserved[] = {"wt", "v2", "library"};
    cleanup_free char *name = lower(text);
    struct slice host, port;
    bool has_port;
    if (strlen(name) > UPSTREAM_NAME_MAX)
        return err_set(err, ERR_INVALID, "%s: a name of an upstream is longer than %d bytes", where,
                       UPSTREAM_NAME_MAX);
    if (strstr(name, "://") || strchr(name, '/'))
        return err_set(err, ERR_INVALID, "%s: '%s': a name is a host or a word, without scheme and path",
                       where, text);
    if (!split_port(slice_of(name), &host, &port, &has_port) || !is_segment(host) ||
        (has_port && !is_port(port, false)))
        return err_set(
            err, ERR_INVALID,
            "%s: '%s' is not a name of an upstream: a host (quay.io, registry.lab:5000) or a word (lab)",
            where, text);
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; ++i)
        if (strcmp(name, reserved[i]) == 0)
            return err_set(err, ERR_INVALID, "%s: '%s' is a reserved word: choose another name", where, name);
    for (size_t i = 0; i < sizeof docker_io / sizeof docker_io[0]; ++i) {
        if (strcmp(name, docker_io[i]) == 0) {
            *ret = mem_strdup("docker.io");
            return 0;
        }
    }
    *ret = steal_ptr(&name);
    return 0;
}

int option_parse_host(const char *text, char **ret, const char *where, struct err *err)
{
    if (strstr(text, "://") || strchr(text, '/'))
        return err_set(err, ERR_INVALID, "%s: '%s': a host, without scheme and path", where, text);
    if (!is_host(slice_of(text)))
        return err_set(err, ERR_INVALID, "%s: '%s' is not a host", where, text);
    *ret = lower(text);
    return 0;
}

int option_parse_authority(const char *text, char **ret, const char *where, struct err *err)
{
    const char *colon = strrchr(text, ':'), *bracket = strrchr(text, ']');
    bool has_port = colon && (!bracket || colon > bracket);
    struct slice host = {text, has_port ? (size_t)(colon - text) : strlen(text)};
    uint64_t port = 1;
    if (strchr(text, '/') || !is_host(host))
        return err_set(err, ERR_INVALID, "%s: '%s': expected HOST or HOST:PORT, without scheme and path",
                       where, text);
    if (has_port && (!slice_to_u64(slice_of(colon + 1), 65535, &port) || port == 0))
        return err_set(err, ERR_INVALID, "%s: '%s': the port is no number from 1 to 65535", where, text);
    *ret = lower(text);
    return 0;
}
