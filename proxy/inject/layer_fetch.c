// SPDX-License-Identifier: Apache-2.0
#include "proxy/cache/s3_blobs.h"
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
#define STEP                                                                                                 \
    ((size_t)16 << 10) /* of a gzip, between two looks at whether to go on: it may unpack a thousandfold */

#define INLINE_MAX ((uint64_t)64 << 20) /* of a layer that stands in the injection's own text */

struct layer_fetch {
    const struct cache_env *env;
    const struct layer_sources *sources;
    struct loop *loop;
    struct injection *injection;
    const struct injection_layer *layer;
    uint64_t max_tar_bytes;
    bool prove, asked;            /* asked: its image's repository has been, once */
    struct blob *stored;          /* being checked again */
    struct blob_partial *partial; /* being written; NULL while proving what is stored already */
    struct layer_verifier *verifier;
    struct hasher *hash; /* of what is fetched while proving */
    uint64_t written, fetched;
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
    hasher_free(f->hash);
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
    if (blob)
        s3_blobs_keep(f->env->s3, &blob->digest);
    blob_unref(blob);
    finish(f);
}

/* After all bytes are in the partial and were checked (or not: f->failed). */
static void written(void *arg)
{
    struct layer_fetch *f = arg;
    if (f->failed || !f->partial)
        finish(f);
    else
        f->env->store->ops->partial_publish(f->env->store, f->loop, steal_ptr(&f->partial), on_published, f);
}

