// SPDX-License-Identifier: Apache-2.0
/*
 *      source manifest ──┬─ image: config ─┬─> inject_image ─> config and manifest into the cache
 *                        │        layers ──┘
 *                        └─ index: a make for each child that is to change ─> inject_index
 *
 * All on one loop. The parts come in any order; `waiting` counts them, the last one goes on.
 */
#include "proxy/inject/variant_make.h"

#include <stdlib.h>

#include "common/log.h"
#include "common/mem.h"
#include "common/metrics.h"
#include "layers/inject.h"
#include "layers/manifest.h"

struct child {
    struct make *make;
    const struct descriptor *descriptor;
    struct document *made; /* NULL: stays as it is */
};

struct make {
    const struct variant_context *c;
    struct loop *loop;
    struct repo *repo;
    struct digest source;
    struct injection *injection;
    struct variant_path *path;
    struct document *doc;      /* the source manifest */
    struct manifest *manifest; /* … parsed */
    struct document *config;
    struct child *children;
    size_t child_count, waiting;
    bool failed, partial;
    struct err err;
    variant_made_fn *fn;
    void *arg;
};

static void path_unref(struct variant_path *p)
{
    while (p && --p->refs == 0) {
        struct variant_path *parent = p->parent;
        free(p);
        p = parent;
    }
}

/* Takes over doc. */
static void finish(struct make *m, struct document *doc, const char *skipped, const struct err *err)
{
    if (skipped) {
        char labels[80];
        metric_count("rac_injection_skipped_total",
                     metric_labels(labels, sizeof labels, "reason", skipped, NULL), 1);
    }
    m->fn(m->arg, doc, skipped, m->partial, err);
    for (size_t i = 0; i < m->child_count; ++i)
        document_unref(m->children[i].made);
    free(m->children);
    manifest_free(m->manifest);
    document_unref(m->doc);
    document_unref(m->config);
    injection_unref(m->injection);
    path_unref(m->path);
    repo_unref(m->repo);
    free(m);
}

static void unchanged(struct make *m, const char *why)
{
    finish(m, document_ref(m->doc), why, NULL);
}

static void note_failure(struct make *m, const struct err *err)
{
    if (!m->failed) {
        m->failed = true;
        m->err = *err;
    }
}

/* A rewritten child is announced by its index: what it came from must be known as long as the index is. The
 * state writes in order, and the index waits for its own entry: so this one needs no waiting. */
static void record_child(struct make *m, const struct document *doc)
{
    struct state *state = m->c->env->state;
    struct state_variant v = {.canonical = m->repo->canonical,
                              .source = m->source,
                              .injection = *injection_digest(m->injection),
                              .target = doc->digest,
                              .media_type = doc->media_type};
    links_add(m->c->links, m->loop, m->repo, doc, NULL, NULL);
    if (!m->partial)
        state->ops->variant_put(state, m->loop, &v, NULL, NULL);
}

/* The rewritten bytes into the cache; hands on the manifest's document. */
static void keep(struct make *m, struct inject_result *r)
{
    if (r->skipped) {
        unchanged(m, r->skipped);
        return;
    }
    if (r->config)
        document_unref(documents_add(m->c->documents, m->loop, &r->config_digest, "", steal_ptr(&r->config),
                                     r->config_len));
    struct document *doc = documents_add(m->c->documents, m->loop, &r->manifest_digest, r->media_type,
                                         steal_ptr(&r->manifest), r->manifest_len);
    if (m->path->parent)
        record_child(m, doc);
    finish(m, doc, NULL, NULL);
}

/* ---- an image ---- */

static void image_part_done(struct make *m)
{
    if (--m->waiting)
        return;
    if (m->failed) {
        finish(m, NULL, NULL, &m->err);
        return;
    }
    cleanup_inject_result struct inject_result r = {0};
    struct err err;
    if (inject_image(m->manifest, m->config->bytes, m->config->len, m->injection, m->repo->canonical,
                     &m->source, &r, &err) < 0) {
        if (err.code != ERR_SIZE_INVALID)
            err.code = ERR_UPSTREAM;
        (void)err_wrap(&err, "%s@%s cannot be rewritten", m->repo->canonical, m->source.s);
        finish(m, NULL, NULL, &err);
        return;
    }
    keep(m, &r);
}

static void on_config(void *arg, void *result, const struct err *err)
{
    struct make *m = arg;
    m->config = result;
    if (err)
        note_failure(m, err);
    image_part_done(m);
}

static void on_layers(void *arg, const struct err *err)
{
    struct make *m = arg;
    if (err) {
        struct err e = *err;
        /* Whatever is wrong with our layer is not the client's fault, nor the image's. What we are short of
         * ourselves is not its source's fault either. */
        if (e.code != ERR_TIMEOUT && e.code != ERR_NO_SPACE && e.code != ERR_OVERLOADED)
            e.code = ERR_UPSTREAM;
        (void)err_wrap(&e, "%s@%s cannot be rewritten", m->repo->canonical, m->source.s);
        note_failure(m, &e);
    }
    image_part_done(m);
}

static void make_image(struct make *m)
{
    const struct descriptor *config = manifest_at(m->manifest, 0);
    m->waiting = 2;
    documents_get(m->c->documents, m->loop, m->repo, &config->digest, DOCUMENT_BLOB, false, on_config, m);
    injected_layers_ensure(m->c->layers, m->loop, m->injection, on_layers, m);
}

/* ---- an index ---- */

