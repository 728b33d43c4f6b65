// SPDX-License-Identifier: Apache-2.0
#include "fuse-layer/s3fs/pool.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/mem.h"

/* A request needs a TLS record and a head on its stack, not the 8 MiB of a main thread. */
#define STACK_BYTES ((size_t)512 << 10)

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct pool_job *first, **last;
    pthread_t *threads;
    unsigned threads_len, threads_max, idle, waiting; /* idle: threads; waiting: jobs */
    bool stopping;
    char name[16];
};

static void *worker(void *arg)
{
    struct pool *p = arg;
    (void)pthread_setname_np(pthread_self(), p->name);
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (!p->first && !p->stopping) {
            ++p->idle;
            pthread_cond_wait(&p->wake, &p->lock);
            --p->idle;
        }
        struct pool_job *job = p->first;
        if (!job)
            break;
        p->first = job->next;
        --p->waiting;
        if (!p->first)
            p->last = &p->first;
        pthread_mutex_unlock(&p->lock);
        job->run(job);
        pthread_mutex_lock(&p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* With the lock. Threads come as they are needed: most containers read one file at a time. */
static void start_thread(struct pool *p)
{
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, STACK_BYTES);
    if (pthread_create(&p->threads[p->threads_len], &attr, worker, p) == 0)
        ++p->threads_len;
    pthread_attr_destroy(&attr);
}

struct pool *pool_new(unsigned threads_max, const char *name)
{
    struct pool *p = mem_new(struct pool);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    p->last = &p->first;
    p->threads_max = threads_max;
    p->threads = mem_zalloc(threads_max * sizeof *p->threads);
    (void)snprintf(p->name, sizeof p->name, "%s", name);
    start_thread(p);
    assert(p->threads_len == 1); /* with one, every job runs some time */
    return p;
}

void pool_run(struct pool *p, struct pool_job *job)
{
    job->next = NULL;
    pthread_mutex_lock(&p->lock);
    *p->last = job;
    p->last = &job->next;
    ++p->waiting;
    /* A thread that was woken counts as idle until it runs: hence not just `idle == 0`. */
    if (p->waiting > p->idle && p->threads_len < p->threads_max)
        start_thread(p);
    pthread_cond_signal(&p->wake);
    pthread_mutex_unlock(&p->lock);
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < p->threads_len; ++i)
        pthread_join(p->threads[i], NULL);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    free(p->threads);
    free(p);
}
