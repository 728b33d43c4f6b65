// SPDX-License-Identifier: Apache-2.0
#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/need.h"
#include "proxy/state/sqlite_impl.h"

static void push(struct sqlite_queue *q, struct sqlite_call *call)
{
    call->next = NULL;
    *q->tail = call;
    q->tail = &call->next;
    ++q->count;
    q->bytes += call->bytes;
}

static struct sqlite_call *pop(struct sqlite_queue *q)
{
    struct sqlite_call *call = q->head;
    if (!call)
        return NULL;
    q->head = call->next;
    if (!q->head)
        q->tail = &q->head;
    --q->count;
    q->bytes -= call->bytes;
    call->next = NULL;
    return call;
}

void sqlite_call_free(struct sqlite_call *call)
{
    if (call->free_result)
        call->free_result(call);
    free(call->refs);
    free(call->data);
    free(call->err);
    free(call);
}

static void answer_and_free(void *arg)
{
    struct sqlite_call *call = arg;
    if (call->answer)
        call->answer(call);
    sqlite_call_free(call);
}

static void finish(struct sqlite_call *call)
{
    if (call->loop && call->answer)
        loop_post(call->loop, answer_and_free, call);
    else
        answer_and_free(call);
}

/* Once a minute: a full disk would otherwise fill the log as well. */
static void complain(struct sqlite_state *s, const struct err *err)
{
    uint64_t now = clock_mono_ms() + 1, last = atomic_load(&s->complained_ms);
    (void)atomic_fetch_add(&s->base.errors, 1);
    if ((!last || now - last >= 60000) && atomic_compare_exchange_strong(&s->complained_ms, &last, now))
        log_error("the state store fails; pulls go on without it", F_S("file", s->path), F_ERR(err),
                  F_U("errors", atomic_load(&s->base.errors)));
}

static void fail(struct sqlite_call *call, const struct err *err)
{
    if (!call->err)
        call->err = mem_alloc(sizeof *call->err);
    *call->err = *err;
}

/* ---- submit ---- */

static bool overloaded(const struct sqlite_state *s, const struct sqlite_call *call)
{
    size_t count = call->write ? s->writes.count : s->reads.count + s->parked.count;
    size_t bytes = call->write ? s->writes.bytes : s->reads.bytes + s->parked.bytes;
    /* A put with keep set takes something away that must not be served any more: it gets room that others do
     * not. */
    size_t factor = call->keep ? 2 : 1;
    return count >= factor * SQLITE_STATE_WAITING_MAX ||
           bytes + call->bytes > factor * SQLITE_STATE_BYTES_MAX;
}

/* Under the lock. Returns false if the call was refused, with its error set. */
static bool enqueue(struct sqlite_state *s, struct sqlite_call *call)
{
    uint32_t slot = call->topic % SQLITE_STATE_TOPICS;
    struct err err;
    if (s->stopping || overloaded(s, call)) {
        if (s->stopping)
            (void)err_set(&err, ERR_CANCELLED, "state store: rac-proxy is stopping");
        else
            (void)err_set(&err, ERR_OVERLOADED, "state store: too many calls wait");
        err.retry_after_s = 1;
        fail(call, &err);
        return false;
    }
    if (call->write) {
        call->number = s->topic_number[slot] = ++s->last_number;
        push(&s->writes, call);
        atomic_store_explicit(&s->base.writes_waiting, s->writes.count, memory_order_relaxed);
        if (s->writes.count == 1)
            pthread_cond_signal(&s->wake_writer);
        return true;
    }
    call->number = call->everything ? s->last_number : s->topic_number[slot];
    if (call->number > s->done_number) {
        push(&s->parked, call);
    } else {
        push(&s->reads, call);
        pthread_cond_signal(&s->wake_reader);
    }
    return true;
}

void sqlite_queue_submit(struct sqlite_state *s, struct sqlite_call *call)
{
    call->begin_us = clock_mono_us();
    pthread_mutex_lock(&s->lock);
    bool taken = enqueue(s, call);
    if (!taken && call->answer && !call->loop) {
        /* Its callback must not come from inside of the call: a reader takes it there, past the limit. */
        push(&s->reads, call);
        pthread_cond_signal(&s->wake_reader);
        taken = true;
    }
    pthread_mutex_unlock(&s->lock);
    if (taken)
        return;
    if (!call->answer)
        (void)atomic_fetch_add(&s->base.dropped, 1);
    finish(call);
}

/* ---- the writer ---- */

