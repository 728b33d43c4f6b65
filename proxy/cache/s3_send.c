// SPDX-License-Identifier: Apache-2.0
/*
 * Sending, on threads that may block. A blob is hashed on its way out, the parts too that S3 has already:
 * what the disk spoiled is never completed there. A blob is whole in S3 or not there, since a PUT and the
 * completion of an upload are.
 */
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fs.h"
#include "common/log.h"
#include "common/mem.h"
#include "proxy/cache/s3_impl.h"

#define ANEW_AFTER 4 /* tries */

enum outcome { SENT, THERE, GONE, FAILED };

/* Says nothing of whether S3 is well: it refused us, or the trouble is our own disk's. */
static bool is_ours(const struct err *err)
{
    return err->code == ERR_UNAUTHORIZED || err->code == ERR_DENIED || err->code == ERR_INVALID ||
           err->code == ERR_INTERNAL;
}

/* ---- the blob on disk ---- */

struct got {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool done;
    struct blob *blob;
};

static void on_got(void *arg, struct blob *blob, const struct err *err)
{
    struct got *g = arg;
    (void)err; /* what cannot be opened cannot be sent */
    pthread_mutex_lock(&g->lock);
    g->blob = blob;
    g->done = true;
    pthread_cond_signal(&g->wake);
    pthread_mutex_unlock(&g->lock);
}

/* A reference, NULL: it is not there any more. */
static struct blob *get_blob(struct s3_blobs *s, const struct digest *digest)
{
    struct got g = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};
    s->store->ops->get(s->store, NULL, digest, on_got, &g);
    pthread_mutex_lock(&g.lock);
    while (!g.done)
        pthread_cond_wait(&g.wake, &g.lock);
    pthread_mutex_unlock(&g.lock);
    return g.blob;
}

static int read_part(const struct blob *blob, void *p, size_t len, uint64_t offset, struct hasher *hash,
                     struct err *err)
{
    ssize_t n = fs_pread_all(blob->fd, p, len, offset);
    if (n != (ssize_t)len)
        return err_set(err, ERR_INTERNAL, "%s cannot be read from disk", blob->digest.s);
    hasher_update(hash, p, len);
    return 0;
}

static int check_hash(struct s3_blobs *s, const struct blob *blob, const struct hasher *hash, struct err *err)
{
    struct digest found = hasher_digest(hash);
    if (digest_eq(&found, &blob->digest))
        return 0;
    s->store->ops->quarantine(s->store, &blob->digest, "its bytes have another digest");
    return err_set(err, ERR_INTERNAL, "%s has other bytes on disk", blob->digest.s);
}

/* ---- sending ---- */

static int send_whole(struct s3_blobs *s, const char *key, const struct blob *blob, struct err *err)
{
    size_t len = (size_t)blob->size;
    cleanup_free char *bytes = mem_alloc(len ? len : 1);
    cleanup_hasher struct hasher *hash = hasher_new(digest_algorithm(&blob->digest));
    if (read_part(blob, bytes, len, 0, hash, err) < 0 || check_hash(s, blob, hash, err) < 0)
        return -1;
    struct iovec iov = {bytes, len};
    if (s3_put(s->s3, s->url.bucket, key, &iov, 1, NULL, s->cancel, NULL, err) < 0)
        return -1;
    metric_add(s->sent_bytes, len);
    return 0;
}

static uint64_t part_bytes_for(uint64_t size)
{
    uint64_t mib = (uint64_t)1 << 20, least = (size + S3_PARTS_MAX - 1) / S3_PARTS_MAX;
    uint64_t rounded = (least + mib - 1) / mib * mib;
    return rounded > S3_PART ? rounded : S3_PART;
}

static void forget_upload(struct s3_waiting *w)
{
    free(w->upload_id);
    w->upload_id = NULL;
    w->part_bytes = 0;
}

/* The one that was begun before, or another. */
static int begin(struct s3_blobs *s, const char *key, struct s3_waiting *w, uint64_t size,
                 struct s3_upload **ret, struct err *err)
{
    if (w->upload_id) {
        if (s3_upload_resume(s->s3, s->url.bucket, key, w->upload_id, s->cancel, ret, err) == 0)
            return 0;
        if (err->code != ERR_NOT_FOUND)
            return -1;
        forget_upload(w);
    }
    if (s3_upload_begin(s->s3, s->url.bucket, key, NULL, s->cancel, ret, err) < 0)
        return -1;
    w->upload_id = mem_strdup(s3_upload_id(*ret));
    w->part_bytes = part_bytes_for(size);
    struct err unwritten;
    if (s3_queue_mark(s, w, &unwritten) < 0)
        log_warn("upload to S3 begins anew after a restart", F_S("digest", w->digest.s), F_ERR(&unwritten));
    return 0;
}

static int send_parts(struct s3_blobs *s, struct s3_upload *u, const struct blob *blob, uint64_t part_bytes,
                      struct err *err)
{
    cleanup_free char *bytes = mem_alloc((size_t)part_bytes);
    cleanup_hasher struct hasher *hash = hasher_new(digest_algorithm(&blob->digest));
    unsigned number = 1;
    for (uint64_t at = 0; at < blob->size; ++number) {
        size_t len = (size_t)(blob->size - at < part_bytes ? blob->size - at : part_bytes);
        struct iovec iov = {bytes, len};
        if (cancel_fired(s->cancel))
            return err_set(err, ERR_CANCELLED, "the proxy is shutting down");
        if (read_part(blob, bytes, len, at, hash, err) < 0)
            return -1;
        if (!s3_upload_has_part(u, number, len)) {
            if (s3_upload_part(u, number, &iov, 1, s->cancel, err) < 0)
                return -1;
            metric_add(s->sent_bytes, len);
        }
        at += len;
    }
    return check_hash(s, blob, hash, err);
}

