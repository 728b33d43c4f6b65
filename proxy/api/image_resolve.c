// SPDX-License-Identifier: Apache-2.0
/*
 *   tag ────> source digest ─┐
 *   digest ─> may we see it? ┴─> manifest ─┬─ index: its child for the platform ─┐ (again, while that is an
 *                                          │                                     │  index)
 *                                          └─ image <────────────────────────────┘
 *                                               └─> config: platform, diff_ids
 */
#include "proxy/api/image_resolve.h"

#include <stdlib.h>

#include "common/mem.h"
#include "layers/manifest.h"

#define DEPTH_MAX 4 /* an index in an index in … */

struct resolve {
    struct registry *g;
    struct loop *loop;
    struct target *t;
    struct reference ref;
    struct platform platform;
    bool any_platform, want_layers;
    const char *account;
    struct digest source, at; /* at: the manifest that is looked at */
    unsigned depth;
    struct manifest *manifest; /* of `at`, an image's, while its config is asked for */
    json_t *layers;
    struct err err;
    image_resolve_fn *fn;
    void *arg;
};

static void finish(struct resolve *v, const struct err *err)
{
    v->fn(v->arg, err ? NULL : &v->source, err ? NULL : v->layers, err);
    json_decref(v->layers);
    manifest_free(v->manifest);
    target_unref(v->t);
    free(v);
}

static void finish_on_loop(void *arg)
{
    struct resolve *v = arg;
    finish(v, v->err.code == ERR_NONE ? NULL : &v->err);
}

static const char *shown(const struct resolve *v)
{
    return v->ref.is_digest ? v->ref.digest.s : v->ref.tag;
}

static void fail(struct resolve *v, enum err_code code, const char *why)
{
    struct err err;
    (void)err_set(&err, code, "%s%c%s %s", v->t->repo->canonical, v->ref.is_digest ? '@' : ':', shown(v),
                  why);
    finish(v, &err);
}

/* What cannot be read is the registry's doing. */
static void fail_invalid(struct resolve *v, struct err *err)
{
    err->code = ERR_UPSTREAM;
    (void)err_wrap(err, "%s@%s is not valid", v->t->repo->canonical, v->at.s);
    finish(v, err);
}

/* ---- platforms ---- */

static void fail_platform(struct resolve *v, const struct buf *has)
{
    struct err err;
    char wanted[PLATFORM_STR_MAX];
    (void)err_set(&err, ERR_INVALID, "%s%c%s has no %s: it has %.300s", v->t->repo->canonical,
                  v->ref.is_digest ? '@' : ':', shown(v), platform_format(&v->platform, wanted),
                  has->len ? buf_str(has) : "no platform at all");
    finish(v, &err);
}

static void look_at(struct resolve *v, const struct digest *digest);

/* The child to go on with: an image of the platform; else one that may be or lead to it. */
static void look_at_index(struct resolve *v)
{
    const struct descriptor *found = NULL, *maybe = NULL;
    cleanup_buf struct buf has = {.max = 4096};
    for (size_t i = 0; i < manifest_count(v->manifest); ++i) {
        const struct descriptor *d = manifest_at(v->manifest, i);
        enum media_kind kind = media_type_kind(slice_of(d->media_type));
        if (d->is_attestation || (!media_kind_is_image(kind) && !media_kind_is_index(kind)))
            continue;
        char text[PLATFORM_STR_MAX];
        if (d->has_platform)
            (void)buf_printf(&has, "%s%s", has.len ? ", " : "", platform_format(&d->platform, text));
        bool fits = d->has_platform && platform_matches(&v->platform, &d->platform);
        if (fits && !found)
            found = d;
        if (!d->has_platform && !maybe)
            maybe = d;
    }
    const struct descriptor *next = found ? found : maybe;
    if (!next) {
        fail_platform(v, &has);
    } else if (found && !v->want_layers) {
        finish(v, NULL);
    } else if (++v->depth > DEPTH_MAX) {
        fail(v, ERR_UPSTREAM, "is an index of indexes, too deep");
    } else {
        struct digest digest = next->digest;
        manifest_free(steal_ptr(&v->manifest));
        look_at(v, &digest);
    }
}