static int run_stmt(struct sqlite_conn *c, enum sqlite_stmt_id id, struct err *err)
{
    sqlite3_stmt *stmt = sqlite_conn_stmt(c, id, err);
    return stmt ? sqlite_conn_run(c, stmt, err) : -1;
}

/* One transaction over the calls from `first` up to `end`: all of them or none. */
static int run_batch(struct sqlite_conn *c, struct sqlite_call *first, struct sqlite_call *end,
                     struct err *err)
{
    if (run_stmt(c, SQL_BEGIN, err) < 0)
        return -1;
    int rc = 0;
    for (struct sqlite_call *call = first; rc == 0 && call != end; call = call->next)
        rc = call->run(c, call, err);
    if (rc == 0)
        rc = run_stmt(c, SQL_COMMIT, err);
    if (rc < 0 && !sqlite3_get_autocommit(c->db)) /* SQLite has rolled back by itself on some errors */
        (void)run_stmt(c, SQL_ROLLBACK, NULL);
    return rc;
}

/* The store's fault, not one of the calls'. */
static bool is_of_the_disk(const struct err *err)
{
    return err->code == ERR_NO_SPACE || err->code == ERR_IO;
}

static void write_batch(struct sqlite_state *s, struct sqlite_call *first)
{
    struct err err;
    if (!first || run_batch(&s->writer, first, NULL, &err) == 0)
        return;
    complain(s, &err);
    bool all = is_of_the_disk(&err);
    for (struct sqlite_call *call = first; call; call = call->next) {
        if (!all && run_batch(&s->writer, call, call->next, &err) == 0)
            continue;
        fail(call, &err);
    }
}

/* What is owed was there first, so it goes first. Each by itself: one that fails for ever is not to hold up
 * the others. Those that are through have no error any more. */
static void write_owed(struct sqlite_state *s)
{
    struct err err = {0};
    for (struct sqlite_call *call = s->owed.head; call; call = call->next) {
        if (err.code != ERR_NO_SPACE && run_batch(&s->writer, call, call->next, &err) == 0) {
            free(call->err);
            call->err = NULL;
        } else if (!is_of_the_disk(&err)) {
            fail(call, &err);
        }
    }
    if (err.code != ERR_NONE)
        complain(s, &err);
}

/* Of a list of calls that were tried: those that are to be tried again become owed, the others are returned
 * as a list. Under the lock. */
static struct sqlite_call *sort_out(struct sqlite_state *s, struct sqlite_call *calls)
{
    struct sqlite_call *through = NULL, **tail = &through, *next;
    for (struct sqlite_call *call = calls; call; call = next) {
        next = call->next;
        call->next = NULL;
        if (call->err && call->keep && !call->answer && is_of_the_disk(call->err) &&
            s->owed.count < SQLITE_STATE_OWED_MAX) {
            push(&s->owed, call);
            ++s->topic_owed[call->topic % SQLITE_STATE_TOPICS];
            continue;
        }
        if (call->err && !call->answer)
            (void)atomic_fetch_add(&s->base.dropped, 1);
        *tail = call;
        tail = &call->next;
    }
    return through;
}

/* What was owed until now. Under the lock. */
static struct sqlite_call *take_owed(struct sqlite_state *s)
{
    struct sqlite_call *all = s->owed.head;
    for (struct sqlite_call *call = all; call; call = call->next)
        --s->topic_owed[call->topic % SQLITE_STATE_TOPICS];
    s->owed = (struct sqlite_queue){.tail = &s->owed.head};
    return all;
}

/* Up to a batch of what waits, as a list that keeps its order. Under the lock. */
static struct sqlite_call *take_batch(struct sqlite_state *s, uint64_t *ret_last)
{
    struct sqlite_call *first = NULL, **tail = &first, *call;
    for (unsigned n = 0; n < SQLITE_STATE_BATCH_MAX && (call = pop(&s->writes)) != NULL; ++n) {
        *tail = call;
        tail = &call->next;
        *ret_last = call->number;
    }
    atomic_store_explicit(&s->base.writes_waiting, s->writes.count, memory_order_relaxed);
    return first;
}

/* Reads whose writes are through. Under the lock. */
static void unpark(struct sqlite_state *s)
{
    for (size_t n = s->parked.count; n > 0; --n) {
        struct sqlite_call *call = pop(&s->parked);
        bool ready = call->number <= s->done_number;
        push(ready ? &s->reads : &s->parked, call);
    }
    if (s->reads.count)
        pthread_cond_broadcast(&s->wake_reader);
}

