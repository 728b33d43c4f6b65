// SPDX-License-Identifier: Apache-2.0
/*
 * GET and HEAD /v2/<name>/blobs/<digest>.
 *
 *   may the name read it? ── link known ─┬─> memory ─> store ─> a layer of ours ─> a config of ours ─> fill
 *                         └─ not known ──┴─> stored already: ask upstream (HEAD); else the fill is the
 * question
 */
#include <stdlib.h>

#include "common/mem.h"
#include "common/metrics.h"
#include "proxy/cache/blob_check.h"
#include "proxy/cache/s3_blobs.h"
#include "proxy/http/response.h"
#include "proxy/registry/blob_body.h"
#include "proxy/registry/blob_head.h"
#include "proxy/registry/handlers.h"
#include "proxy/registry/reply.h"
#include "proxy/registry/report.h"

#define SEEN_MS      UINT64_C(60000) /* how long "the upstream just said so" holds */
#define JOINS_MAX    3               /* fills of other names that failed before who asks is told so */
#define BUSY_MS      500
#define BUSY_TRIES   120
#define RESTORES_MAX 4 /* of a layer of ours */

struct ask {
    unsigned refs;     /* the request's, and one for each answer that is awaited */
    struct request *r; /* NULL: gone */
    struct loop *loop;
    struct registry *g;
    struct target *t;
    struct digest digest;
    uint64_t size; /* from a manifest or the upstream; 0 = not known */
    bool linked;
    struct fill_reader *reader; /* until the body takes it over */
    struct blob_body *body;
    struct blob_report *report;
    unsigned joins, busy, restored;
    struct loop_timer again;
    struct err *unread; /* what the state failed with, which knows whether the blob is ours; malloc'd */
};

static void ask_unref(struct ask *a)
{
    if (--a->refs)
        return;
    target_unref(a->t);
    free(a->unread);
    free(a);
}

static void on_request_over(void *arg)
{
    struct ask *a = arg;
    a->r = NULL;
    a->body = NULL;
    if (a->reader)
        fill_leave(steal_ptr(&a->reader));
    loop_timer_cancel(a->loop, &a->again);
    ask_unref(a);
}

static void ask_fail(struct ask *a, const struct err *err)
{
    if (a->r)
        reply_err(a->r, err);
}

/* What the upstream refused this name is remembered for a moment, as for tags. */
static void refused_reference(const struct ask *a, char *out, size_t cap)
{
    (void)snprintf(out, cap, "blob:%s", a->digest.s);
}

static void ask_refused(struct ask *a, const struct err *err)
{
    char reference[DIGEST_STR_MAX + 8];
    bool no = err->code == ERR_BLOB_UNKNOWN || err->code == ERR_UNAUTHORIZED || err->code == ERR_DENIED;
    if (a->unread && (a->linked ? no : err->code == ERR_BLOB_UNKNOWN))
        err = a->unread; /* it may be ours, which no upstream has */
    else if (!a->linked && no) {
        refused_reference(a, reference, sizeof reference);
        tags_refuse(a->g->tags, a->t->repo, reference, err, &a->t->tags);
    }
    ask_fail(a, err);
}

/* True: the name was refused a moment ago, and the request is answered. */
static bool still_refused(struct ask *a)
{
    char reference[DIGEST_STR_MAX + 8];
    struct err err;
    refused_reference(a, reference, sizeof reference);
    if (a->linked || !tags_refused(a->g->tags, a->t->repo, reference, &err))
        return false;
    ask_fail(a, &err);
    return true;
}

static void count(const char *family)
{
    metric_count(family, "kind=\"blob\"", 1);
}

/* To the bucket, if the blob is large enough and known to be there; true: the request is answered. Who asks
 * may read it. */
static bool redirected(struct registry *g, struct request *r, struct blob_report *report,
                       const struct digest *digest, uint64_t size)
{
    if (!g->redirect_bytes || size < g->redirect_bytes || request_method(r) != HTTP_GET)
        return false;
    cleanup_free char *url = s3_blobs_redirect(g->env->s3, digest);
    if (!url)
        return false;
    report_blob_redirected(report, size);
    blob_body_elsewhere(r, digest, url);
    return true;
}

