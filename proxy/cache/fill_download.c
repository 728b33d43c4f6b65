// SPDX-License-Identifier: Apache-2.0
/* The side of a fill where its bytes come in: open the partial, ask, write, hash, resume, verify, publish.
 * Who is asked is fill_where.c's. All on the fill's loop. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/log.h"
#include "common/mem.h"
#include "proxy/cache/fill_impl.h"

#define PROGRESS_MIN ((uint64_t)1 << 20) /* a try that brought this much does not count as a failed one */

#define RETRY_AFTER_MAX_S UINT64_C(15)

static const uint32_t pauses_ms[FILL_RETRIES] = {100, 400, 1000, 2500, 5000};

/* ---- ends ---- */

/* The download is over, whichever way: drops its reference. */
static void over(struct fill *f)
{
    metric_sub(f->table->in_flight, 1);
    fill_unref(f);
}

static void fail(struct fill *f, const struct err *err, bool keep_bytes)
{
    const struct cache_env *env = f->table->env;
    f->fetch = NULL;
    f->gathered = 0;
    fill_forget(f); /* before anybody hears of it: who tries again must not find this one */
    pthread_mutex_lock(&f->lock);
    f->phase = PHASE_FAILED;
    f->err = *err;
    fill_wake(f);
    pthread_mutex_unlock(&f->lock);
    if (f->partial)
        env->store->ops->partial_close(env->store, steal_ptr(&f->partial), keep_bytes);
    fill_where_end(f, false);
    metric_inc(f->table->failed);
    log_warn("blob not filled", F_S("blob", f->what), F_U("bytes", f->written), F_ERR(err));
    over(f);
}

static bool flush_or_fail(struct fill *f)
{
    struct err err;
    if (fill_flush(f, &err) == 0)
        return true;
    fail(f, &err, false);
    return false;
}

static void on_published(void *arg, struct blob *blob, const struct err *err)
{
    struct fill *f = arg;
    if (err)
        log_error("blob not kept", F_S("blob", f->what), F_ERR(err));
    metric_inc(blob ? f->table->ok : f->table->not_kept);
    fill_where_end(f, blob != NULL);
    blob_unref(blob);
    fill_forget(f);
    over(f);
}

static void verified(struct fill *f)
{
    const struct cache_env *env = f->table->env;
    bool kept = !fill_window_in_use(&f->window);
    pthread_mutex_lock(&f->lock);
    f->phase = PHASE_VERIFIED;
    f->size_known = true;
    f->size = f->available = f->written;
    fill_wake(f);
    pthread_mutex_unlock(&f->lock);
    log_info("blob filled", F_S("blob", f->what), F_U("bytes", f->size), F_S("kept", kept ? "yes" : "no"),
             F_S("from", f->asked ? fill_where_name(f) : "disk"));
    if (f->asked)
        fill_where_gave(f);
    if (kept) {
        env->store->ops->partial_publish(env->store, f->loop, steal_ptr(&f->partial), on_published, f);
        return;
    }
    env->store->ops->partial_close(env->store, steal_ptr(&f->partial), false);
    fill_where_end(f, false);
    fill_forget(f);
    metric_inc(f->table->not_kept);
    over(f);
}

static bool start_over(struct fill *f, struct err *err);

/* All bytes are there. */
static void finish(struct fill *f)
{
    struct digest found = hasher_digest(f->partial->hash);
    if (digest_eq(&found, &f->digest)) {
        verified(f);
        return;
    }
    struct err err, why;
    (void)err_set(&err, ERR_UPSTREAM, "%s sent %llu bytes of digest %s for %s", fill_where_name(f),
                  (unsigned long long)f->written, found.s, f->what);
    bool misled = fill_where_lied(f);
    if (misled && !fill_window_in_use(&f->window) && start_over(f, &why)) {
        f->all_received = false;
        log_warn("wrong bytes, of which nobody had any yet: once more", F_ERR(&err));
        fill_where_ask(f);
    } else {
        f->misled = misled;
        fail(f, &err, false);
    }
}

/* A fill that will not be kept and that nobody reads ends here. True: f is gone. */
static bool abandon_unread(struct fill *f)
{
    struct err err;
    if (!fill_forget_unread(f))
        return false;
    if (f->fetch)
        fetch_cancel(steal_ptr(&f->fetch));
    loop_timer_cancel(f->loop, &f->retry);
    (void)err_set(&err, ERR_CANCELLED, "nobody reads it any more, and there is no room to keep it");
    fail(f, &err, false);
    return true;
}

