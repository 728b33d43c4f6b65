// SPDX-License-Identifier: Apache-2.0
#include "common/loop.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/mem.h"
#include "common/need.h"

struct post {
    struct post *next;
    loop_fn *fn;
    void *arg;
};

struct loop {
    unsigned index;
    void *data;
    int epoll_fd, timer_fd, event_fd;
    struct loop_timer **heap; /* binary heap by due_us */
    uint32_t heap_len, heap_cap;
    uint64_t timer_fd_due_us; /* what timer_fd is set to; 0 = off */
    struct loop_watch *dead;  /* removed while a batch of events may still name them */
    pthread_mutex_t lock;     /* guards the two below */
    struct post *posts, **posts_tail;
    bool signalled;
    _Atomic uint64_t lag_us;
};

static __thread struct loop *current;

struct loop *loop_current(void)
{
    return current;
}

void loop_set_current(struct loop *loop)
{
    current = loop;
}

static void epoll_add(struct loop *loop, int fd, uint32_t events, void *ptr)
{
    struct epoll_event ev = {.events = events, .data.ptr = ptr};
    int rc = epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &ev);
    assert(rc == 0);
}

struct loop *loop_new(unsigned index)
{
    struct loop *loop = mem_new(struct loop);
    loop->index = index;
    loop->epoll_fd = need_fd(epoll_create1(EPOLL_CLOEXEC), "event loop");
    loop->timer_fd = need_fd(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC), "timer");
    loop->event_fd = need_fd(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), "mailbox");
    epoll_add(loop, loop->timer_fd, EPOLLIN, &loop->timer_fd);
    epoll_add(loop, loop->event_fd, EPOLLIN, &loop->event_fd);
    pthread_mutex_init(&loop->lock, NULL);
    loop->posts_tail = &loop->posts;
    return loop;
}

static void free_dead(struct loop *loop)
{
    while (loop->dead) {
        struct loop_watch *w = loop->dead;
        loop->dead = w->next_dead;
        free(w);
    }
}

void loop_free(struct loop *loop)
{
    if (!loop)
        return;
    while (loop->posts) {
        struct post *p = loop->posts;
        loop->posts = p->next;
        free(p);
    }
    free_dead(loop);
    (void)close(loop->epoll_fd);
    (void)close(loop->timer_fd);
    (void)close(loop->event_fd);
    pthread_mutex_destroy(&loop->lock);
    free(loop->heap);
    free(loop);
}

unsigned loop_index(const struct loop *loop)
{
    return loop->index;
}

void loop_set_data(struct loop *loop, void *data)
{
    loop->data = data;
}

void *loop_data(const struct loop *loop)
{
    return loop->data;
}

int loop_fd(const struct loop *loop)
{
    return loop->epoll_fd;
}

uint64_t loop_lag_us(const struct loop *loop)
{
    return atomic_load_explicit(&loop->lag_us, memory_order_relaxed);
}

/* ---- mailbox ---- */

void loop_post(struct loop *loop, loop_fn *fn, void *arg)
{
    struct post *p = mem_alloc(sizeof *p);
    *p = (struct post){.fn = fn, .arg = arg};
    pthread_mutex_lock(&loop->lock);
    *loop->posts_tail = p;
    loop->posts_tail = &p->next;
    bool wake = !loop->signalled;
    loop->signalled = true;
    pthread_mutex_unlock(&loop->lock);
    if (wake) {
        ssize_t n = write(loop->event_fd, &(uint64_t){1}, sizeof(uint64_t));
        assert(n == sizeof(uint64_t));
    }
}

static void run_posts(struct loop *loop)
{
    uint64_t ignored;
    ssize_t n = read(loop->event_fd, &ignored, sizeof ignored);
    (void)n;
    pthread_mutex_lock(&loop->lock);
    struct post *p = loop->posts;
    loop->posts = NULL;
    loop->posts_tail = &loop->posts;
    loop->signalled = false;
    pthread_mutex_unlock(&loop->lock);
    while (p) {
        struct post *next = p->next;
        p->fn(p->arg);
        free(p);
        p = next;
    }
}

/* ---- timers ---- */

static void heap_place(struct loop *loop, uint32_t at, struct loop_timer *t)
{
    loop->heap[at] = t;
    t->slot = at + 1;
}

static void heap_up(struct loop *loop, uint32_t at, struct loop_timer *t)
{
    while (at > 0 && loop->heap[(at - 1) / 2]->due_us > t->due_us) {
        heap_place(loop, at, loop->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    heap_place(loop, at, t);
}

static void heap_down(struct loop *loop, uint32_t at, struct loop_timer *t)
{
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= loop->heap_len)
            break;
        if (child + 1 < loop->heap_len && loop->heap[child + 1]->due_us < loop->heap[child]->due_us)
            ++child;
        if (loop->heap[child]->due_us >= t->due_us)
            break;
        heap_place(loop, at, loop->heap[child]);
        at = child;
    }
    heap_place(loop, at, t);
}

