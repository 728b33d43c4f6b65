// SPDX-License-Identifier: Apache-2.0
#include "common/jobs.h"

#include <pthread.h>
#include <stdlib.h>

#include "common/mem.h"
#include "common/need.h"

struct job {
    struct job *next;
    struct loop *loop;
    loop_fn *run, *done;
    void *arg;
    bool behind;
};

struct queue {
    struct job *head, **tail;
};

struct jobs {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct queue front, behind;
    unsigned waiting, running, threads;
    unsigned running_behind, passed; /* passed: jobs of the front since the last from behind, which waited */
    bool stopping;
    pthread_t thread[];
};

static struct job *take(struct queue *q)
{
    struct job *job = q->head;
    q->head = job->next;
    if (!q->head)
        q->tail = &q->head;
    return job;
}

/* Under the lock. NULL: nothing that may run now. */
static struct job *next_job(struct jobs *jobs)
{
    bool may_behind = jobs->behind.head && (jobs->threads == 1 || jobs->running_behind + 1 < jobs->threads ||
                                            (jobs->stopping && !jobs->front.head));
    if (jobs->front.head && !(may_behind && jobs->passed >= JOBS_PASSED)) {
        jobs->passed += jobs->behind.head != NULL;
        return take(&jobs->front);
    }
    if (!may_behind)
        return NULL;
    jobs->passed = 0;
    ++jobs->running_behind;
    return take(&jobs->behind);
}

static void *worker(void *arg)
{
    struct jobs *jobs = arg;
    pthread_mutex_lock(&jobs->lock);
    for (;;) {
        struct job *job;
        while (!(job = next_job(jobs)) && !(jobs->stopping && !jobs->behind.head))
            pthread_cond_wait(&jobs->wake, &jobs->lock);
        if (!job)
            break;
        bool behind = job->behind;
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
        jobs->running_behind -= behind;
    }
    pthread_mutex_unlock(&jobs->lock);
    return NULL;
}

struct jobs *jobs_new(unsigned threads)
{
    struct jobs *jobs = mem_zalloc(sizeof *jobs + threads * sizeof jobs->thread[0]);
    pthread_mutex_init(&jobs->lock, NULL);
    pthread_cond_init(&jobs->wake, NULL);
    jobs->front.tail = &jobs->front.head;
    jobs->behind.tail = &jobs->behind.head;
    jobs->threads = threads;
    for (unsigned i = 0; i < threads; ++i)
        need_thread(&jobs->thread[i], "thread for work in the background", worker, jobs);
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

static void submit(struct jobs *jobs, struct queue *q, struct job job)
{
    struct job *copy = mem_alloc(sizeof *copy);
    *copy = job;
    pthread_mutex_lock(&jobs->lock);
    *q->tail = copy;
    q->tail = &copy->next;
    ++jobs->waiting;
    pthread_cond_signal(&jobs->wake);
    pthread_mutex_unlock(&jobs->lock);
}

void jobs_submit(struct jobs *jobs, struct loop *loop, loop_fn *run, loop_fn *done, void *arg)
{
    submit(jobs, &jobs->front, (struct job){.loop = loop, .run = run, .done = done, .arg = arg});
}

void jobs_submit_behind(struct jobs *jobs, struct loop *loop, loop_fn *run, loop_fn *done, void *arg)
{
    submit(jobs, &jobs->behind,
           (struct job){.loop = loop, .run = run, .done = done, .arg = arg, .behind = true});
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
