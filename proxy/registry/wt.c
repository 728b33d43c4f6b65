// SPDX-License-Identifier: Apache-2.0
#include "proxy/registry/wt.h"

#include <stdlib.h>

#include "common/json.h"
#include "common/mem.h"
#include "common/metrics.h"
#include "layers/reference.h"
#include "proxy/access/access.h"
#include "proxy/registry/handlers.h"
#include "proxy/registry/reply.h"

bool wt_is(struct slice name)
{
    return slice_starts_with(name, "wt/");
}

/* One request while it waits for the state; warm ones need none. */
struct wt {
    unsigned refs;     /* the request's, and one for each answer that is awaited */
    struct request *r; /* NULL: gone */
    struct registry *g;
    struct route route; /* its slices are the request's */
    struct grant *token;
    struct target *t;
};

static void wt_unref(struct wt *w)
{
    if (--w->refs)
        return;
    grant_unref(w->token);
    target_unref(w->t);
    free(w);
}

static void on_request_over(void *arg)
{
    struct wt *w = arg;
    w->r = NULL;
    wt_unref(w);
}

static struct wt *wait_for(struct registry *g, struct request *r, const struct route *route)
{
    struct wt *w = mem_new(struct wt);
    *w = (struct wt){.refs = 2, .r = r, .g = g, .route = *route};
    request_on_dispose(r, on_request_over, w);
    return w;
}

static void split(struct slice name, struct slice *ret_token, struct slice *ret_name)
{
    struct slice rest = {name.p + 3, name.len - 3};
    *ret_token = slice_cut(&rest, '/');
    *ret_name = rest.p ? rest : (struct slice){"", 0};
}

/* ---- served ---- */

static void unref_token(void *arg)
{
    grant_unref(arg);
}

/* Records and logs name the token by its first characters. Takes over a reference. */
static void set_subject(struct request *r, struct grant *token)
{
    struct caller *caller = request_alloc(r, sizeof *caller);
    char text[sizeof "token:" + TOKEN_SHOWN];
    request_on_dispose(r, unref_token, token);
    (void)snprintf(text, sizeof text, "token:%s", token->shown);
    *caller = *caller_of(r);
    caller->subject = request_strdup(r, slice_of(text));
    request_set_user(r, caller);
    request_log_field(r, "subject", slice_of(caller->subject));
}

/* The injection is in the digests already: what the rules say of that name is not for it. */
static struct target *plain_target(struct target *t)
{
    if (!t->injection)
        return t;
    if (!t->plain) {
        struct target *plain = mem_new(struct target);
        *plain = (struct target){
            .refs = 1, .config = registry_config_ref(t->config), .repo = repo_ref(t->repo), .tags = t->tags};
        t->plain = plain;
    }
    struct target *plain = target_ref(t->plain);
    target_unref(t);
    return plain;
}

static void send_tags(struct request *r, const struct grant *token, struct slice name)
{
    cleanup_json json_t *doc = json_object(), *tags = json_array();
    cleanup_free char *text = mem_dup(name.p, name.len);
    size_t len;
    if (token->tag)
        (void)json_array_append_new(tags, json_string(token->tag));
    (void)json_object_set_new(doc, "name", json_string(text));
    (void)json_object_set(doc, "tags", tags);
    cleanup_free char *out = json_format(doc, &len);
    reply_json(r, 200, out, len);
}

static void send_manifest(struct registry *g, struct request *r, struct target *t, struct grant *token,
                          struct slice digest, struct slice asked)
{
    static struct metric *_Atomic pulls;
    if (!pulls)
        pulls = metric_get("rac_token_pulls_total", "");
    if (request_method(r) == HTTP_GET && slice_eq_str(digest, token->target.s)) {
        tokens_count_pull(g->tokens, token);
        metric_inc(pulls);
    }
    manifests_handle(g, r, t, digest, asked);
}

/* The digest belongs to the image. Takes over t. */
static void send_digest(struct registry *g, struct request *r, struct target *t, struct grant *token,
                        const struct route *route)
{
    if (route->kind == ROUTE_MANIFEST)
        send_manifest(g, r, t, token, route->reference, route->reference);
    else if (route->kind == ROUTE_BLOB)
        blobs_handle(g, r, t, route->reference);
    else
        referrers_handle(g, r, t, route->name, route->reference);
}

/* ---- does the digest belong to it? ---- */

