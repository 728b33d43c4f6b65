// SPDX-License-Identifier: Apache-2.0
#include "proxy/inject/injected_layers.h"

#include <pthread.h>
#include <stdlib.h>
#include <utlist.h>

#include "common/clock.h"
#include "common/hash.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/metrics.h"
#include "proxy/inject/layer_fetch.h"

#define PASSED_MAX  8192                /* remembered layers that are not kept */
#define PROVEN_MAX  8192                /* remembered proofs */
#define PROVEN_MS   UINT64_C(600000)    /* how long one holds */
#define PROVEN_TEXT ((size_t)128 << 10) /* a longer location is proven again: hashing it is no cheaper */

/* A layer that passed its check in this process; how to get it again, if it is kept. */
struct known_layer {
    UT_hash_handle hh;
    struct known_layer *prev, *next; /* of those that are not kept; oldest first */
    struct digest digest, tar_digest;
    uint64_t gzip_size;
    struct injection *injection; /* NULL: not kept; else keeps `layer` alive */
    const struct injection_layer *layer;
    bool verified;
};

/* "That location has these bytes": the digest of location and claims. */
struct proof {
    UT_hash_handle hh;
    struct proof *prev, *next;
    struct digest key;
    uint64_t until_ms;
};

struct injected_layers {
    const struct cache_env *env;
    const struct layer_sources *sources;
    uint64_t max_tar_bytes;
    struct flights *flights;
    pthread_mutex_t lock;
    struct known_layer *map, *passed;
    size_t passed_count;
    struct proof *proofs, *proof_list;
    size_t proof_count;
};

/* Flights need a result that is not NULL; that a layer is fine is all there is to say. */
static char fine;

static void no_refs(void *result)
{
    (void)result;
}

struct injected_layers *injected_layers_new(const struct cache_env *env, const struct layer_sources *sources,
                                            uint64_t max_tar_bytes)
{
    struct injected_layers *l = mem_new(struct injected_layers);
    l->env = env;
    l->sources = sources;
    l->max_tar_bytes = max_tar_bytes;
    l->flights = flights_new(no_refs, no_refs);
    pthread_mutex_init(&l->lock, NULL);
    return l;
}

