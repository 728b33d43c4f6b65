// SPDX-License-Identifier: Apache-2.0
#include "proxy/inject/variant.h"

#include <pthread.h>
#include <stdlib.h>
#include <utlist.h>

#include "common/clock.h"
#include "common/hash.h"
#include "common/log.h"
#include "common/lru.h"
#include "common/mem.h"
#include "common/metrics.h"
#include "layers/media_type.h"
#include "proxy/inject/variant_make.h"

#define SHARDS    16
#define SHARD_MAX 2048 /* digests of variants, per shard; their bytes are with the documents */
/* How long an index is announced that was made without a manifest which its registry did not have. */
#define PARTIAL_MS 10000
/* What the store failed to keep is put again, once that has passed and somebody asks. */
#define RETRY_MS 5000
/* A token's is put again once half of the time is over for which the state keeps its injection: there is time
 * left to make a token of what is found here. */
#define LEASE_MS (STATE_PASSING_MS / 2)
/* Injections of the configuration which the store is known to have for good. */
#define KEPT_MAX 64

struct entry {
    UT_hash_handle hh;
    struct entry *prev, *next; /* least recently used first */
    struct digest target;
    bool durable;      /* the store has what it takes to make it again */
    uint64_t until_ms; /* clock_mono_ms; UINT64_MAX: for ever */
    int64_t lease_ms;  /* wall clock, as the store's; STATE_FOR_GOOD: for ever */
    char key[];        /* "<use> <source> <injection> <repo key>" */
};

struct kept {
    struct lru_entry lru;
    struct injection *injection; /* its digest is the key */
};

struct variants {
    struct variant_context c;
    struct flights *flights;
    struct lru *kept;
    struct metric *made, *reused, *remade;
    struct {
        pthread_mutex_t lock;
        struct entry *map, *lru;
        size_t count;
    } shard[SHARDS];
};

static void ref_result(void *p)
{
    (void)document_ref(p);
}

static void unref_result(void *p)
{
    document_unref(p);
}

static void free_kept(void *entry, void *arg)
{
    (void)arg;
    injection_unref(((struct kept *)entry)->injection);
    free(entry);
}

struct variants *variants_new(const struct cache_env *env, struct documents *documents, struct links *links,
                              struct injected_layers *layers)
{
    struct variants *v = mem_new(struct variants);
    v->c = (struct variant_context){.env = env, .documents = documents, .links = links, .layers = layers};
    v->flights = flights_new(ref_result, unref_result);
    v->kept = lru_new(KEPT_MAX, free_kept, NULL);
    v->made = metric_get("rac_injections_total", "result=\"made\"");
    v->reused = metric_get("rac_injections_total", "result=\"reused\"");
    v->remade = metric_get("rac_injections_total", "result=\"remade\"");
    for (unsigned i = 0; i < SHARDS; ++i)
        pthread_mutex_init(&v->shard[i].lock, NULL);
    return v;
}

static void drop(struct variants *v, unsigned s, struct entry *e)
{
    HASH_DEL(v->shard[s].map, e);
    DL_DELETE(v->shard[s].lru, e);
    --v->shard[s].count;
    free(e);
}

void variants_free(struct variants *v)
{
    if (!v)
        return;
    for (unsigned i = 0; i < SHARDS; ++i) {
        while (v->shard[i].lru)
            drop(v, i, v->shard[i].lru);
        pthread_mutex_destroy(&v->shard[i].lock);
    }
    flights_free(v->flights);
    lru_free(v->kept);
    free(v);
}

/* ---- the table in memory ---- */

#define KEY_MAX (2 * DIGEST_STR_MAX + 800)

static unsigned make_key(char *key, const struct repo *repo, const struct digest *source,
                         const struct injection *injection, enum variant_use use, size_t *ret_len)
{
    const struct slice piece[] = {use == VARIANT_OF_TOKEN ? SLICE_LIT("token ") : SLICE_LIT("rule "),
                                  slice_of(source->s),
                                  SLICE_LIT(" "),
                                  slice_of(injection_digest(injection)->s),
                                  SLICE_LIT(" "),
                                  slice_of(repo->key)};
    *ret_len = str_join(key, KEY_MAX, piece, 6);
    char c = source->s[strlen(source->s) - 1];
    return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10) % SHARDS;
}