/* ---- from upstream ---- */

static void join_fill(struct ask *a);
static void ask_permission(struct ask *a);

static void on_busy_over(void *arg)
{
    join_fill(arg);
}

static bool is_of_another_name(const struct ask *a)
{
    return strcmp(fill_reader_repo(a->reader)->key, a->t->repo->key) != 0;
}

/* Another name began the fill: that it was refused, or that another upstream failed, says nothing about ours.
 */
static bool says_nothing_of_ours(const struct ask *a, const struct err *err)
{
    return err->code == ERR_UNAUTHORIZED || err->code == ERR_DENIED || err->code == ERR_BLOB_UNKNOWN ||
           strcmp(fill_reader_repo(a->reader)->upstream->name, a->t->repo->upstream->name) != 0;
}

/* Who asks does not learn under which other name the blob was asked for. */
static void failed_for_others(const struct ask *a, const struct err *err, struct err *ret)
{
    bool ours = !says_nothing_of_ours(a, err);
    (void)err_set(ret, ours ? err->code : ERR_OVERLOADED,
                  "blob %s@%s: its download from %s, which others asked for, failed: try again",
                  a->t->repo->canonical, a->digest.s, ours ? a->t->repo->upstream->name : "elsewhere");
    ret->retry_after_s = ours ? err->retry_after_s : 0;
}

static void on_fill_changed(void *arg)
{
    struct ask *a = arg;
    struct err err;
    if (a->body) {
        blob_body_fill_changed(a->body);
        return;
    }
    switch (fill_reader_state(a->reader)) {
    case FILL_WAITING:
        fill_reader_wait(a->reader, 0);
        break;
    case FILL_READY:
    case FILL_COMPLETE:
        if (!a->linked)
            links_add_seen(a->g->links, a->t->repo, &a->digest, fill_reader_size(a->reader), SEEN_MS);
        ++a->refs; /* the request may be over before the call returns */
        struct blob_body *body = blob_body_from_fill(a->r, &a->digest, steal_ptr(&a->reader));
        if (a->r)
            a->body = body;
        ask_unref(a);
        break;
    case FILL_BUSY:
        fill_leave(steal_ptr(&a->reader));
        if (++a->busy <= BUSY_TRIES) {
            loop_timer_arm(a->loop, &a->again, BUSY_MS, on_busy_over, a);
            break;
        }
        (void)err_set(&err, ERR_NO_SPACE,
                      "no room on the proxy's disk to keep %s, and others are reading it: try again",
                      a->digest.s);
        ask_fail(a, &err);
        break;
    case FILL_MISLED:
        if (a->joins < JOINS_MAX) {
            fill_leave(steal_ptr(&a->reader));
            join_fill(a);
            break;
        }
        __attribute__((fallthrough));
    case FILL_FAILED:
        err = *fill_reader_error(a->reader);
        if (is_of_another_name(a)) {
            if (a->joins < JOINS_MAX && says_nothing_of_ours(a, &err)) {
                fill_leave(steal_ptr(&a->reader));
                join_fill(a);
                break;
            }
            failed_for_others(a, fill_reader_error(a->reader), &err);
        }
        fill_leave(steal_ptr(&a->reader));
        ask_refused(a, &err);
        break;
    }
}

static void join_fill(struct ask *a)
{
    ++a->joins;
    a->reader =
        fill_join(a->g->fills, a->loop, a->t->repo, &a->digest, a->size, a->linked, on_fill_changed, a);
    /* Begun under another name: its upstream's yes is not ours. Answered before: what allowed it may have
     * been withdrawn since. */
    if (!a->linked && (is_of_another_name(a) || !fill_reader_is_question(a->reader))) {
        fill_leave(steal_ptr(&a->reader));
        ask_permission(a);
    }
}

static void on_head(void *arg, uint64_t size, const struct err *err)
{
    struct ask *a = arg;
    if (!a->r)
        ;
    else if (err)
        ask_refused(a, err);
    else if (size != UINT64_MAX || a->size)
        blob_body_head_only(a->r, &a->digest, size != UINT64_MAX ? size : a->size);
    else /* only the bytes tell */
        join_fill(a);
    ask_unref(a);
}

