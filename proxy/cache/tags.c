// SPDX-License-Identifier: Apache-2.0
#include "proxy/cache/tags.h"

#include <assert.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/lru.h"
#include "common/mem.h"
#include "common/metrics.h"
#include "layers/media_type.h"
#include "proxy/cache/document_fetch.h"

#define TAGS_IN_MEMORY 131072 /* what falls out is still in the state */

struct tag {
    struct lru_entry lru;
    struct digest digest; /* empty: not there, see `no` */
    uint64_t checked_ms;  /* monotonic: when the upstream last confirmed it */
    uint64_t retry_ms;    /* monotonic: the upstream was away; no new look-up before */
    struct err *no;       /* what the upstream said instead of a digest; until retry_ms */
    char key[];           /* "<repo key>:<tag>" */
};

struct tags {
    const struct cache_env *env;
    struct documents *documents;
    struct links *links;
    struct flights *flights;
    struct metric *hits, *misses, *joined;
    struct lru *known;
};

static void answer_ref(void *p)
{
    __atomic_fetch_add(&((struct tag_answer *)p)->refs, 1, __ATOMIC_RELAXED);
}

void tag_answer_unref(struct tag_answer *a)
{
    if (a && __atomic_sub_fetch(&a->refs, 1, __ATOMIC_ACQ_REL) == 0)
        free(a);
}

static void answer_unref(void *p)
{
    tag_answer_unref(p);
}

static void free_tag(void *entry, void *arg)
{
    (void)arg;
    free(((struct tag *)entry)->no);
    free(entry);
}

struct tags *tags_new(const struct cache_env *env, struct documents *documents, struct links *links)
{
    struct tags *t = mem_new(struct tags);
    t->env = env;
    t->documents = documents;
    t->links = links;
    t->flights = flights_new(answer_ref, answer_unref);
    t->hits = metric_get("rac_cache_hits_total", "kind=\"tag\"");
    t->misses = metric_get("rac_cache_misses_total", "kind=\"tag\"");
    t->joined = metric_get("rac_lookups_joined_total", "kind=\"tag\"");
    t->known = lru_new(TAGS_IN_MEMORY, free_tag, NULL);
    return t;
}

void tags_free(struct tags *t)
{
    if (!t)
        return;
    lru_free(t->known);
    flights_free(t->flights);
    free(t);
}

/* ---- the table in memory ---- */

#define KEY_MAX 1024

static size_t make_key(char key[KEY_MAX], const struct repo *repo, const char *reference)
{
    const struct slice piece[] = {slice_of(repo->key), SLICE_LIT(":"), slice_of(reference)};
    assert(piece[0].len + piece[2].len + 2 <= KEY_MAX);
    return str_join(key, KEY_MAX, piece, 3);
}

/* Under the shard's lock: made if there is none. */
static struct tag *find_or_make(struct lru_shard *s, const char *key, size_t len)
{
    struct tag *e = lru_find(s);
    if (!e) {
        e = mem_zalloc(sizeof *e + len + 1);
        memcpy(e->key, key, len + 1);
        lru_add(s, e, e->key, 1);
    }
    return e;
}

static void remember(struct tags *t, const char *key, const struct digest *digest, uint64_t checked_ms)
{
    size_t len = strlen(key);
    struct lru_shard *s = lru_lock(t->known, key, len);
    struct tag *e = find_or_make(s, key, len);
    e->digest = *digest;
    e->checked_ms = checked_ms;
    e->retry_ms = 0;
    free(e->no);
    e->no = NULL;
    lru_unlock(s);
}

static void remember_no(struct tags *t, const char *key, const struct err *no, uint64_t for_ms)
{
    size_t len = strlen(key);
    struct lru_shard *s = lru_lock(t->known, key, len);
    struct tag *e = find_or_make(s, key, len);
    e->digest.s[0] = '\0';
    free(e->no);
    e->no = mem_dup(no, sizeof *no);
    e->retry_ms = clock_mono_ms() + for_ms;
    lru_unlock(s);
}

static void remember_away(struct tags *t, const char *key, uint64_t for_ms)
{
    size_t len = strlen(key);
    struct lru_shard *s = lru_lock(t->known, key, len);
    struct tag *e = lru_find(s);
    if (e)
        e->retry_ms = clock_mono_ms() + for_ms;
    lru_unlock(s);
}

static bool recall(struct tags *t, const char *key, struct digest *ret_digest, uint64_t *ret_checked_ms)
{
    size_t len = strlen(key);
    struct lru_shard *s = lru_lock(t->known, key, len);
    struct tag *e = lru_find(s);
    bool known = e && digest_is_set(&e->digest);
    if (known) {
        *ret_digest = e->digest;
        *ret_checked_ms = e->checked_ms;
    }
    lru_unlock(s);
    return known;
}