static bool recall(struct variants *v, const struct repo *repo, const struct digest *source,
                   const struct injection *injection, enum variant_use use, bool durable,
                   struct digest *ret_target)
{
    char key[KEY_MAX];
    size_t len;
    unsigned s = make_key(key, repo, source, injection, use, &len);
    struct entry *e;
    pthread_mutex_lock(&v->shard[s].lock);
    HASH_FIND(hh, v->shard[s].map, key, len, e);
    bool known = e && (e->durable || !durable) &&
                 (e->until_ms == UINT64_MAX || e->until_ms > clock_mono_ms()) &&
                 (e->lease_ms == STATE_FOR_GOOD || e->lease_ms > clock_wall_ms());
    if (known) {
        *ret_target = e->target;
        if (e->next) {
            DL_DELETE(v->shard[s].lru, e);
            DL_APPEND(v->shard[s].lru, e);
        }
    }
    pthread_mutex_unlock(&v->shard[s].lock);
    return known;
}

struct document *variants_try(struct variants *v, const struct repo *repo, const struct digest *source,
                              const struct injection *injection, enum variant_use use)
{
    struct digest target;
    return recall(v, repo, source, injection, use, false, &target) ? documents_try(v->c.documents, &target)
                                                                   : NULL;
}

bool variants_durable(struct variants *v, const struct repo *repo, const struct digest *source,
                      const struct injection *injection, enum variant_use use)
{
    struct digest target;
    return recall(v, repo, source, injection, use, true, &target);
}

/* ---- found, or made ---- */

struct get {
    struct variants *v;
    struct loop *loop;
    struct repo *repo;
    struct digest source, target;
    struct injection *injection;
    enum variant_use use;
    int64_t lease_ms;
    struct document *doc;
    unsigned waiting;
    bool failed, found, partial; /* failed: the store did not take something */
    struct err err;
    struct flight *flight;
};

static void remember(const struct get *g, bool durable)
{
    struct variants *v = g->v;
    char key[KEY_MAX];
    size_t len;
    unsigned s = make_key(key, g->repo, &g->source, g->injection, g->use, &len);
    struct entry *e;
    pthread_mutex_lock(&v->shard[s].lock);
    HASH_FIND(hh, v->shard[s].map, key, len, e);
    if (!e) {
        e = mem_zalloc(sizeof *e + len + 1);
        memcpy(e->key, key, len + 1);
        HASH_ADD_KEYPTR(hh, v->shard[s].map, e->key, len, e);
        DL_APPEND(v->shard[s].lru, e);
        if (++v->shard[s].count > SHARD_MAX)
            drop(v, s, v->shard[s].lru);
    }
    e->target = g->doc->digest;
    e->durable = durable;
    e->lease_ms = g->lease_ms;
    e->until_ms = !durable     ? clock_mono_ms() + RETRY_MS
                  : g->partial ? clock_mono_ms() + PARTIAL_MS
                               : UINT64_MAX;
    pthread_mutex_unlock(&v->shard[s].lock);
}

static void get_end(struct get *g, const struct err *err)
{
    flight_finish(g->flight, err ? NULL : g->doc, err);
    if (err)
        document_unref(g->doc);
    injection_unref(g->injection);
    repo_unref(g->repo);
    free(g);
}

/* Injection, link and pair are durable: now it may be announced. */
static void on_durable(void *arg, const struct err *err)
{
    struct get *g = arg;
    if (err && !g->failed) {
        g->failed = true;
        g->err = *err;
    }
    if (--g->waiting)
        return;
    if (g->failed) /* pulls go on; a state that does not write is said by /readyz and the log */
        log_error("rewritten manifest is not durable", F_S("image", g->repo->canonical),
                  F_S("digest", g->doc->digest.s), F_ERR(&g->err));
    remember(g, !g->failed);
    get_end(g, NULL);
}

/* Also of the same text: with the locations that the configuration in force has. */
static bool is_kept(struct variants *v, const struct injection *injection)
{
    const struct digest *d = injection_digest(injection);
    struct lru_shard *s = lru_lock(v->kept, d->s, strlen(d->s));
    struct kept *k = lru_find(s);
    bool kept = k && k->injection == injection;
    lru_unlock(s);
    return kept;
}

