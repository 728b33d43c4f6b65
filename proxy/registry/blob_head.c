// SPDX-License-Identifier: Apache-2.0
#include "proxy/registry/blob_head.h"

#include <stdlib.h>

#include "common/mem.h"
#include "proxy/cache/flight.h"

struct blob_heads {
    const struct cache_env *env;
    struct flights *flights;
};

struct size {
    unsigned refs;
    uint64_t bytes;
};

/* The one who asks. */
struct blob_head {
    struct flight *flight;
    struct repo *repo;
    char what[400];
    bool failed;
    struct err err;
    uint64_t size;
};

struct asker {
    blob_head_fn *fn;
    void *arg;
};

static void size_ref(void *p)
{
    __atomic_fetch_add(&((struct size *)p)->refs, 1, __ATOMIC_RELAXED);
}

static void size_unref(void *p)
{
    struct size *size = p;
    if (__atomic_sub_fetch(&size->refs, 1, __ATOMIC_ACQ_REL) == 0)
        free(size);
}

struct blob_heads *blob_heads_new(const struct cache_env *env)
{
    struct blob_heads *t = mem_new(struct blob_heads);
    t->env = env;
    t->flights = flights_new(size_ref, size_unref);
    return t;
}

void blob_heads_free(struct blob_heads *t)
{
    if (!t)
        return;
    flights_free(t->flights);
    free(t);
}

static bool on_head(void *arg, const struct fetch_head *head)
{
    struct blob_head *h = arg;
    h->size = head->content_length >= 0 ? (uint64_t)head->content_length : UINT64_MAX;
    h->failed = fetch_head_err(head, h->repo->upstream, h->what, ERR_BLOB_UNKNOWN, &h->err) < 0;
    return true;
}

static bool on_data(void *arg, const void *p, size_t len)
{
    (void)arg, (void)p, (void)len;
    return true;
}

static void on_done(void *arg, const struct err *err)
{
    struct blob_head *h = arg;
    struct size *size = NULL;
    if (!h->failed && err) {
        h->failed = true;
        h->err = *err;
        (void)err_wrap(&h->err, "%s", h->what);
    }
    if (!h->failed) {
        size = mem_new(struct size);
        *size = (struct size){.refs = 1, .bytes = h->size};
    }
    flight_finish(h->flight, size, h->failed ? &h->err : NULL);
    repo_unref(h->repo);
    free(h);
}

static const struct fetch_ops ops = {.on_head = on_head, .on_data = on_data, .on_done = on_done};

static void on_answer(void *arg, void *result, const struct err *err)
{
    struct asker a = *(struct asker *)arg;
    uint64_t bytes = result ? ((struct size *)result)->bytes : 0;
    free(arg);
    if (result)
        size_unref(result);
    a.fn(a.arg, bytes, err);
}

void blob_heads_ask(struct blob_heads *t, struct loop *loop, struct repo *repo, const struct digest *digest,
                    blob_head_fn *fn, void *arg)
{
    struct flight *lead;
    struct asker *a = mem_new(struct asker);
    *a = (struct asker){.fn = fn, .arg = arg};
    cleanup_free char *key = mem_printf("%s@%s", repo->key, digest->s);
    (void)flight_join(t->flights, key, loop, on_answer, a, &lead);
    if (!lead)
        return;
    struct blob_head *h = mem_new(struct blob_head);
    *h = (struct blob_head){.flight = lead, .repo = repo_ref(repo)};
    (void)snprintf(h->what, sizeof h->what, "blob %.200s@%s", repo->canonical, digest->s);
    cleanup_free char *path = mem_printf("/v2/%s/blobs/%s", repo->repository, digest->s);
    (void)fetch_start(t->env->client(loop),
                      &(struct fetch_params){.upstream = repo->upstream,
                                             .path = path,
                                             .repository = repo->repository,
                                             .head = true,
                                             .accept = "*/*"},
                      &ops, h);
}
