// SPDX-License-Identifier: Apache-2.0
#include "proxy/registry/registry.h"

#include "proxy/access/access.h"
#include "proxy/http/response.h"
#include "proxy/registry/handlers.h"
#include "proxy/registry/reply.h"
#include "proxy/registry/route.h"
#include "proxy/registry/wt.h"

int page_size(struct request *r, uint64_t max_n, uint64_t *ret_n)
{
    struct slice n = request_query_param(r, "n");
    *ret_n = max_n;
    if (!request_query_has(r, "n"))
        return 0;
    if (!n.p || !slice_to_u64(n, UINT64_MAX, ret_n)) {
        reply_error(r, 400, "PAGINATION_NUMBER_INVALID", "'n' must be a whole number, 0 or more");
        return -1;
    }
    if (*ret_n > max_n)
        *ret_n = max_n;
    return 0;
}

static void unsupported(struct request *r, enum route_kind kind)
{
    response_header_ref(r, "Allow", SLICE_LIT("GET, HEAD"));
    reply_error(r, 405, "UNSUPPORTED",
                kind == ROUTE_UPLOAD ? "this is a pull-through proxy: push to the upstream registry instead"
                                     : "only GET and HEAD are supported here");
}

static void handle_named(struct registry *g, struct request *r, const struct route *route)
{
    struct target *t;
    struct err err;
    if (wt_is(route->name)) {
        wt_handle(g, r, route);
        return;
    }
    struct slice ns = request_query_param(r, "ns");
    if (!ns.p && request_query_has(r, "ns")) { /* to take it for none would mean another image */
        reply_error(r, 400, "NAME_INVALID", "'ns' is not well encoded");
        return;
    }
    if (target_get(g->worker(request_loop(r)), caller_of(r)->account, route->name, ns, &t, &err) < 0) {
        reply_err(r, &err);
        return;
    }
    switch (route->kind) {
    case ROUTE_MANIFEST:
        manifests_handle(g, r, t, route->reference, route->reference);
        break;
    case ROUTE_BLOB:
        blobs_handle(g, r, t, route->reference);
        break;
    case ROUTE_TAGS:
        tag_list_handle(g, r, t, route->name);
        break;
    default:
        referrers_handle(g, r, t, route->name, route->reference);
        break;
    }
}

/* What is below a container token is the token's to allow. */
static bool may_pull(struct request *r)
{
    return caller_may(r, ACCESS_PULL) || slice_starts_with(request_path(r), "/v2/wt/");
}

static void forbid(struct request *r)
{
    if (caller_of(r)->account) {
        reply_error(r, 403, "DENIED", "this account has not the role 'pull'");
        return;
    }
    response_header_ref(r, "WWW-Authenticate", SLICE_LIT(ACCESS_CHALLENGE));
    reply_error(r, 401, "UNAUTHORIZED", "this registry wants to know who asks: log in (docker login)");
}

void registry_handle(struct registry *g, struct request *r)
{
    struct route route = route_parse(request_path(r));
    enum http_method method = request_method(r);
    request_set_route(r, route_label(route.kind));
    if (!may_pull(r)) {
        forbid(r);
    } else if (route.kind == ROUTE_UNKNOWN) {
        reply_error(r, 404, "NAME_UNKNOWN",
                    "no such path: see the OCI distribution spec for what is under /v2/");
    } else if ((method != HTTP_GET && method != HTTP_HEAD) || route.kind == ROUTE_UPLOAD) {
        unsupported(r, route.kind);
    } else if (route.kind == ROUTE_BASE) {
        reply_json(r, 200, "{}", 2);
    } else if (route.kind == ROUTE_CATALOG) {
        catalog_handle(g, r);
    } else {
        handle_named(g, r, &route);
    }
}
