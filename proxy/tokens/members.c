// SPDX-License-Identifier: Apache-2.0
#include "proxy/tokens/members.h"

#include <pthread.h>
#include <stdlib.h>
#include <utlist.h>

#include "common/hash.h"
#include "common/mem.h"

#define SHARDS    16
#define SHARD_MAX 4096
#define KEY_MAX   (2 * DIGEST_STR_MAX + 800)

struct member {
    UT_hash_handle hh;
    struct member *prev, *next; /* oldest first */
    char key[];                 /* "<top> <digest> <repo key>" */
};

struct members {
    struct state *state;
    struct {
        pthread_mutex_t lock;
        struct member *map, *list;
        size_t count;
    } shard[SHARDS];
};

struct members *members_new(struct state *state)
{
    struct members *m = mem_new(struct members);
    m->state = state;
    for (unsigned i = 0; i < SHARDS; ++i)
        pthread_mutex_init(&m->shard[i].lock, NULL);
    return m;
}

static void drop(struct members *m, unsigned s, struct member *k)
{
    HASH_DEL(m->shard[s].map, k);
    DL_DELETE(m->shard[s].list, k);
    --m->shard[s].count;
    free(k);
}

void members_free(struct members *m)
{
    if (!m)
        return;
    for (unsigned i = 0; i < SHARDS; ++i) {
        while (m->shard[i].list)
            drop(m, i, m->shard[i].list);
        pthread_mutex_destroy(&m->shard[i].lock);
    }
    free(m);
}

static unsigned make_key(char key[KEY_MAX], const struct repo *repo, const struct digest *top,
                         const struct digest *digest, size_t *ret_len)
{
    const struct slice piece[] = {slice_of(top->s), SLICE_LIT(" "), slice_of(digest->s), SLICE_LIT(" "),
                                  slice_of(repo->key)};
    *ret_len = str_join(key, KEY_MAX, piece, 5);
    char c = digest->s[strlen(digest->s) - 1];
    return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10) % SHARDS;
}

bool members_try(struct members *m, const struct repo *repo, const struct digest *top,
                 const struct digest *digest)
{
    char key[KEY_MAX];
    size_t len;
    unsigned s = make_key(key, repo, top, digest, &len);
    struct member *k;
    pthread_mutex_lock(&m->shard[s].lock);
    HASH_FIND(hh, m->shard[s].map, key, len, k);
    pthread_mutex_unlock(&m->shard[s].lock);
    return k != NULL;
}

static void remember(struct members *m, const struct repo *repo, const struct digest *top,
                     const struct digest *digest)
{
    char key[KEY_MAX];
    size_t len;
    unsigned s = make_key(key, repo, top, digest, &len);
    struct member *k;
    pthread_mutex_lock(&m->shard[s].lock);
    HASH_FIND(hh, m->shard[s].map, key, len, k);
    if (!k) {
        k = mem_zalloc(sizeof *k + len + 1);
        memcpy(k->key, key, len + 1);
        HASH_ADD_KEYPTR(hh, m->shard[s].map, k->key, len, k);
        DL_APPEND(m->shard[s].list, k);
        if (++m->shard[s].count > SHARD_MAX)
            drop(m, s, m->shard[s].list);
    }
    pthread_mutex_unlock(&m->shard[s].lock);
}

struct ask {
    struct members *m;
    struct repo *repo;
    struct digest top, digest;
    members_fn *fn;
    void *arg;
};

static void on_below(void *arg, size_t count, const struct err *err)
{
    struct ask *a = arg;
    if (count)
        remember(a->m, a->repo, &a->top, &a->digest);
    a->fn(a->arg, count > 0, err);
    repo_unref(a->repo);
    free(a);
}

void members_ask(struct members *m, struct loop *loop, struct repo *repo, const struct digest *top,
                 const struct digest *digest, members_fn *fn, void *arg)
{
    struct ask *a = mem_new(struct ask);
    *a = (struct ask){.m = m, .repo = repo_ref(repo), .top = *top, .digest = *digest, .fn = fn, .arg = arg};
    struct state_repo sr = repo_state(repo);
    m->state->ops->link_below(m->state, loop, &sr, top, digest, on_below, a);
}
