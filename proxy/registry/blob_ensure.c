// SPDX-License-Identifier: Apache-2.0
#include "proxy/registry/blob_ensure.h"

#include <stdlib.h>

#include "common/mem.h"
#include "proxy/registry/target.h"

#define WAIT_MS 50
#define WAITS   200 /* a whole blob is on its way to the disk, or a full disk may get room */

struct ensure {
    struct registry *g;
    struct loop *loop;
    struct repo *repo;
    struct digest digest;
    uint64_t size;
    struct fill_reader *reader;
    struct loop_timer again;
    unsigned waits;
    bool filled;
    struct err err;
    layer_fetch_fn *fn;
    void *arg;
};

static void finish(struct ensure *e, const struct err *err)
{
    loop_timer_cancel(e->loop, &e->again);
    if (e->reader)
        fill_leave(e->reader);
    e->fn(e->arg, err);
    repo_unref(e->repo);
    free(e);
}

static void finish_on_loop(void *arg)
{
    struct ensure *e = arg;
    finish(e, &e->err);
}

static void look(void *arg);
static void join(struct ensure *e);

static void wait_and_look(struct ensure *e)
{
    if (++e->waits > WAITS) {
        (void)err_set(&e->err, ERR_NO_SPACE, "no room on the proxy's disk to keep %s", e->digest.s);
        finish(e, &e->err);
        return;
    }
    loop_timer_arm(e->loop, &e->again, WAIT_MS, look, e);
}

static void on_fill_changed(void *arg)
{
    struct ensure *e = arg;
    switch (fill_reader_state(e->reader)) {
    case FILL_WAITING:
        fill_reader_wait(e->reader, 0);
        break;
    case FILL_READY: /* nothing is read here: told again when the last byte is there */
        fill_reader_wait(e->reader, fill_reader_size(e->reader));
        break;
    case FILL_COMPLETE:
        fill_leave(steal_ptr(&e->reader));
        e->filled = true;
        look(e);
        break;
    case FILL_MISLED:
    case FILL_BUSY:
        fill_leave(steal_ptr(&e->reader));
        wait_and_look(e);
        break;
    case FILL_FAILED:
        e->err = *fill_reader_error(e->reader);
        finish(e, &e->err);
        break;
    }
}

static void join(struct ensure *e)
{
    e->reader = fill_join(e->g->fills, e->loop, e->repo, &e->digest, e->size, true, on_fill_changed, e);
}

static void on_stored(void *arg, struct blob *blob, const struct err *err)
{
    struct ensure *e = arg;
    (void)err;
    if (blob) {
        blob_unref(blob);
        finish(e, NULL);
    } else if (e->filled) { /* verified, and about to get its name */
        e->filled = e->waits < WAITS / 2;
        wait_and_look(e);
    } else {
        join(e);
    }
}

static void look(void *arg)
{
    struct ensure *e = arg;
    e->g->env->store->ops->get(e->g->env->store, e->loop, &e->digest, on_stored, e);
}

void blob_ensure(void *registry, struct loop *loop, const char *name, const struct digest *digest,
                 uint64_t size, layer_fetch_fn *fn, void *fn_arg)
{
    struct ensure *e = mem_new(struct ensure);
    struct target *t;
    struct slice account = slice_of(name);
    struct slice repository = slice_cut(&account, '#');
    struct slice upstream = slice_cut(&repository, '/');
    *e = (struct ensure){
        .g = registry, .loop = loop, .digest = *digest, .size = size, .fn = fn, .arg = fn_arg};
    if (target_get(e->g->worker(loop), account.p, repository.p ? repository : SLICE_LIT(""), upstream, &t,
                   &e->err) < 0) {
        loop_post(loop, finish_on_loop, e);
        return;
    }
    e->repo = repo_ref(t->repo);
    target_unref(t);
    look(e);
}
