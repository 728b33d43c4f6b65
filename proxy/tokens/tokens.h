// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_TOKENS_TOKENS_H
#define RAC_TOKENS_TOKENS_H
/*
 * All container tokens: those in use in memory (bounded), all of them in the state.
 *
 *     make ──> durable in the state ──> given out
 *     try ───> memory ─┐
 *     get ───> state ──┴─> struct grant, or "unknown or expired"
 *     revoke ─> out of memory, out of the state ──> answered
 *
 * One table for all workers, so that a revocation holds everywhere at once. Where other processes share the
 * state, it holds there within 3 s: for so long a token is believed, and longer only while the state does not
 * answer. Any worker's loop. Guesses are
 * counted per address: past the limit, unknown tokens are answered ERR_LIMITED. Tokens that exist are not: an
 * address may be that of a whole site, where somebody still tries what has expired.
 */
#include "common/loop.h"
#include "proxy/cache/repo.h"
#include "proxy/tokens/rate.h"
#include "proxy/tokens/grant.h"

struct tokens;

struct tokens_config {
    struct state *state;
    uint64_t ttl_ms;
    unsigned makes, guesses; /* most a minute and address; 0: no limit */
};
struct tokens *tokens_new(const struct tokens_config *config);
void tokens_free(struct tokens *t); /* NULL is fine; after the loops */
/* Saves pulls and prunes what expired, from now on, on that loop; until tokens_stop, on it too. */
void tokens_start(struct tokens *t, struct loop *loop);
void tokens_stop(struct tokens *t);

typedef void tokens_fn(void *arg, struct grant *token, const struct err *err); /* the callee's reference */

/* A new token of what `made` says (key, times and pulls are not looked at) with its injection's text, as
 * state's token_put has it. `text` is in fn's hands only: the token, 32 characters. ERR_LIMITED is
 * tokens_may_make's. fn comes on `loop`, never from inside, when the token is durable. */
typedef void tokens_made_fn(void *arg, const char *text, struct grant *token, const struct err *err);
void tokens_make(struct tokens *t, struct loop *loop, const struct state_token *made,
                 const char *injection_text, tokens_made_fn *fn, void *arg);
/* Counts a request for a token. ERR_LIMITED with the seconds to wait. */
int tokens_may_make(struct tokens *t, const struct net_address *who, struct err *err);

/* From memory: a reference, or NULL: ask tokens_get. */
struct grant *tokens_try(struct tokens *t, struct slice text);
/* ERR_NAME_UNKNOWN "container token abcdef… is unknown or expired: request a new one", ERR_LIMITED, or what
 * the state fails with. fn comes on `loop`, never from inside. */
void tokens_get(struct tokens *t, struct loop *loop, struct slice text, const struct net_address *who,
                tokens_fn *fn, void *arg);
/* Nobody gets it from now on; durable when done comes. */
void tokens_revoke(struct tokens *t, struct loop *loop, struct grant *token, state_done_fn *done, void *arg);
void tokens_count_pull(struct tokens *t, struct grant *token);

/* Does that digest belong to the token's image: is it the target, or below it? 1 yes, 0 ask, from memory. */
int tokens_has_try(struct tokens *t, const struct grant *token, const struct repo *repo,
                   const struct digest *digest);
typedef void tokens_has_fn(void *arg, bool has, const struct err *err);
void tokens_has(struct tokens *t, struct loop *loop, const struct grant *token, struct repo *repo,
                const struct digest *digest, tokens_has_fn *fn, void *arg);
#endif