static void on_kept(void *arg, const struct err *err)
{
    struct get *g = arg;
    const struct digest *d = injection_digest(g->injection);
    if (!err && g->use == VARIANT_CONFIGURED) {
        struct lru_shard *s = lru_lock(g->v->kept, d->s, strlen(d->s));
        struct kept *old = lru_find(s), *k = mem_zalloc(sizeof *k);
        if (old)
            lru_drop(s, old);
        k->injection = injection_ref(g->injection);
        lru_add(s, k, d->s, 1);
        lru_unlock(s);
    }
    on_durable(g, err);
}

static void on_known_kept(void *arg)
{
    on_durable(arg, NULL);
}

static void put_injection(struct get *g)
{
    struct state *state = g->v->c.env->state;
    const char *text = injection_json(g->injection);
    int64_t until_ms = STATE_FOR_GOOD;
    if (g->use == VARIANT_OF_TOKEN) {
        g->lease_ms = clock_wall_ms() + LEASE_MS;
        until_ms = state_passing_until(0);
    } else if (is_kept(g->v, g->injection)) {
        loop_post(g->loop, on_known_kept, g);
        return;
    }
    state->ops->injection_put(state, g->loop, injection_digest(g->injection), text, strlen(text), until_ms,
                              on_kept, g);
}

static void on_made(void *arg, struct document *doc, const char *skipped, bool partial, const struct err *err)
{
    struct get *g = arg;
    struct variants *v = g->v;
    struct state *state = v->c.env->state;
    if (!doc) {
        get_end(g, err);
        return;
    }
    g->doc = doc;
    g->partial = partial;
    if (skipped) {
        remember(g, true);
        get_end(g, NULL);
        return;
    }
    metric_inc(g->found ? v->remade : v->made);
    log_info("image rewritten", F_S("image", g->repo->canonical), F_S("source", g->source.s),
             F_S("target", doc->digest.s), F_S("injection", injection_digest(g->injection)->s));
    if (partial) { /* the pair would bring something else, one day; those of its children would not */
        g->waiting = 2;
        put_injection(g);
        links_add(v->c.links, g->loop, g->repo, doc, on_durable, g);
        return;
    }
    g->waiting = 3;
    put_injection(g);
    links_add(v->c.links, g->loop, g->repo, doc, on_durable, g);
    struct state_variant sv = {.canonical = g->repo->canonical,
                               .source = g->source,
                               .injection = *injection_digest(g->injection),
                               .target = doc->digest,
                               .media_type = doc->media_type};
    state->ops->variant_put(state, g->loop, &sv, on_durable, g);
}

static void make(struct get *g)
{
    variant_make(&g->v->c, g->loop, g->repo, &g->source, g->injection, NULL, on_made, g);
}

static void on_stored(void *arg, void *result, const struct err *err)
{
    struct get *g = arg;
    (void)err;
    if (!result) { /* its bytes are gone */
        make(g);
        return;
    }
    g->doc = result;
    metric_inc(g->v->reused);
    g->waiting = 2;
    put_injection(g); /* a token's may be gone, or about to go */
    links_add(g->v->c.links, g->loop, g->repo, g->doc, on_durable, g);
}

static void on_known(void *arg, const struct state_variant *sv, const struct err *err)
{
    struct get *g = arg;
    if (err)
        log_warn("state not readable: rewriting again", F_S("image", g->repo->canonical), F_ERR(err));
    if (!sv) {
        make(g);
        return;
    }
    g->found = true;
    g->target = sv->target;
    documents_get(g->v->c.documents, g->loop, g->repo, &g->target, DOCUMENT_MANIFEST, true, on_stored, g);
}

void variants_get(struct variants *v, struct loop *loop, struct repo *repo, const struct digest *source,
                  struct injection *injection, enum variant_use use, flight_fn *fn, void *arg)
{
    char key[KEY_MAX];
    size_t len;
    (void)make_key(key, repo, source, injection, use, &len);
    struct flight *lead;
    (void)flight_join(v->flights, key, loop, fn, arg, &lead);
    if (!lead) {
        metric_count("rac_lookups_joined_total", "kind=\"variant\"", 1);
        return;
    }
    struct get *g = mem_new(struct get);
    *g = (struct get){.v = v,
                      .loop = loop,
                      .repo = repo_ref(repo),
                      .source = *source,
                      .injection = injection_ref(injection),
                      .use = use,
                      .lease_ms = STATE_FOR_GOOD,
                      .flight = lead};
    struct state *state = v->c.env->state;
    state->ops->variant_by_source(state, loop, repo->canonical, source, injection_digest(injection), on_known,
                                  g);
}

