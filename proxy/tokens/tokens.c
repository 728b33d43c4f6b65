// SPDX-License-Identifier: Apache-2.0
#include "proxy/tokens/tokens.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/lru.h"
#include "common/mem.h"
#include "common/metrics.h"
#include "proxy/tokens/members.h"
#include "proxy/tokens/steady.h"

#define IN_MEMORY    65536          /* some 1.5 KiB each */
#define TICK_MS      STEADY_TICK_MS /* pulls are saved */
#define PRUNE_TICKS  30
#define PRUNE_BATCH  500 /* a transaction that others do not notice */
#define PRUNE_GAP_MS 50
#define SWEEP_BATCH  8    /* injections: each may be megabytes */
#define SEEN_MS      3000 /* for so long, what a state that others write to said is believed */

struct entry {
    struct lru_entry lru;
    struct grant *token;
    uint64_t seen_ms; /* when the state last had it, monotonic */
};

struct tokens {
    struct state *state;
    uint64_t ttl_ms;
    struct rate *makes, *guesses;
    struct members *members;
    struct metric *made, *revoked, *pruned, *swept, *unknown, *limited;
    _Atomic uint64_t revocations; /* so far: what was read before one is not remembered after it */
    struct lru *known;
    _Atomic(struct grant *) dirty; /* a reference each */
    struct loop *loop;             /* of the timers */
    struct loop_timer tick, prune;
    unsigned ticks;
    struct steady clock;
};

static void free_entry(void *entry, void *arg)
{
    (void)arg;
    grant_unref(((struct entry *)entry)->token);
    free(entry);
}

struct tokens *tokens_new(const struct tokens_config *config)
{
    struct tokens *t = mem_new(struct tokens);
    t->state = config->state;
    t->ttl_ms = config->ttl_ms;
    t->makes = rate_new(config->makes, config->state, "tokens");
    t->guesses = rate_new(config->guesses, config->state, "guesses");
    t->members = members_new(config->state);
    t->made = metric_get("rac_tokens_total", "event=\"made\"");
    t->revoked = metric_get("rac_tokens_total", "event=\"revoked\"");
    t->pruned = metric_get("rac_tokens_total", "event=\"expired\"");
    t->swept = metric_get("rac_injections_forgotten_total", "");
    t->unknown = metric_get("rac_token_guesses_total", "result=\"unknown\"");
    t->limited = metric_get("rac_token_guesses_total", "result=\"limited\"");
    t->known = lru_new(IN_MEMORY, free_entry, NULL);
    return t;
}

/* ---- in memory ---- */

static void add(struct lru_shard *s, struct grant *token)
{
    struct entry *e = mem_new(struct entry);
    e->token = grant_ref(token);
    e->seen_ms = clock_mono_ms();
    lru_add(s, e, e->token->bits, 1);
}

void tokens_free(struct tokens *t)
{
    if (!t)
        return;
    lru_free(t->known);
    struct grant *next;
    for (struct grant *k = t->dirty; k; k = next) { /* pulled behind tokens_stop: not counted */
        next = k->dirty_next;
        grant_unref(k);
    }
    members_free(t->members);
    rate_free(t->makes);
    rate_free(t->guesses);
    free(t);
}

/* Another process may have revoked it. */
static bool is_old(const struct tokens *t, const struct entry *e)
{
    return t->state->shared && clock_mono_ms() - e->seen_ms >= SEEN_MS;
}

static bool is_over(const struct grant *token)
{
    return token->expires_ms <= clock_wall_ms();
}

struct grant *tokens_try(struct tokens *t, struct slice text)
{
    uint8_t bits[GRANT_BITS];
    struct grant *found = NULL;
    if (!grant_check(text, bits))
        return NULL;
    struct lru_shard *s = lru_lock(t->known, bits, sizeof bits);
    struct entry *e = lru_find(s);
    if (e && is_over(e->token)) {
        lru_drop(s, e);
    } else if (e && !is_old(t, e)) {
        found = grant_ref(e->token);
    }
    lru_unlock(s);
    return found;
}

/* ---- looked up ---- */

struct get {
    struct tokens *t;
    struct loop *loop;
    char text[TOKEN_CHARS + 1];
    struct net_address who;
    uint64_t revocations;
    struct err err;
    tokens_fn *fn;
    void *arg;
};

static void get_end(struct get *g, struct grant *token, const struct err *err)
{
    g->fn(g->arg, token, err);
    free(g);
}

static void refuse(void *arg)
{
    struct get *g = arg;
    get_end(g, NULL, &g->err);
}

static void set_limited(struct tokens *t, unsigned wait_s, struct err *err)
{
    (void)err_set(err, ERR_LIMITED,
                  "too many unknown container tokens from this address (tokens.guesses): wait");
    err->retry_after_s = wait_s;
    metric_inc(t->limited);
}