/* ---- again ---- */

static void on_retry(void *arg)
{
    struct fill *f = arg;
    if (abandon_unread(f))
        return;
    metric_inc(f->table->resumes);
    fill_where_ask(f);
}

/* The try broke: again with Range, or give up. */
static void broke(struct fill *f, const struct err *err)
{
    f->fetch = NULL;
    if (f->from != FILL_FROM_UPSTREAM && err->code != ERR_CANCELLED) {
        fill_where_failed(f, SOURCE_BROKE, err);
        return;
    }
    if (f->written - f->tried_at >= PROGRESS_MIN)
        f->tries = 0;
    if (f->phase != PHASE_STREAMING || f->tries >= FILL_RETRIES || err->code == ERR_CANCELLED) {
        fail(f, err, true);
        return;
    }
    log_info("blob broke off: asking again", F_S("blob", f->what), F_U("have", f->written),
             F_U("try", f->tries + 1), F_ERR(err));
    uint64_t pause_ms = pauses_ms[f->tries++];
    if (err->retry_after_s)
        pause_ms = err->retry_after_s < RETRY_AFTER_MAX_S ? err->retry_after_s * UINT64_C(1000)
                                                          : RETRY_AFTER_MAX_S * 1000;
    loop_timer_arm(f->loop, &f->retry, pause_ms, on_retry, f);
}

/* What is in the file is of no use: from the beginning. Only while no reader has had a byte of it; the size
 * that one was told stays as it is. */
static bool start_over(struct fill *f, struct err *err)
{
    pthread_mutex_lock(&f->lock);
    bool given = f->given;
    if (!given) {
        f->available = 0;
        f->size_known &= f->told;
    }
    pthread_mutex_unlock(&f->lock);
    if (given || ftruncate(f->partial->fd, 0) < 0) {
        (void)err_set(err, ERR_UPSTREAM, "%s cannot go on with what it sent before: %s", fill_where_name(f),
                      f->what);
        return false;
    }
    hasher_free(f->partial->hash);
    f->partial->hash = hasher_new(digest_algorithm(&f->digest));
    f->partial->have = 0;
    f->written = f->skip = 0;
    return true;
}

/* ---- the answer ---- */

/* How far readers may go. Under f->lock, or before there are readers of it. */
static uint64_t readable(const struct fill *f)
{
    uint64_t hold = f->size > FILL_HOLD_BACK ? f->size - FILL_HOLD_BACK : 0;
    if (!f->size_known)
        return 0;
    return f->written < hold ? f->written : hold;
}

/* Readers have a descriptor of their own: the partial's is closed when it is published. */
static int open_for_readers(struct fill *f, struct err *err)
{
    f->fd = fcntl(f->partial->fd, F_DUPFD_CLOEXEC, 0);
    return f->fd < 0 ? err_set_errno(err, ERR_IO, errno, "cannot open %s for its readers", f->what) : 0;
}

/* Checks everything that can be told from the head. 0: the body is wanted. */
static int check_head(struct fill *f, const struct fetch_head *h, uint64_t *ret_size, bool *ret_size_known,
                      struct err *err)
{
    const char *name = fill_where_name(f);
    if (f->from == FILL_FROM_UPSTREAM &&
        fetch_head_err(h, f->repo->upstream, f->what, ERR_BLOB_UNKNOWN, err) < 0)
        return -1;
    if (h->digest_malformed ||
        (digest_is_set(&h->digest) && slice_eq(digest_algorithm(&h->digest), digest_algorithm(&f->digest)) &&
         !digest_eq(&h->digest, &f->digest)))
        return err_set(err, ERR_UPSTREAM, "%s announced another digest (%s) for %s", name,
                       h->digest_malformed ? "malformed" : h->digest.s, f->what);
    if (h->status == 206) {
        if (!h->has_range || h->range_first != f->written || h->range_total == UINT64_MAX ||
            h->range_last + 1 != h->range_total)
            return err_set(err, ERR_UPSTREAM, "%s answered another range than bytes=%llu- of %s", name,
                           (unsigned long long)f->written, f->what);
        *ret_size = h->range_total;
        *ret_size_known = true;
    } else if (h->status == 200) {
        *ret_size_known = h->content_length >= 0 || f->expected_size;
        *ret_size = h->content_length >= 0 ? (uint64_t)h->content_length : f->expected_size;
    } else {
        return err_set(err, ERR_UPSTREAM, "%s answered %d for %s", name, h->status, f->what);
    }
    if (*ret_size_known && (*ret_size < f->written || (f->size_known && f->size != *ret_size)))
        return err_set(err, ERR_UPSTREAM, "%s now says %llu bytes, it was %llu: %s", name,
                       (unsigned long long)*ret_size,
                       (unsigned long long)(f->size_known ? f->size : f->written), f->what);
    /* Manifest and answer disagree: nobody is told a size, nor gets a byte, before the digest has decided. */
    if (f->expected_size && *ret_size != f->expected_size && !f->size_known)
        *ret_size_known = false;
    return 0;
}

