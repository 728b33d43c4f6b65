// SPDX-License-Identifier: Apache-2.0
/*
 * A container token, made:
 *
 *   body ─> image upstream ─> includes, one by one ─> injection ─> its layers proven ─> rewritten ─> token,
 *           (digest,          (their layers)                                            digest      durable
 *            platform)
 *
 * One struct wish for all of it, on one loop. It goes on when its client leaves: what was fetched by then is
 * there for the next try. Only a token is not made for nobody.
 */
#include "proxy/api/container.h"

#include <stdlib.h>

#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/metrics.h"
#include "proxy/access/access.h"
#include "proxy/api/image_resolve.h"
#include "proxy/http/response.h"

#define INLINE_BODY ((size_t)64 << 10)  /* what is parsed on the loop itself */
#define UNDER_WAY   ((size_t)256 << 20) /* bytes of bodies that are being worked on, in all */
#define KNOWN_TEXT                                                                                           \
    ((size_t)64 << 10) /* a shorter injection is recorded anew: its locations may be better                  \
                        */

struct wish {
    unsigned refs; /* the request's, and the work's */
    struct api *api;
    struct request *r; /* NULL: gone */
    struct loop *loop;
    char *account; /* NULL: anonymous */
    char *body;    /* a copy, while a job reads it */
    size_t body_len;
    struct token_request *q;
    struct target *t;
    struct digest source;
    json_t *included; /* layers of the includes so far */
    size_t next_include;
    struct injection *injection; /* all of it */
    struct digest target;
    bool failed;
    struct err err;
};

static _Atomic size_t under_way;

static void wish_unref(struct wish *w)
{
    if (--w->refs)
        return;
    under_way -= w->body_len;
    free(w->account);
    free(w->body);
    token_request_free(w->q);
    target_unref(w->t);
    json_decref(w->included);
    injection_unref(w->injection);
    free(w);
}

static void on_request_over(void *arg)
{
    struct wish *w = arg;
    w->r = NULL;
    wish_unref(w);
}

/* The wish's last step; err NULL: it was answered. */
static void end(struct wish *w, const struct err *err)
{
    if (err) {
        metric_count("rac_tokens_total", "event=\"refused\"", 1);
        if (w->r)
            api_err(w->r, err);
    }
    wish_unref(w);
}

/* ---- the token ---- */

static char *answer_text(struct wish *w, const char *text, const struct grant *token, const char *image,
                         size_t *len)
{
    cleanup_json json_t *doc = json_object();
    char expiration[CONTAINER_TIME_MAX];
    const struct {
        const char *key, *value;
    } texts[] = {{"requestId", request_id(w->r)},
                 {"containerToken", text},
                 {"targetImage", image},
                 {"containerImage", token->image},
                 {"expiration", container_time(token->expires_ms, expiration)},
                 {"sourceDigest", token->source.s},
                 {"targetDigest", token->target.s}};
    static const char *const falses[] = {"cached", "freeze", "mirror"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; ++i)
        (void)json_object_set_new(doc, texts[i].key, json_string(texts[i].value));
    for (size_t i = 0; i < sizeof falses / sizeof falses[0]; ++i)
        (void)json_object_set_new(doc, falses[i], json_false());
    (void)json_object_set_new(doc, "succeeded", json_true());
    return json_format(doc, len);
}

static void on_made(void *arg, const char *text, struct grant *token, const struct err *err)
{
    struct wish *w = arg;
    struct err e;
    size_t len;
    if (err || !w->r) {
        grant_unref(token);
        end(w, err);
        return;
    }
    cleanup_buf struct buf image = {0};
    if (container_target_image(w->api, w->r, text, token, &image, &e) < 0) {
        grant_unref(token);
        end(w, &e);
        return;
    }
    log_info("container token made", F_S("id", request_id(w->r)), F_S("token", token->shown),
             F_S("image", token->canonical), F_S("source", token->source.s), F_S("target", token->target.s),
             F_S("account", token->account));
    cleanup_free char *answer = answer_text(w, text, token, buf_str(&image), &len);
    grant_unref(token);
    api_json(w->r, 200, answer, len);
    end(w, NULL);
}

