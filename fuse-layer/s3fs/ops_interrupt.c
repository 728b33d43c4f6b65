// SPDX-License-Identifier: Apache-2.0
/*
 * Who waits for a request and is killed gets out at once. The kernel tells of the first signal only, whatever
 * it is: of a program that handles that one, and is killed later, nobody would hear. So whoever had a signal
 * is looked at until the request has its answer.
 */
#include "fuse-layer/s3fs/ops.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

#include "common/cleanup.h"
#include "common/mem.h"

#define LOOK_US (300 * 1000)

struct signalled {
    pid_t pid;
    struct cancel *cancel; /* of the request */
    struct signalled *prev, *next;
};

/* One for the process; the thread comes with the first of them and goes with the last. */
static struct {
    pthread_mutex_t lock;
    struct signalled *list;
    _Atomic unsigned len; /* written with the lock */
    bool watching;
} waiting = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Has a fatal signal been sent to the thread? Then its SIGKILL is pending, whatever signal it was. Who cannot
 * be seen (another pid namespace) is believed. */
static bool dying(pid_t pid)
{
    char path[64], line[256];
    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    cleanup_fclose FILE *f = pid ? fopen(path, "re") : NULL;
    if (!f)
        return true;
    unsigned long long pending = 0, shared = 0;
    while (fgets(line, sizeof line, f)) {
        (void)sscanf(line, "SigPnd: %llx", &pending);
        (void)sscanf(line, "ShdPnd: %llx", &shared);
    }
    return (pending | shared) & (1ULL << 8); /* SIGKILL */
}

bool ops_asker_is_ending(fuse_req_t req)
{
    enum { EXITING = 4 }; /* PF_EXITING, of the flags in proc(5)'s stat */
    char path[64], text[512];
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)fuse_req_ctx(req)->pid);
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
    text[n > 0 ? n : 0] = '\0';
    const char *behind = strrchr(text, ')'); /* the name may hold anything */
    unsigned flags = 0;
    return behind && sscanf(behind, ") %*c %*d %*d %*d %*d %*d %u", &flags) == 1 && (flags & EXITING);
}

static void *watch(void *unused)
{
    (void)unused;
    for (;;) {
        (void)usleep(LOOK_US);
        pthread_mutex_lock(&waiting.lock);
        const struct signalled *s;
        DL_FOREACH (waiting.list, s)
            if (dying(s->pid))
                cancel_fire(s->cancel);
        waiting.watching = waiting.list != NULL;
        bool on = waiting.watching;
        pthread_mutex_unlock(&waiting.lock);
        if (!on)
            return NULL;
    }
}

static void watch_begin(pid_t pid, struct cancel *cancel)
{
    struct signalled *s = mem_new(struct signalled);
    s->pid = pid;
    s->cancel = cancel;
    pthread_mutex_lock(&waiting.lock);
    DL_APPEND(waiting.list, s);
    ++waiting.len;
    pthread_t thread;
    if (!waiting.watching && pthread_create(&thread, NULL, watch, NULL) == 0) {
        (void)pthread_detach(thread);
        waiting.watching = true;
    }
    pthread_mutex_unlock(&waiting.lock);
}

static void watch_end(const struct cancel *cancel)
{
    if (atomic_load(&waiting.len) == 0)
        return;
    struct signalled *s, *next;
    pthread_mutex_lock(&waiting.lock);
    DL_FOREACH_SAFE (waiting.list, s, next) {
        if (s->cancel != cancel)
            continue;
        DL_DELETE(waiting.list, s);
        --waiting.len;
        free(s);
    }
    pthread_mutex_unlock(&waiting.lock);
}

static void interrupted(fuse_req_t req, void *cancel)
{
    pid_t pid = fuse_req_ctx(req)->pid;
    if (dying(pid))
        cancel_fire(cancel);
    else
        watch_begin(pid, cancel);
}

struct cancel *ops_begin(fuse_req_t req)
{
    struct cancel *cancel = cancel_new();
    fuse_req_interrupt_func(req, interrupted, cancel);
    return cancel;
}

void ops_end(fuse_req_t req, struct cancel *cancel)
{
    fuse_req_interrupt_func(req, NULL, NULL); /* from here on it is not called any more */
    watch_end(cancel);
    cancel_free(cancel);
}
