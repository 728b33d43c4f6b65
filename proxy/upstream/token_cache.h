// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_UPSTREAM_TOKEN_CACHE_H
#define RAC_UPSTREAM_TOKEN_CACHE_H
/*
 * The tokens of the process, and who waits for which: one token request per key, whichever worker asks.
 * Thread-safe.
 *
 *              ask: LEAD            resolve
 *     (none) ------------> flight ----------> token, until it expires or is dropped
 *                          ^    |
 *                 ask: WAIT      resolve: refused, failed, abandoned -> (none)
 *
 * The key is made by the caller and holds all that a token depends on: upstream, url, scope of the
 * credentials, repository. Nothing is called back under the lock: waiters get their result by their loop's
 * mailbox.
 */
#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"
#include "common/loop.h"
#include "proxy/upstream/token.h"

#define TOKEN_CACHE_MAX 10000 /* keys; the oldest go first */

struct token_cache;

enum token_outcome {
    TOKEN_GIVEN,     /* token */
    TOKEN_REFUSED,   /* status: 401 or 403 of the token server */
    TOKEN_FAILED,    /* err */
    TOKEN_ABANDONED, /* whoever asked went away: ask again */
};

struct token_result {
    enum token_outcome outcome;
    struct token *token; /* the holder's reference */
    int status;
    struct err err;
};

/* One who waits. Malloc'd by the asker; all but `arg` is the cache's from a TOKEN_WAIT or TOKEN_LEAD until fn
 * is called with the waiter (on `loop`; fn frees it, and takes result.token), or until token_cache_leave. */
struct token_waiter {
    struct loop *loop;
    loop_fn *fn;
    void *arg; /* the loop's own: NULL tells fn that nobody waits any more */
    struct token_result result;
    struct token_waiter *prev, *next;
    struct token_entry *flight; /* while queued */
};

enum token_ask { TOKEN_HAVE, TOKEN_WAIT, TOKEN_LEAD };

struct token_cache *token_cache_new(void);
void token_cache_free(struct token_cache *cache); /* no one waits any more */
/* A reference to the token that is kept, or NULL. */
struct token *token_cache_get(struct token_cache *cache, const char *key);
/* TOKEN_HAVE: *ret_token is a reference, w is untouched. TOKEN_LEAD: w waits, and the caller has to see to it
 * that token_cache_resolve is called for this key, sooner or later. TOKEN_WAIT: w waits for another's. */
enum token_ask token_cache_ask(struct token_cache *cache, const char *key, struct token_waiter *w,
                               struct token **ret_token);
/* On w's loop. True: w is the caller's again. False: its result is in the mailbox already; fn will be called.
 */
bool token_cache_leave(struct token_cache *cache, struct token_waiter *w);
/* Ends the flight of `key`: all who wait get the result (references of their own), a token that lives is
 * kept. */
void token_cache_resolve(struct token_cache *cache, const char *key, const struct token_result *result);
/* An upstream refused this token: forget it, unless there is another by now. */
void token_cache_drop(struct token_cache *cache, const char *key, const struct token *token);
/* Upstreams that asked for Basic, so that it is sent at once the next time. Keys are a name space of their
 * own. */
void token_cache_note_basic(struct token_cache *cache, const char *key);
bool token_cache_is_basic(struct token_cache *cache, const char *key);
#endif
