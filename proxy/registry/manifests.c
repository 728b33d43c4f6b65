// SPDX-License-Identifier: Apache-2.0
/*
 * GET and HEAD /v2/<name>/manifests/<reference>.
 *
 *   tag ─> source digest ─┬─ no injection ─> document
 *                         └─ injection ────> variant
 *   digest ─┬─ the name refers to it: memory, store, or made again if we announced it
 *           └─ else the upstream decides
 *
 * Everything warm is answered in manifests_handle itself; the rest becomes a struct pull, which outlives its
 * request if that one leaves.
 */
#include <stdio.h>
#include <stdlib.h>

#include "common/mem.h"
#include "common/metrics.h"
#include "layers/reference.h"
#include "proxy/http/response.h"
#include "proxy/registry/handlers.h"
#include "proxy/registry/reply.h"
#include "proxy/registry/report.h"

struct pull {
    unsigned refs;     /* the request's, and one for each answer that is awaited */
    struct request *r; /* NULL: gone */
    struct loop *loop;
    struct registry *g;
    struct target *t;
    struct reference ref;
    struct slice asked; /* the request's */
    bool stale, linked;
    struct err *unread; /* what the state failed with, which knows whether the digest is ours; malloc'd */
    struct document *doc;
    struct digest source; /* what the tag stands for upstream; empty: not known */
};

static void drop_document(void *arg)
{
    document_unref(arg);
}

/* Takes over doc. source: what it was made of; empty: not known. */
static void send_document(struct registry *g, struct request *r, struct target *t, struct slice asked,
                          struct document *doc, const struct digest *source, bool stale)
{
    bool not_modified = reply_not_modified(r, doc->etag);
    request_on_dispose(r, drop_document, doc);
    report_manifest(g, r, t, asked, doc, source->s[0] ? source : NULL, not_modified);
    reply_common_headers(r);
    response_header_ref(r, "Content-Type", slice_of(doc->media_type));
    response_header_ref(r, "Docker-Content-Digest", slice_of(doc->digest.s));
    response_header_ref(r, "ETag", slice_of(doc->etag));
    if (stale) /* RFC 7234 section 5.5.1: the cache cannot say that it is still so */
        response_header_ref(r, "Warning", SLICE_LIT("110 rac-proxy \"Response is Stale\""));
    if (not_modified)
        response_send_ref(r, 304, NULL, 0);
    else
        response_send_ref(r, 200, doc->bytes, doc->len);
}

static void pull_unref(struct pull *p)
{
    if (--p->refs)
        return;
    document_unref(p->doc);
    target_unref(p->t);
    free(p->unread);
    free(p);
}

static void on_request_over(void *arg)
{
    struct pull *p = arg;
    p->r = NULL;
    pull_unref(p);
}

static void pull_fail(struct pull *p, const struct err *err)
{
    if (p->r)
        reply_err(p->r, err);
}

/* Takes over doc. */
static void pull_send(struct pull *p, struct document *doc)
{
    if (p->r)
        send_document(p->g, p->r, p->t, p->asked, doc, &p->source, p->stale);
    else
        document_unref(doc);
}

/* ---- by tag ---- */

static void on_tag_document(void *arg, void *result, const struct err *err)
{
    struct pull *p = arg;
    struct document *doc = result;
    if (!doc) {
        pull_fail(p, err);
    } else {
        links_add(p->g->links, p->loop, p->t->repo, doc, NULL, NULL);
        pull_send(p, doc);
    }
    pull_unref(p);
}

static void on_variant(void *arg, void *result, const struct err *err)
{
    struct pull *p = arg;
    if (result)
        pull_send(p, result);
    else
        pull_fail(p, err);
    pull_unref(p);
}

static void pull_source(struct pull *p, const struct digest *source)
{
    ++p->refs;
    p->source = *source;
    if (p->t->injection)
        variants_get(p->g->variants, p->loop, p->t->repo, source, p->t->injection, VARIANT_CONFIGURED,
                     on_variant, p);
    else
        documents_get(p->g->documents, p->loop, p->t->repo, source, DOCUMENT_MANIFEST, false, on_tag_document,
                      p);
}

static void on_tag(void *arg, void *result, const struct err *err)
{
    struct pull *p = arg;
    struct tag_answer *a = result;
    if (!a) {
        pull_fail(p, err);
    } else {
        p->stale = a->stale;
        pull_source(p, &a->digest);
        tag_answer_unref(a);
    }
    pull_unref(p);
}

/* ---- by digest ---- */

static void on_rewritten(void *arg, void *result, const struct err *err)
{
    struct pull *p = arg;
    struct document *rewritten = result;
    if (!rewritten) {
        pull_fail(p, err);
    } else if (digest_eq(&rewritten->digest, &p->ref.digest)) {
        pull_send(p, document_ref(p->doc));
    } else {
        struct err e;
        (void)err_set(&e, ERR_DENIED,
                      "%s@%s is the original, without the injection that is required here (inject.pinned: "
                      "refuse): pull "
                      "it by tag, or pinned to %s",
                      p->t->repo->canonical, p->ref.digest.s, rewritten->digest.s);
        pull_fail(p, &e);
    }
    document_unref(rewritten);
    pull_unref(p);
}

static void on_announced(void *arg, const struct state_variant *v, const struct err *err)
{
    struct pull *p = arg;
    if (v) {
        pull_send(p, document_ref(p->doc));
    } else if (err) { /* the original, or ours: nobody can tell now */
        pull_fail(p, err);
    } else {
        ++p->refs;
        variants_get(p->g->variants, p->loop, p->t->repo, &p->ref.digest, p->t->injection, VARIANT_CONFIGURED,
                     on_rewritten, p);
    }
    pull_unref(p);
}

