// SPDX-License-Identifier: Apache-2.0
#include "proxy/registry/target.h"

#include <stdlib.h>
#include <utlist.h>

#include "common/hash.h"
#include "common/mem.h"
#include "layers/reference.h"
#include "proxy/registry/report.h"

#define NAMES_MAX 4096 /* kept per worker */
#define KEY_MAX   600

struct known {
    UT_hash_handle hh;
    struct known *prev, *next; /* least recently used first */
    struct target *target;
    char key[]; /* "<account> <name> <ns>"; the account only if it has upstreams of its own */
};

struct registry_worker {
    struct registry_config *config;
    struct known *map, *lru;
    size_t count;
};

struct registry_config *registry_config_ref(struct registry_config *c)
{
    __atomic_fetch_add(&c->refs, 1, __ATOMIC_RELAXED);
    return c;
}

void registry_config_unref(struct registry_config *c)
{
    if (!c || __atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    upstream_set_unref(c->upstreams);
    for (size_t i = 0; i < c->account_count; ++i) {
        free(c->accounts[i].name);
        upstream_set_unref(c->accounts[i].upstreams);
    }
    free(c->accounts);
    rules_free(c->rules);
    for (size_t i = 0; i < c->fresh_count; ++i)
        free(c->fresh[i].upstream);
    free(c->fresh);
    for (size_t i = 0; i < sizeof c->own_names / sizeof c->own_names[0]; ++i)
        free(c->own_names[i]);
    free(c);
}

static int by_name(const void *name, const void *account)
{
    return strcmp(name, ((const struct registry_account *)account)->name);
}

struct upstream_set *registry_config_upstreams(const struct registry_config *c, const char *account,
                                               bool *ret_own)
{
    const struct registry_account *a =
        account && c->account_count
            ? bsearch(account, c->accounts, c->account_count, sizeof *c->accounts, by_name)
            : NULL;
    if (ret_own)
        *ret_own = a != NULL;
    return a ? a->upstreams : c->upstreams;
}

struct registry_worker *registry_worker_new(struct registry_config *config)
{
    struct registry_worker *w = mem_new(struct registry_worker);
    w->config = registry_config_ref(config);
    return w;
}

const struct registry_config *registry_worker_config(const struct registry_worker *w)
{
    return w->config;
}

static void drop(struct registry_worker *w, struct known *k)
{
    HASH_DEL(w->map, k);
    DL_DELETE(w->lru, k);
    --w->count;
    target_unref(k->target);
    free(k);
}

void registry_worker_set_config(struct registry_worker *w, struct registry_config *config)
{
    while (w->lru)
        drop(w, w->lru);
    registry_config_unref(w->config);
    w->config = registry_config_ref(config);
}

void registry_worker_stop(struct registry_worker *w)
{
    while (w->lru)
        drop(w, w->lru);
}

void registry_worker_free(struct registry_worker *w)
{
    if (!w)
        return;
    registry_worker_stop(w);
    registry_config_unref(w->config);
    free(w);
}

struct target *target_ref(struct target *t)
{
    ++t->refs;
    return t;
}

void target_unref(struct target *t)
{
    if (!t || --t->refs)
        return;
    reported_free(t->reported);
    target_unref(t->plain);
    injection_unref(t->injection);
    repo_unref(t->repo);
    registry_config_unref(t->config);
    free(t);
}

static struct target *target_new(struct registry_config *c, const struct upstream_name *name)
{
    struct target *t = mem_new(struct target);
    t->refs = 1;
    t->config = registry_config_ref(c);
    t->repo = repo_new(name);
    t->tags = c->tags;
    for (size_t i = 0; i < c->fresh_count; ++i)
        if (strcmp(c->fresh[i].upstream, name->upstream->name) == 0)
            t->tags.fresh_ms = c->fresh[i].fresh_ms;
    struct injection *inj = rules_find(c->rules, name->upstream->name, name->canonical);
    t->injection = inj ? injection_ref(inj) : NULL;
    return t;
}

/* containerd says by ns whom it means to ask, also where a hosts.toml tells it where we are: then it means
 * us, and the name is as it stands in the path. */
static bool is_own_name(const struct registry_config *c, struct slice ns)
{
    for (size_t i = 0; i < sizeof c->own_names / sizeof c->own_names[0]; ++i)
        if (c->own_names[i] && slice_ieq_str(ns, c->own_names[i]))
            return true;
    return false;
}

int target_get(struct registry_worker *w, const char *account, struct slice name, struct slice ns,
               struct target **ret, struct err *err)
{
    char key[KEY_MAX];
    struct known *k = NULL;
    bool own;
    struct upstream_set *upstreams = registry_config_upstreams(w->config, account, &own);
    struct slice who = own ? slice_of(account) : (struct slice){NULL, 0};
    const struct slice piece[] = {who, SLICE_LIT(" "), name, SLICE_LIT(" "), ns};
    size_t n = str_join(key, sizeof key, piece, sizeof piece / sizeof piece[0]);
    bool fits = who.len + name.len + ns.len + 3 <= sizeof key;
    if (fits)
        HASH_FIND(hh, w->map, key, n, k);
    if (k) {
        if (k->next) {
            DL_DELETE(w->lru, k);
            DL_APPEND(w->lru, k);
        }
        *ret = target_ref(k->target);
        return 0;
    }
    struct upstream_name un;
    if (ns.p && is_own_name(w->config, ns))
        ns = (struct slice){NULL, 0};
    if (reference_check_name(name, err) < 0 || upstream_resolve(upstreams, name, ns, &un, err) < 0)
        return -1;
    struct target *t = target_new(w->config, &un);
    if (fits) {
        k = mem_zalloc(sizeof *k + n + 1);
        memcpy(k->key, key, n + 1);
        k->target = target_ref(t);
        HASH_ADD_KEYPTR(hh, w->map, k->key, n, k);
        DL_APPEND(w->lru, k);
        if (++w->count > NAMES_MAX)
            drop(w, w->lru);
    }
    *ret = t;
    return 0;
}