static bool on_head(void *arg, const struct fetch_head *h)
{
    struct fill *f = arg;
    struct err err;
    uint64_t size = 0;
    bool size_known = false;
    f->where.answered = true;
    if (check_head(f, h, &size, &size_known, &err) < 0) {
        /* Bytes from an earlier try that this upstream does not go on with: forget them and ask for all. */
        bool useless = f->written > 0 && f->phase != PHASE_STREAMING &&
                       (h->status == 416 || h->status == 206 || h->status == 200);
        f->fetch = NULL;
        if (f->from != FILL_FROM_UPSTREAM)
            fill_where_failed(f, h->status == 404 ? SOURCE_MISSING : SOURCE_BROKE, &err);
        else if (useless && start_over(f, &err))
            fill_where_ask(f);
        else if (h->status >= 500 || h->status == 429 || h->status == 408 || h->status == 401)
            broke(f, &err); /* a 401 midway: the token or the presigned address ran out */
        else
            fail(f, &err, f->phase == PHASE_STREAMING || h->status >= 400);
        return false;
    }
    f->skip = h->status == 200 ? f->written : 0;
    if (f->phase != PHASE_STREAMING && open_for_readers(f, &err) < 0) {
        fail(f, &err, true);
        return false;
    }
    pthread_mutex_lock(&f->lock);
    f->phase = PHASE_STREAMING;
    if (size_known) { /* an answer to a Range that does not say it takes nothing back */
        f->size_known = true;
        f->size = size;
    }
    f->available = readable(f);
    fill_wake(f);
    pthread_mutex_unlock(&f->lock);
    return true;
}

/* ---- the body ---- */

/* Once per turn of the loop in which bytes came: they go to the file together, and readers get word. */
static void notify(void *arg)
{
    struct fill *f = arg;
    struct err err;
    f->notify_posted = false;
    if (f->partial && fill_flush(f, &err) < 0) {
        if (f->fetch)
            fetch_cancel(steal_ptr(&f->fetch));
        loop_timer_cancel(f->loop, &f->retry);
        fail(f, &err, false);
    } else if (f->partial) {
        pthread_mutex_lock(&f->lock);
        f->available = readable(f);
        fill_wake(f);
        pthread_mutex_unlock(&f->lock);
    }
    fill_unref(f);
}

static void post_notify(struct fill *f)
{
    if (f->notify_posted)
        return;
    f->notify_posted = true;
    fill_ref(f);
    loop_post(f->loop, notify, f);
}

static bool on_data(void *arg, const void *p, size_t len)
{
    struct fill *f = arg;
    struct err err;
    size_t skipped = len < f->skip ? len : (size_t)f->skip; /* a 200 where a 206 was asked for */
    f->skip -= skipped;
    p = (const char *)p + skipped;
    len -= skipped;
    if (len == 0)
        return true;
    if (f->size_known && len > f->size - fill_received(f)) {
        (void)err_set(&err, ERR_UPSTREAM, "%s sent more than the %llu bytes of %s", fill_where_name(f),
                      (unsigned long long)f->size, f->what);
        f->fetch = NULL;
        if (f->from == FILL_FROM_UPSTREAM)
            fail(f, &err, false);
        else if (flush_or_fail(f))
            fill_where_failed(f, SOURCE_BROKE, &err);
        return false;
    }
    hasher_update(f->partial->hash, p, len);
    if (f->from == FILL_FROM_UPSTREAM)
        metric_add(f->table->bytes, len);
    metric_add(f->table->from_bytes[f->from], len);
    f->where.bytes[f->from] += len;
    if (fill_gather(f, p, len, &err) < 0) {
        fail(f, &err, false);
        return false;
    }
    post_notify(f);
    return true;
}

