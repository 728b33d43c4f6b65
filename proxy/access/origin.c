// SPDX-License-Identifier: Apache-2.0
#include "proxy/access/origin.h"

#define NODE_MAX  253 /* a host name's length */
#define LINES_MAX 64  /* of X-Forwarded-For */

/* Cuts the last element off a comma-separated list. */
static struct slice cut_last(struct slice *list)
{
    size_t at = list->len;
    while (at > 0 && list->p[at - 1] != ',')
        --at;
    struct slice last = {list->p + at, list->len - at};
    *list = at ? (struct slice){list->p, at - 1} : (struct slice){NULL, 0};
    return slice_trim(last);
}

/* From the right, as long as who speaks is trusted: each proxy appends whom it spoke to. What is no address
 * ends it, since nothing to the left of it was said by anyone we know. */
struct net_address origin_address(const struct table *t, struct request *r)
{
    static const char header[] = "x-forwarded-for";
    struct net_address ip = {{0}};
    if (!net_parse_address(slice_of(request_peer(r)), &ip) || !table_trusts_proxy(t, &ip))
        return ip;
    unsigned lines = 0;
    while (lines < LINES_MAX && request_header_at(r, header, lines).p)
        ++lines;
    while (lines-- > 0) {
        struct slice list = request_header_at(r, header, lines);
        while (list.p) {
            struct net_address before;
            if (!net_parse_address(cut_last(&list), &before))
                return ip;
            ip = before;
            if (!table_trusts_proxy(t, &ip))
                return ip;
        }
    }
    return ip;
}

/* A name that can stand in a log, a query and a label. */
static bool is_node(struct slice s)
{
    for (size_t i = 0; i < s.len; ++i)
        if (s.p[i] <= ' ' || s.p[i] > '~')
            return false;
    return s.len > 0 && s.len <= NODE_MAX;
}

static const char *node_of_headers(struct request *r)
{
    static const char *const names[] = {"x-rac-node", "x-meta-rac-node"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; ++i) {
        struct slice value = request_header(r, names[i]);
        if (is_node(value))
            return request_strdup(r, value);
    }
    return NULL;
}

void origin_find(const struct table *t, struct request *r, struct access_origin *ret)
{
    const struct caller *c = caller_of(r);
    char text[NET_TEXT_MAX];
    struct access_origin o = {.ip = origin_address(t, r)};
    o.address = request_strdup(r, slice_of(net_format(&o.ip, text)));
    o.subject = c && c->subject ? c->subject : c ? c->account : NULL;
    const char *location = table_location(t, &o.ip);
    o.location = location ? request_strdup(r, slice_of(location)) : NULL;
    o.node = request_client_name(r);
    if (!o.node)
        o.node = o.subject;
    if (!o.node && table_trusts_headers(t))
        o.node = node_of_headers(r);
    if (!o.node)
        o.node = o.address;
    *ret = o;
}