static void count_batch(struct sqlite_state *s, const struct sqlite_call *batch)
{
    uint64_t now = clock_mono_us(), count = 0, us = 0;
    for (; batch; batch = batch->next, ++count)
        us += now - batch->begin_us;
    (void)atomic_fetch_add(&s->base.writes, count);
    (void)atomic_fetch_add(&s->base.write_us, us);
}

static void finish_all(struct sqlite_call *calls)
{
    for (struct sqlite_call *next; calls; calls = next) {
        next = calls->next;
        finish(calls);
    }
}

/* Until there is something to write, or what is owed is to be tried again. Under the lock. */
static void wait_for_writes(struct sqlite_state *s)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += SQLITE_STATE_OWED_MS / 1000;
    while (!s->writes.head && !s->stopping) {
        if (!s->owed.head)
            pthread_cond_wait(&s->wake_writer, &s->lock);
        else if (pthread_cond_timedwait(&s->wake_writer, &s->lock, &until) == ETIMEDOUT)
            return;
    }
}

static void *writer_main(void *arg)
{
    struct sqlite_state *s = arg;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        wait_for_writes(s);
        uint64_t last = s->done_number;
        struct sqlite_call *batch = take_batch(s, &last);
        bool end = !batch && s->stopping;
        pthread_mutex_unlock(&s->lock);
        write_owed(s);
        write_batch(s, batch);
        count_batch(s, batch);
        pthread_mutex_lock(&s->lock);
        s->done_number = last;
        struct sqlite_call *tried = take_owed(s);
        tried = sort_out(s, tried);
        batch = sort_out(s, batch);
        unpark(s);
        pthread_mutex_unlock(&s->lock);
        finish_all(tried);
        finish_all(batch);
        pthread_mutex_lock(&s->lock);
        if (end)
            break;
    }
    struct sqlite_call *lost = take_owed(s);
    pthread_mutex_unlock(&s->lock);
    size_t count = 0;
    for (struct sqlite_call *call = lost; call; call = call->next)
        ++count;
    if (lost)
        log_error("withdrawals are lost: the state store could not be written to until the end",
                  F_S("file", s->path), F_U("count", count), F_ERR(lost->err));
    finish_all(lost);
    return NULL;
}

/* ---- the readers ---- */

struct reader {
    struct sqlite_state *s;
    struct sqlite_conn *conn;
};

static void *reader_main(void *arg)
{
    struct reader r = *(struct reader *)arg;
    struct sqlite_state *s = r.s;
    free(arg);
    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (!s->reads.head && s->stopping < 2)
            pthread_cond_wait(&s->wake_reader, &s->lock);
        struct sqlite_call *call = pop(&s->reads);
        if (!call)
            break;
        bool owed = !call->everything && s->topic_owed[call->topic % SQLITE_STATE_TOPICS] > 0;
        pthread_mutex_unlock(&s->lock);
        struct err err;
        if (!call->err && owed) {
            (void)err_set(&err, ERR_IO, "state store: a withdrawal is not written yet");
            fail(call, &err);
        }
        if (!call->err && call->run(r.conn, call, &err) < 0) {
            complain(s, &err);
            fail(call, &err);
        }
        (void)atomic_fetch_add(&s->base.reads, 1);
        (void)atomic_fetch_add(&s->base.read_us, clock_mono_us() - call->begin_us);
        finish(call);
        pthread_mutex_lock(&s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

void sqlite_queue_start(struct sqlite_state *s)
{
    need_thread(&s->writer_thread, "thread that writes to the state", writer_main, s);
    for (int i = 0; i < SQLITE_STATE_READERS; ++i) {
        struct reader *r = mem_new(struct reader);
        *r = (struct reader){s, &s->reader[i]};
        need_thread(&s->reader_thread[i], "thread that reads the state", reader_main, r);
    }
}

void sqlite_queue_stop(struct sqlite_state *s)
{
    pthread_mutex_lock(&s->lock);
    s->stopping = 1;
    pthread_cond_signal(&s->wake_writer);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->writer_thread, NULL);
    /* Nothing is parked any more: the readers empty their queue and go. */
    pthread_mutex_lock(&s->lock);
    assert(!s->parked.head);
    s->stopping = 2;
    pthread_cond_broadcast(&s->wake_reader);
    pthread_mutex_unlock(&s->lock);
    for (int i = 0; i < SQLITE_STATE_READERS; ++i)
        pthread_join(s->reader_thread[i], NULL);
}