static void on_done(void *arg, const struct err *err)
{
    struct fill *f = arg;
    struct err e;
    f->fetch = NULL;
    if (fill_flush(f, &e) < 0) {
        fail(f, &e, false);
    } else if (err) {
        e = *err;
        (void)err_wrap(&e, "%s", f->what);
        broke(f, &e);
    } else if (f->size_known && f->written < f->size) {
        (void)err_set(&e, ERR_UPSTREAM, "%s: the answer ended after %llu of %llu bytes of %s",
                      fill_where_name(f), (unsigned long long)f->written, (unsigned long long)f->size,
                      f->what);
        broke(f, &e);
    } else {
        f->all_received = true;
        if (!f->making_room) /* else there may be a place for it in a moment */
            finish(f);
    }
}

void fill_download_room(struct fill *f)
{
    if (f->all_received && f->partial)
        finish(f);
    else if (!abandon_unread(f) && f->fetch)
        fetch_resume(f->fetch);
}

static const struct fetch_ops ops = {.on_head = on_head, .on_data = on_data, .on_done = on_done};

void fill_download_from(struct fill *f, enum fill_from from, struct fetch_params *params)
{
    pthread_mutex_lock(&f->lock);
    f->from = from;
    f->asked = true;
    if (from == FILL_FROM_PEER)
        fill_refuse_peers(f);
    pthread_mutex_unlock(&f->lock);
    f->tried_at = f->written;
    params->range_from = f->written;
    f->fetch = fetch_start(f->table->env->client(f->loop), params, &ops, f);
    if (f->paused) /* the window was full when the last try broke, and still is */
        fetch_pause(f->fetch);
}

bool fill_download_stop(struct fill *f)
{
    if (f->fetch)
        fetch_cancel(steal_ptr(&f->fetch));
    return flush_or_fail(f);
}

static void on_opened(void *arg, struct blob_partial *p, const struct err *err)
{
    struct fill *f = arg;
    struct err e;
    if (!p) {
        fail(f, err, false);
        return;
    }
    f->partial = p;
    f->written = p->have;
    if (p->have > 0) {
        struct digest found = hasher_digest(p->hash);
        bool is_whole = digest_eq(&found, &f->digest); /* the process ended before it was published */
        if (is_whole && !f->may_read) { /* and no upstream would be asked whether it may be read */
            if (!start_over(f, &e)) {
                fail(f, &e, false);
                return;
            }
        } else if (is_whole) {
            if (open_for_readers(f, &e) < 0)
                fail(f, &e, true);
            else
                verified(f);
            return;
        }
        if (f->expected_size && p->have >= f->expected_size && !start_over(f, &e)) {
            fail(f, &e, false);
            return;
        }
    }
    pthread_mutex_lock(&f->lock);
    f->phase = PHASE_ASKING;
    pthread_mutex_unlock(&f->lock);
    fill_where_ask(f);
}

/* The fill before this one ended between its caller's look into the store and now: a fill leaves the table
 * only after the store has its blob. */
static bool stored_meanwhile(struct fill *f)
{
    const struct cache_env *env = f->table->env;
    struct blob *blob = f->may_read ? env->store->ops->try(env->store, &f->digest) : NULL;
    int fd = blob ? fcntl(blob->fd, F_DUPFD_CLOEXEC, 0) : -1;
    if (fd >= 0) {
        pthread_mutex_lock(&f->lock);
        f->fd = fd;
        f->phase = PHASE_VERIFIED;
        f->size_known = true;
        f->size = f->available = blob->size;
        fill_wake(f);
        pthread_mutex_unlock(&f->lock);
        fill_forget(f);
        over(f);
    }
    blob_unref(blob);
    return fd >= 0;
}

void fill_download_begin(struct fill *f)
{
    const struct cache_env *env = f->table->env;
    metric_add(f->table->in_flight, 1);
    if (stored_meanwhile(f))
        return;
    env->store->ops->partial_open(env->store, f->loop, &f->digest, on_opened, f);
}

static void go_on(void *arg)
{
    struct fill *f = arg;
    if (!abandon_unread(f) && f->fetch)
        fetch_resume(f->fetch);
    fill_unref(f);
}

void fill_download_go_on(struct fill *f)
{
    fill_ref(f);
    loop_post(f->loop, go_on, f);
}
