// SPDX-License-Identifier: Apache-2.0
#include "common/jobs.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "common/mem.h"

struct job {
    struct job *next;
    struct loop *loop;
    loop_fn *run, *done;
    void *arg;
};

struct jobs {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct job *head, **tail;
    unsigned waiting, running, threads;
    bool stopping;
    pthread_t thread[];
};

static void *worker(void *arg)
{
    struct jobs *jobs = arg;
    pthread_mutex_lock(&jobs->lock);
    for (;;) {
        while (!jobs->head && !jobs->stopping)
            pthread_cond_wait(&jobs->wake, &jobs->lock);
        struct job *job = jobs->head;
        if (!job)
            break;
        jobs->head = job->next;
        if (!jobs->head)
            jobs->tail = &jobs->head;
        --jobs->waiting;
        ++jobs->running;
        pthread_mutex_unlock(&jobs->lock);
        job->run(job->arg);
        if (job->loop && job->done)
            loop_post(job->loop, job->done, job->arg);
        else if (job->done)
            job->done(job->arg);
        free(job);
        pthread_mutex_lock(&jobs->lock);
        --jobs->running;
    }
    pthread_mutex_unlock(&jobs->lock);
    return NULL;
}

struct jobs *jobs_new(unsigned threads)
{
    struct jobs *jobs = mem_zalloc(sizeof *jobs + threads * sizeof jobs->thread[0]);
    pthread_mutex_init(&jobs->lock, NULL);
    pthread_cond_init(&jobs->wake, NULL);
    jobs->tail = &jobs->head;
    sigset_t all, old;
    sigfillset(&all); /* signals are for the thread that waits for them */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    for (; jobs->threads < threads; ++jobs->threads) {
        int rc = pthread_create(&jobs->thread[jobs->threads], NULL, worker, jobs);
        assert(rc == 0);
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return jobs;
}

void jobs_free(struct jobs *jobs)
{
    if (!jobs)
        return;
    pthread_mutex_lock(&jobs->lock);
    jobs->stopping = true;
    pthread_cond_broadcast(&jobs->wake);
    pthread_mutex_unlock(&jobs->lock);
    for (unsigned i = 0; i < jobs->threads; ++i)
        pthread_join(jobs->thread[i], NULL);
    pthread_mutex_destroy(&jobs->lock);
    pthread_cond_destroy(&jobs->wake);
    free(jobs);
}

void jobs_submit(struct jobs *jobs, struct loop *loop, loop_fn *run, loop_fn *done, void *arg)
{
    struct job *job = mem_alloc(sizeof *job);
    *job = (struct job){.loop = loop, .run = run, .done = done, .arg = arg};
    pthread_mutex_lock(&jobs->lock);
    *jobs->tail = job;
    jobs->tail = &job->next;
    ++jobs->waiting;
    pthread_cond_signal(&jobs->wake);
    pthread_mutex_unlock(&jobs->lock);
}

unsigned jobs_waiting(struct jobs *jobs)
{
    pthread_mutex_lock(&jobs->lock);
    unsigned n = jobs->waiting;
    pthread_mutex_unlock(&jobs->lock);
    return n;
}

unsigned jobs_unfinished(struct jobs *jobs)
{
    pthread_mutex_lock(&jobs->lock);
    unsigned n = jobs->waiting + jobs->running;
    pthread_mutex_unlock(&jobs->lock);
    return n;
}
