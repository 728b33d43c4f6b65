// SPDX-License-Identifier: Apache-2.0
/* Who refers to what: see redis_script.c for how it is kept. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "proxy/state/redis_impl.h"

static bool is_manifest_type(const char *media_type)
{
    return media_type && (strstr(media_type, "manifest") || strstr(media_type, "image.index"));
}

/* "<scope>|<upstream>" and "<upstream>/<repository>". */
static char *scope_text(const struct state_repo *repo)
{
    return mem_printf("%s|%s", repo->scope, repo->upstream);
}
static char *canonical_text(const struct state_repo *repo)
{
    return mem_printf("%s/%s", repo->upstream, repo->repository);
}

static char *value_text(uint64_t size, const char *media_type)
{
    return mem_printf(media_type ? "%llu %s" : "%llu", (unsigned long long)size, media_type);
}

void redis_link_put(struct state *base, struct loop *loop, const struct state_repo *repo,
                    const struct state_manifest *m, const struct state_ref *refs, size_t ref_count,
                    state_done_fn *done, void *arg)
{
    struct redis_state *s = (struct redis_state *)base;
    cleanup_free char *r = redis_repo_text(repo), *scope = scope_text(repo),
                      *canonical = canonical_text(repo);
    cleanup_free char **values = mem_zalloc((ref_count + 1) * sizeof *values);
    struct redis_words w = redis_words_begin(REDIS_LINK_PUT, s);
    assert(digest_is_set(&m->digest));
    redis_words_str(&w, r);
    redis_words_str(&w, canonical);
    redis_words_str(&w, scope);
    redis_words_str(&w, repo->upstream);
    redis_words_str(&w, m->digest.s);
    redis_words_str(&w, m->digest.s);
    redis_words_str(&w, "1");
    redis_words_str(&w, values[ref_count] = value_text(m->size, m->media_type));
    for (size_t i = 0; i < ref_count; ++i) {
        assert(digest_is_set(&refs[i].digest));
        if (digest_eq(&refs[i].digest, &m->digest)) /* its own row says more */
            continue;
        redis_words_str(&w, refs[i].digest.s);
        redis_words_str(&w, is_manifest_type(refs[i].media_type) ? "1" : "0");
        redis_words_str(&w, values[i] = value_text(refs[i].size, refs[i].media_type));
    }
    struct redis_call *call = redis_call_new(&w, loop, done ? redis_answer_done : NULL, arg);
    for (size_t i = 0; i <= ref_count; ++i)
        free(values[i]);
    call->write = true;
    call->fn.done = done;
    redis_call_submit(s, call);
}

/* Of R and digests, a call. */
static struct redis_call *link_call(struct redis_state *s, enum redis_script_id id, struct loop *loop,
                                    const struct state_repo *repo, const struct digest *a,
                                    const struct digest *b, redis_answer_fn *answer, void *arg)
{
    cleanup_free char *r = redis_repo_text(repo);
    struct redis_words w = redis_words_begin(id, s);
    redis_words_str(&w, r);
    redis_words_str(&w, a->s);
    if (b)
        redis_words_str(&w, b->s);
    struct redis_call *call = redis_call_new(&w, loop, answer, arg);
    call->a = *a;
    return call;
}

/* "<size> <media type>" of the answer. 1: found, 0: nothing is known, -1: damaged. */
static int take_link(const struct redis_call *call, uint64_t *ret_size, const char **ret_media_type)
{
    if (call->err || call->result->nil)
        return 0;
    if (call->result->count != 1)
        return -1;
    struct slice text = call->result->word[0];
    size_t head = redis_split(text, ret_media_type);
    return slice_to_u64((struct slice){text.p, head}, UINT64_MAX, ret_size) ? 1 : -1;
}

static void answer_manifest(struct redis_call *call)
{
    struct state_manifest m = {.digest = call->a};
    int rc = take_link(call, &m.size, &m.media_type);
    call->fn.manifest(call->arg, rc > 0 ? &m : NULL, rc < 0 ? redis_damaged(call) : call->err);
}

void redis_manifest_get(struct state *base, struct loop *loop, const struct state_repo *repo,
                        const struct digest *digest, state_manifest_fn *fn, void *arg)
{
    struct redis_state *s = (struct redis_state *)base;
    struct redis_call *call =
        link_call(s, REDIS_MANIFEST_GET, loop, repo, digest, NULL, answer_manifest, arg);
    call->fn.manifest = fn;
    redis_call_submit(s, call);
}

static void answer_ref(struct redis_call *call)
{
    struct state_ref ref = {.digest = call->a};
    int rc = take_link(call, &ref.size, &ref.media_type);
    call->fn.ref(call->arg, rc > 0 ? &ref : NULL, rc < 0 ? redis_damaged(call) : call->err);
}

void redis_blob_get(struct state *base, struct loop *loop, const struct state_repo *repo,
                    const struct digest *digest, state_ref_fn *fn, void *arg)
{
    struct redis_state *s = (struct redis_state *)base;
    struct redis_call *call = link_call(s, REDIS_BLOB_GET, loop, repo, digest, NULL, answer_ref, arg);
    call->fn.ref = fn;
    redis_call_submit(s, call);
}

void redis_link_below(struct state *base, struct loop *loop, const struct state_repo *repo,
                      const struct digest *manifest, const struct digest *digest, state_count_fn *fn,
                      void *arg)
{
    struct redis_state *s = (struct redis_state *)base;
    struct redis_call *call =
        link_call(s, REDIS_LINK_BELOW, loop, repo, manifest, digest, redis_answer_count, arg);
    call->fn.count = fn;
    redis_call_submit(s, call);
}

void redis_link_drop(struct state *base, const struct state_repo *repo, const struct digest *manifest)
{
    struct redis_state *s = (struct redis_state *)base;
    cleanup_free char *r = redis_repo_text(repo), *scope = scope_text(repo),
                      *canonical = canonical_text(repo);
    struct redis_words w = redis_words_begin(REDIS_LINK_DROP, s);
    redis_words_str(&w, r);
    redis_words_str(&w, canonical);
    redis_words_str(&w, scope);
    redis_words_str(&w, manifest->s);
    struct redis_call *call = redis_call_new(&w, NULL, NULL, NULL);
    call->write = call->keep = true;
    redis_call_submit(s, call);
}
