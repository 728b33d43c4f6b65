// SPDX-License-Identifier: Apache-2.0
#include "proxy/tokens/members.h"

#include <stdlib.h>

#include "common/lru.h"
#include "common/mem.h"

#define MEMBERS_MAX 65536
#define KEY_MAX     (2 * DIGEST_STR_MAX + 800)

struct member {
    struct lru_entry lru;
    char key[]; /* "<top> <digest> <repo key>" */
};

struct members {
    struct state *state;
    struct lru *known;
};

static void free_member(void *entry, void *arg)
{
    (void)arg;
    free(entry);
}

struct members *members_new(struct state *state)
{
    struct members *m = mem_new(struct members);
    m->state = state;
    m->known = lru_new(MEMBERS_MAX, free_member, NULL);
    return m;
}

void members_free(struct members *m)
{
    if (!m)
        return;
    lru_free(m->known);
    free(m);
}

static size_t make_key(char key[KEY_MAX], const struct repo *repo, const struct digest *top,
                       const struct digest *digest)
{
    const struct slice piece[] = {slice_of(top->s), SLICE_LIT(" "), slice_of(digest->s), SLICE_LIT(" "),
                                  slice_of(repo->key)};
    return str_join(key, KEY_MAX, piece, 5);
}

bool members_try(struct members *m, const struct repo *repo, const struct digest *top,
                 const struct digest *digest)
{
    char key[KEY_MAX];
    size_t len = make_key(key, repo, top, digest);
    struct lru_shard *s = lru_lock(m->known, key, len);
    bool known = lru_find(s) != NULL;
    lru_unlock(s);
    return known;
}

static void remember(struct members *m, const struct repo *repo, const struct digest *top,
                     const struct digest *digest)
{
    char key[KEY_MAX];
    size_t len = make_key(key, repo, top, digest);
    struct lru_shard *s = lru_lock(m->known, key, len);
    if (!lru_find(s)) {
        struct member *k = mem_zalloc(sizeof *k + len + 1);
        memcpy(k->key, key, len + 1);
        lru_add(s, k, k->key, 1);
    }
    lru_unlock(s);
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