/* ---- made again, from what was announced ---- */

struct restore {
    struct variants *v;
    struct loop *loop;
    struct repo *repo;
    struct digest wanted; /* a manifest, or the config of one */
    struct digest source, injection;
    bool is_layer;
    flight_fn *fn;
    void *arg;
};

static void restore_end(struct restore *r, struct document *doc, const struct err *err)
{
    r->fn(r->arg, doc, err);
    repo_unref(r->repo);
    free(r);
}

static void restore_none(struct restore *r)
{
    struct err e;
    (void)err_set(&e, ERR_NOT_FOUND, "%s was never announced for %s", r->wanted.s, r->repo->canonical);
    restore_end(r, NULL, &e);
}

static void on_remade(void *arg, struct document *doc, const char *skipped, bool partial,
                      const struct err *err)
{
    struct restore *r = arg;
    (void)skipped;
    (void)partial;
    if (!doc) {
        restore_end(r, NULL, err);
        return;
    }
    metric_inc(r->v->remade);
    /* Making it put manifest and config back into the cache. */
    struct document *wanted = documents_try(r->v->c.documents, &r->wanted);
    if (!wanted && digest_eq(&doc->digest, &r->wanted))
        wanted = document_ref(doc);
    document_unref(doc);
    if (!wanted) {
        log_error("rewritten image comes out different than announced", F_S("image", r->repo->canonical),
                  F_S("source", r->source.s), F_S("announced", r->wanted.s));
        restore_none(r);
        return;
    }
    restore_end(r, wanted, NULL);
}

static void on_layer_restored(void *arg, const struct err *err)
{
    restore_end(arg, NULL, err);
}

/* A layer: ours only if the injection has it; else it is one of the image's own, and upstream's to give. */
static void restore_layer(struct restore *r, struct injection *inj)
{
    for (size_t i = 0; i < injection_layer_count(inj); ++i) {
        if (digest_eq(&injection_layer_at(inj, i)->gzip_digest, &r->wanted)) {
            injected_layers_ensure(r->v->c.layers, r->loop, inj, on_layer_restored, r);
            return;
        }
    }
    restore_none(r);
}

static void on_injection(void *arg, const char *text, size_t len, const struct err *err)
{
    struct restore *r = arg;
    struct err e;
    if (!text) {
        if (err)
            restore_end(r, NULL, err);
        else
            restore_none(r);
        return;
    }
    cleanup_injection struct injection *inj =
        injection_parse(text, len, INJECTION_FROM_CONFIGURATION, NULL, &e);
    if (!inj) {
        (void)err_wrap(&e, "recorded injection %s", r->injection.s);
        restore_end(r, NULL, &e);
        return;
    }
    if (r->is_layer) {
        restore_layer(r, inj);
        return;
    }
    variant_make(&r->v->c, r->loop, r->repo, &r->source, inj, NULL, on_remade, r);
}

static void on_pair(void *arg, const struct state_variant *sv, const struct err *err)
{
    struct restore *r = arg;
    if (!sv) {
        if (err)
            restore_end(r, NULL, err);
        else
            restore_none(r);
        return;
    }
    r->source = sv->source;
    r->injection = sv->injection;
    r->is_layer = sv->ref_media_type && media_type_is_layer(slice_of(sv->ref_media_type));
    struct state *state = r->v->c.env->state;
    state->ops->injection_get(state, r->loop, &r->injection, on_injection, r);
}

static void on_here(void *arg, void *result, const struct err *err)
{
    struct restore *r = arg;
    (void)err;
    if (result) {
        restore_end(r, result, NULL);
        return;
    }
    struct state_repo repo = repo_state(r->repo);
    struct state *state = r->v->c.env->state;
    state->ops->variant_by_ref(state, r->loop, &repo, r->repo->canonical, &r->wanted, on_pair, r);
}

void variants_restore(struct variants *v, struct loop *loop, struct repo *repo, const struct digest *target,
                      flight_fn *fn, void *arg)
{
    struct restore *r = mem_new(struct restore);
    *r = (struct restore){
        .v = v, .loop = loop, .repo = repo_ref(repo), .wanted = *target, .fn = fn, .arg = arg};
    documents_get(v->c.documents, loop, repo, target, DOCUMENT_BLOB, true, on_here, r);
}
