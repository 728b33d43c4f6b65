// SPDX-License-Identifier: Apache-2.0
#include "proxy/registry/relay.h"

#include <stdlib.h>

#include "common/mem.h"

struct relay {
    struct request *r; /* NULL: gone */
    bool done;
    struct upstream *upstream;
    char *what;
    enum err_code not_found;
    struct fetch_head head;
    bool headed, failed;
    struct err err;
    struct buf body;
    relay_fn *fn;
    void *arg;
};

static void relay_free(struct relay *x)
{
    upstream_unref(x->upstream);
    free(x->what);
    buf_free(&x->body);
    free(x);
}

static void on_request_over(void *arg)
{
    struct relay *x = arg;
    x->r = NULL;
    if (x->done)
        relay_free(x);
}

static bool on_head(void *arg, const struct fetch_head *head)
{
    struct relay *x = arg;
    x->head = *head;
    x->headed = true;
    x->failed = fetch_head_err(head, x->upstream, x->what, x->not_found, &x->err) < 0;
    return true;
}

static bool on_data(void *arg, const void *p, size_t len)
{
    struct relay *x = arg;
    if (!x->failed && !buf_add(&x->body, p, len))
        x->failed = err_set(&x->err, ERR_UPSTREAM, "%s: %s is larger than 4 MiB", x->upstream->name, x->what);
    return true;
}

static void on_done(void *arg, const struct err *err)
{
    struct relay *x = arg;
    json_t *json = NULL;
    if (!x->failed && err) {
        x->err = *err;
        (void)err_wrap(&x->err, "%s", x->what);
        x->failed = true;
    }
    if (!x->failed) {
        json = json_parse(x->body.len ? x->body.p : "", x->body.len, JSON_DOCUMENT_MAX, &x->err);
        if (!json) {
            x->failed = true;
            x->err.code = ERR_UPSTREAM;
            (void)err_wrap(&x->err, "%s: %s", x->upstream->name, x->what);
        }
    }
    x->fn(x->arg, x->r, x->headed ? &x->head : NULL, json, x->failed ? &x->err : NULL);
    x->done = true;
    if (!x->r)
        relay_free(x);
}

static const struct fetch_ops ops = {.on_head = on_head, .on_data = on_data, .on_done = on_done};

void relay_json(struct registry *g, struct request *r, struct target *t, const char *path, const char *accept,
                const char *what, enum err_code not_found, relay_fn *fn, void *arg)
{
    struct relay *x = mem_new(struct relay);
    *x = (struct relay){.r = r,
                        .upstream = upstream_ref(t->repo->upstream),
                        .what = mem_strdup(what),
                        .not_found = not_found,
                        .body = {.max = JSON_DOCUMENT_MAX},
                        .fn = fn,
                        .arg = arg};
    request_on_dispose(r, on_request_over, x);
    (void)fetch_start(
        g->env->client(request_loop(r)),
        &(struct fetch_params){
            .upstream = t->repo->upstream, .path = path, .repository = t->repo->repository, .accept = accept},
        &ops, x);
}
