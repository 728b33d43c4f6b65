// SPDX-License-Identifier: Apache-2.0
/* Container tokens: a hash each, and their ends in one sorted set. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "proxy/state/redis_impl.h"

#define KEY_TEXT (2 * STATE_TOKEN_KEY + 1)
#define FIELDS   6

static const char *const field_names[FIELDS] = {"account", "canonical", "tag", "image", "platform", "note"};

static void key_text(const uint8_t key[STATE_TOKEN_KEY], char ret[KEY_TEXT])
{
    for (int i = 0; i < STATE_TOKEN_KEY; ++i)
        (void)snprintf(ret + 2 * i, 3, "%02x", key[i]);
}

static void add_pair(struct redis_words *w, const char *name, const char *value)
{
    redis_words_str(w, name);
    redis_words_str(w, value);
}

void redis_token_put(struct state *base, struct loop *loop, const struct state_token *t,
                     const char *injection_text, size_t len, state_done_fn *done, void *arg)
{
    struct redis_state *s = (struct redis_state *)base;
    const char *const text[FIELDS] = {t->account, t->canonical, t->tag, t->image, t->platform, t->note};
    char key[KEY_TEXT], created[24], expires[24], stays[24];
    struct redis_words w = redis_words_begin(REDIS_TOKEN_PUT, s);
    assert(digest_is_set(&t->source) && digest_is_set(&t->injection) && digest_is_set(&t->target));
    key_text(t->key, key);
    (void)snprintf(created, sizeof created, "%" PRId64, t->created_ms);
    (void)snprintf(expires, sizeof expires, "%" PRId64, t->expires_ms);
    (void)snprintf(stays, sizeof stays, "%" PRId64, state_passing_until(t->expires_ms) - clock_wall_ms());
    redis_words_str(&w, key);
    redis_words_str(&w, expires);
    redis_words_str(&w, t->injection.s);
    redis_words_str(&w, stays);
    redis_words_str(&w, injection_text ? "1" : "0");
    redis_words_add(&w, injection_text ? injection_text : "", injection_text ? len : 0);
    add_pair(&w, "created_ms", created);
    add_pair(&w, "expires_ms", expires);
    add_pair(&w, "source", t->source.s);
    add_pair(&w, "injection", t->injection.s);
    add_pair(&w, "target", t->target.s);
    for (int i = 0; i < FIELDS; ++i)
        if (text[i])
            add_pair(&w, field_names[i], text[i]);
    struct redis_call *call = redis_call_new(&w, loop, done ? redis_answer_done : NULL, arg);
    call->write = true;
    call->fn.done = done;
    redis_call_submit(s, call);
}

/* ---- get ---- */

/* p NULL: it has no such field. */
static struct slice field(const struct redis_result *r, const char *name)
{
    for (size_t i = 0; i + 1 < r->count; i += 2)
        if (r->word[i].p && slice_eq_str(r->word[i], name))
            return r->word[i + 1];
    return (struct slice){0};
}

static bool take_number(const struct redis_result *r, const char *name, int64_t *ret)
{
    struct slice text = field(r, name);
    char *end;
    if (!text.p || !text.len)
        return false;
    *ret = strtoll(text.p, &end, 10);
    return *end == '\0';
}

static bool take_token(const struct redis_result *r, struct state_token *t)
{
    const char **const text[FIELDS] = {&t->account, &t->canonical, &t->tag,
                                       &t->image,   &t->platform,  &t->note};
    int64_t pulls = 0;
    for (int i = 0; i < FIELDS; ++i)
        *text[i] = field(r, field_names[i]).p;
    (void)take_number(r, "pulls", &pulls);
    t->pulls = (uint64_t)pulls;
    return take_number(r, "created_ms", &t->created_ms) && take_number(r, "expires_ms", &t->expires_ms) &&
           redis_digest(field(r, "source"), &t->source) &&
           redis_digest(field(r, "injection"), &t->injection) &&
           redis_digest(field(r, "target"), &t->target) && t->canonical && t->image;
}

static void answer_token(struct redis_call *call)
{
    struct state_token t = {0};
    bool found = !call->err && call->result->count > 0;
    bool good = !found || take_token(call->result, &t);
    memcpy(t.key, call->key, sizeof t.key);
    call->fn.token(call->arg, found && good ? &t : NULL, good ? call->err : redis_damaged(call));
}

void redis_token_get(struct state *base, struct loop *loop, const uint8_t key[STATE_TOKEN_KEY],
                     state_token_fn *fn, void *arg)
{
    struct redis_state *s = (struct redis_state *)base;
    char text[sizeof REDIS_KEYS + 6 + KEY_TEXT] = REDIS_KEYS "token:";
    key_text(key, text + strlen(text));
    struct redis_words w = redis_words_begin(REDIS_PLAIN, s);
    redis_words_str(&w, "HGETALL");
    redis_words_str(&w, text);
    struct redis_call *call = redis_call_new(&w, loop, answer_token, arg);
    call->fn.token = fn;
    memcpy(call->key, key, sizeof call->key);
    redis_call_submit(s, call);
}

/* ---- drop, pulled, prune ---- */

void redis_token_drop(struct state *base, struct loop *loop, const uint8_t key[STATE_TOKEN_KEY],
                      state_done_fn *done, void *arg)
{
    struct redis_state *s = (struct redis_state *)base;
    char text[KEY_TEXT];
    struct redis_words w = redis_words_begin(REDIS_TOKEN_DROP, s);
    key_text(key, text);
    redis_words_str(&w, text);
    struct redis_call *call = redis_call_new(&w, loop, done ? redis_answer_done : NULL, arg);
    call->write = call->keep = true;
    call->fn.done = done;
    redis_call_submit(s, call);
}

void redis_token_pulled(struct state *base, const uint8_t key[STATE_TOKEN_KEY], uint64_t pulls)
{
    struct redis_state *s = (struct redis_state *)base;
    char text[KEY_TEXT], number[24];
    struct redis_words w = redis_words_begin(REDIS_TOKEN_PULLED, s);
    key_text(key, text);
    (void)snprintf(number, sizeof number, "%" PRIu64, pulls);
    redis_words_str(&w, text);
    redis_words_str(&w, number);
    struct redis_call *call = redis_call_new(&w, NULL, NULL, NULL);
    call->write = true;
    redis_call_submit(s, call);
}

void redis_token_prune(struct state *base, struct loop *loop, int64_t before_ms, size_t n, state_count_fn *fn,
                       void *arg)
{
    struct redis_state *s = (struct redis_state *)base;
    char before[24], count[24];
    struct redis_words w = redis_words_begin(REDIS_TOKEN_PRUNE, s);
    (void)snprintf(before, sizeof before, "%" PRId64, before_ms);
    (void)snprintf(count, sizeof count, "%zu", n);
    redis_words_str(&w, before);
    redis_words_str(&w, count);
    struct redis_call *call = redis_call_new(&w, loop, redis_answer_count, arg);
    call->write = true;
    call->fn.count = fn;
    redis_call_submit(s, call);
}