static void set_unknown(struct get *g)
{
    unsigned wait_s = rate_take(g->t->guesses, &g->who);
    if (wait_s) {
        set_limited(g->t, wait_s, &g->err);
        return;
    }
    metric_inc(g->t->unknown);
    (void)err_set(&g->err, ERR_NAME_UNKNOWN, "container token %.*s… is unknown or expired: request a new one",
                  TOKEN_SHOWN, g->text);
}

/* The state does not answer: what it said before holds, where that is known here. */
static struct grant *remembered(struct get *g)
{
    struct grant *found = NULL;
    uint8_t bits[GRANT_BITS];
    (void)grant_check(slice_of(g->text), bits);
    struct lru_shard *s = lru_lock(g->t->known, bits, sizeof bits);
    struct entry *e = lru_find(s);
    if (e && !is_over(e->token))
        found = grant_ref(e->token);
    lru_unlock(s);
    return found;
}

/* The state has it no more: another process revoked it. */
static void forget(struct get *g)
{
    uint8_t bits[GRANT_BITS];
    (void)grant_check(slice_of(g->text), bits);
    struct lru_shard *s = lru_lock(g->t->known, bits, sizeof bits);
    struct entry *e = lru_find(s);
    if (e)
        lru_drop(s, e);
    lru_unlock(s);
}

static void on_token(void *arg, const struct state_token *st, const struct err *err)
{
    struct get *g = arg;
    struct tokens *t = g->t;
    if (err) {
        struct grant *known = remembered(g);
        get_end(g, known, known ? NULL : err);
        return;
    }
    if (!st && t->state->shared)
        forget(g);
    /* Revoked or not, meanwhile? Whoever asks again finds out. */
    if (!st || st->expires_ms <= clock_wall_ms() || t->revocations != g->revocations) {
        if (st && t->revocations != g->revocations) {
            g->revocations = t->revocations;
            t->state->ops->token_get(t->state, g->loop, st->key, on_token, g);
            return;
        }
        set_unknown(g);
        get_end(g, NULL, &g->err);
        return;
    }
    struct grant *token = NULL;
    uint8_t bits[GRANT_BITS];
    (void)grant_check(slice_of(g->text), bits);
    struct lru_shard *s = lru_lock(t->known, bits, sizeof bits);
    struct entry *e = lru_find(s);
    if (e) { /* its pulls are counted there */
        token = grant_ref(e->token);
        e->seen_ms = clock_mono_ms();
        if (t->state->shared)
            token->pulls = st->pulls + token->unsaved;
    } else if (t->revocations == g->revocations) {
        token = grant_new(st, slice_of(g->text));
        add(s, token);
    }
    lru_unlock(s);
    if (!token) {
        g->revocations = t->revocations;
        t->state->ops->token_get(t->state, g->loop, st->key, on_token, g);
        return;
    }
    get_end(g, token, NULL);
}

void tokens_get(struct tokens *t, struct loop *loop, struct slice text, const struct net_address *who,
                tokens_fn *fn, void *arg)
{
    struct get *g = mem_new(struct get);
    *g = (struct get){.t = t, .loop = loop, .who = *who, .revocations = t->revocations, .fn = fn, .arg = arg};
    (void)snprintf(g->text, sizeof g->text, "%.*s", (int)(text.len > TOKEN_CHARS ? TOKEN_CHARS : text.len),
                   text.len ? text.p : "");
    uint8_t bits[GRANT_BITS];
    if (!grant_check(text, bits))
        set_unknown(g);
    if (g->err.code != ERR_NONE) {
        loop_post(loop, refuse, g);
        return;
    }
    uint8_t key[STATE_TOKEN_KEY];
    grant_key(text, key);
    t->state->ops->token_get(t->state, loop, key, on_token, g);
}

/* ---- made ---- */

struct make {
    struct tokens *t;
    char text[TOKEN_CHARS + 1];
    struct grant *token;
    struct err err;
    tokens_made_fn *fn;
    void *arg;
};

static void make_end(struct make *m, const struct err *err)
{
    m->fn(m->arg, err ? NULL : m->text, err ? NULL : grant_ref(m->token), err);
    grant_unref(m->token);
    explicit_bzero(m->text, sizeof m->text);
    free(m);
}

static void on_no_random(void *arg)
{
    struct make *m = arg;
    make_end(m, &m->err);
}

static void on_durable(void *arg, const struct err *err)
{
    struct make *m = arg;
    if (!err) {
        struct lru_shard *s = lru_lock(m->t->known, m->token->bits, GRANT_BITS);
        add(s, m->token); /* nobody has it: it cannot have been revoked */
        lru_unlock(s);
        metric_inc(m->t->made);
    }
    make_end(m, err);
}