void injected_layers_free(struct injected_layers *l)
{
    if (!l)
        return;
    struct known_layer *k, *next;
    HASH_ITER (hh, l->map, k, next) {
        HASH_DEL(l->map, k); // NOLINT(clang-analyzer-unix.Malloc)
        injection_unref(k->injection);
        free(k);
    }
    struct proof *p, *later;
    HASH_ITER (hh, l->proofs, p, later) {
        HASH_DEL(l->proofs, p); // NOLINT(clang-analyzer-unix.Malloc)
        free(p);
    }
    flights_free(l->flights);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

/* ---- what passed; under the lock ---- */

static struct known_layer *find(struct injected_layers *l, const struct digest *digest)
{
    struct known_layer *k;
    HASH_FIND_STR(l->map, digest->s, k);
    return k;
}

static void forget_passed(struct injected_layers *l, struct known_layer *k)
{
    DL_DELETE(l->passed, k);
    --l->passed_count;
}

static struct known_layer *find_or_add(struct injected_layers *l, const struct injection_layer *layer)
{
    struct known_layer *k = find(l, &layer->gzip_digest);
    if (k)
        return k;
    k = mem_new(struct known_layer);
    k->digest = layer->gzip_digest;
    HASH_ADD_KEYPTR(hh, l->map, k->digest.s, strlen(k->digest.s), k);
    DL_APPEND(l->passed, k);
    if (++l->passed_count > PASSED_MAX) {
        struct known_layer *oldest = l->passed;
        forget_passed(l, oldest);
        HASH_DEL(l->map, oldest);
        free(oldest);
    }
    return k;
}

/* The same gzip digest with another tar digest is a different claim: it is checked anew, and fails. */
static bool is_verified(struct injected_layers *l, const struct injection_layer *layer)
{
    pthread_mutex_lock(&l->lock);
    const struct known_layer *k = find(l, &layer->gzip_digest);
    bool verified =
        k && k->verified && digest_eq(&k->tar_digest, &layer->tar_digest) && k->gzip_size == layer->gzip_size;
    pthread_mutex_unlock(&l->lock);
    return verified;
}

static void set_verified(struct injected_layers *l, struct injection *inj,
                         const struct injection_layer *layer)
{
    pthread_mutex_lock(&l->lock);
    struct known_layer *k = find_or_add(l, layer);
    /* The claim that held is the one to remember. */
    bool other = !digest_eq(&k->tar_digest, &layer->tar_digest) || k->gzip_size != layer->gzip_size;
    if (k->injection && other) {
        injection_unref(k->injection);
        k->injection = injection_ref(inj);
        k->layer = layer;
    }
    k->tar_digest = layer->tar_digest;
    k->gzip_size = layer->gzip_size;
    k->verified = true;
    pthread_mutex_unlock(&l->lock);
}

void injected_layers_keep(struct injected_layers *l, struct injection *injection)
{
    for (size_t i = 0; i < injection_layer_count(injection); ++i) {
        const struct injection_layer *layer = injection_layer_at(injection, i);
        pthread_mutex_lock(&l->lock);
        struct known_layer *k = find_or_add(l, layer);
        bool is_new = !k->injection;
        if (is_new) {
            forget_passed(l, k);
            k->injection = injection_ref(injection);
            k->layer = layer;
        }
        pthread_mutex_unlock(&l->lock);
        if (is_new)
            l->env->store->ops->pin(l->env->store, &layer->gzip_digest, true);
    }
}

struct lead {
    struct injected_layers *l;
    struct injection *injection;
    const struct injection_layer *layer;
    struct flight *flight;
};

static void on_fetched(void *arg, const struct err *err)
{
    struct lead *lead = arg;
    if (!err)
        set_verified(lead->l, lead->injection, lead->layer);
    metric_count("rac_injection_layers_total", err ? "result=\"failed\"" : "result=\"verified\"", 1);
    if (err)
        log_error("injected layer refused", F_ERR(err));
    else
        log_info("injected layer verified", F_S("name", lead->layer->name),
                 F_S("digest", lead->layer->gzip_digest.s), F_U("bytes", lead->layer->gzip_size));
    flight_finish(lead->flight, err ? NULL : &fine, err);
    injection_unref(lead->injection);
    free(lead);
}

static void join(struct injected_layers *l, struct loop *loop, struct injection *inj,
                 const struct injection_layer *layer, flight_fn *fn, void *arg)
{
    cleanup_free char *key = mem_printf("%s %s %llu", layer->gzip_digest.s, layer->tar_digest.s,
                                        (unsigned long long)layer->gzip_size);
    struct flight *flight;
    (void)flight_join(l->flights, key, loop, fn, arg, &flight);
    if (!flight)
        return;
    struct lead *lead = mem_new(struct lead);
    *lead = (struct lead){.l = l, .injection = injection_ref(inj), .layer = layer, .flight = flight};
    layer_fetch(&(struct layer_fetch_params){.env = l->env,
                                             .sources = l->sources,
                                             .injection = inj,
                                             .layer = layer,
                                             .max_tar_bytes = l->max_tar_bytes},
                loop, on_fetched, lead);
}

struct ensure {
    size_t waiting;
    bool failed;
    struct err err;
    injected_layers_fn *fn;
    void *arg;
};

static void ensure_part_done(struct ensure *e)
{
    if (--e->waiting)
        return;
    e->fn(e->arg, e->failed ? &e->err : NULL);
    free(e);
}

static void on_layer(void *arg, void *result, const struct err *err)
{
    struct ensure *e = arg;
    (void)result;
    if (err && !e->failed) {
        e->failed = true;
        e->err = *err;
    }
    ensure_part_done(e);
}

static void on_begun(void *arg)
{
    ensure_part_done(arg);
}

void injected_layers_ensure(struct injected_layers *l, struct loop *loop, struct injection *injection,
                            injected_layers_fn *fn, void *arg)
{
    struct ensure *e = mem_new(struct ensure);
    e->fn = fn;
    e->arg = arg;
    e->waiting = 1;
    for (size_t i = 0; i < injection_layer_count(injection); ++i) {
        const struct injection_layer *layer = injection_layer_at(injection, i);
        if (is_verified(l, layer))
            continue;
        ++e->waiting;
        join(l, loop, injection, layer, on_layer, e);
    }
    loop_post(loop, on_begun, e);
}

/* ---- proofs ---- */

static bool proof_key(const struct injection_layer *layer, struct digest *ret)
{
    enum layer_location where = LAYER_FILE;
    (void)injection_layer_location(layer, &where, NULL);
    if (where == LAYER_IMAGE || strlen(layer->location) > PROVEN_TEXT)
        return false;
    cleanup_free char *text = mem_printf("%s\n%s\n%s\n%llu", layer->location, layer->gzip_digest.s,
                                         layer->tar_digest.s, (unsigned long long)layer->gzip_size);
    *ret = digest_of(text, strlen(text));
    return true;
}

/* Under the lock. */
static void proof_drop(struct injected_layers *l, struct proof *p)
{
    HASH_DEL(l->proofs, p);
    DL_DELETE(l->proof_list, p);
    --l->proof_count;
    free(p);
}

static bool proof_holds(struct injected_layers *l, const struct digest *key)
{
    struct proof *p;
    pthread_mutex_lock(&l->lock);
    HASH_FIND_STR(l->proofs, key->s, p);
    bool holds = p && p->until_ms > clock_mono_ms();
    if (p && !holds)
        proof_drop(l, p);
    pthread_mutex_unlock(&l->lock);
    return holds;
}

static void proof_add(struct injected_layers *l, const struct digest *key)
{
    struct proof *p;
    pthread_mutex_lock(&l->lock);
    HASH_FIND_STR(l->proofs, key->s, p);
    if (!p) {
        p = mem_new(struct proof);
        p->key = *key;
        HASH_ADD_KEYPTR(hh, l->proofs, p->key.s, strlen(p->key.s), p);
        DL_APPEND(l->proof_list, p);
        if (++l->proof_count > PROVEN_MAX)
            proof_drop(l, l->proof_list);
    }
    p->until_ms = clock_mono_ms() + PROVEN_MS;
    pthread_mutex_unlock(&l->lock);
}

struct prove {
    struct ensure *e;
    struct injected_layers *l;
    struct injection *injection;
    const struct injection_layer *layer;
    struct digest key; /* empty: not to be remembered */
};

static void on_proven(void *arg, const struct err *err)
{
    struct prove *p = arg;
    if (!err) {
        set_verified(p->l, p->injection, p->layer);
        if (digest_is_set(&p->key))
            proof_add(p->l, &p->key);
    }
    metric_count("rac_injection_layers_total", err ? "result=\"failed\"" : "result=\"verified\"", 1);
    on_layer(p->e, NULL, err);
    injection_unref(p->injection);
    free(p);
}

void injected_layers_prove(struct injected_layers *l, struct loop *loop, struct injection *injection,
                           uint64_t max_tar_bytes, injected_layers_fn *fn, void *arg)
{
    struct ensure *e = mem_new(struct ensure);
    *e = (struct ensure){.waiting = 1, .fn = fn, .arg = arg};
    for (size_t i = 0; i < injection_layer_count(injection); ++i) {
        const struct injection_layer *layer = injection_layer_at(injection, i);
        struct digest key = {{0}};
        if (proof_key(layer, &key) && proof_holds(l, &key) && is_verified(l, layer))
            continue;
        ++e->waiting;
        struct prove *p = mem_new(struct prove);
        *p =
            (struct prove){.e = e, .l = l, .injection = injection_ref(injection), .layer = layer, .key = key};
        layer_fetch(&(struct layer_fetch_params){.env = l->env,
                                                 .sources = l->sources,
                                                 .injection = injection,
                                                 .layer = layer,
                                                 .max_tar_bytes = max_tar_bytes < l->max_tar_bytes
                                                                      ? max_tar_bytes
                                                                      : l->max_tar_bytes,
                                                 .prove = true},
                    loop, on_proven, p);
    }
    loop_post(loop, on_begun, e);
}

/* ---- lost ---- */

bool injected_layers_restore(struct injected_layers *l, struct loop *loop, const struct digest *gzip_digest,
                             injected_layers_fn *fn, void *arg)
{
    struct injection *inj = NULL;
    const struct injection_layer *layer = NULL;
    pthread_mutex_lock(&l->lock);
    struct known_layer *k = find(l, gzip_digest);
    if (k) {
        k->verified = false;
        inj = k->injection ? injection_ref(k->injection) : NULL;
        layer = k->layer;
    }
    pthread_mutex_unlock(&l->lock);
    if (!inj)
        return false;
    struct ensure *e = mem_new(struct ensure);
    *e = (struct ensure){.waiting = 1, .fn = fn, .arg = arg};
    join(l, loop, inj, layer, on_layer, e);
    injection_unref(inj);
    return true;
}
