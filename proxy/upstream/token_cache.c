// SPDX-License-Identifier: Apache-2.0
#include "proxy/upstream/token_cache.h"

#include <assert.h>
#include <pthread.h>
#include <stdint.h>
#include <utlist.h>

#include "common/clock.h"
#include "common/hash.h"
#include "common/mem.h"

struct token_entry {
    char *key;
    struct token *token; /* NULL while the first is fetched */
    uint64_t expires_ms; /* monotonic */
    bool flying;         /* somebody leads */
    struct token_waiter *waiters;
    UT_hash_handle hh;
};

struct basic_note {
    char *key;
    UT_hash_handle hh;
};

struct token_cache {
    pthread_mutex_t lock;
    struct token_entry *entries; /* in the order of their making */
    struct basic_note *basic;
};

struct token_cache *token_cache_new(void)
{
    struct token_cache *cache = mem_new(struct token_cache);
    pthread_mutex_init(&cache->lock, NULL);
    return cache;
}

static void entry_free(struct token_cache *cache, struct token_entry *e)
{
    /* The analyzer does not see that HASH_DEL takes the entry off the list before it is freed; so below, too.
     */
    // NOLINTBEGIN(clang-analyzer-unix.Malloc)
    HASH_DEL(cache->entries, e);
    token_unref(e->token);
    free(e->key);
    free(e);
    // NOLINTEND(clang-analyzer-unix.Malloc)
}

static void basic_free(struct token_cache *cache, struct basic_note *b)
{
    HASH_DEL(cache->basic, b); // NOLINT(clang-analyzer-unix.Malloc)
    free(b->key);
    free(b);
}

void token_cache_free(struct token_cache *cache)
{
    if (!cache)
        return;
    struct token_entry *e, *next;
    HASH_ITER (hh, cache->entries, e, next) {
        assert(!e->waiters);
        entry_free(cache, e);
    }
    struct basic_note *b, *next_b;
    HASH_ITER (hh, cache->basic, b, next_b) {
        basic_free(cache, b);
    }
    pthread_mutex_destroy(&cache->lock);
    free(cache);
}

static struct token_entry *find(const struct token_cache *cache, const char *key)
{
    struct token_entry *e = NULL;
    HASH_FIND_STR(cache->entries, key, e);
    return e;
}

static bool is_alive(const struct token_entry *e)
{
    return e && e->token && clock_mono_ms() < e->expires_ms;
}

/* Room for one more: the oldest that nobody waits for goes. */
static void make_room(struct token_cache *cache)
{
    struct token_entry *e, *next;
    if (HASH_COUNT(cache->entries) < TOKEN_CACHE_MAX)
        return;
    HASH_ITER (hh, cache->entries, e, next) {
        if (!e->flying) {
            entry_free(cache, e);
            return;
        }
    }
}

struct token *token_cache_get(struct token_cache *cache, const char *key)
{
    pthread_mutex_lock(&cache->lock);
    const struct token_entry *e = find(cache, key);
    struct token *token = is_alive(e) ? token_ref(e->token) : NULL;
    pthread_mutex_unlock(&cache->lock);
    return token;
}

static enum token_ask ask_locked(struct token_cache *cache, const char *key, struct token_waiter *w,
                                 struct token **ret_token)
{
    struct token_entry *e = find(cache, key);
    if (is_alive(e)) {
        *ret_token = token_ref(e->token);
        return TOKEN_HAVE;
    }
    if (!e) {
        make_room(cache);
        e = mem_new(struct token_entry);
        e->key = mem_strdup(key);
        HASH_ADD_KEYPTR(hh, cache->entries, e->key, strlen(e->key), e);
    }
    DL_APPEND(e->waiters, w);
    w->flight = e;
    if (e->flying)
        return TOKEN_WAIT;
    e->flying = true;
    return TOKEN_LEAD;
}

enum token_ask token_cache_ask(struct token_cache *cache, const char *key, struct token_waiter *w,
                               struct token **ret_token)
{
    pthread_mutex_lock(&cache->lock);
    enum token_ask ask = ask_locked(cache, key, w, ret_token);
    pthread_mutex_unlock(&cache->lock);
    return ask;
}

bool token_cache_leave(struct token_cache *cache, struct token_waiter *w)
{
    pthread_mutex_lock(&cache->lock);
    bool queued = w->flight != NULL;
    if (queued) {
        DL_DELETE(w->flight->waiters, w);
        w->flight = NULL;
    }
    pthread_mutex_unlock(&cache->lock);
    return queued;
}

void token_cache_resolve(struct token_cache *cache, const char *key, const struct token_result *result)
{
    pthread_mutex_lock(&cache->lock);
    struct token_entry *e = find(cache, key);
    assert(e && e->flying);
    struct token_waiter *w, *next;
    /* Posted under the lock: a waiter that leaves finds itself either queued here or posted, never between.
     */
    DL_FOREACH_SAFE (e->waiters, w, next) {
        DL_DELETE(e->waiters, w);
        w->flight = NULL;
        w->result = *result;
        if (w->result.token)
            (void)token_ref(w->result.token);
        loop_post(w->loop, w->fn, w);
    }
    e->flying = false;
    token_unref(e->token);
    e->token = NULL;
    if (result->outcome == TOKEN_GIVEN && result->token->keep_ms) {
        e->token = token_ref(result->token);
        e->expires_ms = clock_mono_ms() + result->token->keep_ms;
    } else {
        entry_free(cache, e);
    }
    pthread_mutex_unlock(&cache->lock);
}

void token_cache_drop(struct token_cache *cache, const char *key, const struct token *token)
{
    pthread_mutex_lock(&cache->lock);
    struct token_entry *e = find(cache, key);
    if (e && e->token == token && !e->flying)
        entry_free(cache, e);
    pthread_mutex_unlock(&cache->lock);
}

static struct basic_note *find_basic(const struct token_cache *cache, const char *key)
{
    struct basic_note *b = NULL;
    HASH_FIND_STR(cache->basic, key, b);
    return b;
}

void token_cache_note_basic(struct token_cache *cache, const char *key)
{
    pthread_mutex_lock(&cache->lock);
    if (!find_basic(cache, key)) {
        if (HASH_COUNT(cache->basic) >= TOKEN_CACHE_MAX)
            basic_free(cache, cache->basic);
        struct basic_note *b = mem_new(struct basic_note);
        b->key = mem_strdup(key);
        HASH_ADD_KEYPTR(hh, cache->basic, b->key, strlen(b->key), b); // NOLINT(clang-analyzer-unix.Malloc)
    }
    pthread_mutex_unlock(&cache->lock);
}

bool token_cache_is_basic(struct token_cache *cache, const char *key)
{
    pthread_mutex_lock(&cache->lock);
    bool known = find_basic(cache, key) != NULL;
    pthread_mutex_unlock(&cache->lock);
    return known;
}