void tokens_make(struct tokens *t, struct loop *loop, const struct state_token *made,
                 const char *injection_text, tokens_made_fn *fn, void *arg)
{
    struct make *m = mem_new(struct make);
    *m = (struct make){.t = t, .fn = fn, .arg = arg};
    if (grant_random(m->text, &m->err) < 0) {
        loop_post(loop, on_no_random, m);
        return;
    }
    struct state_token st = *made;
    grant_key(slice_of(m->text), st.key);
    st.created_ms = clock_wall_ms();
    st.expires_ms = st.created_ms + (int64_t)t->ttl_ms;
    st.pulls = 0;
    m->token = grant_new(&st, slice_of(m->text));
    t->state->ops->token_put(t->state, loop, &st, injection_text, injection_text ? strlen(injection_text) : 0,
                             on_durable, m);
}

int tokens_may_make(struct tokens *t, const struct net_address *who, struct err *err)
{
    unsigned wait_s = rate_take(t->makes, who);
    if (!wait_s)
        return 0;
    metric_count("rac_tokens_total", "event=\"limited\"", 1);
    (void)err_set(err, ERR_LIMITED, "too many requests for container tokens from this address (tokens.rate)");
    err->retry_after_s = wait_s;
    return -1;
}

/* ---- revoked ---- */

void tokens_revoke(struct tokens *t, struct loop *loop, struct grant *token, state_done_fn *done, void *arg)
{
    /* First out of the state's sight of all who ask from now on, then out of memory: nobody puts it back. */
    t->state->ops->token_drop(t->state, loop, token->key, done, arg);
    (void)atomic_fetch_add(&t->revocations, 1);
    struct lru_shard *s = lru_lock(t->known, token->bits, GRANT_BITS);
    struct entry *e = lru_find(s);
    if (e)
        lru_drop(s, e);
    lru_unlock(s);
    metric_inc(t->revoked);
}

/* ---- pulls ---- */

void tokens_count_pull(struct tokens *t, struct grant *token)
{
    (void)atomic_fetch_add_explicit(&token->pulls, 1, memory_order_relaxed);
    if (atomic_fetch_add(&token->unsaved, 1) > 0)
        return;
    struct grant *head = atomic_load(&t->dirty);
    (void)grant_ref(token);
    do {
        token->dirty_next = head;
    } while (!atomic_compare_exchange_weak(&t->dirty, &head, token));
}

static void save_pulls(struct tokens *t)
{
    struct grant *next;
    for (struct grant *k = atomic_exchange(&t->dirty, NULL); k; k = next) {
        next = k->dirty_next; /* before unsaved says that it may be put into the list again */
        unsigned n = atomic_exchange(&k->unsaved, 0);
        t->state->ops->token_pulled(t->state, k->key, n);
        grant_unref(k);
    }
}

/* ---- by the clock ---- */

static void prune(void *arg);

static void on_swept(void *arg, size_t count, const struct err *err)
{
    struct tokens *t = arg;
    metric_add(t->swept, count);
    if (t->loop && !err && count == SWEEP_BATCH)
        loop_timer_arm(t->loop, &t->prune, PRUNE_GAP_MS, prune, t);
}

static void on_pruned(void *arg, size_t count, const struct err *err)
{
    struct tokens *t = arg;
    metric_add(t->pruned, count);
    if (!t->loop || err)
        return;
    if (count == PRUNE_BATCH)
        loop_timer_arm(t->loop, &t->prune, PRUNE_GAP_MS, prune, t);
    else if (t->state->ops->injection_prune)
        t->state->ops->injection_prune(t->state, t->loop, t->clock.now_ms, SWEEP_BATCH, on_swept, t);
}

static void prune(void *arg)
{
    struct tokens *t = arg;
    t->state->ops->token_prune(t->state, t->loop, clock_wall_ms(), PRUNE_BATCH, on_pruned, t);
}

static void tick(void *arg)
{
    struct tokens *t = arg;
    save_pulls(t);
    (void)steady_tick(&t->clock, clock_wall_ms(), clock_mono_ms());
    if (t->ticks++ % PRUNE_TICKS == 0 && !loop_timer_armed(&t->prune))
        prune(t);
    loop_timer_arm(t->loop, &t->tick, TICK_MS, tick, t);
}

void tokens_start(struct tokens *t, struct loop *loop)
{
    t->loop = loop;
    steady_start(&t->clock, clock_wall_ms(), clock_mono_ms());
    loop_timer_arm(loop, &t->tick, TICK_MS, tick, t);
}

void tokens_stop(struct tokens *t)
{
    loop_timer_cancel(t->loop, &t->tick);
    loop_timer_cancel(t->loop, &t->prune);
    save_pulls(t);
    t->loop = NULL;
}

/* ---- what belongs to a token's image ---- */

int tokens_has_try(struct tokens *t, const struct grant *token, const struct repo *repo,
                   const struct digest *digest)
{
    return digest_eq(&token->target, digest) || members_try(t->members, repo, &token->target, digest);
}

void tokens_has(struct tokens *t, struct loop *loop, const struct grant *token, struct repo *repo,
                const struct digest *digest, tokens_has_fn *fn, void *arg)
{
    members_ask(t->members, loop, repo, &token->target, digest, fn, arg);
}
