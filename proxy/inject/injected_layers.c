// SPDX-License-Identifier: Apache-2.0
#include "proxy/inject/injected_layers.h"

#include <pthread.h>
#include <stdlib.h>
#include <uthash.h>

#include "common/log.h"
#include "common/mem.h"
#include "common/metrics.h"
#include "proxy/inject/layer_fetch.h"

/* A layer that was asked for: how to get it again, and whether it passed its check in this process. */
struct known_layer {
    UT_hash_handle hh;
    struct digest digest;
    struct injection *injection; /* keeps `layer` alive */
    const struct injection_layer *layer;
    bool verified;
};

struct injected_layers {
    const struct cache_env *env;
    uint64_t max_tar_bytes;
    struct flights *flights;
    pthread_mutex_t lock;
    struct known_layer *map;
};

/* Flights need a result that is not NULL; that a layer is fine is all there is to say. */
static char fine;

static void no_refs(void *result)
{
    (void)result;
}

struct injected_layers *injected_layers_new(const struct cache_env *env, uint64_t max_tar_bytes)
{
    struct injected_layers *l = mem_new(struct injected_layers);
    l->env = env;
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
    flights_free(l->flights);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

/* The entry is never removed, so that pinned bytes and the way to them last as long as the process. The same
 * gzip digest with another tar digest is a different claim: it is checked anew, and fails. */
static bool is_verified(struct injected_layers *l, struct injection *inj, const struct injection_layer *layer)
{
    struct known_layer *k;
    pthread_mutex_lock(&l->lock);
    HASH_FIND_STR(l->map, layer->gzip_digest.s, k);
    bool added = !k;
    if (added) {
        k = mem_new(struct known_layer);
        k->digest = layer->gzip_digest;
        k->injection = injection_ref(inj);
        k->layer = layer;
        HASH_ADD_KEYPTR(hh, l->map, k->digest.s, strlen(k->digest.s), k);
    }
    bool verified = k->verified && digest_eq(&k->layer->tar_digest, &layer->tar_digest) &&
                    k->layer->gzip_size == layer->gzip_size;
    pthread_mutex_unlock(&l->lock);
    if (added)
        l->env->store->ops->pin(l->env->store, &layer->gzip_digest, true);
    return verified;
}

static void set_verified(struct injected_layers *l, struct injection *inj,
                         const struct injection_layer *layer, bool yes)
{
    struct known_layer *k;
    pthread_mutex_lock(&l->lock);
    HASH_FIND_STR(l->map, layer->gzip_digest.s, k);
    if (k && yes && k->injection != inj) { /* the claim that held is the one to remember */
        injection_unref(k->injection);
        k->injection = injection_ref(inj);
        k->layer = layer;
    }
    if (k)
        k->verified = yes;
    pthread_mutex_unlock(&l->lock);
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
        set_verified(lead->l, lead->injection, lead->layer, true);
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
    layer_fetch(l->env, loop, inj, layer, l->max_tar_bytes, on_fetched, lead);
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
        if (is_verified(l, injection, layer))
            continue;
        ++e->waiting;
        join(l, loop, injection, layer, on_layer, e);
    }
    loop_post(loop, on_begun, e);
}

bool injected_layers_restore(struct injected_layers *l, struct loop *loop, const struct digest *gzip_digest,
                             injected_layers_fn *fn, void *arg)
{
    struct known_layer *k;
    struct injection *inj = NULL;
    const struct injection_layer *layer = NULL;
    pthread_mutex_lock(&l->lock);
    HASH_FIND_STR(l->map, gzip_digest->s, k);
    if (k) {
        inj = injection_ref(k->injection);
        layer = k->layer;
        k->verified = false;
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