/* The descriptor is only ever moved to an earlier time here; after a cancel it may fire once for nothing,
 * which is cheaper than a system call for every watchdog that was not needed. */
static void set_timer_fd(struct loop *loop)
{
    if (loop->heap_len == 0)
        return;
    uint64_t due = loop->heap[0]->due_us;
    if (loop->timer_fd_due_us && loop->timer_fd_due_us <= due)
        return;
    loop->timer_fd_due_us = due;
    struct itimerspec its = {
        .it_value = {.tv_sec = (time_t)(due / 1000000), .tv_nsec = (long)(due % 1000000) * 1000}};
    int rc = timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &its, NULL);
    assert(rc == 0);
}

static void heap_remove(struct loop *loop, struct loop_timer *t)
{
    uint32_t at = t->slot - 1;
    assert(at < loop->heap_len && loop->heap[at] == t);
    t->slot = 0;
    struct loop_timer *last = loop->heap[--loop->heap_len];
    if (last == t)
        return;
    if (at > 0 && loop->heap[(at - 1) / 2]->due_us > last->due_us)
        heap_up(loop, at, last);
    else
        heap_down(loop, at, last);
}

void loop_timer_arm(struct loop *loop, struct loop_timer *t, uint64_t delay_ms, loop_fn *fn, void *arg)
{
    if (t->slot)
        heap_remove(loop, t);
    t->fn = fn;
    t->arg = arg;
    t->due_us = clock_mono_us() + delay_ms * 1000 + 1;
    if (loop->heap_len == loop->heap_cap) {
        loop->heap_cap = loop->heap_cap ? loop->heap_cap * 2 : 64;
        loop->heap = mem_realloc(loop->heap, loop->heap_cap * sizeof *loop->heap);
    }
    heap_up(loop, loop->heap_len++, t);
    set_timer_fd(loop);
}

void loop_timer_cancel(struct loop *loop, struct loop_timer *t)
{
    if (t->slot)
        heap_remove(loop, t);
}

static void run_timers(struct loop *loop)
{
    uint64_t ignored, now = clock_mono_us();
    ssize_t n = read(loop->timer_fd, &ignored, sizeof ignored);
    (void)n;
    loop->timer_fd_due_us = 0;
    /* `now` stays as it was: a timer that re-arms itself with 0 ms waits for the next turn. */
    while (loop->heap_len && loop->heap[0]->due_us <= now) {
        struct loop_timer *t = loop->heap[0];
        heap_remove(loop, t);
        t->fn(t->arg);
    }
    set_timer_fd(loop);
}

/* ---- descriptors ---- */

static uint32_t epoll_events(unsigned events)
{
    return (events & LOOP_READ ? (uint32_t)EPOLLIN : 0) | (events & LOOP_WRITE ? (uint32_t)EPOLLOUT : 0);
}

struct loop_watch *loop_watch_add(struct loop *loop, int fd, unsigned events,
                                  void (*fn)(void *arg, int fd, unsigned ready), void *arg)
{
    struct loop_watch *w = mem_new(struct loop_watch);
    *w = (struct loop_watch){.fd = fd, .events = events, .fn = fn, .arg = arg};
    epoll_add(loop, fd, epoll_events(events), w);
    return w;
}

void loop_watch_change(struct loop *loop, struct loop_watch *w, unsigned events)
{
    if (w->events == events)
        return;
    w->events = events;
    struct epoll_event ev = {.events = epoll_events(events), .data.ptr = w};
    (void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, w->fd, &ev);
}

void loop_watch_remove(struct loop *loop, struct loop_watch *w)
{
    struct epoll_event ev = {0};
    (void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, w->fd, &ev);
    w->fn = NULL;
    w->next_dead = loop->dead;
    loop->dead = w;
}

void loop_dispatch(struct loop *loop)
{
    struct epoll_event evs[64];
    uint64_t begin = clock_mono_us();
    int n = epoll_wait(loop->epoll_fd, evs, 64, 0);
    for (int i = 0; i < n; ++i) {
        if (evs[i].data.ptr == &loop->event_fd) {
            run_posts(loop);
        } else if (evs[i].data.ptr == &loop->timer_fd) {
            run_timers(loop);
        } else {
            struct loop_watch *w = evs[i].data.ptr;
            unsigned ready = (evs[i].events & EPOLLIN ? (unsigned)LOOP_READ : 0) |
                             (evs[i].events & EPOLLOUT ? (unsigned)LOOP_WRITE : 0) |
                             (evs[i].events & (EPOLLERR | EPOLLHUP) ? (unsigned)LOOP_ERROR : 0);
            if (w->fn)
                w->fn(w->arg, w->fd, ready);
        }
    }
    free_dead(loop);
    atomic_store_explicit(&loop->lag_us, clock_mono_us() - begin, memory_order_relaxed);
}

void loop_run_once(struct loop *loop, int wait_ms)
{
    struct pollfd p = {.fd = loop->epoll_fd, .events = POLLIN};
    if (poll(&p, 1, wait_ms) > 0)
        loop_dispatch(loop);
}
