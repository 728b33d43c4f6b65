// SPDX-License-Identifier: Apache-2.0
#include "proxy/cache/document.h"

#include <assert.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/lru.h"
#include "common/mem.h"
#include "common/metrics.h"
#include "layers/manifest.h"
#include "proxy/cache/document_fetch.h"
#include "proxy/cache/s3_blobs.h"

struct entry {
    struct lru_entry lru;
    struct document *doc;
};

struct documents {
    const struct cache_env *env;
    struct flights *flights;
    struct lru *known;
    struct metric *bytes_gauge;
};

struct document *document_ref(struct document *d)
{
    __atomic_fetch_add(&d->refs, 1, __ATOMIC_RELAXED);
    return d;
}

void document_unref(struct document *d)
{
    if (!d || __atomic_sub_fetch(&d->refs, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    free(d->bytes);
    free(d);
}

static void ref_result(void *p)
{
    (void)document_ref(p);
}

static void unref_result(void *p)
{
    document_unref(p);
}

static void free_entry(void *entry, void *arg)
{
    struct entry *e = entry;
    struct documents *t = arg;
    metric_sub(t->bytes_gauge, e->doc->len);
    document_unref(e->doc);
    free(e);
}

struct documents *documents_new(const struct cache_env *env, uint64_t memory_bytes)
{
    struct documents *t = mem_new(struct documents);
    t->env = env;
    t->flights = flights_new(ref_result, unref_result);
    t->known = lru_new(memory_bytes, free_entry, t);
    t->bytes_gauge = metric_get("rac_documents_bytes", "");
    return t;
}

void documents_free(struct documents *t)
{
    if (!t)
        return;
    lru_free(t->known);
    flights_free(t->flights);
    free(t);
}

uint64_t documents_bytes(struct documents *t)
{
    return metric_value(t->bytes_gauge);
}

struct document *documents_try(struct documents *t, const struct digest *digest)
{
    struct lru_shard *s = lru_lock(t->known, digest->s, strlen(digest->s));
    struct entry *e = lru_find(s);
    struct document *doc = e ? document_ref(e->doc) : NULL;
    lru_unlock(s);
    return doc;
}

/* Returns the document to use: one of the same digest may be there already. Takes over doc. */
static struct document *keep(struct documents *t, struct document *doc)
{
    struct lru_shard *s = lru_lock(t->known, doc->digest.s, strlen(doc->digest.s));
    struct entry *e = lru_find(s);
    if (e && e->doc->is_signed != doc->is_signed) { /* other bytes: one of the two is remembered */
        lru_unlock(s);
        return doc;
    }
    if (e && (e->doc->media_type[0] || !doc->media_type[0])) {
        struct document *known = document_ref(e->doc);
        lru_unlock(s);
        document_unref(doc);
        return known;
    }
    if (e)
        lru_drop(s, e);
    e = mem_new(struct entry);
    e->doc = document_ref(doc);
    metric_add(t->bytes_gauge, doc->len);
    lru_add(s, e, doc->digest.s, doc->len);
    lru_unlock(s);
    return doc;
}

static struct document *document_new(const struct digest *digest, const char *media_type, char *bytes,
                                     size_t len)
{
    struct document *d = mem_new(struct document);
    d->refs = 1;
    d->digest = *digest;
    (void)snprintf(d->etag, sizeof d->etag, "\"%s\"", digest->s);
    (void)snprintf(d->media_type, sizeof d->media_type, "%s", media_type);
    d->bytes = bytes;
    d->len = len;
    return d;
}

/* ---- into the store, in the background: until it is there the document stays alive ---- */

struct storing {
    struct s3_blobs *s3;
    struct document *doc;
};

static void on_stored(void *arg, const struct err *err)
{
    struct storing *s = arg;
    struct document *doc = s->doc;
    if (!err)
        s3_blobs_keep(s->s3, &doc->digest);
    free(s);
    if (err && err->code != ERR_NO_SPACE)
        log_warn("document not stored", F_S("digest", doc->digest.s), F_ERR(err));
    document_unref(doc);
}

struct document *documents_add(struct documents *t, struct loop *loop, const struct digest *digest,
                               const char *media_type, char *bytes, size_t len)
{
    struct document *doc = keep(t, document_new(digest, media_type, bytes, len));
    struct storing *s = mem_new(struct storing);
    *s = (struct storing){t->env->s3, document_ref(doc)};
    t->env->store->ops->put(t->env->store, loop, &doc->digest, doc->bytes, doc->len, on_stored, s);
    return doc;
}

/* ---- from the store, then from upstream ---- */

struct get {
    struct documents *t;
    struct loop *loop;
    struct repo *repo;
    struct digest digest;
    enum document_kind kind;
    bool local_only;
    struct flight *flight;
};

static void get_finish(struct get *g, struct document *doc, const struct err *err)
{
    flight_finish(g->flight, doc, err);
    repo_unref(g->repo);
    free(g);
}

static void on_fetched(void *arg, void *result, const struct err *err)
{
    get_finish(arg, result, err);
}

static struct document *from_stored_bytes(struct get *g, char *bytes, size_t len)
{
    char media_type[256] = "";
    if (g->kind == DOCUMENT_MANIFEST) {
        struct manifest *m = manifest_parse(bytes, len, NULL, NULL);
        if (!m) { /* a blob of other content that somebody asks for as a manifest */
            free(bytes);
            return NULL;
        }
        (void)snprintf(media_type, sizeof media_type, "%s", manifest_media_type(m));
        manifest_free(m);
    }
    return keep(g->t, document_new(&g->digest, media_type, bytes, len));
}

/* Into the store, too: what S3 has may be gone tomorrow. */
static struct document *from_shared_bytes(struct get *g, char *bytes, size_t len)
{
    struct document *doc = from_stored_bytes(g, bytes, len);
    if (!doc)
        return NULL;
    struct storing *s = mem_new(struct storing);
    *s = (struct storing){NULL, document_ref(doc)};
    g->t->env->store->ops->put(g->t->env->store, g->loop, &doc->digest, doc->bytes, doc->len, on_stored, s);
    return doc;
}

/* Neither memory, store nor bucket has it. */
static void get_from_upstream(struct get *g)
{
    struct err e;
    if (!g->local_only) {
        documents_fetch(g->t, g->loop, g->repo, &g->digest, NULL, g->kind, on_fetched, g);
        return;
    }
    (void)err_set(&e, ERR_NOT_FOUND, "%s is not stored here", g->digest.s);
    get_finish(g, NULL, &e);
}

static void on_read_shared(void *arg, char *bytes, size_t len)
{
    struct get *g = arg;
    struct document *doc = bytes ? from_shared_bytes(g, bytes, len) : NULL;
    if (doc)
        get_finish(g, doc, NULL);
    else
        get_from_upstream(g);
}

static void on_read(void *arg, char *bytes, size_t len, const struct err *err)
{
    struct get *g = arg;
    struct s3_blobs *s3 = g->t->env->s3;
    struct document *doc = bytes ? from_stored_bytes(g, bytes, len) : NULL;
    if (doc) {
        get_finish(g, doc, NULL);
        return;
    }
    if (err && err->code != ERR_SIZE_INVALID)
        log_warn("stored document not readable", F_S("digest", g->digest.s), F_ERR(err));
    /* Of blobs, local_only asks for any: a layer, too, which a fill looks for in the bucket. */
    if (s3 && (g->kind == DOCUMENT_MANIFEST || !g->local_only))
        s3_blobs_read(s3, g->loop, &g->digest, DOCUMENT_MAX, on_read_shared, g);
    else
        get_from_upstream(g);
}

struct answer {
    flight_fn *fn;
    void *arg;
    struct document *doc;
};

static void answer_at_once(void *p)
{
    struct answer *a = p;
    a->fn(a->arg, a->doc, NULL);
    free(a);
}

void documents_get(struct documents *t, struct loop *loop, struct repo *repo, const struct digest *digest,
                   enum document_kind kind, bool local_only, flight_fn *fn, void *arg)
{
    struct document *known = documents_try(t, digest);
    if (known && (kind == DOCUMENT_BLOB ? !known->is_signed : known->media_type[0])) {
        struct answer *a = mem_new(struct answer);
        *a = (struct answer){fn, arg, known};
        loop_post(loop, answer_at_once, a);
        return;
    }
    document_unref(known);
    cleanup_free char *key =
        mem_printf("%s %s %d%s", digest->s, repo->key, (int)kind, local_only ? " local" : "");
    struct flight *lead;
    (void)flight_join(t->flights, key, loop, fn, arg, &lead);
    if (!lead) {
        metric_count("rac_lookups_joined_total", "kind=\"document\"", 1);
        return;
    }
    struct get *g = mem_new(struct get);
    *g = (struct get){.t = t,
                      .loop = loop,
                      .repo = repo_ref(repo),
                      .digest = *digest,
                      .kind = kind,
                      .local_only = local_only,
                      .flight = lead};
    t->env->store->ops->read(t->env->store, loop, digest, DOCUMENT_MAX, on_read, g);
}

/* ---- from upstream ---- */

struct fetched {
    struct documents *t;
    struct loop *loop;
    struct flight *flight; /* by digest: shared by all who ask this repository for it */
    flight_fn *fn;         /* by tag: the one who asked (tags share their look-ups themselves) */
    void *arg;
};

static struct document *add_fetched(struct fetched *f, const struct document_fetched *got)
{
    if (!got->is_signed)
        return documents_add(f->t, f->loop, &got->digest, got->media_type, got->bytes, got->len);
    struct document *doc = document_new(&got->digest, got->media_type, got->bytes, got->len);
    doc->is_signed = true;
    return keep(f->t, doc);
}

static void on_fetch_done(void *arg, const struct document_fetched *got, const struct err *err)
{
    struct fetched *f = arg;
    struct document *doc = got ? add_fetched(f, got) : NULL;
    if (f->flight)
        flight_finish(f->flight, doc, err);
    else
        f->fn(f->arg, doc, err);
    free(f);
}

void documents_fetch(struct documents *t, struct loop *loop, struct repo *repo, const struct digest *digest,
                     const char *tag, enum document_kind kind, flight_fn *fn, void *arg)
{
    struct flight *lead = NULL;
    if (digest) {
        cleanup_free char *key = mem_printf("upstream %s %s %d", digest->s, repo->key, (int)kind);
        (void)flight_join(t->flights, key, loop, fn, arg, &lead);
        if (!lead)
            return;
    }
    struct fetched *f = mem_new(struct fetched);
    *f = (struct fetched){.t = t, .loop = loop, .flight = lead, .fn = fn, .arg = arg};
    document_fetch(t->env->client(loop), repo, digest, tag, kind, on_fetch_done, f);
}
