// SPDX-License-Identifier: Apache-2.0
#include "fuse-layer/s3fs/ops.h"

#include "fuse-layer/s3fs/sweep.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"

/* Of memory for one name, all tables included. */
#define NAME_BYTES 512
#define PAUSE_US   ((uint64_t)500 * 1000)

struct sweep {
    struct pool_job job;
    struct driver *d;
    size_t max;
    /* With the inodes' lock. */
    bool running;
    uint64_t next_us; /* not before: a table of files that are all in use is not searched for each new one */
};

struct sweep *sweep_new(struct driver *d)
{
    struct sweep *s = mem_new(struct sweep);
    s->d = d;
    s->max = d->options->memory_bytes / 4 / NAME_BYTES;
    return s;
}

void sweep_free(struct sweep *s)
{
    free(s);
}

struct name {
    uint64_t parent;
    char *name;
};

/* Locked. The oldest come first in the table. Folders stay: something may be mounted on them, and the kernel
 * would take that off, too. */
static size_t choose(struct sweep *s, struct name *names, size_t max)
{
    struct driver *d = s->d;
    uint64_t now = clock_mono_us();
    size_t len = 0;
    struct inode *inode, *next;
    HASH_ITER (hh_id, d->inodes.by_id, inode, next) {
        if (len == max)
            break;
        if (inode_is_folder(inode) || inode->pins || inode->readers || inode->writer || inode->detached ||
            now - inode->fresh_us < driver_ttl_us(d))
            continue;
        names[len++] = (struct name){inode->parent->id, mem_strdup(inode->name)};
    }
    return len;
}

/* The kernel waits for who is looking at the folder, and he for us: so without the lock, and on no thread of
 * the session. */
static void run(struct pool_job *job)
{
    struct sweep *s = (struct sweep *)job; /* the first member */
    struct driver *d = s->d;
    inodes_lock(&d->inodes);
    /* Down to half of it, so that this is seldom. */
    size_t all = d->inodes.len, max = all > s->max / 2 ? all - s->max / 2 : 0;
    struct name *names = mem_alloc((max + 1) * sizeof *names);
    size_t len = choose(s, names, max);
    inodes_unlock(&d->inodes);
    for (size_t i = 0; i < len; ++i) {
        (void)fuse_lowlevel_notify_inval_entry(d->session, names[i].parent, names[i].name,
                                               strlen(names[i].name));
        free(names[i].name);
    }
    free(names);
    log_debug("kernel asked to forget names", F_U("names", len), F_U("of", all));
    inodes_lock(&d->inodes);
    s->running = false;
    s->next_us = clock_mono_us() + PAUSE_US;
    inodes_unlock(&d->inodes);
}

void sweep_begin(struct sweep *s)
{
    if (s->d->inodes.len <= s->max || s->running || clock_mono_us() < s->next_us)
        return;
    s->running = true;
    s->job.run = run;
    pool_run(s->d->pool, &s->job);
}
