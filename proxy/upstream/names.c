// SPDX-License-Identifier: Apache-2.0
#include "proxy/upstream/names.h"

#include <string.h>

/* How much of a foreign text goes into a message. */
#define SHOWN(s) (int)((s).len > 100 ? 100 : (s).len), (s).len ? (s).p : ""

static bool is_lower_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* "[…]" of hex digits, colons and dots; the rest of what makes an IPv6 address is the URL parser's business.
 */
static bool cut_ipv6(struct slice *name)
{
    const char *end = memchr(name->p, ']', name->len);
    if (!end || end == name->p + 1)
        return false;
    for (const char *p = name->p + 1; p < end; ++p) {
        if (!((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'f') || *p == ':' || *p == '.'))
            return false;
    }
    size_t n = (size_t)(end + 1 - name->p);
    *name = (struct slice){name->p + n, name->len - n};
    return true;
}

static bool cut_host(struct slice *name)
{
    size_t n = 0;
    while (n < name->len && name->p[n] != ':') {
        char c = name->p[n];
        bool edge = n == 0 || n + 1 == name->len || name->p[n + 1] == ':';
        if (!is_lower_alnum(c) && (edge || (c != '.' && c != '-' && c != '_')))
            return false;
        if (c == '.' && name->p[n - 1] == '.')
            return false;
        ++n;
    }
    *name = (struct slice){name->p + n, name->len - n};
    return n > 0;
}

int names_check_upstream(struct slice name, struct err *err)
{
    struct slice rest = name;
    uint64_t port = 1;
    bool ok = name.len > 0 && name.len <= NAMES_UPSTREAM_MAX;
    ok = ok && (name.p[0] == '[' ? cut_ipv6(&rest) : cut_host(&rest));
    if (ok && rest.len)
        ok = rest.p[0] == ':' && slice_to_u64((struct slice){rest.p + 1, rest.len - 1}, 65535, &port) &&
             port > 0;
    if (!ok)
        return err_set(
            err, ERR_INVALID,
            "'%.*s' is not the name of an upstream: a host, with a port or without, or a word, in lower case",
            SHOWN(name));
    if (slice_eq_str(name, "wt"))
        return err_set(err, ERR_INVALID,
                       "an upstream cannot be called 'wt': container tokens have their names there");
    return 0;
}

struct slice names_canonical(struct slice upstream)
{
    if (slice_eq_str(upstream, "index.docker.io") || slice_eq_str(upstream, "registry-1.docker.io"))
        return SLICE_LIT("docker.io");
    return upstream;
}

bool names_is_host(struct slice segment)
{
    return segment.len && (memchr(segment.p, '.', segment.len) || memchr(segment.p, ':', segment.len) ||
                           slice_eq_str(segment, "localhost"));
}

static bool segment_ok(struct slice segment)
{
    bool only_dots = true;
    for (size_t i = 0; i < segment.len; ++i) {
        char c = segment.p[i];
        if (!is_lower_alnum(c) && c != '.' && c != '_' && c != '-')
            return false;
        only_dots = only_dots && c == '.';
    }
    return !only_dots;
}

int names_check_repository(struct slice repository, struct err *err)
{
    if (repository.len == 0)
        return err_set(err, ERR_NAME_INVALID, "the name of a repository is missing");
    if (repository.len > NAMES_REPOSITORY_MAX)
        return err_set(err, ERR_NAME_INVALID, "repository name of %zu characters is over the limit of %d",
                       repository.len, NAMES_REPOSITORY_MAX);
    struct slice rest = repository;
    while (rest.p) {
        if (!segment_ok(slice_cut(&rest, '/')))
            return err_set(err, ERR_NAME_INVALID, "'%.*s' is not the name of a repository",
                           SHOWN(repository));
    }
    return 0;
}
