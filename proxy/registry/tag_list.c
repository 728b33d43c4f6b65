// SPDX-License-Identifier: Apache-2.0
/* GET /v2/<name>/tags/list: the upstream's, under our name, its pages linked through us. */
#include <inttypes.h>
#include <stdlib.h>

#include "common/mem.h"
#include "layers/reference.h"
#include "proxy/http/response.h"
#include "proxy/registry/handlers.h"
#include "proxy/registry/pages.h"
#include "proxy/registry/relay.h"
#include "proxy/registry/reply.h"

#define TAGS_MAX 10000 /* of a page; more is asked for in pages */

struct tag_list {
    char *name, *ns;           /* as asked; ns may be NULL */
    struct upstream *upstream; /* a reference */
};

static void tag_list_free(struct tag_list *l)
{
    free(l->name);
    free(l->ns);
    upstream_unref(l->upstream);
    free(l);
}

/* {"name": …, "tags": [tags]}; null tags are none. What is no tag may not be handed on as one: clients put
 * it into paths. */
static bool is_list(const json_t *json)
{
    const json_t *tags = json_object_get(json, "tags"), *tag;
    size_t i;
    if (!json_is_object(json) || (tags && !json_is_null(tags) && !json_is_array(tags)))
        return false;
    json_array_foreach (tags, i, tag)
        if (!json_is_string(tag) ||
            reference_check_tag((struct slice){json_string_value(tag), json_string_length(tag)}, NULL) < 0)
            return false;
    return true;
}

static void on_list(void *arg, struct request *r, const struct fetch_head *head, json_t *json,
                    const struct err *err)
{
    struct tag_list *l = arg;
    struct err e;
    if (r && err) {
        reply_err(r, err);
    } else if (r && !is_list(json)) {
        (void)err_set(&e, ERR_UPSTREAM, "%s sent no tag list for %s", l->upstream->name, l->name);
        reply_err(r, &e);
    } else if (r) {
        size_t len;
        (void)json_object_set_new(json, "name", json_string(l->name));
        if (!json_is_array(json_object_get(json, "tags")))
            (void)json_object_set_new(json, "tags", json_array());
        cleanup_free char *text = json_format(json, &len);
        cleanup_free char *path = mem_printf("/v2/%s/tags/list", l->name);
        pages_link(r, path, l->ns, head->link);
        reply_json(r, 200, text, len);
    }
    json_decref(json);
    tag_list_free(l);
}

void tag_list_handle(struct registry *g, struct request *r, struct target *t, struct slice name)
{
    uint64_t n;
    struct slice ns = request_query_param(r, "ns");
    if (page_size(r, TAGS_MAX, &n) < 0) {
        target_unref(t);
        return;
    }
    struct tag_list *l = mem_new(struct tag_list);
    l->name = mem_dup(name.p, name.len);
    l->upstream = upstream_ref(t->repo->upstream);
    l->ns = ns.p ? mem_dup(ns.p, ns.len) : NULL;
    cleanup_buf struct buf path = {0};
    char what[400];
    (void)snprintf(what, sizeof what, "tags of %.300s", t->repo->canonical);
    (void)buf_printf(&path, "/v2/%s/tags/list", t->repo->repository);
    const char *sep = pages_add_query(&path, request_query(r), "n");
    if (request_query_param(r, "n").p)
        (void)buf_printf(&path, "%sn=%" PRIu64, sep, n);
    relay_json(g, r, t, path.p, "application/json", what, ERR_NAME_UNKNOWN, on_list, l);
    target_unref(t);
}
