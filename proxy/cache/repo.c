// SPDX-License-Identifier: Apache-2.0
#include "proxy/cache/repo.h"

#include <stdlib.h>

#include "common/mem.h"

struct repo *repo_new(const struct upstream_name *name)
{
    struct repo *r = mem_new(struct repo);
    r->refs = 1;
    r->upstream = name->upstream;
    r->repository = mem_strdup(name->repository);
    r->canonical = mem_strdup(name->canonical);
    r->key = mem_printf("%s %s", name->upstream->scope, name->canonical);
    return r;
}

struct repo *repo_ref(struct repo *r)
{
    __atomic_fetch_add(&r->refs, 1, __ATOMIC_RELAXED);
    return r;
}

void repo_unref(struct repo *r)
{
    if (!r || __atomic_sub_fetch(&r->refs, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    upstream_unref(r->upstream);
    free(r->repository);
    free(r->canonical);
    free(r->key);
    free(r);
}

struct state_repo repo_state(const struct repo *r)
{
    return (struct state_repo){
        .scope = r->upstream->scope, .upstream = r->upstream->name, .repository = r->repository};
}
