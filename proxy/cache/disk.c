// SPDX-License-Identifier: Apache-2.0
#include "proxy/cache/disk.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fs.h"
#include "common/log.h"
#include "common/mem.h"
#include "proxy/cache/disk_impl.h"

/* ---- operations ---- */

struct disk_op *disk_op_new(struct disk *d, struct loop *loop, const struct digest *digest,
                            void (*run)(struct disk_op *), loop_fn *answer, void *arg)
{
    struct disk_op *op = mem_new(struct disk_op);
    op->disk = d;
    op->loop = loop;
    op->run = run;
    op->answer = answer;
    op->arg = arg;
    if (digest) {
        assert(digest_is_set(digest));
        op->digest = *digest;
    }
    return op;
}

static void run_op(void *arg)
{
    struct disk_op *op = arg;
    struct disk *d = op->disk;
    op->run(op);
    pthread_mutex_lock(&d->lock);
    if (--d->running == 0)
        pthread_cond_broadcast(&d->idle);
    pthread_mutex_unlock(&d->lock); /* from here on close() may be through: the answer works on op alone */
}

static void run_nothing(void *arg)
{
    (void)arg;
}

void disk_op_submit(struct disk_op *op)
{
    pthread_mutex_lock(&op->disk->lock);
    ++op->disk->running;
    pthread_mutex_unlock(&op->disk->lock);
    (op->behind ? jobs_submit_behind : jobs_submit)(op->disk->jobs, op->loop, run_op, op->answer, op);
}

void disk_op_answer(struct disk_op *op)
{
    if (op->loop)
        loop_post(op->loop, op->answer, op);
    else
        jobs_submit(op->disk->jobs, NULL, run_nothing, op->answer, op);
}

void disk_op_free(void *arg)
{
    struct disk_op *op = arg;
    blob_unref(op->blob);
    free(op->bytes);
    free(op);
}

/* ---- paths, quarantine, pins ---- */

char *disk_blob_path(const char *dir, const struct digest *d)
{
    const char *hex = digest_hex(d);
    return mem_printf("%s/blobs/%.6s/%.2s/%s", dir, d->s, hex, hex);
}

int64_t disk_quarantine_file(const char *dir, const struct digest *d, const char *why)
{
    cleanup_free char *from = disk_blob_path(dir, d);
    cleanup_free char *to = mem_printf("%s/quarantine/%s.%" PRId64, dir, digest_hex(d), clock_wall_ms());
    struct stat st;
    if (stat(from, &st) < 0)
        return -1;
    if (rename(from, to) < 0) {
        /* It must not be served in any case. */
        log_error("a damaged blob cannot be moved to quarantine: removing it", F_S("digest", d->s),
                  F_S("why", why), F_S("error", strerrordesc_np(errno)));
        return unlink(from) == 0 ? (int64_t)st.st_size : -1;
    }
    /* The time of its last use says nothing there; how long it is kept counts from now. */
    (void)utimensat(AT_FDCWD, to, NULL, 0);
    log_error("a damaged blob is in quarantine", F_S("digest", d->s), F_S("why", why), F_S("file", to));
    return (int64_t)st.st_size;
}

void disk_quarantine_now(struct disk *d, const struct digest *digest, const char *why)
{
    bool begun = disk_count_begin(d);
    int64_t size = disk_quarantine_file(d->dir, digest, why);
    disk_count_end(d, begun, digest, size > 0 ? -size : 0, size >= 0 ? -1 : 0);
    if (size >= 0)
        (void)atomic_fetch_add(&d->base.quarantined, 1);
    disk_table_drop(d->table, digest);
}

static void disk_pin_set(struct blob_store *s, const struct digest *digest, bool on)
{
    struct disk *d = (struct disk *)s;
    struct disk_pin *pin;
    pthread_mutex_lock(&d->lock);
    HASH_FIND(hh, d->pins, digest->s, strlen(digest->s), pin);
    if (on && !pin) {
        pin = mem_new(struct disk_pin);
        pin->digest = *digest;
        HASH_ADD_KEYPTR(hh, d->pins, pin->digest.s, strlen(pin->digest.s), pin);
    }
    assert(on || pin);
    pin->count += on ? 1 : -1U;
    if (pin->count == 0) {
        HASH_DELETE(hh, d->pins, pin);
        free(pin);
    }
    pthread_mutex_unlock(&d->lock);
}

