// SPDX-License-Identifier: Apache-2.0
#include "proxy/registry/pages.h"

#include <string.h>

#include "common/cleanup.h"
#include "proxy/http/response.h"

/* Characters that a query may hold, and that end neither the target of a request nor a Link. */
static bool is_plain(struct slice s)
{
    for (size_t i = 0; i < s.len; ++i)
        if (s.p[i] <= ' ' || s.p[i] > '~' || strchr("#<>\"", s.p[i]))
            return false;
    return true;
}

const char *pages_add_query(struct buf *path, struct slice query, const char *own)
{
    const char *sep = "?";
    while (query.p) {
        struct slice one = slice_cut(&query, '&'), value = one, key = slice_cut(&value, '=');
        if (one.len == 0 || slice_eq_str(key, "ns") || slice_eq_str(key, own) || !is_plain(one))
            continue;
        (void)buf_add_str(path, sep);
        (void)buf_add_slice(path, one);
        sep = "&";
    }
    return sep;
}

/* The query of the URL in `<url>; rel="next"`; false if there is no such link. */
static bool next_query(const char *link, struct slice *ret)
{
    struct slice s = slice_of(link);
    if (!slice_starts_with(s, "<") || !memmem(s.p, s.len, "rel=\"next\"", 10))
        return false;
    struct slice url = slice_cut(&s, '>');
    const char *q = memchr(url.p, '?', url.len);
    if (!q)
        return false;
    *ret = (struct slice){q + 1, (size_t)(url.p + url.len - q - 1)};
    return is_plain(*ret);
}

void pages_link(struct request *r, const char *path, const char *ns, const char *upstream_link)
{
    struct slice query;
    cleanup_buf struct buf link = {0};
    if (!next_query(upstream_link, &query))
        return;
    (void)buf_printf(&link, "<%s", path);
    size_t bare = link.len;
    const char *sep = pages_add_query(&link, query, "ns");
    if (link.len == bare) /* nothing that says where: the first page again, and for ever */
        return;
    if (ns) {
        (void)buf_printf(&link, "%sns=", sep);
        (void)buf_add_url_escaped(&link, slice_of(ns));
    }
    (void)buf_add_str(&link, ">; rel=\"next\"");
    response_header(r, "Link", (struct slice){link.p, link.len});
}
