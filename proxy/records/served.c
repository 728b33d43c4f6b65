// SPDX-License-Identifier: Apache-2.0
#include "proxy/records/served.h"

#include <assert.h>
#include <stdio.h>

#include "common/mem.h"

struct served *served_new(const char *registry, const char *repository, const struct digest *digest,
                          const char *media_type, uint64_t size, size_t parts)
{
    struct served *s = mem_new(struct served);
    s->refs = 1;
    s->registry = mem_strdup(registry);
    s->repository = mem_strdup(repository);
    s->digest = *digest;
    (void)snprintf(s->media_type, sizeof s->media_type, "%s", media_type);
    s->size = size;
    s->part = mem_zalloc(parts * sizeof *s->part + 1);
    s->part_count = parts;
    return s;
}

struct served *served_ref(struct served *s)
{
    __atomic_fetch_add(&s->refs, 1, __ATOMIC_RELAXED);
    return s;
}

void served_unref(struct served *s)
{
    if (!s || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    for (size_t i = 0; i < s->part_count; ++i)
        free(s->part[i].platform);
    free(s->part);
    free(s->registry);
    free(s->repository);
    free(s);
}

void served_set_source(struct served *s, const struct digest *source, const struct digest *injection)
{
    assert(!s->has_source);
    if (source)
        s->source = *source;
    if (injection)
        s->injection = *injection;
    atomic_store_explicit(&s->has_source, true, memory_order_release);
}

void served_set_platform(struct served *s, const char *platform)
{
    assert(!s->has_platform);
    (void)snprintf(s->platform, sizeof s->platform, "%s", platform);
    atomic_store_explicit(&s->has_platform, true, memory_order_release);
}

const char *served_platform(struct served *s)
{
    return atomic_load_explicit(&s->has_platform, memory_order_acquire) ? s->platform : "";
}

const struct served_part *served_find(const struct served *s, const char *digest)
{
    for (size_t i = 0; i < s->part_count; ++i)
        if (strcmp(s->part[i].digest.s, digest) == 0)
            return &s->part[i];
    return NULL;
}
