// SPDX-License-Identifier: Apache-2.0
#include "proxy/cache/links.h"

#include <pthread.h>
#include <stdlib.h>
#include <utlist.h>

#include "common/clock.h"
#include "common/hash.h"
#include "common/log.h"
#include "common/mem.h"
#include "layers/manifest.h"

#define SHARDS 16
/* What the store failed to keep is put again, once that has passed and somebody asks. */
#define RETRY_MS 5000

struct link {
    UT_hash_handle hh;
    struct link *prev, *next; /* least recently used first */
    uint64_t size;
    uint64_t until_ms; /* monotonic; UINT64_MAX = for good */
    /* Monotonic: the store failed to keep it, and is asked again from then on. 0: it has it; UINT64_MAX: it
     * has not answered yet, and may take its time. */
    uint64_t retry_ms;
    bool manifest; /* its own descriptors were linked too */
    char key[];    /* "<digest> <repo key>" */
};

struct links {
    const struct cache_env *env;
    size_t shard_max;
    _Atomic uint64_t drops; /* withdrawals so far: what was read before one is not remembered after it */
    struct {
        pthread_mutex_t lock;
        struct link *map, *lru;
        size_t count;
    } shard[SHARDS];
};

struct links *links_new(const struct cache_env *env, size_t max_in_memory)
{
    struct links *l = mem_new(struct links);
    l->env = env;
    l->shard_max = max_in_memory / SHARDS + 1;
    for (unsigned i = 0; i < SHARDS; ++i)
        pthread_mutex_init(&l->shard[i].lock, NULL);
    return l;
}

static void drop(struct links *l, unsigned s, struct link *k)
{
    HASH_DEL(l->shard[s].map, k);
    DL_DELETE(l->shard[s].lru, k);
    --l->shard[s].count;
    free(k);
}

void links_free(struct links *l)
{
    if (!l)
        return;
    for (unsigned i = 0; i < SHARDS; ++i) {
        while (l->shard[i].lru)
            drop(l, i, l->shard[i].lru);
        pthread_mutex_destroy(&l->shard[i].lock);
    }
    free(l);
}

#define KEY_MAX (DIGEST_STR_MAX + 700)

struct key {
    unsigned shard;
    size_t len;
    char text[KEY_MAX];
};

static void make_key(struct key *k, const struct repo *repo, const struct digest *digest)
{
    const struct slice piece[] = {slice_of(digest->s), SLICE_LIT(" "), slice_of(repo->key)};
    k->len = str_join(k->text, sizeof k->text, piece, 3);
    char c = digest->s[strlen(digest->s) - 1];
    k->shard = (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10) % SHARDS;
}

/* Under the shard's lock; NULL if there is none, or it has run out. */
static struct link *find(struct links *l, const struct key *k)
{
    struct link *e;
    HASH_FIND(hh, l->shard[k->shard].map, k->text, k->len, e);
    if (e && e->until_ms != UINT64_MAX && e->until_ms <= clock_mono_ms()) {
        drop(l, k->shard, e);
        return NULL;
    }
    return e;
}

/* Under the shard's lock. */
static void put_locked(struct links *l, const struct key *k, uint64_t size, uint64_t until_ms, bool manifest)
{
    struct link *e = find(l, k);
    if (e) {
        if (until_ms > e->until_ms)
            e->until_ms = until_ms;
        if (size)
            e->size = size;
        e->manifest |= manifest;
        return;
    }
    e = mem_zalloc(sizeof *e + k->len + 1);
    memcpy(e->key, k->text, k->len + 1);
    e->size = size;
    e->until_ms = until_ms;
    e->manifest = manifest;
    HASH_ADD_KEYPTR(hh, l->shard[k->shard].map, e->key, k->len, e);
    DL_APPEND(l->shard[k->shard].lru, e);
    if (++l->shard[k->shard].count > l->shard_max)
        drop(l, k->shard, l->shard[k->shard].lru);
}

static void put(struct links *l, const struct repo *repo, const struct digest *digest, uint64_t size,
                uint64_t until_ms, bool manifest)
{
    struct key k;
    make_key(&k, repo, digest);
    pthread_mutex_lock(&l->shard[k.shard].lock);
    put_locked(l, &k, size, until_ms, manifest);
    pthread_mutex_unlock(&l->shard[k.shard].lock);
}

