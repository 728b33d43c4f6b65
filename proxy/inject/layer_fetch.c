// SPDX-License-Identifier: Apache-2.0
#include "proxy/inject/layer_fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/mem.h"
#include "layers/verify.h"

#define CHUNK ((size_t)256 << 10)

struct layer_fetch {
    const struct cache_env *env;
    struct loop *loop;
    struct injection *injection;
    const struct injection_layer *layer;
    uint64_t max_tar_bytes;
    struct blob *stored;          /* being checked again */
    struct blob_partial *partial; /* being written */
    struct layer_verifier *verifier;
    uint64_t written;
    bool failed;
    struct err err;
    layer_fetch_fn *fn;
    void *arg;
};

static void finish(struct layer_fetch *f)
{
    const struct injection_layer *l = f->layer;
    if (f->failed)
        (void)err_wrap(&f->err, "injected layer %s%s%s", l->name ? l->name : "", l->name ? " " : "",
                       l->gzip_digest.s);
    if (f->partial)
        f->env->store->ops->partial_close(f->env->store, f->partial, false);
    blob_unref(f->stored);
    layer_verifier_free(f->verifier);
    f->fn(f->arg, f->failed ? &f->err : NULL);
    injection_unref(f->injection);
    free(f);
}

static void finish_on_loop(void *arg)
{
    finish(arg);
}

static void on_published(void *arg, struct blob *blob, const struct err *err)
{
    struct layer_fetch *f = arg;
    f->failed = blob == NULL;
    if (err)
        f->err = *err;
    blob_unref(blob);
    finish(f);
}

/* After all bytes are in the partial and were checked (or not: f->failed). */
static void written(void *arg)
{
    struct layer_fetch *f = arg;
    if (f->failed)
        finish(f);
    else
        f->env->store->ops->partial_publish(f->env->store, f->loop, steal_ptr(&f->partial), on_published, f);
}

/* Bytes into the partial and through the check. */
static int take(struct layer_fetch *f, const char *p, size_t len)
{
    if (layer_verifier_update(f->verifier, p, len, &f->err) < 0)
        return -1;
    hasher_update(f->partial->hash, p, len);
    while (len) {
        ssize_t n = pwrite(f->partial->fd, p, len, (off_t)f->written);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return err_set_errno(&f->err, ERR_IO, n < 0 ? errno : ENOSPC, "cannot write");
        p += n;
        len -= (size_t)n;
        f->written += (uint64_t)n;
    }
    return 0;
}

/* ---- from the store: check again, in a job ---- */

