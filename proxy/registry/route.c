// SPDX-License-Identifier: Apache-2.0
#include "proxy/registry/route.h"

#include <string.h>

static struct slice last_segment(struct slice *path)
{
    const char *slash = path->len ? memrchr(path->p, '/', path->len) : NULL;
    struct slice last = *path;
    if (!slash) {
        *path = (struct slice){path->p, 0};
        return last;
    }
    last = (struct slice){slash + 1, (size_t)(path->p + path->len - slash - 1)};
    path->len = (size_t)(slash - path->p);
    return last;
}

static bool find_uploads(struct slice rest, struct slice *ret_name)
{
    static const char mark[] = "/blobs/uploads";
    const char *at = rest.len ? memmem(rest.p, rest.len, mark, sizeof mark - 1) : NULL;
    if (!at)
        return false;
    const char *behind = at + sizeof mark - 1;
    if (behind != rest.p + rest.len && *behind != '/')
        return false;
    *ret_name = (struct slice){rest.p, (size_t)(at - rest.p)};
    return true;
}

struct route route_parse(struct slice path)
{
    struct route route = {.kind = ROUTE_UNKNOWN};
    struct slice rest = {path.p + 3, path.len - 3};
    if (rest.len == 0 || slice_eq_str(rest, "/")) {
        route.kind = ROUTE_BASE;
        return route;
    }
    if (rest.p[0] != '/')
        return route;
    rest = (struct slice){rest.p + 1, rest.len - 1};
    if (slice_eq_str(rest, "_catalog")) {
        route.kind = ROUTE_CATALOG;
        return route;
    }
    if (find_uploads(rest, &route.name)) {
        route.kind = ROUTE_UPLOAD;
        return route;
    }
    struct slice before = rest;
    struct slice reference = last_segment(&before);
    struct slice what = last_segment(&before);
    if (slice_eq_str(what, "manifests"))
        route.kind = ROUTE_MANIFEST;
    else if (slice_eq_str(what, "blobs"))
        route.kind = ROUTE_BLOB;
    else if (slice_eq_str(what, "referrers"))
        route.kind = ROUTE_REFERRERS;
    else if (slice_eq_str(what, "tags") && slice_eq_str(reference, "list"))
        route.kind = ROUTE_TAGS;
    route.name = before;
    route.reference = reference;
    return route;
}

const char *route_label(enum route_kind kind)
{
    static const char *const labels[] = {"base", "catalog",   "manifests", "blobs",
                                         "tags", "referrers", "uploads",   "v2"};
    return labels[kind];
}