/* ---- an image ---- */

/* NULL with err set: its layers cannot go on top of another image. */
static json_t *list_layers(struct resolve *v, const json_t *config, struct err *err)
{
    const json_t *ids = json_object_get(json_object_get(config, "rootfs"), "diff_ids");
    size_t n = manifest_count(v->manifest) - 1;
    cleanup_json json_t *list = json_array();
    cleanup_free char *location = mem_printf("image:%s%s%s", v->t->repo->canonical, v->account ? "#" : "",
                                             v->account ? v->account : "");
    cleanup_free char *name =
        mem_printf("%s%c%s", v->t->repo->canonical, v->ref.is_digest ? '@' : ':', shown(v));
    if (json_array_size(ids) != n) {
        (void)err_set(err, ERR_INVALID, "its config has %zu diff_ids for %zu layers", json_array_size(ids),
                      n);
        return NULL;
    }
    for (size_t i = 0; i < n; ++i) {
        const struct descriptor *d = manifest_at(v->manifest, i + 1);
        struct slice type = slice_of(d->media_type);
        if (!slice_eq_str(type, MEDIA_TYPE_DOCKER_LAYER_GZIP) &&
            !slice_eq_str(type, MEDIA_TYPE_OCI_LAYER_GZIP)) {
            (void)err_set(err, ERR_INVALID, "layer %zu is %.100s: only gzip layers can be included", i + 1,
                          d->media_type);
            return NULL;
        }
        json_t *layer = json_object();
        (void)json_object_set_new(layer, "location", json_string(location));
        (void)json_object_set_new(layer, "gzipDigest", json_string(d->digest.s));
        (void)json_object_set_new(layer, "gzipSize", json_integer((json_int_t)d->size));
        (void)json_object_set(layer, "tarDigest", json_array_get(ids, i));
        (void)json_object_set_new(layer, "name", json_string(name));
        (void)json_array_append_new(list, layer);
    }
    return steal_ptr(&list);
}

static int take_platform(const json_t *config, struct platform *ret, struct err *err)
{
    const char *os = json_string_value(json_object_get(config, "os"));
    const char *arch = json_string_value(json_object_get(config, "architecture"));
    const char *variant = json_string_value(json_object_get(config, "variant"));
    cleanup_free char *text = mem_printf("%s/%s%s%s", os && *os ? os : "linux", arch ? arch : "",
                                         variant && *variant ? "/" : "", variant ? variant : "");
    return platform_parse(slice_of(text), ret, err);
}

static void on_config(void *arg, void *result, const struct err *err)
{
    struct resolve *v = arg;
    struct document *doc = result;
    struct err e;
    struct platform has;
    if (!doc) {
        finish(v, err);
        return;
    }
    cleanup_json json_t *config = json_parse(doc->bytes, doc->len, JSON_DOCUMENT_MAX, &e);
    document_unref(doc);
    if (!config || take_platform(config, &has, &e) < 0) {
        fail_invalid(v, &e);
        return;
    }
    if (!v->any_platform && !platform_matches(&v->platform, &has)) {
        cleanup_buf struct buf text = {0};
        char one[PLATFORM_STR_MAX];
        (void)buf_add_str(&text, platform_format(&has, one));
        fail_platform(v, &text);
        return;
    }
    if (v->want_layers) {
        v->layers = list_layers(v, config, &e);
        if (!v->layers) {
            (void)err_wrap(&e, "%s%c%s", v->t->repo->canonical, v->ref.is_digest ? '@' : ':', shown(v));
            finish(v, &e);
            return;
        }
    }
    finish(v, NULL);
}

/* ---- a manifest ---- */

