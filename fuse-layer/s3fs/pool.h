// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3FS_POOL_H
#define RAC_S3FS_POOL_H
/*
 * Threads for requests that nobody waits for yet: windows read ahead, parts sent while the writer goes on.
 * A job is part of the object it works for; it runs once, on one of the pool's threads, and may free itself.
 * What bounds the queue is that every job holds memory of the budget (memory.h). Jobs MUST NOT wait for other
 * jobs of the same pool.
 */
struct pool_job {
    void (*run)(struct pool_job *job);
    struct pool_job *next; /* the pool's */
};

struct pool;

struct pool *pool_new(unsigned threads_max, const char *name); /* name: up to 15 characters, for ps and gdb */
void pool_run(struct pool *p, struct pool_job *job);           /* any thread */
/* Runs what waits, then ends the threads. NULL is fine. */
void pool_free(struct pool *p);
#endif