static void make_token(struct wish *w)
{
    const struct token_request *q = w->q;
    char platform[PLATFORM_STR_MAX];
    const char *text = injection_json(w->injection);
    /* Whoever made the variant recorded the injection. */
    bool recorded = !digest_eq(&w->source, &w->target) && strlen(text) > KNOWN_TEXT;
    struct state_token made = {
        .account = w->account,
        .canonical = w->t->repo->canonical,
        .tag = q->image.reference.is_digest ? NULL : q->image.reference.tag,
        .source = w->source,
        .injection = *injection_digest(w->injection),
        .target = w->target,
        .image = q->image.text,
        .platform = q->all_platforms ? NULL : platform_format(&q->platform, platform),
        .note = q->note,
    };
    if (!w->r) {
        end(w, NULL);
        return;
    }
    tokens_make(w->api->tokens, w->loop, &made, recorded ? NULL : text, on_made, w);
}

/* ---- rewritten ---- */

/* Takes over doc. */
static void take_target(struct wish *w, struct document *doc)
{
    struct err err;
    w->target = doc->digest;
    document_unref(doc);
    if (digest_eq(&w->target, &w->source)) {
        (void)err_set(
            &err, ERR_INVALID,
            "%s cannot be augmented: it is of another kind, or for another platform than containerConfig",
            w->q->image.text);
        end(w, &err);
        return;
    }
    make_token(w);
}

static void on_variant(void *arg, void *result, const struct err *err)
{
    struct wish *w = arg;
    struct err e;
    if (!result) {
        end(w, err);
        return;
    }
    /* A pull goes on without the store; a token is a promise for days. */
    if (!variants_durable(w->api->registry->variants, w->t->repo, &w->source, w->injection,
                          VARIANT_OF_TOKEN)) {
        document_unref(result);
        (void)err_set(&e, ERR_OVERLOADED,
                      "%s was rewritten, but the state store did not take it: see /readyz", w->q->image.text);
        end(w, &e);
        return;
    }
    take_target(w, result);
}

static void on_plain_linked(void *arg, const struct err *err)
{
    struct wish *w = arg;
    if (err) {
        end(w, err);
        return;
    }
    w->target = w->source;
    make_token(w);
}

static void on_plain(void *arg, void *result, const struct err *err)
{
    struct wish *w = arg;
    if (!result) {
        end(w, err);
        return;
    }
    links_add(w->api->registry->links, w->loop, w->t->repo, result, on_plain_linked, w);
    document_unref(result);
}

static void rewrite(struct wish *w)
{
    struct registry *g = w->api->registry;
    if (injection_is_empty(w->injection)) {
        documents_get(g->documents, w->loop, w->t->repo, &w->source, DOCUMENT_MANIFEST, false, on_plain, w);
        return;
    }
    struct document *doc =
        variants_durable(g->variants, w->t->repo, &w->source, w->injection, VARIANT_OF_TOKEN)
            ? variants_try(g->variants, w->t->repo, &w->source, w->injection, VARIANT_OF_TOKEN)
            : NULL;
    if (doc)
        take_target(w, doc);
    else
        variants_get(g->variants, w->loop, w->t->repo, &w->source, w->injection, VARIANT_OF_TOKEN, on_variant,
                     w);
}

/* ---- layers ---- */

static void on_included_layers(void *arg, const struct err *err)
{
    struct wish *w = arg;
    if (err) {
        struct err e = *err;
        if (e.code == ERR_DIGEST_INVALID || e.code == ERR_INVALID) /* an image that is not what it says */
            e.code = ERR_UPSTREAM;
        (void)err_wrap(&e, "containerIncludes");
        end(w, &e);
        return;
    }
    rewrite(w);
}

static void on_proven(void *arg, const struct err *err)
{
    struct wish *w = arg;
    if (err)
        end(w, err);
    else if (w->included)
        injected_layers_ensure(w->api->registry->layers, w->loop, w->injection, on_included_layers, w);
    else
        rewrite(w);
}

/* containerConfig and the layers of the includes: one injection. Of a large one, in a job. */
static void compose(void *arg)
{
    struct wish *w = arg;
    const char *own = injection_json(w->q->injection);
    cleanup_json json_t *doc = json_parse(own, strlen(own), INJECTION_BYTES_MAX * 2, &w->err);
    w->failed = true;
    if (!doc)
        return;
    if (!json_object_get(doc, "layers"))
        (void)json_object_set_new(doc, "layers", json_array());
    (void)json_array_extend(json_object_get(doc, "layers"), w->included);
    size_t len;
    cleanup_free char *text = json_format(doc, &len);
    /* Ours by now: no member is one that a client may not set. */
    w->injection = injection_parse(text, len, INJECTION_FROM_CONFIGURATION, "/", &w->err);
    w->failed =
        !w->injection || token_request_check_layers(w->injection, &w->api->containers->limits, &w->err) < 0;
}