static void send_stranger(struct request *r, const struct route *route, const struct digest *digest,
                          const struct grant *token)
{
    struct err err;
    (void)err_set(&err, route->kind == ROUTE_BLOB ? ERR_BLOB_UNKNOWN : ERR_MANIFEST_UNKNOWN,
                  "%s does not belong to the image of container token %s…: that is %s", digest->s,
                  token->shown, token->target.s);
    reply_err(r, &err);
}

static void on_has(void *arg, bool has, const struct err *err)
{
    struct wt *w = arg;
    struct digest digest;
    if (w->r && err) {
        reply_err(w->r, err);
    } else if (w->r && digest_parse(w->route.reference, &digest, NULL) == 0) {
        if (has)
            send_digest(w->g, w->r, steal_ptr(&w->t), w->token, &w->route);
        else
            send_stranger(w->r, &w->route, &digest, w->token);
    }
    wt_unref(w);
}

/* Takes over t. */
static void by_digest(struct registry *g, struct request *r, struct target *t, struct grant *token,
                      const struct route *route)
{
    struct digest digest;
    struct err err;
    if (digest_parse(route->reference, &digest, &err) < 0) {
        reply_err(r, &err);
        target_unref(t);
        return;
    }
    if (tokens_has_try(g->tokens, token, t->repo, &digest)) {
        send_digest(g, r, t, token, route);
        return;
    }
    struct wt *w = wait_for(g, r, route);
    w->token = grant_ref(token);
    w->t = t;
    tokens_has(g->tokens, request_loop(r), token, t->repo, &digest, on_has, w);
}

/* ---- the token is there ---- */

static void by_tag(struct registry *g, struct request *r, struct target *t, struct grant *token,
                   const struct reference *ref)
{
    struct err err;
    if (token->tag && strcmp(token->tag, ref->tag) == 0) {
        /* The request holds the token: its strings are there until the answer is. */
        send_manifest(g, r, t, token, slice_of(token->target.s), slice_of(token->tag));
        return;
    }
    (void)err_set(&err, ERR_MANIFEST_UNKNOWN, "container token %s… is for %s%c%s only", token->shown,
                  token->repository, token->tag ? ':' : '@', token->tag ? token->tag : token->target.s);
    reply_err(r, &err);
    target_unref(t);
}

/* Takes over the reference to the token. */
static void serve(struct registry *g, struct request *r, struct grant *token, const struct route *route)
{
    struct slice ignored, name;
    struct target *t;
    struct reference ref;
    struct err err;
    split(route->name, &ignored, &name);
    set_subject(r, token);
    if (!slice_eq_str(name, token->repository)) {
        (void)err_set(&err, ERR_NAME_UNKNOWN, "container token %s… is for %s, not for '%.*s'", token->shown,
                      token->repository, (int)(name.len > 200 ? 200 : name.len), name.p);
        reply_err(r, &err);
        return;
    }
    if (target_get(g->worker(request_loop(r)), token->account, name, slice_of(token->upstream), &t, &err) <
        0) {
        reply_err(r, &err);
        return;
    }
    t = plain_target(t);
    if (route->kind == ROUTE_TAGS) {
        send_tags(r, token, route->name);
        target_unref(t);
    } else if (route->kind != ROUTE_MANIFEST) {
        by_digest(g, r, t, token, route);
    } else if (reference_parse(route->reference, &ref, &err) < 0) {
        reply_err(r, &err);
        target_unref(t);
    } else if (ref.is_digest) {
        by_digest(g, r, t, token, route);
    } else {
        by_tag(g, r, t, token, &ref);
    }
}

static void on_token(void *arg, struct grant *token, const struct err *err)
{
    struct wt *w = arg;
    if (w->r && err)
        reply_err(w->r, err);
    else if (w->r)
        serve(w->g, w->r, token, &w->route);
    else
        grant_unref(token);
    wt_unref(w);
}

void wt_handle(struct registry *g, struct request *r, const struct route *route)
{
    struct slice text, name;
    split(route->name, &text, &name);
    struct grant *token = tokens_try(g->tokens, text);
    if (token) {
        serve(g, r, token, route);
        return;
    }
    struct access_origin origin;
    access_origin(g->access, r, &origin);
    struct wt *w = wait_for(g, r, route);
    tokens_get(g->tokens, request_loop(r), text, &origin.ip, on_token, w);
}