/* Under the shard's lock. */
static void touch(struct links *l, unsigned s, struct link *e)
{
    if (!e->next)
        return;
    DL_DELETE(l->shard[s].lru, e);
    DL_APPEND(l->shard[s].lru, e);
}

bool links_try(struct links *l, const struct repo *repo, const struct digest *digest, uint64_t *ret_size)
{
    struct key k;
    make_key(&k, repo, digest);
    pthread_mutex_lock(&l->shard[k.shard].lock);
    struct link *e = find(l, &k);
    if (e && ret_size)
        *ret_size = e->size;
    if (e)
        touch(l, k.shard, e);
    pthread_mutex_unlock(&l->shard[k.shard].lock);
    return e != NULL;
}

bool links_try_manifest(struct links *l, const struct repo *repo, const struct digest *digest)
{
    struct key k;
    make_key(&k, repo, digest);
    pthread_mutex_lock(&l->shard[k.shard].lock);
    struct link *e = find(l, &k);
    bool yes = e && e->manifest && (!e->retry_ms || clock_mono_ms() < e->retry_ms);
    if (yes)
        touch(l, k.shard, e);
    pthread_mutex_unlock(&l->shard[k.shard].lock);
    return yes;
}

/* In memory, and in the store, too. */
static bool is_saved(struct links *l, const struct repo *repo, const struct digest *digest)
{
    struct key k;
    make_key(&k, repo, digest);
    pthread_mutex_lock(&l->shard[k.shard].lock);
    struct link *e = find(l, &k);
    bool yes = e && e->manifest && !e->retry_ms;
    pthread_mutex_unlock(&l->shard[k.shard].lock);
    return yes;
}

/* 0: the store has it. */
static void set_retry(struct links *l, const struct repo *repo, const struct digest *digest,
                      uint64_t retry_ms)
{
    struct key k;
    make_key(&k, repo, digest);
    pthread_mutex_lock(&l->shard[k.shard].lock);
    struct link *e = find(l, &k);
    if (e)
        e->retry_ms = retry_ms;
    pthread_mutex_unlock(&l->shard[k.shard].lock);
}

struct get {
    struct links *l;
    struct repo *repo;
    struct digest digest;
    uint64_t drops; /* when it was asked */
    links_fn *fn;
    void *arg;
    bool known;
    uint64_t size;
};

/* What the state knew before a withdrawal says nothing about the time after: links_drop counts first, then
 * goes through the shards, so that nothing put in here in between stays. */
static void remember(struct get *g)
{
    struct key k;
    make_key(&k, g->repo, &g->digest);
    pthread_mutex_lock(&g->l->shard[k.shard].lock);
    if (g->l->drops == g->drops)
        put_locked(g->l, &k, g->size, UINT64_MAX, false);
    pthread_mutex_unlock(&g->l->shard[k.shard].lock);
}

static void answer_from_memory(void *arg)
{
    struct get *g = arg;
    g->fn(g->arg, true, g->size, NULL);
    repo_unref(g->repo);
    free(g);
}

static void answer(struct get *g, const struct err *err)
{
    if (g->known)
        remember(g);
    g->fn(g->arg, g->known, g->size, err);
    repo_unref(g->repo);
    free(g);
}

static void on_manifest(void *arg, const struct state_manifest *m, const struct err *err)
{
    struct get *g = arg;
    if (err)
        log_warn("state not readable: asking the upstream instead", F_S("repository", g->repo->canonical),
                 F_ERR(err));
    g->known = m != NULL;
    g->size = m ? m->size : 0;
    answer(g, err);
}

static void on_blob(void *arg, const struct state_ref *ref, const struct err *err)
{
    struct get *g = arg;
    if (err)
        log_warn("state not readable: asking the upstream instead", F_S("repository", g->repo->canonical),
                 F_ERR(err));
    g->known = ref != NULL;
    g->size = ref ? ref->size : 0;
    answer(g, err);
}