static int read_through(struct layer_fetch *f, int fd, const char *name, bool into_partial)
{
    cleanup_free char *chunk = mem_alloc(CHUNK);
    for (off_t at = 0;;) {
        ssize_t n = pread(fd, chunk, CHUNK, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(&f->err, ERR_IO, errno, "cannot read %s", name);
        if (n == 0)
            return layer_verifier_finish(f->verifier, &f->err);
        if ((into_partial ? take(f, chunk, (size_t)n)
                          : layer_verifier_update(f->verifier, chunk, (size_t)n, &f->err)) < 0)
            return -1;
        at += n;
    }
}

static void check_stored(void *arg)
{
    struct layer_fetch *f = arg;
    f->failed = read_through(f, f->stored->fd, "the stored layer", false) < 0;
}

/* ---- from a file or the injection's own text, in a job ---- */

static int copy_local(struct layer_fetch *f, enum layer_location where)
{
    if (where == LAYER_FILE) {
        cleanup_close int fd = open(f->layer->location, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return err_set_errno(&f->err, ERR_IO, errno, "cannot open %s", f->layer->location);
        return read_through(f, fd, f->layer->location, true);
    }
    cleanup_buf struct buf bytes = {.max = f->layer->gzip_size + 1};
    if (injection_layer_decode(f->layer, f->layer->gzip_size + 1, &bytes, &f->err) < 0 ||
        take(f, bytes.p, bytes.len) < 0)
        return -1;
    return layer_verifier_finish(f->verifier, &f->err);
}

static void copy_job(void *arg)
{
    struct layer_fetch *f = arg;
    enum layer_location where;
    f->failed = injection_layer_location(f->layer, &where, &f->err) < 0 || copy_local(f, where) < 0;
}

/* ---- from https ---- */

static bool on_head(void *arg, const struct fetch_head *head)
{
    struct layer_fetch *f = arg;
    char shown[300];
    log_redact_url(f->layer->location, shown, sizeof shown);
    if (head->status != 200)
        f->failed = err_set(&f->err, ERR_UPSTREAM, "%s answered %d", shown, head->status);
    else if (head->content_length >= 0 && (uint64_t)head->content_length != f->layer->gzip_size)
        f->failed = err_set(&f->err, ERR_DIGEST_INVALID, "gzipSize: expected %llu, %s has %lld",
                            (unsigned long long)f->layer->gzip_size, shown, (long long)head->content_length);
    return true;
}

static bool on_data(void *arg, const void *p, size_t len)
{
    struct layer_fetch *f = arg;
    if (!f->failed)
        f->failed = take(f, p, len) < 0;
    return true;
}

static void on_done(void *arg, const struct err *err)
{
    struct layer_fetch *f = arg;
    if (!f->failed && err) {
        f->failed = true;
        f->err = *err;
    }
    if (!f->failed)
        f->failed = layer_verifier_finish(f->verifier, &f->err) < 0;
    written(f);
}

static const struct fetch_ops ops = {.on_head = on_head, .on_data = on_data, .on_done = on_done};

/* ---- the way there ---- */

static void on_opened(void *arg, struct blob_partial *p, const struct err *err)
{
    struct layer_fetch *f = arg;
    enum layer_location where;
    f->partial = p;
    if (!p) {
        f->failed = true;
        f->err = *err;
        finish(f);
        return;
    }
    /* Layers are small, and their check begins at the first byte: no resuming. */
    if (p->have > 0) {
        hasher_free(p->hash);
        p->hash = hasher_new(digest_algorithm(&f->layer->gzip_digest));
        p->have = 0;
        if (ftruncate(p->fd, 0) < 0) {
            f->failed = err_set_errno(&f->err, ERR_IO, errno, "cannot truncate");
            finish(f);
            return;
        }
    }
    if (injection_layer_location(f->layer, &where, &f->err) == 0 && where == LAYER_HTTPS)
        (void)fetch_start(f->env->client(f->loop),
                          &(struct fetch_params){.url = f->layer->location, .accept = "*/*"}, &ops, f);
    else
        jobs_submit(f->env->jobs, f->loop, copy_job, written, f);
}

static void open_partial(struct layer_fetch *f)
{
    layer_verifier_free(f->verifier);
    f->verifier = layer_verifier_new(f->layer, f->max_tar_bytes);
    f->env->store->ops->partial_open(f->env->store, f->loop, &f->layer->gzip_digest, on_opened, f);
}

static void on_checked(void *arg)
{
    struct layer_fetch *f = arg;
    if (!f->failed) {
        finish(f);
        return;
    }
    struct digest digest = f->layer->gzip_digest;
    /* If the bytes have the gzip digest, the injection is wrong and fetching them again changes nothing: the
     * second check says so. If not, the stored blob is damaged. */
    log_warn("stored layer does not pass the check", F_S("digest", digest.s), F_ERR(&f->err));
    blob_unref(steal_ptr(&f->stored));
    f->failed = false;
    f->env->store->ops->quarantine(f->env->store, &digest, "injected layer does not pass the check");
    open_partial(f);
}

static void on_stored(void *arg, struct blob *blob, const struct err *err)
{
    struct layer_fetch *f = arg;
    (void)err; /* a store that cannot be read is asked to write next, and says why then */
    if (!blob) {
        open_partial(f);
        return;
    }
    f->stored = blob;
    f->verifier = layer_verifier_new(f->layer, f->max_tar_bytes);
    jobs_submit(f->env->jobs, f->loop, check_stored, on_checked, f);
}

void layer_fetch(const struct cache_env *env, struct loop *loop, struct injection *injection,
                 const struct injection_layer *layer, uint64_t max_tar_bytes, layer_fetch_fn *fn, void *arg)
{
    struct layer_fetch *f = mem_new(struct layer_fetch);
    *f = (struct layer_fetch){.env = env,
                              .loop = loop,
                              .injection = injection_ref(injection),
                              .layer = layer,
                              .max_tar_bytes = max_tar_bytes,
                              .fn = fn,
                              .arg = arg};
    if (layer->gzip_size == 0) {
        f->failed = err_set(&f->err, ERR_INVALID, "gzipSize is 0");
        loop_post(loop, finish_on_loop, f);
        return;
    }
    env->store->ops->get(env->store, loop, &layer->gzip_digest, on_stored, f);
}