/* ---- one look-up ---- */

struct lookup {
    struct tags *t;
    struct loop *loop;
    struct repo *repo;
    char *tag, *key;
    struct tags_policy policy;
    struct flight *flight;
    bool known; /* a digest from before, `was` */
    struct digest was;
    uint64_t was_checked_ms; /* monotonic; may be before the process began */
    struct fetch_head head;
    bool headed;
};

static void lookup_end(struct lookup *k, const struct digest *digest, bool stale, const struct err *err)
{
    struct tag_answer *a = NULL;
    if (digest) {
        a = mem_new(struct tag_answer);
        a->refs = 1;
        a->digest = *digest;
        a->stale = stale;
    }
    flight_finish(k->flight, a, err);
    repo_unref(k->repo);
    free(k->tag);
    free(k->key);
    free(k);
}

static void confirmed(struct lookup *k, const struct digest *digest)
{
    struct state_repo r = repo_state(k->repo);
    remember(k->t, k->key, digest, clock_mono_ms());
    k->t->env->state->ops->tag_put(k->t->env->state, &r, k->tag,
                                   &(struct state_tag){.digest = *digest, .checked_ms = clock_wall_ms()});
    if (k->known && !digest_eq(digest, &k->was))
        log_info("tag moved", F_S("image", k->repo->canonical), F_S("tag", k->tag), F_S("from", k->was.s),
                 F_S("to", digest->s));
    lookup_end(k, digest, false, NULL);
}

static void failed(struct lookup *k, const struct err *err)
{
    bool no = err->code == ERR_MANIFEST_UNKNOWN || err->code == ERR_UNAUTHORIZED || err->code == ERR_DENIED;
    if (no) {
        struct state_repo r = repo_state(k->repo);
        k->t->env->state->ops->tag_drop(k->t->env->state, &r, k->tag);
        if (k->known)
            links_drop(k->t->links, k->repo, &k->was);
        remember_no(k->t, k->key, err, k->policy.missing_ms);
        lookup_end(k, NULL, false, err);
        return;
    }
    if (k->known && clock_mono_ms() - k->was_checked_ms <= k->policy.offline_ms) {
        log_warn("upstream away: the last known answer stands", F_S("image", k->repo->canonical),
                 F_S("tag", k->tag), F_S("digest", k->was.s), F_ERR(err));
        metric_count("rac_cache_stale_total", "reason=\"upstream\"", 1);
        remember_away(k->t, k->key, k->policy.missing_ms);
        struct digest was = k->was;
        lookup_end(k, &was, true, NULL);
        return;
    }
    lookup_end(k, NULL, false, err);
}

static void on_get(void *arg, void *result, const struct err *err)
{
    struct lookup *k = arg;
    struct document *doc = result;
    if (!doc) {
        failed(k, err);
        return;
    }
    struct digest digest = doc->digest;
    document_unref(doc);
    confirmed(k, &digest);
}

static void ask_get(struct lookup *k)
{
    documents_fetch(k->t->documents, k->loop, k->repo, NULL, k->tag, DOCUMENT_MANIFEST, on_get, k);
}

static bool on_head(void *arg, const struct fetch_head *head)
{
    struct lookup *k = arg;
    k->head = *head;
    k->headed = true;
    return true;
}

static bool on_data(void *arg, const void *p, size_t len)
{
    (void)arg, (void)p, (void)len;
    return true;
}

static void on_head_done(void *arg, const struct err *err)
{
    struct lookup *k = arg;
    struct err e;
    char what[400];
    assert(err || k->headed);
    if (err) {
        failed(k, err);
        return;
    }
    if (k->head.status == 304) {
        struct digest was = k->was;
        confirmed(k, &was);
        return;
    }
    if (k->head.status == 200 && digest_is_set(&k->head.digest)) {
        struct digest digest = k->head.digest;
        confirmed(k, &digest);
        return;
    }
    (void)snprintf(what, sizeof what, "manifest %.250s:%s", k->repo->canonical, k->tag);
    int rc = fetch_head_err(&k->head, k->repo->upstream, what, ERR_MANIFEST_UNKNOWN, &e);
    /* Some registries answer HEAD otherwise than GET, or without a digest: GET has the last word, except
     * where asking again would only make things worse. */
    if (rc < 0 && (e.code == ERR_LIMITED || e.code == ERR_UNAUTHORIZED || k->head.status >= 500))
        failed(k, &e);
    else
        ask_get(k);
}

static const struct fetch_ops head_ops = {.on_head = on_head, .on_data = on_data, .on_done = on_head_done};