static void index_part_done(struct make *m)
{
    if (--m->waiting)
        return;
    if (m->failed) {
        finish(m, NULL, NULL, &m->err);
        return;
    }
    cleanup_free struct inject_child *list = mem_zalloc((m->child_count + 1) * sizeof *list);
    size_t n = 0;
    for (size_t i = 0; i < m->child_count; ++i)
        if (m->children[i].made)
            list[n++] = (struct inject_child){.source = m->children[i].descriptor->digest,
                                              .target = m->children[i].made->digest,
                                              .target_size = m->children[i].made->len};
    cleanup_inject_result struct inject_result r = {0};
    struct err err;
    if (inject_index(m->manifest, list, n, &r, &err) < 0) {
        if (err.code != ERR_SIZE_INVALID)
            err.code = ERR_UPSTREAM;
        (void)err_wrap(&err, "%s@%s cannot be rewritten", m->repo->canonical, m->source.s);
        finish(m, NULL, NULL, &err);
        return;
    }
    keep(m, &r);
}

static void on_child(void *arg, struct document *doc, const char *skipped, bool partial,
                     const struct err *err)
{
    struct child *child = arg;
    struct make *m = child->make;
    m->partial = m->partial || partial;
    if (err && err->code == ERR_MANIFEST_UNKNOWN) {
        /* Mirrors often hold only some of an index's platforms. Who asks for a missing one gets the
         * upstream's 404. It may be there later: nothing that is made without it is for ever. */
        m->partial = true;
        metric_count("rac_injection_skipped_total", "reason=\"missing_child\"", 1);
        log_info("index names a manifest that its registry does not have: left as it is",
                 F_S("image", m->repo->canonical), F_S("index", m->source.s),
                 F_S("child", child->descriptor->digest.s));
    } else if (err) {
        note_failure(m, err);
    } else if (skipped) {
        document_unref(doc);
    } else {
        child->made = doc;
    }
    index_part_done(m);
}

static bool child_may_change(const struct make *m, const struct descriptor *d)
{
    enum media_kind kind = media_type_kind(slice_of(d->media_type));
    if (d->is_attestation)
        return false;
    if (media_kind_is_index(kind))
        return true;
    return media_kind_is_image(kind) && (!d->has_platform || injection_applies(m->injection, &d->platform));
}

static void make_index(struct make *m)
{
    size_t n = manifest_count(m->manifest);
    m->children = mem_zalloc((n + 1) * sizeof *m->children);
    m->waiting = 1;
    for (size_t i = 0; i < n; ++i) {
        const struct descriptor *d = manifest_at(m->manifest, i);
        if (!child_may_change(m, d))
            continue;
        struct child *child = &m->children[m->child_count++];
        child->make = m;
        child->descriptor = d;
        ++m->waiting;
        variant_make(m->c, m->loop, m->repo, &d->digest, m->injection, m->path, on_child, child);
    }
    index_part_done(m);
}

/* ---- the source ---- */

static void on_source(void *arg, void *result, const struct err *err)
{
    struct make *m = arg;
    struct err e;
    const char *why = NULL;
    m->doc = result;
    if (!m->doc) {
        finish(m, NULL, NULL, err);
        return;
    }
    m->manifest =
        manifest_parse(m->doc->bytes, m->doc->len, m->doc->media_type[0] ? m->doc->media_type : NULL, &e);
    if (!m->manifest) {
        e.code = ERR_UPSTREAM;
        (void)err_wrap(&e, "manifest of %s@%s is not valid", m->repo->canonical, m->source.s);
        finish(m, NULL, NULL, &e);
        return;
    }
    /* The bytes came for this name and these credentials, so the name refers to them: also to those that the
     * injection leaves alone. */
    links_add(m->c->links, m->loop, m->repo, m->doc, NULL, NULL);
    if (manifest_is_index(m->manifest))
        make_index(m);
    else if (manifest_rewritable(m->manifest, &why))
        make_image(m);
    else
        unchanged(m, why);
}

static void refuse(void *arg)
{
    struct make *m = arg;
    finish(m, NULL, NULL, &m->err);
}

void variant_make(const struct variant_context *c, struct loop *loop, struct repo *repo,
                  const struct digest *source, struct injection *injection, struct variant_path *parent,
                  variant_made_fn *fn, void *arg)
{
    struct make *m = mem_new(struct make);
    *m = (struct make){.c = c,
                       .loop = loop,
                       .repo = repo_ref(repo),
                       .source = *source,
                       .injection = injection_ref(injection),
                       .fn = fn,
                       .arg = arg};
    m->path = mem_new(struct variant_path);
    *m->path = (struct variant_path){
        .refs = 1, .parent = parent, .digest = *source, .depth = parent ? parent->depth + 1 : 1};
    if (parent)
        ++parent->refs;
    for (const struct variant_path *p = parent; p; p = p->parent)
        if (digest_eq(&p->digest, source))
            (void)err_set(&m->err, ERR_UPSTREAM, "index %s@%s contains itself", repo->canonical, source->s);
    struct variant_path *top = m->path;
    while (top->parent)
        top = top->parent;
    if (++top->makes > VARIANT_MAKES_MAX)
        (void)err_set(&m->err, ERR_UPSTREAM, "an index of %s leads to more than %d manifests",
                      repo->canonical, VARIANT_MAKES_MAX);
    if (m->path->depth > VARIANT_DEPTH_MAX + 1)
        (void)err_set(&m->err, ERR_UPSTREAM, "indexes of %s are nested deeper than %d", repo->canonical,
                      VARIANT_DEPTH_MAX);
    if (m->err.code != ERR_NONE)
        loop_post(loop, refuse, m);
    else
        documents_get(c->documents, loop, repo, source, DOCUMENT_MANIFEST, false, on_source, m);
}
