// SPDX-License-Identifier: Apache-2.0
#include "proxy/registry/blob_head.h"

#include <stdlib.h>

#include "common/mem.h"

struct blob_head {
    struct repo *repo;
    char what[400];
    bool failed;
    struct err err;
    uint64_t size;
    blob_head_fn *fn;
    void *arg;
};

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
    if (!h->failed && err) {
        h->failed = true;
        h->err = *err;
        (void)err_wrap(&h->err, "%s", h->what);
    }
    h->fn(h->arg, h->size, h->failed ? &h->err : NULL);
    repo_unref(h->repo);
    free(h);
}

static const struct fetch_ops ops = {.on_head = on_head, .on_data = on_data, .on_done = on_done};

void blob_head(struct upstream_client *client, struct repo *repo, const struct digest *digest,
               blob_head_fn *fn, void *arg)
{
    struct blob_head *h = mem_new(struct blob_head);
    *h = (struct blob_head){.repo = repo_ref(repo), .fn = fn, .arg = arg};
    (void)snprintf(h->what, sizeof h->what, "blob %.200s@%s", repo->canonical, digest->s);
    cleanup_free char *path = mem_printf("/v2/%s/blobs/%s", repo->repository, digest->s);
    (void)fetch_start(client,
                      &(struct fetch_params){.upstream = repo->upstream,
                                             .path = path,
                                             .repository = repo->repository,
                                             .head = true,
                                             .accept = "*/*"},
                      &ops, h);
}
