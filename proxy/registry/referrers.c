// SPDX-License-Identifier: Apache-2.0
/*
 * GET /v2/<name>/referrers/<digest>: the upstream's; where it has no such API, what stands under its tag
 * schema (OCI distribution spec, "Referrers Tag Schema"); else an empty index. Of a digest that we made
 * nobody upstream knows: an empty index at once.
 */
#include <stdlib.h>

#include "common/mem.h"
#include "layers/media_type.h"
#include "proxy/http/response.h"
#include "proxy/registry/handlers.h"
#include "proxy/registry/pages.h"
#include "proxy/registry/relay.h"
#include "proxy/registry/reply.h"

#define SCHEMA_HEX_MAX 64 /* of a digest, in the tag schema */

struct referrers {
    struct registry *g;
    struct request *r; /* NULL: gone */
    unsigned refs;
    struct target *t;
    struct digest digest;
    char *name, *ns;     /* as asked; ns may be NULL */
    char *artifact_type; /* NULL: all */
    char what[400];
};

static void referrers_unref(struct referrers *x)
{
    if (--x->refs)
        return;
    target_unref(x->t);
    free(x->name);
    free(x->ns);
    free(x->artifact_type);
    free(x);
}

static void on_request_over(void *arg)
{
    struct referrers *x = arg;
    x->r = NULL;
    referrers_unref(x);
}

static void send_index(struct request *r, const char *json, size_t len, bool filtered)
{
    reply_common_headers(r);
    response_header_ref(r, "Content-Type", SLICE_LIT(MEDIA_TYPE_OCI_INDEX));
    if (filtered)
        response_header_ref(r, "OCI-Filters-Applied", SLICE_LIT("artifactType"));
    response_send(r, 200, json, len);
}

static void send_empty(struct referrers *x)
{
    static const char empty[] =
        "{\"schemaVersion\":2,\"mediaType\":\"" MEDIA_TYPE_OCI_INDEX "\",\"manifests\":[]}";
    send_index(x->r, empty, sizeof empty - 1, x->artifact_type != NULL);
}

/* Drops what is not of the wanted type. */
static void filter(json_t *index, const char *artifact_type)
{
    json_t *list = json_object_get(index, "manifests");
    for (size_t i = json_array_size(list); i-- > 0;) {
        const char *type = json_string_value(json_object_get(json_array_get(list, i), "artifactType"));
        if (!type || strcmp(type, artifact_type) != 0)
            (void)json_array_remove(list, i);
    }
}

/* link: the upstream's, or NULL. */
static void send_json(struct referrers *x, json_t *json, const char *link)
{
    size_t len;
    struct err e;
    if (!json_is_array(json_object_get(json, "manifests"))) {
        (void)err_set(&e, ERR_UPSTREAM, "%s sent no index for %s", x->t->repo->upstream->name, x->what);
        reply_err(x->r, &e);
        return;
    }
    if (x->artifact_type)
        filter(json, x->artifact_type);
    cleanup_free char *text = json_format(json, &len);
    if (link) {
        cleanup_free char *path = mem_printf("/v2/%s/referrers/%s", x->name, x->digest.s);
        pages_link(x->r, path, x->ns, link);
    }
    send_index(x->r, text, len, x->artifact_type != NULL);
}

static bool is_absent(const struct fetch_head *head)
{
    return head && (head->status == 404 || head->status == 405 || head->status == 400 || head->status == 501);
}

static void on_schema(void *arg, struct request *r, const struct fetch_head *head, json_t *json,
                      const struct err *err)
{
    struct referrers *x = arg;
    if (!r)
        ;
    else if (json)
        send_json(x, json, NULL);
    else if (is_absent(head))
        send_empty(x);
    else
        reply_err(r, err);
    json_decref(json);
    referrers_unref(x);
}

static void on_api(void *arg, struct request *r, const struct fetch_head *head, json_t *json,
                   const struct err *err)
{
    struct referrers *x = arg;
    if (!r) {
        ;
    } else if (json) {
        send_json(x, json, head->link);
    } else if (is_absent(head)) {
        ++x->refs;
        struct slice alg = digest_algorithm(&x->digest);
        cleanup_free char *path = mem_printf("/v2/%s/manifests/%.*s-%.*s", x->t->repo->repository,
                                             (int)alg.len, alg.p, SCHEMA_HEX_MAX, digest_hex(&x->digest));
        relay_json(x->g, r, x->t, path, MEDIA_TYPE_OCI_INDEX, x->what, ERR_MANIFEST_UNKNOWN, on_schema, x);
    } else {
        reply_err(r, err);
    }
    json_decref(json);
    referrers_unref(x);
}

static void on_variant(void *arg, const struct state_variant *v, const struct err *err)
{
    struct referrers *x = arg;
    (void)err;
    if (x->r && v && digest_eq(&v->target, &x->digest)) {
        send_empty(x);
    } else if (x->r) {
        ++x->refs;
        cleanup_buf struct buf path = {0};
        (void)buf_printf(&path, "/v2/%s/referrers/%s", x->t->repo->repository, x->digest.s);
        const char *sep = pages_add_query(&path, request_query(x->r), "artifactType");
        if (x->artifact_type) {
            (void)buf_printf(&path, "%sartifactType=", sep);
            (void)buf_add_url_escaped(&path, slice_of(x->artifact_type));
        }
        relay_json(x->g, x->r, x->t, path.p, MEDIA_TYPE_OCI_INDEX, x->what, ERR_MANIFEST_UNKNOWN, on_api, x);
    }
    referrers_unref(x);
}

void referrers_handle(struct registry *g, struct request *r, struct target *t, struct slice name,
                      struct slice text)
{
    struct digest digest;
    struct err err;
    if (digest_parse(text, &digest, &err) < 0) {
        reply_err(r, &err);
        target_unref(t);
        return;
    }
    struct slice type = request_query_param(r, "artifactType");
    struct referrers *x = mem_new(struct referrers);
    *x = (struct referrers){.g = g, .r = r, .refs = 2, .t = t, .digest = digest};
    struct slice ns = request_query_param(r, "ns");
    x->name = mem_dup(name.p, name.len);
    x->ns = ns.p ? mem_dup(ns.p, ns.len) : NULL;
    x->artifact_type = type.p && type.len ? mem_dup(type.p, type.len) : NULL;
    (void)snprintf(x->what, sizeof x->what, "referrers of %.200s@%s", t->repo->canonical, digest.s);
    request_on_dispose(r, on_request_over, x);
    /* Only what was announced to these credentials: to others it is a digest like any other. */
    struct state_repo repo = repo_state(t->repo);
    g->env->state->ops->variant_by_ref(g->env->state, request_loop(r), &repo, t->repo->canonical, &digest,
                                       on_variant, x);
}
