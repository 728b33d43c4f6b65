// SPDX-License-Identifier: Apache-2.0
/*
 *     relay_json ──> flight ──(leads)──> fetch ──> struct answer ──> every relay of the flight, on its own
 * loop
 *
 * What is shared is the answer's bytes: each request takes them apart for itself, since what it makes of them
 * is its own.
 */
#include "proxy/registry/relay.h"

#include <stdlib.h>

#include "common/mem.h"
#include "proxy/cache/flight.h"

struct relays {
    const struct cache_env *env;
    struct flights *flights;
};

struct answer {
    unsigned refs; /* atomic */
    struct fetch_head head;
    bool headed, failed;
    struct err err;
    struct buf body;
};

/* The one who asks. */
struct asking {
    struct flight *flight;
    struct upstream *upstream;
    char *what;
    enum err_code not_found;
    struct answer *answer;
};

struct relay {
    struct request *r; /* NULL: gone */
    bool done;
    struct upstream *upstream;
    char *what;
    relay_fn *fn;
    void *arg;
};

static void answer_ref(void *p)
{
    __atomic_fetch_add(&((struct answer *)p)->refs, 1, __ATOMIC_RELAXED);
}

static void answer_unref(void *p)
{
    struct answer *a = p;
    if (__atomic_sub_fetch(&a->refs, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    buf_free(&a->body);
    free(a);
}

struct relays *relays_new(const struct cache_env *env)
{
    struct relays *t = mem_new(struct relays);
    t->env = env;
    t->flights = flights_new(answer_ref, answer_unref);
    return t;
}

void relays_free(struct relays *t)
{
    if (!t)
        return;
    flights_free(t->flights);
    free(t);
}

/* ---- the one who asks ---- */

static bool on_head(void *arg, const struct fetch_head *head)
{
    struct asking *x = arg;
    struct answer *a = x->answer;
    a->head = *head;
    a->headed = true;
    a->failed = fetch_head_err(head, x->upstream, x->what, x->not_found, &a->err) < 0;
    return true;
}

static bool on_data(void *arg, const void *p, size_t len)
{
    struct asking *x = arg;
    struct answer *a = x->answer;
    if (!a->failed && !buf_add(&a->body, p, len))
        a->failed = err_set(&a->err, ERR_UPSTREAM, "%s: %s is larger than 4 MiB", x->upstream->name, x->what);
    return true;
}

static void on_done(void *arg, const struct err *err)
{
    struct asking *x = arg;
    struct answer *a = x->answer;
    if (!a->failed && err) {
        a->err = *err;
        (void)err_wrap(&a->err, "%s", x->what);
        a->failed = true;
    }
    flight_finish(x->flight, a, NULL);
    upstream_unref(x->upstream);
    free(x->what);
    free(x);
}

static const struct fetch_ops ops = {.on_head = on_head, .on_data = on_data, .on_done = on_done};

/* ---- those who want to know ---- */

static void relay_free(struct relay *x)
{
    upstream_unref(x->upstream);
    free(x->what);
    free(x);
}

static void on_request_over(void *arg)
{
    struct relay *x = arg;
    x->r = NULL;
    if (x->done)
        relay_free(x);
}

static void on_answer(void *arg, void *result, const struct err *no_result)
{
    struct relay *x = arg;
    struct answer *a = result;
    struct err err;
    json_t *json = NULL;
    (void)no_result; /* there is always an answer, if only one that says what went wrong */
    const struct err *why = a->failed ? &a->err : NULL;
    if (!why && x->r) {
        json = json_parse(a->body.len ? a->body.p : "", a->body.len, JSON_DOCUMENT_MAX, &err);
        if (!json) {
            err.code = ERR_UPSTREAM;
            (void)err_wrap(&err, "%s: %s", x->upstream->name, x->what);
            why = &err;
        }
    }
    x->fn(x->arg, x->r, a->headed ? &a->head : NULL, json, why);
    answer_unref(a);
    x->done = true;
    if (!x->r)
        relay_free(x);
}

void relay_json(struct registry *g, struct request *r, struct target *t, const char *path, const char *accept,
                const char *what, enum err_code not_found, relay_fn *fn, void *arg)
{
    struct loop *loop = request_loop(r);
    struct flight *lead;
    struct relay *x = mem_new(struct relay);
    *x = (struct relay){
        .r = r, .upstream = upstream_ref(t->repo->upstream), .what = mem_strdup(what), .fn = fn, .arg = arg};
    request_on_dispose(r, on_request_over, x);
    cleanup_free char *key = mem_printf("%s %s %s", t->repo->key, path, accept);
    (void)flight_join(g->relays->flights, key, loop, on_answer, x, &lead);
    if (!lead)
        return;
    struct asking *ask = mem_new(struct asking);
    *ask = (struct asking){.flight = lead,
                           .upstream = upstream_ref(t->repo->upstream),
                           .what = mem_strdup(what),
                           .not_found = not_found,
                           .answer = mem_new(struct answer)};
    ask->answer->refs = 1;
    ask->answer->body.max = JSON_DOCUMENT_MAX;
    (void)fetch_start(
        g->relays->env->client(loop),
        &(struct fetch_params){
            .upstream = t->repo->upstream, .path = path, .repository = t->repo->repository, .accept = accept},
        &ops, ask);
}