static int write_partial(struct layer_fetch *f, const char *p, size_t len)
{
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

static int check(struct layer_fetch *f, const char *p, size_t len)
{
    for (size_t n; len; p += n, len -= n) {
        n = len < STEP ? len : STEP;
        if (*f->sources->stopping)
            return err_set(&f->err, ERR_CANCELLED, "the proxy is shutting down");
        if (layer_verifier_update(f->verifier, p, n, &f->err) < 0)
            return -1;
    }
    return 0;
}

/* Bytes through the check, and into the partial if there is one. */
static int take(struct layer_fetch *f, const char *p, size_t len)
{
    if (check(f, p, len) < 0)
        return -1;
    return f->partial ? write_partial(f, p, len) : 0;
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
        if ((into_partial ? take(f, chunk, (size_t)n) : check(f, chunk, (size_t)n)) < 0)
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
    if (f->layer->gzip_size > INLINE_MAX)
        return err_set(&f->err, ERR_SIZE_INVALID,
                       "gzipSize is %llu: a layer that stands in the text itself may have %llu bytes",
                       (unsigned long long)f->layer->gzip_size, (unsigned long long)INLINE_MAX);
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

/* ---- from https: on the loop, where nothing is unpacked; then the check, in a job ---- */

static void give_up(struct layer_fetch *f)
{
    f->failed = true;
    loop_post(f->loop, written, f);
}

static bool on_head(void *arg, const struct fetch_head *head)
{
    struct layer_fetch *f = arg;
    char shown[300];
    log_redact_url(f->layer->location, shown, sizeof shown);
    if (head->status != 200) /* what its server says no to is a wrong location, not a broken server */
        (void)err_set(&f->err, head->status < 500 ? ERR_INVALID : ERR_UPSTREAM, "%s answered %d", shown,
                      head->status);
    else if (head->content_length >= 0 && (uint64_t)head->content_length != f->layer->gzip_size)
        (void)err_set(&f->err, ERR_DIGEST_INVALID, "gzipSize %llu expected, %s has %lld",
                      (unsigned long long)f->layer->gzip_size, shown, (long long)head->content_length);
    else
        return true;
    give_up(f);
    return false;
}

static bool on_data(void *arg, const void *p, size_t len)
{
    struct layer_fetch *f = arg;
    f->fetched += len;
    if (f->fetched > f->layer->gzip_size)
        (void)err_set(&f->err, ERR_SIZE_INVALID, "gzipSize %llu expected, found more",
                      (unsigned long long)f->layer->gzip_size);
    else if (!f->partial || write_partial(f, p, len) == 0) {
        if (!f->partial)
            hasher_update(f->hash, p, len);
        return true;
    }
    give_up(f);
    return false;
}

/* Are these the bytes that are stored? */
static int compare_fetched(struct layer_fetch *f)
{
    struct digest found = hasher_digest(f->hash);
    if (f->fetched != f->layer->gzip_size)
        return err_set(&f->err, ERR_DIGEST_INVALID, "gzipSize %llu expected, found %llu",
                       (unsigned long long)f->layer->gzip_size, (unsigned long long)f->fetched);
    if (!digest_eq(&found, &f->layer->gzip_digest))
        return err_set(&f->err, ERR_DIGEST_INVALID, "gzipDigest %s expected, found %s",
                       f->layer->gzip_digest.s, found.s);
    return 0;
}

static void check_fetched(void *arg)
{
    struct layer_fetch *f = arg;
    f->failed = f->partial ? read_through(f, f->partial->fd, "the layer", false) < 0
                           : compare_fetched(f) < 0 || read_through(f, f->stored->fd, "the layer", false) < 0;
}

static void on_done(void *arg, const struct err *err)
{
    struct layer_fetch *f = arg;
    if (err) {
        f->failed = true;
        f->err = *err;
        written(f);
    } else {
        jobs_submit(f->sources->jobs, f->loop, check_fetched, written, f);
    }
}

static const struct fetch_ops ops = {.on_head = on_head, .on_data = on_data, .on_done = on_done};

/* ---- the way there ---- */

static void look(struct layer_fetch *f);

static bool host_is_allowed(const struct layer_fetch *f)
{
    struct slice rest = slice_of(f->layer->location + strlen("https://"));
    const char *end = strpbrk(rest.p, "/?#");
    struct slice host = {rest.p, end ? (size_t)(end - rest.p) : rest.len};
    const char *at = memrchr(host.p, '@', host.len);
    if (at)
        host = (struct slice){at + 1, host.len - (size_t)(at + 1 - host.p)};
    const char *bracket = memchr(host.p, ']', host.len), *colon = memrchr(host.p, ':', host.len);
    if (colon && (!bracket || colon > bracket))
        host.len = (size_t)(colon - host.p);
    for (const char *const *h = f->sources->hosts; h && *h; ++h)
        if (slice_ieq_str(host, *h))
            return true;
    return false;
}

/* The bytes are read from their location: into the partial, or only looked at. */
static void read_location(struct layer_fetch *f)
{
    enum layer_location where;
    if (!f->partial)
        f->hash = hasher_new(digest_algorithm(&f->layer->gzip_digest));
    if (injection_layer_location(f->layer, &where, &f->err) == 0 && where == LAYER_HTTPS)
        (void)fetch_start(f->env->client(f->loop),
                          &(struct fetch_params){.url = f->layer->location,
                                                 .accept = "*/*",
                                                 .private_addresses = host_is_allowed(f),
                                                 .ca_file = f->sources->ca_file},
                          &ops, f);
    else
        jobs_submit(f->sources->jobs, f->loop, copy_job, written, f);
}

static void on_opened(void *arg, struct blob_partial *p, const struct err *err)
{
    struct layer_fetch *f = arg;
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
    read_location(f);
}

static void on_image_blob(void *arg, const struct err *err)
{
    struct layer_fetch *f = arg;
    if (err) {
        f->failed = true;
        f->err = *err;
        finish(f);
        return;
    }
    look(f);
}

static void open_partial(struct layer_fetch *f)
{
    enum layer_location where = LAYER_FILE;
    (void)injection_layer_location(f->layer, &where, NULL);
    if (where == LAYER_IMAGE) {
        if (f->asked) {
            f->failed = err_set(&f->err, ERR_IO, "gone from the store as soon as it was there");
            loop_post(f->loop, finish_on_loop, f);
            return;
        }
        f->asked = true;
        f->sources->image_blob(f->sources->arg, f->loop, f->layer->location + strlen("image:"),
                               &f->layer->gzip_digest, f->layer->gzip_size, on_image_blob, f);
        return;
    }
    layer_verifier_free(f->verifier);
    f->verifier = layer_verifier_new(f->layer, f->max_tar_bytes);
    f->env->store->ops->partial_open(f->env->store, f->loop, &f->layer->gzip_digest, on_opened, f);
}

static void on_checked(void *arg)
{
    struct layer_fetch *f = arg;
    if (!f->failed || f->err.code == ERR_CANCELLED) {
        finish(f);
        return;
    }
    struct digest digest = f->layer->gzip_digest;
    if (f->asked) { /* just came from its repository, which verifies: the claim is what is wrong */
        finish(f);
        return;
    }
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
    enum layer_location where = LAYER_FILE;
    (void)injection_layer_location(f->layer, &where, NULL);
    f->stored = blob;
    layer_verifier_free(f->verifier);
    f->verifier = layer_verifier_new(f->layer, f->max_tar_bytes);
    if (f->prove && where != LAYER_IMAGE)
        read_location(f);
    else
        jobs_submit(f->sources->jobs, f->loop, check_stored, on_checked, f);
}

static void look(struct layer_fetch *f)
{
    f->env->store->ops->get(f->env->store, f->loop, &f->layer->gzip_digest, on_stored, f);
}

void layer_fetch(const struct layer_fetch_params *params, struct loop *loop, layer_fetch_fn *fn, void *arg)
{
    struct layer_fetch *f = mem_new(struct layer_fetch);
    *f = (struct layer_fetch){.env = params->env,
                              .sources = params->sources,
                              .loop = loop,
                              .injection = injection_ref(params->injection),
                              .layer = params->layer,
                              .max_tar_bytes = params->max_tar_bytes,
                              .prove = params->prove,
                              .fn = fn,
                              .arg = arg};
    if (f->layer->gzip_size == 0) {
        f->failed = err_set(&f->err, ERR_INVALID, "gzipSize is 0");
        loop_post(loop, finish_on_loop, f);
        return;
    }
    look(f);
}