void links_get(struct links *l, struct loop *loop, struct repo *repo, const struct digest *digest,
               enum document_kind kind, links_fn *fn, void *arg)
{
    struct get *g = mem_new(struct get);
    *g = (struct get){
        .l = l, .repo = repo_ref(repo), .digest = *digest, .drops = l->drops, .fn = fn, .arg = arg};
    g->known = links_try(l, repo, digest, &g->size);
    if (g->known) {
        loop_post(loop, answer_from_memory, g);
        return;
    }
    struct state_repo r = repo_state(repo);
    if (kind == DOCUMENT_MANIFEST)
        l->env->state->ops->manifest_get(l->env->state, loop, &r, digest, on_manifest, g);
    else
        l->env->state->ops->blob_get(l->env->state, loop, &r, digest, on_blob, g);
}

struct add {
    struct links *l;
    struct repo *repo;
    struct digest digest;
    state_done_fn *done;
    void *arg;
};

static void end_add(struct add *a, const struct err *err)
{
    if (a->done)
        a->done(a->arg, err);
    repo_unref(a->repo);
    free(a);
}

static void done_at_once(void *p)
{
    end_add(p, NULL);
}

/* What the store failed to keep is put again once somebody asks for it again: links_try_manifest says no. */
static void on_put(void *arg, const struct err *err)
{
    struct add *a = arg;
    set_retry(a->l, a->repo, &a->digest, err ? clock_mono_ms() + RETRY_MS : 0);
    end_add(a, err);
}

void links_add(struct links *l, struct loop *loop, struct repo *repo, const struct document *doc,
               state_done_fn *done, void *arg)
{
    bool known = done ? is_saved(l, repo, &doc->digest) : links_try_manifest(l, repo, &doc->digest);
    if (known && !done)
        return;
    struct add *a = mem_new(struct add);
    *a = (struct add){.l = l, .repo = repo_ref(repo), .digest = doc->digest, .done = done, .arg = arg};
    if (known) {
        loop_post(loop, done_at_once, a);
        return;
    }
    struct manifest *m = manifest_parse(doc->bytes, doc->len, doc->media_type, NULL);
    size_t n = m ? manifest_count(m) : 0;
    cleanup_free struct state_ref *refs = mem_zalloc((n + 1) * sizeof *refs);
    for (size_t i = 0; i < n; ++i) {
        const struct descriptor *d = manifest_at(m, i);
        refs[i] = (struct state_ref){.digest = d->digest, .size = d->size, .media_type = d->media_type};
        put(l, repo, &d->digest, d->size, UINT64_MAX, false);
    }
    put(l, repo, &doc->digest, doc->len, UINT64_MAX, true);
    set_retry(l, repo, &doc->digest, UINT64_MAX);
    struct state_repo r = repo_state(repo);
    struct state_manifest sm = {.digest = doc->digest, .media_type = doc->media_type, .size = doc->len};
    l->env->state->ops->link_put(l->env->state, loop, &r, &sm, refs, n, on_put, a);
    manifest_free(m);
}

void links_add_seen(struct links *l, struct repo *repo, const struct digest *digest, uint64_t size,
                    uint64_t ttl_ms)
{
    put(l, repo, digest, size, clock_mono_ms() + ttl_ms, false);
}

/* Which other manifests list a blob is not kept in memory, so all links of the repository go; those that
 * still hold are found in the state again. A withdrawal is rare, and a look at every link in memory takes
 * milliseconds. */
static void forget_repo(struct links *l, const struct repo *repo)
{
    for (unsigned s = 0; s < SHARDS; ++s) {
        struct link *e, *next;
        pthread_mutex_lock(&l->shard[s].lock);
        DL_FOREACH_SAFE (l->shard[s].lru, e, next) {
            const char *key = strchr(e->key, ' ');
            if (key && strcmp(key + 1, repo->key) == 0)
                drop(l, s, e);
        }
        pthread_mutex_unlock(&l->shard[s].lock);
    }
}

void links_drop(struct links *l, struct repo *repo, const struct digest *manifest)
{
    struct state_repo r = repo_state(repo);
    l->env->state->ops->link_drop(l->env->state, &r, manifest);
    ++l->drops;
    forget_repo(l, repo);
}