static void ask(struct lookup *k)
{
    metric_inc(k->t->misses);
    if (!k->known) {
        ask_get(k);
        return;
    }
    char etag[DIGEST_STR_MAX + 3];
    (void)snprintf(etag, sizeof etag, "\"%s\"", k->was.s);
    cleanup_free char *path = document_path(k->repo, "manifests", k->tag);
    (void)fetch_start(k->t->env->client(k->loop),
                      &(struct fetch_params){.upstream = k->repo->upstream,
                                             .path = path,
                                             .repository = k->repo->repository,
                                             .head = true,
                                             .accept = media_type_accept_all(),
                                             .if_none_match = etag},
                      &head_ops, k);
}

static void on_state(void *arg, const struct state_tag *tag, const struct err *err)
{
    struct lookup *k = arg;
    if (err)
        log_warn("state not readable: asking the upstream", F_S("image", k->repo->canonical), F_ERR(err));
    if (tag) {
        int64_t age = clock_wall_ms() - tag->checked_ms;
        uint64_t age_ms = age < 0 ? 0 : (uint64_t)age, now = clock_mono_ms();
        k->known = true;
        k->was = tag->digest;
        /* A time before the machine was up does not fit the monotonic clock; the unsigned difference still
         * does. */
        k->was_checked_ms = now - age_ms;
        remember(k->t, k->key, &k->was, k->was_checked_ms);
        if (age >= 0 && age_ms < k->policy.fresh_ms) {
            struct digest was = k->was;
            lookup_end(k, &was, false, NULL);
            return;
        }
    }
    ask(k);
}

static struct lookup *lookup_new(struct tags *t, struct loop *loop, struct repo *repo, const char *tag,
                                 const struct tags_policy *policy, struct flight *flight, char *key)
{
    struct lookup *k = mem_new(struct lookup);
    *k = (struct lookup){.t = t,
                         .loop = loop,
                         .repo = repo_ref(repo),
                         .tag = mem_strdup(tag),
                         .key = key,
                         .policy = *policy,
                         .flight = flight};
    return k;
}

static void lookup_begin(struct lookup *k)
{
    k->known = recall(k->t, k->key, &k->was, &k->was_checked_ms);
    if (k->known) {
        ask(k);
        return;
    }
    struct state_repo r = repo_state(k->repo);
    k->t->env->state->ops->tag_get(k->t->env->state, k->loop, &r, k->tag, on_state, k);
}

int tags_try(struct tags *t, struct loop *loop, struct repo *repo, const char *tag,
             const struct tags_policy *policy, struct tag_answer *ret, struct err *err)
{
    char key[KEY_MAX];
    size_t len = make_key(key, repo, tag);
    uint64_t now = clock_mono_ms();
    int rc = 0;
    bool revalidate = false;
    struct lru_shard *s = lru_lock(t->known, key, len);
    const struct tag *e = lru_find(s);
    if (e && digest_is_set(&e->digest)) {
        uint64_t age = now - e->checked_ms;
        bool away = e->retry_ms > now && age <= policy->offline_ms;
        revalidate =
            age >= policy->fresh_ms && !away && policy->stale_while_revalidate && age <= policy->stale_ms;
        if (age < policy->fresh_ms || away || revalidate) {
            ret->digest = e->digest;
            ret->stale = age >= policy->fresh_ms;
            rc = 1;
        }
    } else if (e && e->no && e->retry_ms > now) {
        if (err)
            *err = *e->no;
        rc = -1;
    }
    lru_unlock(s);
    if (rc != 0)
        metric_inc(t->hits);
    if (revalidate) {
        struct flight *lead = flight_lead(t->flights, key);
        if (lead)
            lookup_begin(lookup_new(t, loop, repo, tag, policy, lead, mem_strdup(key)));
    }
    return rc;
}

void tags_get(struct tags *t, struct loop *loop, struct repo *repo, const char *tag,
              const struct tags_policy *policy, flight_fn *fn, void *arg)
{
    char *key = mem_printf("%s:%s", repo->key, tag);
    struct flight *lead;
    (void)flight_join(t->flights, key, loop, fn, arg, &lead);
    if (!lead) {
        metric_inc(t->joined);
        free(key);
        return;
    }
    lookup_begin(lookup_new(t, loop, repo, tag, policy, lead, key));
}

int tags_refused(struct tags *t, const struct repo *repo, const char *reference, struct err *err)
{
    char key[KEY_MAX];
    size_t len = make_key(key, repo, reference);
    int rc = 0;
    struct lru_shard *s = lru_lock(t->known, key, len);
    const struct tag *e = lru_find(s);
    if (e && e->no && e->retry_ms > clock_mono_ms()) {
        *err = *e->no;
        rc = 1;
    }
    lru_unlock(s);
    return rc;
}

void tags_refuse(struct tags *t, const struct repo *repo, const char *reference, const struct err *err,
                 const struct tags_policy *policy)
{
    cleanup_free char *key = mem_printf("%s:%s", repo->key, reference);
    remember_no(t, key, err, policy->missing_ms);
}
