// SPDX-License-Identifier: Apache-2.0
#include "fuse-layer/s3fs/drain.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "fuse-layer/s3fs/writer.h"

#define COMMITS_MAX 8
/* After the time is over: for requests to be cut off, and for the uploads to be aborted. */
#define ABORT_MS 3000

struct drain {
    struct driver *d;
    pthread_mutex_t lock;
    pthread_cond_t done;
    struct writer **writers;
    size_t len, next;
    unsigned running, failed;
};

/* All files with something to store, each with a handle of ours. */
static void collect(struct driver *d, struct drain *x)
{
    inodes_lock(&d->inodes);
    x->writers = mem_alloc((d->inodes.len + 1) * sizeof(struct writer *));
    struct inode *inode, *next;
    HASH_ITER (hh_id, d->inodes.by_id, inode, next) {
        struct writer *w = writer_of(inode, true);
        if (w)
            x->writers[x->len++] = w;
    }
    inodes_unlock(&d->inodes);
}

static void *worker(void *arg)
{
    struct drain *x = arg;
    pthread_mutex_lock(&x->lock);
    while (x->next < x->len) {
        struct writer *w = x->writers[x->next++];
        pthread_mutex_unlock(&x->lock);
        struct err err;
        int result = writer_told(w) ? 0 : writer_commit(w, &err);
        if (result < 0)
            log_error("file could not be stored", F_ERR(&err));
        writer_close(w);
        pthread_mutex_lock(&x->lock);
        x->failed += result < 0;
    }
    --x->running;
    pthread_cond_signal(&x->done);
    pthread_mutex_unlock(&x->lock);
    return NULL;
}

/* With the lock. */
static void wait_until(struct drain *x, uint64_t until_ms)
{
    struct timespec until = {.tv_sec = (time_t)(until_ms / 1000),
                             .tv_nsec = (long)(until_ms % 1000) * 1000000};
    while (x->running && pthread_cond_timedwait(&x->done, &x->lock, &until) != ETIMEDOUT)
        ;
}

unsigned drain(struct driver *d, uint64_t until_ms)
{
    struct drain *x = mem_new(struct drain);
    x->d = d;
    collect(d, x);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&x->done, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&x->lock, NULL);
    pthread_mutex_lock(&x->lock);
    for (size_t i = 0; i < COMMITS_MAX && i < x->len; ++i) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, worker, x) != 0)
            break;
        (void)pthread_detach(thread);
        ++x->running;
    }
    wait_until(x, until_ms);
    if (x->running) {
        log_error("time for uploads is over (RAC_FLUSH_TIMEOUT)",
                  F_U("files", x->len - x->next + x->running));
        cancel_fire(d->ending);
        wait_until(x, clock_mono_ms() + ABORT_MS);
        if (x->running)
            log_error("parts of uploads may be left at the server: it did not abort them in time",
                      F_U("files", x->running));
    }
    unsigned failed = x->failed + x->running + (unsigned)(x->len - x->next);
    bool ended = x->running == 0;
    pthread_mutex_unlock(&x->lock);
    if (ended) { /* else its threads still look at it, and the process is about to end */
        pthread_cond_destroy(&x->done);
        pthread_mutex_destroy(&x->lock);
        free(x->writers);
        free(x);
    }
    return failed;
}
