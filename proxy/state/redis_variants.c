// SPDX-License-Identifier: Apache-2.0
/* Which rewritten manifest came from which original, and the texts of injections. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "proxy/state/redis_impl.h"

static char *value_text(const struct state_variant *v)
{
    return v->media_type ? mem_printf("%s %s", v->target.s, v->media_type) : mem_strdup(v->target.s);
}

void redis_variant_put(struct state *base, struct loop *loop, const struct state_variant *v,
                       state_done_fn *done, void *arg)
{
    struct redis_state *s = (struct redis_state *)base;
    cleanup_free char *value = value_text(v);
    struct redis_words w = redis_words_begin(REDIS_VARIANT_PUT, s);
    assert(digest_is_set(&v->source) && digest_is_set(&v->injection) && digest_is_set(&v->target));
    redis_words_str(&w, v->canonical);
    redis_words_str(&w, v->source.s);
    redis_words_str(&w, v->injection.s);
    redis_words_str(&w, v->target.s);
    redis_words_str(&w, value);
    struct redis_call *call = redis_call_new(&w, loop, done ? redis_answer_done : NULL, arg);
    call->write = true;
    call->fn.done = done;
    redis_call_submit(s, call);
}

/* "<target> <media type>" */
static bool take_value(struct slice text, struct digest *ret_target, const char **ret_media_type)
{
    if (!text.p)
        return false;
    size_t head = redis_split(text, ret_media_type);
    return redis_digest((struct slice){text.p, head}, ret_target);
}

/* The value alone, of a source and an injection that are known. */
static void answer_by_source(struct redis_call *call)
{
    struct state_variant v = {.canonical = call->text, .source = call->a, .injection = call->b};
    bool found = !call->err && !call->result->nil;
    bool good =
        !found || (call->result->count == 1 && take_value(call->result->word[0], &v.target, &v.media_type));
    call->fn.variant(call->arg, found && good ? &v : NULL, good ? call->err : redis_damaged(call));
}

/* Source, injection, value, and of by_ref what the link says. */
static void answer_found(struct redis_call *call)
{
    struct state_variant v = {.canonical = call->text};
    const struct redis_result *r = call->result;
    bool found = !call->err && !r->nil;
    bool good = !found ||
                (r->count >= 3 && redis_digest(r->word[0], &v.source) &&
                 redis_digest(r->word[1], &v.injection) && take_value(r->word[2], &v.target, &v.media_type));
    if (found && good && r->count > 3 && r->word[3].p)
        (void)redis_split(r->word[3], &v.ref_media_type);
    call->fn.variant(call->arg, found && good ? &v : NULL, good ? call->err : redis_damaged(call));
}

static void submit_get(struct redis_state *s, struct redis_words *w, struct loop *loop, const char *canonical,
                       const struct digest *source, const struct digest *injection, redis_answer_fn *answer,
                       state_variant_fn *fn, void *arg)
{
    struct redis_call *call = redis_call_new(w, loop, answer, arg);
    call->fn.variant = fn;
    call->text = mem_strdup(canonical);
    if (source)
        call->a = *source;
    if (injection)
        call->b = *injection;
    redis_call_submit(s, call);
}

void redis_variant_by_source(struct state *base, struct loop *loop, const char *canonical,
                             const struct digest *source, const struct digest *injection,
                             state_variant_fn *fn, void *arg)
{
    struct redis_state *s = (struct redis_state *)base;
    cleanup_free char *key = mem_printf(REDIS_KEYS "variants:%s:%s", canonical, source->s);
    struct redis_words w = redis_words_begin(REDIS_PLAIN, s);
    redis_words_str(&w, "HGET");
    redis_words_str(&w, key);
    redis_words_str(&w, injection->s);
    submit_get(s, &w, loop, canonical, source, injection, answer_by_source, fn, arg);
}

void redis_variant_by_target(struct state *base, struct loop *loop, const char *canonical,
                             const struct digest *target, state_variant_fn *fn, void *arg)
{
    struct redis_state *s = (struct redis_state *)base;
    struct redis_words w = redis_words_begin(REDIS_VARIANT_BY_TARGET, s);
    redis_words_str(&w, canonical);
    redis_words_str(&w, target->s);
    submit_get(s, &w, loop, canonical, NULL, NULL, answer_found, fn, arg);
}

void redis_variant_by_ref(struct state *base, struct loop *loop, const struct state_repo *repo,
                          const char *canonical, const struct digest *digest, state_variant_fn *fn, void *arg)
{
    struct redis_state *s = (struct redis_state *)base;
    cleanup_free char *r = redis_repo_text(repo);
    struct redis_words w = redis_words_begin(REDIS_VARIANT_BY_REF, s);
    redis_words_str(&w, r);
    redis_words_str(&w, canonical);
    redis_words_str(&w, digest->s);
    submit_get(s, &w, loop, canonical, NULL, NULL, answer_found, fn, arg);
}

/* ---- injections ---- */

void redis_injection_put(struct state *base, struct loop *loop, const struct digest *digest, const char *text,
                         size_t len, int64_t until_ms, state_done_fn *done, void *arg)
{
    struct redis_state *s = (struct redis_state *)base;
    char stays[24] = "";
    int64_t left_ms = until_ms - clock_wall_ms();
    struct redis_words w = redis_words_begin(REDIS_INJECTION_PUT, s);
    assert(digest_is_set(digest));
    if (until_ms != STATE_FOR_GOOD)
        (void)snprintf(stays, sizeof stays, "%" PRId64, left_ms > 0 ? left_ms : 1);
    redis_words_str(&w, digest->s);
    redis_words_add(&w, text, len);
    redis_words_str(&w, stays);
    struct redis_call *call = redis_call_new(&w, loop, done ? redis_answer_done : NULL, arg);
    call->write = true;
    call->fn.done = done;
    redis_call_submit(s, call);
}

static void answer_text(struct redis_call *call)
{
    struct slice text = {0};
    if (!call->err && call->result->count == 1)
        text = call->result->word[0];
    call->fn.text(call->arg, text.p, text.len, call->err);
}

void redis_injection_get(struct state *base, struct loop *loop, const struct digest *digest,
                         state_text_fn *fn, void *arg)
{
    struct redis_state *s = (struct redis_state *)base;
    cleanup_free char *key = mem_printf(REDIS_KEYS "injection:%s", digest->s);
    struct redis_words w = redis_words_begin(REDIS_PLAIN, s);
    redis_words_str(&w, "GET");
    redis_words_str(&w, key);
    struct redis_call *call = redis_call_new(&w, loop, answer_text, arg);
    call->fn.text = fn;
    redis_call_submit(s, call);
}