static void from_upstream(struct ask *a)
{
    if (still_refused(a) || (a->linked && redirected(a->g, a->r, a->report, &a->digest, a->size)))
        return;
    count("rac_cache_misses_total");
    report_blob_missed(a->report);
    if (request_method(a->r) == HTTP_HEAD) {
        ++a->refs;
        blob_heads_ask(a->g->blob_heads, a->loop, a->t->repo, &a->digest, on_head, a);
    } else {
        join_fill(a);
    }
}

/* ---- here, or made again ---- */

static void missing(struct ask *a);

static void on_blob_after_layer(void *arg, struct blob *blob, const struct err *err)
{
    struct ask *a = arg;
    struct err e;
    if (!a->r) {
        blob_unref(blob);
    } else if (blob) {
        blob_body_from_store(a->r, a->g->env->store, blob);
    } else if (!err && ++a->restored < RESTORES_MAX) {
        missing(a); /* evicted again already: the store is far too full */
    } else {
        if (!err)
            (void)err_set(&e, ERR_BLOB_UNKNOWN,
                          "injected layer %s is gone from the store: pull the image again by its tag",
                          a->digest.s);
        ask_fail(a, err ? err : &e);
    }
    ask_unref(a);
}

static void serve_restored_layer(struct ask *a)
{
    ++a->refs;
    a->g->env->store->ops->get(a->g->env->store, a->loop, &a->digest, on_blob_after_layer, a);
}

static void on_restored_document(void *arg, void *result, const struct err *err)
{
    struct ask *a = arg;
    struct document *doc = result;
    if (!a->r)
        document_unref(doc);
    else if (doc && !doc->is_signed)
        blob_body_from_memory(a->r, doc);
    else if (doc) {
        document_unref(doc);
        from_upstream(a);
    } else if (!err)
        serve_restored_layer(a);
    else if (err->code == ERR_NOT_FOUND)
        from_upstream(a);
    else if (err->code == ERR_OVERLOADED || err->code == ERR_IO) {
        free(a->unread);
        a->unread = mem_dup(err, sizeof *err);
        from_upstream(a); /* most blobs are the image's own */
    } else
        ask_fail(a, err);
    ask_unref(a);
}

static void restore_document(struct ask *a)
{
    ++a->refs;
    variants_restore(a->g->variants, a->loop, a->t->repo, &a->digest, on_restored_document, a);
}

static void on_restored_layer(void *arg, const struct err *err)
{
    struct ask *a = arg;
    if (err) {
        /* Whatever is wrong with our layer is not the client's fault. */
        struct err e = *err;
        if (e.code != ERR_TIMEOUT && e.code != ERR_NO_SPACE)
            e.code = ERR_UPSTREAM;
        ask_fail(a, &e);
    } else if (a->r) {
        serve_restored_layer(a);
    }
    ask_unref(a);
}

/* Nothing is stored under that digest. */
static void missing(struct ask *a)
{
    ++a->refs;
    if (a->linked && injected_layers_restore(a->g->layers, a->loop, &a->digest, on_restored_layer, a))
        return;
    --a->refs;
    if (a->linked)
        restore_document(a);
    else
        from_upstream(a);
}

/* A reference; NULL if it is not in memory. What does not have the digest of its bytes is no blob. */
static struct document *in_memory(struct registry *g, const struct digest *digest)
{
    struct document *doc = documents_try(g->documents, digest);
    if (!doc || !doc->is_signed)
        return doc;
    document_unref(doc);
    return NULL;
}

static void on_checked(void *arg, struct blob *blob, bool sound)
{
    struct ask *a = arg;
    if (!sound)
        a->g->env->store->ops->quarantine(a->g->env->store, &a->digest,
                                          "its length or its bytes are not right");
    if (a->r && sound) { /* whoever named the length was wrong: not asked again for a while */
        links_add_seen(a->g->links, a->t->repo, &a->digest, blob->size, SEEN_MS);
        count("rac_cache_hits_total");
        blob_body_from_store(a->r, a->g->env->store, blob);
    } else {
        blob_unref(blob);
        if (a->r)
            missing(a);
    }
    ask_unref(a);
}

