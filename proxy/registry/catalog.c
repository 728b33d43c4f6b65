// SPDX-License-Identifier: Apache-2.0
/* GET /v2/_catalog: the names pulled here so far, with credentials the caller has too. */
#include <inttypes.h>
#include <stdlib.h>

#include "common/json.h"
#include "common/mem.h"
#include "proxy/access/access.h"
#include "proxy/http/response.h"
#include "proxy/registry/handlers.h"
#include "proxy/registry/reply.h"

#define NAMES_MAX 1000

struct listing {
    struct request *r; /* NULL: gone */
    bool answered;
    uint64_t n;
};

static void on_request_over(void *arg)
{
    struct listing *l = arg;
    l->r = NULL;
    if (l->answered)
        free(l);
}

static void on_names(void *arg, const char *const *names, size_t count, const struct err *err)
{
    struct listing *l = arg;
    l->answered = true;
    if (!l->r) {
        free(l);
        return;
    }
    if (err) {
        reply_err(l->r, err);
        return;
    }
    cleanup_buf struct buf b = {0}, link = {0};
    (void)buf_add_str(&b, "{\"repositories\":[");
    for (size_t i = 0; i < count && i < l->n; ++i) {
        (void)buf_add_str(&b, i ? "," : "");
        (void)buf_add_json_str(&b, slice_of(names[i]));
    }
    (void)buf_add_str(&b, "]}\n");
    if (count > l->n && l->n > 0) {
        (void)buf_add_str(&link, "</v2/_catalog?last=");
        (void)buf_add_url_escaped(&link, slice_of(names[l->n - 1]));
        (void)buf_printf(&link, "&n=%" PRIu64 ">; rel=\"next\"", l->n);
        response_header(l->r, "Link", (struct slice){link.p, link.len});
    }
    reply_json(l->r, 200, b.p, b.len);
}

/* {"docker.io": "anon", "lab": "u:…"}: the upstreams as the caller sees them. */
static char *scopes_of(const struct upstream_set *upstreams)
{
    size_t len;
    cleanup_json json_t *scopes = json_object();
    for (size_t i = 0; i < upstream_set_count(upstreams); ++i) {
        const struct upstream *u = upstream_set_at(upstreams, i);
        (void)json_object_set_new(scopes, u->name, json_string(u->scope));
    }
    return json_format(scopes, &len);
}

void catalog_handle(struct registry *g, struct request *r)
{
    uint64_t n;
    if (page_size(r, NAMES_MAX, &n) < 0)
        return;
    struct slice last = request_query_param(r, "last");
    struct listing *l = mem_new(struct listing);
    l->r = r;
    l->n = n;
    request_on_dispose(r, on_request_over, l);
    cleanup_free char *after = last.p ? mem_strndup(last.p, last.len) : mem_strdup("");
    const struct registry_config *config = registry_worker_config(g->worker(request_loop(r)));
    struct upstream_set *upstreams = registry_config_upstreams(config, caller_of(r)->account, NULL);
    cleanup_free char *scopes = scopes_of(upstreams);
    g->env->state->ops->names(g->env->state, request_loop(r), scopes, upstream_set_allows_any(upstreams),
                              after, (size_t)n + 1, on_names, l);
}
