// SPDX-License-Identifier: Apache-2.0
#include "fuse-layer/s3fs/prefetch.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/mem.h"
#include "fuse-layer/s3fs/listing.h"

/* Opens in the order of the listing before any of this begins. */
#define RUN_MIN        2
#define CANCEL_LOOK_NS 500000000 /* whoever waits looks at its cancel as often */

enum file_state { FILE_LOADING, FILE_READY, FILE_FAILED };

struct file {
    struct pool_job job;
    struct prefetch *owner;
    char *id; /* "<folder's inode> <name>" */
    struct inode_path path;
    uint64_t started_us;
    enum file_state state;
    char *data;
    size_t len;
    struct s3_object info;
    unsigned waiting; /* threads in prefetch_take */
    UT_hash_handle hh;
};

struct prefetch {
    struct driver *d;
    pthread_mutex_t lock;
    pthread_cond_t loaded;
    struct file *files; /* in the order of their beginning */
};

struct prefetch *prefetch_new(struct driver *d)
{
    struct prefetch *p = mem_new(struct prefetch);
    p->d = d;
    pthread_mutex_init(&p->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&p->loaded, &attr);
    pthread_condattr_destroy(&attr);
    return p;
}

static void drop(struct prefetch *p, struct file *f)
{
    HASH_DEL(p->files, f);
    memory_give(p->d->memory, f->data, f->len);
    free(f->id);
    free(f);
}

void prefetch_free(struct prefetch *p)
{
    if (!p)
        return;
    struct file *f, *next;
    HASH_ITER (hh, p->files, f, next)
        drop(p, f);
    pthread_cond_destroy(&p->loaded);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

static bool outdated(const struct prefetch *p, const struct file *f)
{
    return clock_mono_us() - f->started_us >= driver_ttl_us(p->d);
}

static void run(struct pool_job *job)
{
    struct file *f = (struct file *)job; /* the first member */
    struct prefetch *p = f->owner;
    struct err err = {0};
    size_t got = 0;
    int result = s3_get(p->d->s3, f->path.bucket, f->path.key, 0, f->len, NULL, p->d->ending, f->data, &got,
                        &f->info, &err);
    pthread_mutex_lock(&p->lock);
    /* One that has another size by now is left to who opens it. */
    f->state = result == 0 && got == f->len && f->info.size == f->len ? FILE_READY : FILE_FAILED;
    pthread_cond_broadcast(&p->loaded);
    pthread_mutex_unlock(&p->lock);
}

/* With our lock. Nobody opened them in time. */
static void drop_outdated(struct prefetch *p)
{
    struct file *f, *next;
    HASH_ITER (hh, p->files, f, next)
        if (f->state != FILE_LOADING && !f->waiting && outdated(p, f))
            drop(p, f);
}

static struct file *start(struct prefetch *p, const char *id, const struct inode_path *path, size_t len)
{
    char *data = memory_try(p->d->memory, len);
    if (!data)
        return NULL;
    struct file *f = mem_new(struct file);
    f->owner = p;
    f->id = mem_strdup(id);
    f->path = *path;
    f->started_us = clock_mono_us();
    f->data = data;
    f->len = len;
    f->job.run = run;
    HASH_ADD_KEYPTR(hh, p->files, f->id, strlen(f->id), f);
    return f;
}

static void make_id(const struct inode *folder, const char *name, char *id, size_t cap)
{
    (void)snprintf(id, cap, "%llu %s", (unsigned long long)folder->id, name);
}

/* With both locks. */
static void fetch_after(struct prefetch *p, struct inode *folder, size_t index)
{
    const struct listing *l = folder->listing;
    size_t end = index + 1 + PREFETCH_AHEAD < l->len ? index + 1 + PREFETCH_AHEAD : l->len;
    for (; folder->ahead < end; ++folder->ahead) {
        size_t i = folder->ahead;
        const struct listing_entry *e = &l->entries[i];
        char id[INODE_NAME_MAX + 32];
        struct inode_path path;
        struct file *f;
        if (e->folder || e->size == 0 || e->size > PREFETCH_FILE_MAX)
            continue;
        make_id(folder, e->name, id, sizeof id);
        HASH_FIND_STR(p->files, id, f);
        if (f || HASH_COUNT(p->files) >= PREFETCH_FILES_MAX ||
            !inode_child_path(folder, e->name, false, &path))
            continue;
        f = start(p, id, &path, (size_t)e->size);
        if (!f)
            return;
        pool_run(p->d->pool, &f->job);
    }
}

void prefetch_note_open(struct prefetch *p, struct inode *inode)
{
    inodes_lock(&p->d->inodes);
    struct inode *folder = inode->parent;
    const struct listing *l = folder ? folder->listing : NULL;
    const struct listing_entry *e = l && !inode->detached ? listing_find(l, inode->name) : NULL;
    if (e && clock_mono_us() - l->started_us < driver_ttl_us(p->d)) {
        size_t index = (size_t)(e - l->entries);
        if (index != folder->last_open + 1) {
            folder->run = 0;
            folder->ahead = 0;
        }
        if (folder->ahead <= index)
            folder->ahead = index + 1;
        ++folder->run;
        folder->last_open = index;
        if (folder->run >= RUN_MIN) {
            pthread_mutex_lock(&p->lock);
            drop_outdated(p);
            fetch_after(p, folder, index);
            pthread_mutex_unlock(&p->lock);
        }
    }
    inodes_unlock(&p->d->inodes);
}

/* With our lock. Its request ends some time; who waits may not want to until then. */
static void wait_loaded(struct prefetch *p, const struct file *f, struct cancel *cancel)
{
    while (f->state == FILE_LOADING && !cancel_fired(cancel)) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += CANCEL_LOOK_NS;
        if (until.tv_nsec >= 1000000000) {
            until.tv_nsec -= 1000000000;
            ++until.tv_sec;
        }
        (void)pthread_cond_timedwait(&p->loaded, &p->lock, &until);
    }
}

bool prefetch_take(struct prefetch *p, struct inode *inode, struct cancel *cancel, char **ret_data,
                   size_t *ret_len, struct s3_object *ret_info, uint64_t *ret_us)
{
    char id[INODE_NAME_MAX + 32];
    inodes_lock(&p->d->inodes);
    if (!inode->parent || inode->detached) {
        inodes_unlock(&p->d->inodes);
        return false;
    }
    make_id(inode->parent, inode->name, id, sizeof id);
    const struct inode_change *change = inode_find_change(inode->parent, inode->name);
    uint64_t changed_us = change ? change->at_us : 0;
    inodes_unlock(&p->d->inodes);

    struct file *f;
    bool found = false;
    pthread_mutex_lock(&p->lock);
    HASH_FIND_STR(p->files, id, f);
    if (f) {
        ++f->waiting;
        wait_loaded(p, f, cancel);
        --f->waiting;
        found = f->state == FILE_READY && f->data && f->started_us > changed_us && !outdated(p, f);
        if (found) {
            *ret_data = f->data;
            *ret_len = f->len;
            *ret_info = f->info;
            *ret_us = f->started_us;
            f->data = NULL;
        }
        if (!f->waiting && f->state != FILE_LOADING)
            drop(p, f);
    }
    pthread_mutex_unlock(&p->lock);
    return found;
}
