// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_COMMON_LOOP_H
#define RAC_COMMON_LOOP_H
/*
 * One event loop per worker thread: descriptors, timers, and a mailbox that any thread may post to.
 *
 * A loop is one epoll descriptor of ours. A worker of proxy/http gives that descriptor to h2o, which calls
 * loop_dispatch() when it is readable: so every callback below runs inside h2o's own turn, where answering a
 * request is allowed, and nothing outside proxy/http knows that h2o is there. A test runs a loop alone with
 * loop_run_once().
 *
 * Unless said otherwise a function is for the loop's own thread, and a callback comes on it.
 */
#include <stdbool.h>
#include <stdint.h>

struct loop;

struct loop *loop_new(unsigned index);
void loop_free(struct loop *loop);
unsigned loop_index(const struct loop *loop); /* 0..n-1: the worker's number */
/* What the owner of the process hangs on this loop (its upstream client, …). Set once, before the loop runs.
 */
void loop_set_data(struct loop *loop, void *data);
void *loop_data(const struct loop *loop);
/* The loop that runs on this thread, or NULL on a thread that has none. */
struct loop *loop_current(void);
void loop_set_current(struct loop *loop); /* first thing on a thread that will run `loop` */

int loop_fd(const struct loop *loop);  /* readable when loop_dispatch() has work */
void loop_dispatch(struct loop *loop); /* handles what is ready; never waits */
void loop_run_once(struct loop *loop,
                   int wait_ms); /* waits, then loop_dispatch(); for tests and small programs */

/* Posts `fn(arg)` to the loop; any thread; never blocks for long, never fails. Posts of one thread run in
 * their order. */
typedef void loop_fn(void *arg);
void loop_post(struct loop *loop, loop_fn *fn, void *arg);

/* A timer is a member of its owner's struct; zeroed = not armed. Monotonic clock. */
struct loop_timer {
    loop_fn *fn;
    void *arg;
    uint64_t due_us;
    uint32_t slot; /* place in the heap + 1; 0 = not armed */
};
void loop_timer_arm(struct loop *loop, struct loop_timer *t, uint64_t delay_ms, loop_fn *fn,
                    void *arg);                                  /* re-arms */
void loop_timer_cancel(struct loop *loop, struct loop_timer *t); /* fine if not armed */
static inline bool loop_timer_armed(const struct loop_timer *t)
{
    return t->slot != 0;
}

/* A watched descriptor, level-triggered; the watch is a member of its owner's struct. The callback may change
 * or remove any watch, its own too. The descriptor stays the caller's. */
enum { LOOP_READ = 1, LOOP_WRITE = 2, LOOP_ERROR = 4 };
struct loop_watch {
    int fd;
    unsigned events; /* LOOP_READ | LOOP_WRITE that are asked for */
    void (*fn)(void *arg, int fd, unsigned ready);
    void *arg;
    struct loop_watch *next_dead;
};
struct loop_watch *loop_watch_add(struct loop *loop, int fd, unsigned events,
                                  void (*fn)(void *arg, int fd, unsigned ready), void *arg);
void loop_watch_change(struct loop *loop, struct loop_watch *w, unsigned events);
void loop_watch_remove(struct loop *loop,
                       struct loop_watch *w); /* frees w; before the descriptor is closed */

/* Microseconds the last dispatch took: what /metrics calls loop lag. Any thread. */
uint64_t loop_lag_us(const struct loop *loop);
#endif