static int send_long(struct s3_blobs *s, const char *key, struct s3_waiting *w, const struct blob *blob,
                     struct err *err)
{
    struct s3_upload *u;
    if (begin(s, key, w, blob->size, &u, err) < 0)
        return -1;
    int rc = send_parts(s, u, blob, w->part_bytes, err);
    if (rc == 0)
        rc = s3_upload_complete(u, s->cancel, NULL, err);
    /* What broke off or was stopped goes on; what S3 does not take, again and again, is begun anew. */
    if (rc < 0 && err->code == ERR_IO && w->tries >= ANEW_AFTER && !cancel_fired(s->cancel)) {
        (void)s3_upload_abort(u, s->cancel, NULL);
        forget_upload(w);
        (void)s3_queue_mark(s, w, NULL);
    }
    s3_upload_free(u);
    return rc;
}

/* Its object is there; made young if it is old, since whoever cleans up goes by age. */
static void refresh(struct s3_blobs *s, const char *key, struct s3_object *o)
{
    struct s3_meta none = {0};
    if (clock_wall_ms() - o->mtime_ms < S3_REFRESH_MS)
        return;
    free(o->key);
    o->key = mem_strdup(key);
    (void)s3_copy(s->s3, s->url.bucket, o, s->url.bucket, key, &none, s->cancel, NULL, NULL);
}

/* Of an upload that will not be completed, the parts would be paid for until somebody cleans up. */
static void drop_upload(struct s3_blobs *s, const char *key, struct s3_waiting *w)
{
    if (w->upload_id)
        (void)s3_upload_drop(s->s3, s->url.bucket, key, w->upload_id, s->cancel, NULL);
    forget_upload(w);
}

/* What is to be done, as it was when it was taken up. */
struct task {
    bool send, wrong;
};

static enum outcome work(struct s3_blobs *s, struct s3_waiting *w, struct task task, struct err *err)
{
    char key[S3_KEY_CAP];
    cleanup_s3_object struct s3_object object = {0};
    s3_blobs_key(s, &w->digest, key);
    if (task.wrong && s3_delete(s->s3, s->url.bucket, key, s->cancel, err) < 0)
        return FAILED;
    if (task.wrong)
        log_warn("wrong object deleted from S3", F_S("bucket", s->url.bucket), F_S("key", key));
    struct blob *blob = task.send ? get_blob(s, &w->digest) : NULL;
    int rc = s3_head(s->s3, s->url.bucket, key, s->cancel, &object, NULL, err);
    bool there = rc == 0 && (!blob || object.size == blob->size);
    if (there || (rc < 0 && err->code != ERR_NOT_FOUND)) {
        if (there) {
            refresh(s, key, &object);
            drop_upload(s, key, w); /* another replica was faster */
        }
        blob_unref(blob);
        return there ? THERE : FAILED;
    }
    if (!blob) {
        drop_upload(s, key, w);
        return GONE;
    }
    rc = blob->size <= S3_SMALL ? send_whole(s, key, blob, err) : send_long(s, key, w, blob, err);
    blob_unref(blob);
    return rc == 0 ? SENT : FAILED;
}

/* True: there is no more to do for it. */
static bool handle(struct s3_blobs *s, struct s3_waiting *w, struct task task)
{
    struct err err = {0};
    enum outcome outcome = work(s, w, task, &err);
    switch (outcome) {
    case SENT:
    case THERE:
        metric_inc(outcome == SENT ? s->sent : s->there);
        s3_known_add(s, &w->digest);
        s3_blobs_worked(s);
        if (outcome == SENT)
            log_info("blob sent to S3", F_S("digest", w->digest.s));
        return true;
    case GONE:
        if (task.send)
            metric_inc(s->gone);
        s3_known_drop(s, &w->digest);
        s3_blobs_worked(s);
        return true;
    case FAILED:
        break;
    }
    if (err.code == ERR_CANCELLED)
        return false;
    metric_inc(s->send_failed);
    log_warn("blob not sent to S3 yet", F_S("digest", w->digest.s), F_U("tries", w->tries + 1), F_ERR(&err));
    if (!is_ours(&err))
        s3_blobs_failed(s);
    return false;
}

static struct s3_waiting *next(struct s3_blobs *s)
{
    uint64_t wait;
    struct s3_waiting *w = NULL;
    while (!s->stopping && !(w = s3_queue_take(s, &wait))) {
        struct timespec until;
        if (wait == UINT64_MAX) {
            pthread_cond_wait(&s->wake, &s->lock);
            continue;
        }
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += (time_t)(wait / 1000);
        until.tv_nsec += (long)(wait % 1000 + 1) * 1000000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_nsec -= 1000000000;
            ++until.tv_sec;
        }
        (void)pthread_cond_timedwait(&s->wake, &s->lock, &until);
    }
    return w;
}

void *s3_send_thread(void *arg)
{
    struct s3_blobs *s = arg;
    struct s3_waiting *w;
    pthread_mutex_lock(&s->lock);
    while ((w = next(s)) != NULL) {
        struct task task = {w->send, w->wrong};
        w->wrong = w->again = false;
        pthread_mutex_unlock(&s->lock);
        bool done = handle(s, w, task);
        pthread_mutex_lock(&s->lock);
        w->wrong |= task.wrong && !done;
        if (done)
            s3_queue_done(s, w);
        else
            s3_queue_again(s, w);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}