/* Takes over blob. */
static void serve(struct ask *a, struct blob *blob)
{
    if (a->size && blob->size != a->size) {
        ++a->refs;
        blob_check(a->g->env->jobs, a->loop, blob, on_checked, a);
        return;
    }
    count("rac_cache_hits_total");
    if (redirected(a->g, a->r, a->report, &a->digest, blob->size))
        blob_unref(blob);
    else
        blob_body_from_store(a->r, a->g->env->store, blob);
}

/* It is here, but this name is not known to refer to it: may it read it? */
static void on_stored(void *arg, struct blob *blob, const struct err *err);

static void on_permission(void *arg, uint64_t size, const struct err *err)
{
    struct ask *a = arg;
    if (err) {
        ask_refused(a, err);
    } else if (a->r) {
        a->size = size != UINT64_MAX ? size : 0;
        links_add_seen(a->g->links, a->t->repo, &a->digest, a->size, SEEN_MS);
        a->linked = true;
        ++a->refs;
        a->g->env->store->ops->get(a->g->env->store, a->loop, &a->digest, on_stored, a);
    }
    ask_unref(a);
}

static void ask_permission(struct ask *a)
{
    if (still_refused(a))
        return;
    ++a->refs;
    blob_heads_ask(a->g->blob_heads, a->loop, a->t->repo, &a->digest, on_permission, a);
}

static void on_stored(void *arg, struct blob *blob, const struct err *err)
{
    struct ask *a = arg;
    (void)err; /* a store that cannot be read: the upstream has it too */
    if (!a->r) {
        blob_unref(blob);
    } else if (!a->linked && blob) {
        blob_unref(blob);
        ask_permission(a);
    } else if (blob) {
        serve(a, blob);
    } else {
        missing(a);
    }
    ask_unref(a);
}

static void on_link(void *arg, bool known, uint64_t size, const struct err *err)
{
    struct ask *a = arg;
    a->linked = known;
    a->size = size;
    if (err)
        a->unread = mem_dup(err, sizeof *err);
    if (a->r) {
        struct document *doc = known ? in_memory(a->g, &a->digest) : NULL;
        if (doc) {
            blob_body_from_memory(a->r, doc);
        } else {
            ++a->refs;
            a->g->env->store->ops->get(a->g->env->store, a->loop, &a->digest, on_stored, a);
        }
    }
    ask_unref(a);
}

void blobs_handle(struct registry *g, struct request *r, struct target *t, struct slice text)
{
    struct digest digest;
    struct err err;
    uint64_t size = 0;
    if (digest_parse(text, &digest, &err) < 0) {
        reply_err(r, &err);
        target_unref(t);
        return;
    }
    struct blob_report *report = report_blob(g, r, t, &digest);
    if (links_try(g->links, t->repo, &digest, &size)) {
        struct blob *blob = g->env->store->ops->try(g->env->store, &digest);
        if (blob && size && blob->size != size) /* has to be looked at: not here and now */
            blob_unref(steal_ptr(&blob));
        struct document *doc = blob ? NULL : in_memory(g, &digest);
        if (blob || doc) {
            target_unref(t);
            count("rac_cache_hits_total");
            if (blob && redirected(g, r, report, &digest, blob->size))
                blob_unref(blob);
            else if (blob)
                blob_body_from_store(r, g->env->store, blob);
            else
                blob_body_from_memory(r, doc);
            return;
        }
    }
    struct ask *a = mem_new(struct ask);
    *a = (struct ask){.refs = 2,
                      .r = r,
                      .loop = request_loop(r),
                      .g = g,
                      .t = t,
                      .digest = digest,
                      .size = size,
                      .report = report};
    request_on_dispose(r, on_request_over, a);
    links_get(g->links, a->loop, t->repo, &digest, DOCUMENT_BLOB, on_link, a);
}