bool disk_pinned(struct disk *d, const struct digest *digest)
{
    struct disk_pin *pin;
    pthread_mutex_lock(&d->lock);
    HASH_FIND(hh, d->pins, digest->s, strlen(digest->s), pin);
    pthread_mutex_unlock(&d->lock);
    return pin != NULL;
}

/* ---- open and close ---- */

static void free_all(struct disk *d)
{
    struct disk_pin *pin, *next_pin;
    struct disk_claim *claim, *next_claim;
    /* The analyzer does not see that uthash moves its head on: nothing freed is looked at. */
    HASH_ITER (hh, d->pins, pin, next_pin) {
        HASH_DELETE(hh, d->pins, pin); // NOLINT(clang-analyzer-unix.Malloc)
        free(pin);
    }
    HASH_ITER (hh, d->claims, claim, next_claim) {
        HASH_DELETE(hh, d->claims, claim); // NOLINT(clang-analyzer-unix.Malloc)
        free(claim);
    }
    disk_table_free(d->table);
    pthread_mutex_destroy(&d->lock);
    pthread_mutex_destroy(&d->room_lock);
    pthread_mutex_destroy(&d->count_lock);
    pthread_cond_destroy(&d->idle);
    pthread_cond_destroy(&d->room_wake);
    free(d->dir);
    free(d);
}

static void disk_close(struct blob_store *s)
{
    struct disk *d = (struct disk *)s;
    disk_room_stop(d);
    pthread_mutex_lock(&d->lock);
    while (d->running)
        pthread_cond_wait(&d->idle, &d->lock);
    pthread_mutex_unlock(&d->lock);
    free_all(d);
}

static const struct blob_store_ops disk_ops = {
    .try = disk_try,
    .get = disk_get,
    .read = disk_read,
    .put = disk_put,
    .partial_open = disk_partial_open,
    .partial_publish = disk_partial_publish,
    .partial_close = disk_partial_close,
    .quarantine = disk_quarantine,
    .pin = disk_pin_set,
    .check = disk_check,
    .make_room = disk_make_room,
    .close = disk_close,
};

static int make_folders(struct disk *d, struct err *err)
{
    static const char *const folders[] = {"blobs/sha256", "blobs/sha512", "partial", "quarantine"};
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; ++i) {
        cleanup_free char *path = mem_printf("%s/%s", d->dir, folders[i]);
        if (fs_mkdirs(path, 0750, err) < 0)
            return -1;
    }
    cleanup_free char *blobs = mem_printf("%s/blobs", d->dir);
    if (fs_sync_dir(blobs, err) < 0 || fs_sync_dir(d->dir, err) < 0)
        return -1;
    disk_temp_sweep(d->dir);
    return disk_probe(d, err);
}

int disk_store_open(const struct disk_options *o, struct jobs *jobs, struct blob_store **ret, struct err *err)
{
    struct err why = {0};
    struct disk *d = mem_new(struct disk);
    d->base.ops = &disk_ops;
    d->jobs = jobs;
    d->dir = mem_strdup(o->dir);
    d->table = disk_table_new(o->open_blobs ? o->open_blobs : 1024);
    d->room_tail = &d->room_waiting;
    pthread_mutex_init(&d->lock, NULL);
    pthread_mutex_init(&d->room_lock, NULL);
    pthread_mutex_init(&d->count_lock, NULL);
    pthread_cond_init(&d->idle, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&d->room_wake, &monotonic);
    pthread_condattr_destroy(&monotonic);

    uint64_t total = 0, available = 0;
    int rc = make_folders(d, &why);
    if (rc < 0 && why.code == ERR_NO_SPACE) {
        /* What is there can be served, and eviction makes room. */
        log_warn("the data folder is full", F_S("folder", d->dir), F_ERR(&why));
        rc = 0;
    }
    if (rc == 0)
        rc = fs_space(d->dir, &total, &available, &why);
    if (rc < 0) {
        free_all(d);
        return err_set(err, why.code,
                       "%s (rac-proxy must be able to write there: give its user that right, or "
                       "choose another folder with --data)",
                       why.msg);
    }
    uint64_t percent = o->limit_percent ? o->limit_percent : 80;
    atomic_store(&d->base.limit, o->limit_bytes ? o->limit_bytes : total / 100 * percent);
    disk_room_start(d);
    *ret = &d->base;
    return 0;
}