/* Takes over doc: what the digest names, and may be read. */
static void pull_pinned(struct pull *p, struct document *doc)
{
    links_add(p->g->links, p->loop, p->t->repo, doc, NULL, NULL);
    if (!p->t->injection || !p->t->config->pinned_refuse) {
        pull_send(p, doc);
        return;
    }
    struct state *state = p->g->env->state;
    p->doc = doc;
    ++p->refs;
    state->ops->variant_by_target(state, p->loop, p->t->repo->canonical, &p->ref.digest, on_announced, p);
}

static void on_pinned_upstream(void *arg, void *result, const struct err *err)
{
    struct pull *p = arg;
    if (result) {
        pull_pinned(p, result);
    } else {
        /* A no is the truth also for what we knew before; that an upstream is away is not. */
        bool no =
            err->code == ERR_MANIFEST_UNKNOWN || err->code == ERR_UNAUTHORIZED || err->code == ERR_DENIED;
        if (p->unread && err->code == ERR_MANIFEST_UNKNOWN) { /* it may be ours, which no upstream has */
            err = p->unread;
            no = false;
        }
        if (no && p->linked)
            links_drop(p->g->links, p->t->repo, &p->ref.digest);
        if (no)
            tags_refuse(p->g->tags, p->t->repo, p->ref.digest.s, err, &p->t->tags);
        pull_fail(p, err);
    }
    pull_unref(p);
}

static void ask_upstream(struct pull *p)
{
    struct err err;
    if (tags_refused(p->g->tags, p->t->repo, p->ref.digest.s, &err)) {
        pull_fail(p, &err);
        return;
    }
    ++p->refs;
    documents_fetch(p->g->documents, p->loop, p->t->repo, &p->ref.digest, NULL, DOCUMENT_MANIFEST,
                    on_pinned_upstream, p);
}

static void on_restored(void *arg, void *result, const struct err *err)
{
    struct pull *p = arg;
    struct document *doc = result;
    if (doc && doc->media_type[0])
        pull_send(p, document_ref(doc));
    else if (doc || !err || err->code == ERR_NOT_FOUND)
        ask_upstream(p);
    else
        pull_fail(p, err);
    document_unref(doc);
    pull_unref(p);
}

static void on_local(void *arg, void *result, const struct err *err)
{
    struct pull *p = arg;
    (void)err;
    if (result) {
        pull_pinned(p, result);
    } else {
        ++p->refs;
        variants_restore(p->g->variants, p->loop, p->t->repo, &p->ref.digest, on_restored, p);
    }
    pull_unref(p);
}

static void on_link(void *arg, bool known, uint64_t size, const struct err *err)
{
    struct pull *p = arg;
    (void)size;
    p->linked = known;
    if (err)
        p->unread = mem_dup(err, sizeof *err);
    if (known) {
        ++p->refs;
        documents_get(p->g->documents, p->loop, p->t->repo, &p->ref.digest, DOCUMENT_MANIFEST, true, on_local,
                      p);
    } else {
        ask_upstream(p);
    }
    pull_unref(p);
}

/* ---- warm, or a pull ---- */

static struct document *warm(struct registry *g, struct loop *loop, struct target *t,
                             const struct reference *ref, struct digest *ret_source, bool *ret_stale)
{
    if (ref->is_digest) {
        if ((t->injection && t->config->pinned_refuse) ||
            !links_try_manifest(g->links, t->repo, &ref->digest))
            return NULL;
        struct document *doc = documents_try(g->documents, &ref->digest);
        if (doc && doc->media_type[0])
            return doc;
        document_unref(doc);
        return NULL;
    }
    struct tag_answer a;
    if (tags_try(g->tags, loop, t->repo, ref->tag, &t->tags, &a, NULL) != 1)
        return NULL;
    *ret_stale = a.stale;
    *ret_source = a.digest;
    struct document *doc =
        t->injection ? variants_try(g->variants, t->repo, &a.digest, t->injection, VARIANT_CONFIGURED)
                     : documents_try(g->documents, &a.digest);
    /* Without its links (withdrawn, and back) what it lists could not be pulled. */
    if (doc && doc->media_type[0] && links_try_manifest(g->links, t->repo, &doc->digest))
        return doc;
    document_unref(doc);
    return NULL;
}

void manifests_handle(struct registry *g, struct request *r, struct target *t, struct slice reference,
                      struct slice asked)
{
    struct reference ref;
    struct err err;
    bool stale = false;
    if (reference_parse(reference, &ref, &err) < 0) {
        reply_err(r, &err);
        target_unref(t);
        return;
    }
    struct loop *loop = request_loop(r);
    struct digest source = {0};
    struct document *doc = warm(g, loop, t, &ref, &source, &stale);
    if (doc) {
        send_document(g, r, t, asked, doc, &source, stale);
        target_unref(t);
        return;
    }
    struct tag_answer a;
    int known = ref.is_digest ? 0 : tags_try(g->tags, loop, t->repo, ref.tag, &t->tags, &a, &err);
    if (known < 0) {
        reply_err(r, &err);
        target_unref(t);
        return;
    }
    struct pull *p = mem_new(struct pull);
    *p = (struct pull){.refs = 1, .r = r, .loop = loop, .g = g, .t = t, .ref = ref, .asked = asked};
    request_on_dispose(r, on_request_over, p);
    if (known > 0) {
        p->stale = a.stale;
        pull_source(p, &a.digest);
    } else if (ref.is_digest) {
        ++p->refs;
        links_get(g->links, loop, t->repo, &ref.digest, DOCUMENT_MANIFEST, on_link, p);
    } else {
        ++p->refs;
        tags_get(g->tags, loop, t->repo, ref.tag, &t->tags, on_tag, p);
    }
}