static void on_document(void *arg, void *result, const struct err *err)
{
    struct resolve *v = arg;
    struct document *doc = result;
    struct err e;
    const char *why = NULL;
    if (!doc) {
        finish(v, err);
        return;
    }
    v->manifest = manifest_parse(doc->bytes, doc->len, doc->media_type[0] ? doc->media_type : NULL, &e);
    if (!v->manifest) {
        document_unref(doc);
        fail_invalid(v, &e);
        return;
    }
    links_add(v->g->links, v->loop, v->t->repo, doc, NULL, NULL);
    document_unref(doc);
    if (manifest_is_index(v->manifest)) {
        if (v->any_platform)
            finish(v, NULL);
        else
            look_at_index(v);
    } else if (!manifest_rewritable(v->manifest, &why) && (!v->any_platform || v->want_layers)) {
        fail(v, ERR_INVALID,
             strcmp(why, "schema1") == 0 ? "has a manifest of schema 1, which cannot be augmented"
                                         : "is no container image (an artifact of another kind)");
    } else if (v->any_platform && !v->want_layers) {
        finish(v, NULL);
    } else {
        documents_get(v->g->documents, v->loop, v->t->repo, &manifest_at(v->manifest, 0)->digest,
                      DOCUMENT_BLOB, false, on_config, v);
    }
}

static void look_at(struct resolve *v, const struct digest *digest)
{
    v->at = *digest;
    documents_get(v->g->documents, v->loop, v->t->repo, digest, DOCUMENT_MANIFEST, false, on_document, v);
}

/* ---- the reference ---- */

static void look_at_source(void *arg)
{
    struct resolve *v = arg;
    look_at(v, &v->source);
}

static void on_tag(void *arg, void *result, const struct err *err)
{
    struct resolve *v = arg;
    struct tag_answer *a = result;
    if (!a) {
        finish(v, err);
        return;
    }
    v->source = a->digest;
    tag_answer_unref(a);
    look_at_source(v);
}

static void on_pinned(void *arg, void *result, const struct err *err)
{
    struct resolve *v = arg;
    if (err &&
        (err->code == ERR_MANIFEST_UNKNOWN || err->code == ERR_UNAUTHORIZED || err->code == ERR_DENIED))
        tags_refuse(v->g->tags, v->t->repo, v->ref.digest.s, err, &v->t->tags);
    v->at = v->source;
    on_document(v, result, err);
}

static void on_link(void *arg, bool known, uint64_t size, const struct err *err)
{
    struct resolve *v = arg;
    (void)size, (void)err; /* what was rewritten is no source: the upstream knows each */
    if (known)
        look_at_source(v);
    else if (tags_refused(v->g->tags, v->t->repo, v->ref.digest.s, &v->err))
        finish(v, &v->err);
    else /* the upstream decides whether it is ours to see */
        documents_fetch(v->g->documents, v->loop, v->t->repo, &v->source, NULL, DOCUMENT_MANIFEST, on_pinned,
                        v);
}

void image_resolve(const struct image_resolve_params *params, struct loop *loop, image_resolve_fn *fn,
                   void *arg)
{
    struct resolve *v = mem_new(struct resolve);
    *v = (struct resolve){.g = params->registry,
                          .loop = loop,
                          .t = target_ref(params->target),
                          .ref = *params->reference,
                          .any_platform = !params->platform,
                          .want_layers = params->layers,
                          .account = params->account,
                          .fn = fn,
                          .arg = arg};
    if (params->platform)
        v->platform = *params->platform;
    if (v->ref.is_digest) {
        v->source = v->ref.digest;
        links_get(v->g->links, loop, v->t->repo, &v->source, DOCUMENT_MANIFEST, on_link, v);
        return;
    }
    struct tag_answer a;
    int known = tags_try(v->g->tags, loop, v->t->repo, v->ref.tag, &v->t->tags, &a, &v->err);
    if (known < 0) {
        loop_post(loop, finish_on_loop, v);
    } else if (known > 0) {
        v->source = a.digest;
        v->err.code = ERR_NONE;
        loop_post(loop, look_at_source, v);
    } else {
        v->err.code = ERR_NONE;
        tags_get(v->g->tags, loop, v->t->repo, v->ref.tag, &v->t->tags, on_tag, v);
    }
}
