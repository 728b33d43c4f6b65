// SPDX-License-Identifier: Apache-2.0
/* Tags, names, and the question whether all is well; and the table of all calls. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/mem.h"
#include "proxy/state/redis_impl.h"

/* ---- tags: a hash for each repository, tag -> "<checked_ms> <digest>" ---- */

static char *tags_key(const struct state_repo *repo)
{
    return mem_printf(REDIS_KEYS "tags:%s|%s/%s", repo->scope, repo->upstream, repo->repository);
}

static void answer_tag(struct redis_call *call)
{
    struct state_tag tag = {0};
    bool found = !call->err && call->result->count == 1, good = !found;
    if (found) {
        const char *text = call->result->word[0].p;
        char *space;
        tag.checked_ms = strtoll(text, &space, 10);
        good = space > text && *space == ' ' && redis_digest(slice_of(space + 1), &tag.digest);
    }
    call->fn.tag(call->arg, found && good ? &tag : NULL, good ? call->err : redis_damaged(call));
}

static void tag_get(struct state *base, struct loop *loop, const struct state_repo *repo, const char *tag,
                    state_tag_fn *fn, void *arg)
{
    struct redis_state *s = (struct redis_state *)base;
    cleanup_free char *key = tags_key(repo);
    struct redis_words w = redis_words_begin(REDIS_PLAIN, s);
    redis_words_str(&w, "HGET");
    redis_words_str(&w, key);
    redis_words_str(&w, tag);
    struct redis_call *call = redis_call_new(&w, loop, answer_tag, arg);
    call->fn.tag = fn;
    redis_call_submit(s, call);
}

static void tag_put(struct state *base, const struct state_repo *repo, const char *tag,
                    const struct state_tag *value)
{
    struct redis_state *s = (struct redis_state *)base;
    cleanup_free char *key = tags_key(repo);
    char text[DIGEST_STR_MAX + 24];
    assert(digest_is_set(&value->digest));
    (void)snprintf(text, sizeof text, "%" PRId64 " %s", value->checked_ms, value->digest.s);
    struct redis_words w = redis_words_begin(REDIS_PLAIN, s);
    redis_words_str(&w, "HSET");
    redis_words_str(&w, key);
    redis_words_str(&w, tag);
    redis_words_str(&w, text);
    struct redis_call *call = redis_call_new(&w, NULL, NULL, NULL);
    call->write = true;
    redis_call_submit(s, call);
}

static void tag_drop(struct state *base, const struct state_repo *repo, const char *tag)
{
    struct redis_state *s = (struct redis_state *)base;
    cleanup_free char *key = tags_key(repo);
    struct redis_words w = redis_words_begin(REDIS_PLAIN, s);
    redis_words_str(&w, "HDEL");
    redis_words_str(&w, key);
    redis_words_str(&w, tag);
    struct redis_call *call = redis_call_new(&w, NULL, NULL, NULL);
    call->write = call->keep = true;
    redis_call_submit(s, call);
}

/* ---- names ---- */

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorted within each upstream only; at most n of each. */
static void answer_names(struct redis_call *call)
{
    size_t count = call->err ? 0 : call->result->count;
    cleanup_free const char **names = mem_zalloc((count + 1) * sizeof *names);
    for (size_t i = 0; i < count; ++i) {
        if (!call->result->word[i].p) {
            call->fn.names(call->arg, NULL, 0, redis_damaged(call));
            return;
        }
        names[i] = call->result->word[i].p;
    }
    qsort(names, count, sizeof *names, by_bytes);
    call->fn.names(call->arg, names, count < call->n ? count : call->n, call->err);
}

static void names(struct state *base, struct loop *loop, const char *scopes, bool others_too,
                  const char *after, size_t n, state_names_fn *fn, void *arg)
{
    struct redis_state *s = (struct redis_state *)base;
    char limit[24];
    struct redis_words w = redis_words_begin(REDIS_NAMES, s);
    n = n < REDIS_STATE_NAMES_MAX ? n : REDIS_STATE_NAMES_MAX;
    (void)snprintf(limit, sizeof limit, "%zu", n);
    redis_words_str(&w, scopes);
    redis_words_str(&w, others_too ? "1" : "0");
    redis_words_str(&w, after);
    redis_words_str(&w, limit);
    struct redis_call *call = redis_call_new(&w, loop, answer_names, arg);
    call->fn.names = fn;
    call->n = n;
    redis_call_submit(s, call);
}

/* ---- check ---- */

static void answer_check(struct redis_call *call)
{
    bool same = !call->err && call->result->count == 1 && slice_eq_str(call->result->word[0], call->text);
    call->fn.done(call->arg, call->err ? call->err : same ? NULL : redis_damaged(call));
}

static void check(struct state *base, struct loop *loop, state_done_fn *fn, void *arg)
{
    struct redis_state *s = (struct redis_state *)base;
    char *now = mem_printf("%" PRId64, clock_wall_ms());
    struct redis_words w = redis_words_begin(REDIS_CHECK, s);
    redis_words_str(&w, now);
    struct redis_call *call = redis_call_new(&w, loop, answer_check, arg);
    call->write = true;
    call->fn.done = fn;
    call->text = now;
    redis_call_submit(s, call);
}

const struct state_ops redis_state_ops = {
    .tag_get = tag_get,
    .tag_put = tag_put,
    .tag_drop = tag_drop,
    .link_put = redis_link_put,
    .manifest_get = redis_manifest_get,
    .blob_get = redis_blob_get,
    .link_drop = redis_link_drop,
    .variant_by_source = redis_variant_by_source,
    .variant_by_target = redis_variant_by_target,
    .variant_by_ref = redis_variant_by_ref,
    .variant_put = redis_variant_put,
    .injection_put = redis_injection_put,
    .injection_get = redis_injection_get,
    .token_put = redis_token_put,
    .token_get = redis_token_get,
    .token_drop = redis_token_drop,
    .token_pulled = redis_token_pulled,
    .token_prune = redis_token_prune,
    .link_below = redis_link_below,
    .names = names,
    .lease_take = redis_lease_take,
    .lease_keep = redis_lease_keep,
    .stream_put = redis_stream_put,
    .stream_get = redis_stream_get,
    .turn_take = redis_turn_take,
    .meter = redis_meter,
    .check = check,
    .close = redis_state_close,
};