static void on_composed(void *arg)
{
    struct wish *w = arg;
    if (w->failed)
        end(w, &w->err);
    else
        injected_layers_prove(w->api->registry->layers, w->loop, w->q->injection,
                              w->api->containers->limits.unpacked_bytes, on_proven, w);
}

static void get_layers(struct wish *w)
{
    if (!w->included) {
        w->injection = injection_ref(w->q->injection);
        on_composed(w);
    } else if (w->body_len > INLINE_BODY) {
        jobs_submit(w->api->registry->layer_jobs, w->loop, compose, on_composed, w);
    } else {
        compose(w);
        on_composed(w);
    }
}

/* ---- images ---- */

static int target_of(struct wish *w, const struct image_name *name, struct target **ret, struct err *err)
{
    struct registry *g = w->api->registry;
    return target_get(g->worker(w->loop), w->account, name->name, name->host, ret, err);
}

static void include_next(struct wish *w);

static void on_include(void *arg, const struct digest *source, json_t *layers, const struct err *err)
{
    struct wish *w = arg;
    (void)source;
    if (err) {
        struct err e = *err;
        (void)err_wrap(&e, "containerIncludes[%zu]", w->next_include);
        end(w, &e);
        return;
    }
    if (!w->included)
        w->included = json_array();
    (void)json_array_extend(w->included, layers);
    ++w->next_include;
    include_next(w);
}

static void include_next(struct wish *w)
{
    struct target *t;
    struct err err;
    if (w->next_include == w->q->include_count) {
        get_layers(w);
        return;
    }
    const struct image_name *name = &w->q->includes[w->next_include];
    if (target_of(w, name, &t, &err) < 0) {
        (void)err_wrap(&err, "containerIncludes[%zu]", w->next_include);
        end(w, &err);
        return;
    }
    image_resolve(&(struct image_resolve_params){.registry = w->api->registry,
                                                 .target = t,
                                                 .reference = &name->reference,
                                                 .platform = &w->q->platform,
                                                 .account = w->account,
                                                 .layers = true},
                  w->loop, on_include, w);
    target_unref(t);
}

static void on_image(void *arg, const struct digest *source, json_t *layers, const struct err *err)
{
    struct wish *w = arg;
    (void)layers;
    if (err) {
        end(w, err);
        return;
    }
    w->source = *source;
    include_next(w);
}

static void resolve(struct wish *w)
{
    struct err err;
    if (target_of(w, &w->q->image, &w->t, &err) < 0) {
        (void)err_wrap(&err, "'containerImage'");
        end(w, &err);
        return;
    }
    image_resolve(&(struct image_resolve_params){.registry = w->api->registry,
                                                 .target = w->t,
                                                 .reference = &w->q->image.reference,
                                                 .platform = w->q->all_platforms ? NULL : &w->q->platform},
                  w->loop, on_image, w);
}

/* ---- the body ---- */

static void parse(void *arg)
{
    struct wish *w = arg;
    w->failed = token_request_parse(w->body, w->body_len, &w->api->containers->limits, &w->q, &w->err) < 0;
}

static void on_parsed(void *arg)
{
    struct wish *w = arg;
    free(steal_ptr(&w->body));
    if (w->failed)
        end(w, &w->err);
    else
        resolve(w);
}

void container_create(struct api *api, struct request *r)
{
    struct access_origin origin;
    struct err err;
    struct slice body = request_body(r);
    access_origin(api->access, r, &origin);
    if (tokens_may_make(api->tokens, &origin.ip, &err) < 0) {
        api_err(r, &err);
        return;
    }
    if (under_way + body.len > UNDER_WAY) {
        (void)err_set(&err, ERR_OVERLOADED,
                      "too many large requests for container tokens at once: try again");
        err.retry_after_s = 1;
        api_err(r, &err);
        return;
    }
    under_way += body.len;
    struct wish *w = mem_new(struct wish);
    const char *account = caller_of(r)->account;
    *w = (struct wish){.refs = 2,
                       .api = api,
                       .r = r,
                       .loop = request_loop(r),
                       .account = account ? mem_strdup(account) : NULL,
                       .body = mem_dup(body.p, body.len),
                       .body_len = body.len};
    request_on_dispose(r, on_request_over, w);
    if (body.len > INLINE_BODY) {
        jobs_submit(api->registry->layer_jobs, w->loop, parse, on_parsed, w);
        return;
    }
    parse(w);
    on_parsed(w);
}
