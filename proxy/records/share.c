// SPDX-License-Identifier: Apache-2.0
#include "proxy/records/share.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/mem.h"
#include "common/metrics.h"
#include "proxy/records/share_entry.h"

#define EPOCH_MAX   40
#define COMPLAIN_MS 60000

struct forward {
    bool is_busy;
    uint64_t done; /* the outbox up to this entry is in the stream, and out of the outbox */
    uint64_t read; /* what is under way ends with this one */
    size_t count;
    struct state_entry entry[SHARE_PIECE];
    struct buf body[SHARE_PIECE];
    struct err err;
    bool failed;
    struct records_incoming settled;
};

struct follow {
    bool is_busy;
    char epoch[EPOCH_MAX], came[EPOCH_MAX]; /* of what we have; of what came */
    uint64_t after, last;                   /* the same, as places */
    size_t count, parsed;
    struct state_entry entry[SHARE_PIECE];
    char *bytes; /* what they point into */
    struct journal_arrival arrival[SHARE_PIECE];
    json_t *doc[SHARE_PIECE];
    unsigned unreadable;
    struct err err;
    bool failed;
    struct records_incoming came_in;
};

struct share {
    struct records *records;
    struct state *state;
    struct loop *loop;
    struct loop_timer timer;
    bool is_stopped;
    _Atomic unsigned busy;
    uint64_t pause_until_ms, complained_ms;
    struct metric *forwarded, *arrived, *behind;
    struct forward out;
    struct follow in;
};

struct share *share_new(struct records *records, struct state *state)
{
    struct share *s = mem_new(struct share);
    s->records = records;
    s->state = state;
    s->forwarded = metric_get("rac_records_forwarded_total", "");
    s->arrived = metric_get("rac_records_arrived_total", "");
    s->behind = metric_get("rac_records_to_forward", "");
    return s;
}

static void take_turn(void *arg);

static uint64_t outbox_end(const struct share *s)
{
    struct journal *j = records_journal(s->records);
    struct journal_stats stats;
    j->ops->stats(j, &stats);
    return stats.outbox;
}

/* One step of either way is over. err: it did not do, and is tried again after a while. */
static void step_over(struct share *s, bool *is_busy, const struct err *err)
{
    *is_busy = false;
    (void)atomic_fetch_sub(&s->busy, 1);
    if (!err)
        return;
    uint64_t now_ms = clock_mono_ms();
    s->pause_until_ms = now_ms + SHARE_RETRY_MS;
    if (s->complained_ms && now_ms - s->complained_ms < COMPLAIN_MS)
        return;
    log_warn(
        "pull records are not exchanged with other replicas: they are kept, and passed on when Redis is back",
        F_ERR(err));
    s->complained_ms = now_ms;
}

/* ---- forward ---- */

static void take_entry(void *arg, uint64_t entry, bool is_update, const struct journal_record *r)
{
    struct share *s = arg;
    struct forward *f = &s->out;
    f->read = entry;
    if (!r)
        return; /* forgotten by age before the store was back */
    struct buf *b = &f->body[f->count];
    buf_reset(b);
    share_entry_format(records_journal(s->records), r, is_update, b);
    f->entry[f->count++] = (struct state_entry){entry, {b->p, b->len}};
}

static void read_outbox(void *arg)
{
    struct share *s = arg;
    struct journal *j = records_journal(s->records);
    uint64_t end = outbox_end(s); /* before it is read: what is there up to here is seen */
    s->out.count = 0;
    s->out.read = s->out.done;
    s->out.failed = j->ops->outbox(j, s->out.done, SHARE_PIECE, take_entry, s, &s->out.err) < 0;
    if (!s->out.failed && s->out.read == s->out.done)
        s->out.read = end; /* forgotten all of it */
}

static void on_settled(void *arg)
{
    struct share *s = arg;
    s->out.done = s->out.read;
    uint64_t end = outbox_end(s);
    metric_set(s->behind, end > s->out.done ? end - s->out.done : 0);
    step_over(s, &s->out.is_busy, NULL);
    take_turn(s);
}

/* The next piece is read when this one is out of the outbox: so the last entry that the stream took from us
 * is always in the first piece that is put again. */
static void settle(struct share *s)
{
    s->out.settled =
        (struct records_incoming){.forwarded = s->out.read, .loop = s->loop, .done = on_settled, .arg = s};
    records_give(s->records, RECORDS_FORWARDED, &s->out.settled);
}

static void on_put(void *arg, const struct err *err)
{
    struct share *s = arg;
    if (err) {
        step_over(s, &s->out.is_busy, err);
        return;
    }
    metric_add(s->forwarded, s->out.count);
    settle(s);
}

static void on_outbox(void *arg)
{
    struct share *s = arg;
    struct forward *f = &s->out;
    if (f->failed)
        step_over(s, &f->is_busy, &f->err);
    else if (f->count)
        s->state->ops->stream_put(s->state, s->loop, records_journal(s->records)->replica, f->entry, f->count,
                                  on_put, s);
    else if (f->read > f->done)
        settle(s);
    else
        step_over(s, &f->is_busy, NULL);
}

/* ---- follow ---- */

static void forget_docs(struct follow *f)
{
    for (size_t i = 0; i < f->parsed; ++i)
        json_decref(f->doc[i]);
    f->parsed = 0;
    free(steal_ptr(&f->bytes));
}

static void parse_piece(void *arg)
{
    struct share *s = arg;
    struct follow *f = &s->in;
    struct err err;
    f->unreadable = 0;
    for (size_t i = 0; i < f->count; ++i) {
        struct journal_arrival *a = &f->arrival[f->parsed];
        json_t *doc = share_entry_parse(records_journal(s->records), f->entry[i].bytes, a, &err);
        f->unreadable += doc == NULL;
        if (!doc)
            continue;
        a->r.place = f->entry[i].place;
        f->doc[f->parsed++] = doc;
    }
}

static void on_written(void *arg)
{
    struct share *s = arg;
    struct follow *f = &s->in;
    char name[EPOCH_MAX + 16];
    unsigned new_ones = 0;
    for (size_t i = 0; i < f->parsed; ++i)
        new_ones += f->arrival[i].r.number != 0;
    metric_add(s->arrived, new_ones);
    forget_docs(f);
    f->after = f->last;
    /* Later than what came: what is read again then is known. */
    (void)snprintf(name, sizeof name, "stream:%s", f->epoch);
    records_save_cursor(s->records, name, f->after);
    bool more = f->count == SHARE_PIECE;
    step_over(s, &f->is_busy, NULL);
    if (more)
        take_turn(s);
}

static void on_parsed(void *arg)
{
    struct share *s = arg;
    struct follow *f = &s->in;
    if (f->unreadable)
        log_warn("what another replica put among the pull records is none: left out",
                 F_U("count", f->unreadable));
    f->came_in = (struct records_incoming){
        .arrivals = f->arrival, .arrival_count = f->parsed, .loop = s->loop, .done = on_written, .arg = s};
    records_give(s->records, RECORDS_ARRIVED, &f->came_in);
}

/* Where this journal is in the stream that came. */
static void read_cursor(void *arg)
{
    struct share *s = arg;
    struct follow *f = &s->in;
    struct journal *j = records_journal(s->records);
    char name[EPOCH_MAX + 16];
    (void)snprintf(name, sizeof name, "stream:%s", f->came);
    f->failed = j->ops->cursor(j, name, &f->last, &f->err) < 0;
}

static void on_cursor(void *arg)
{
    struct share *s = arg;
    struct follow *f = &s->in;
    if (!f->failed) {
        memcpy(f->epoch, f->came, sizeof f->epoch);
        f->after = f->last == UINT64_MAX ? 0 : f->last;
    }
    step_over(s, &f->is_busy, f->failed ? &f->err : NULL);
    take_turn(s);
}

static void keep_piece(struct follow *f, const struct state_piece *piece)
{
    size_t total = 0, at = 0;
    f->count = piece->count < SHARE_PIECE ? piece->count : SHARE_PIECE;
    for (size_t i = 0; i < f->count; ++i)
        total += piece->entries[i].bytes.len;
    f->bytes = mem_alloc(total + 1);
    for (size_t i = 0; i < f->count; ++i) {
        struct slice from = piece->entries[i].bytes;
        f->entry[i].place = piece->entries[i].place;
        f->entry[i].bytes = (struct slice){memcpy(f->bytes + at, from.p, from.len), from.len};
        at += from.len;
    }
    f->last = f->entry[f->count - 1].place;
}

static void on_piece(void *arg, const struct state_piece *piece, const struct err *err)
{
    struct share *s = arg;
    struct follow *f = &s->in;
    if (err || !piece->epoch[0]) {
        step_over(s, &f->is_busy, err);
        return;
    }
    if (s->complained_ms) {
        log_info("pull records are exchanged with other replicas again");
        s->complained_ms = 0;
    }
    if (strcmp(piece->epoch, f->epoch) != 0) {
        (void)snprintf(f->came, sizeof f->came, "%s", piece->epoch);
        jobs_submit(records_jobs(s->records), s->loop, read_cursor, on_cursor, s);
        return;
    }
    if (piece->count == 0) {
        step_over(s, &f->is_busy, NULL);
        return;
    }
    keep_piece(f, piece);
    jobs_submit(records_jobs(s->records), s->loop, parse_piece, on_parsed, s);
}

/* ---- turns ---- */

static void begin(struct share *s, bool *is_busy)
{
    *is_busy = true;
    (void)atomic_fetch_add(&s->busy, 1);
}

static void take_turn(void *arg)
{
    struct share *s = arg;
    if (s->is_stopped)
        return;
    if (!loop_timer_armed(&s->timer))
        loop_timer_arm(s->loop, &s->timer, SHARE_TURN_MS, take_turn, s);
    if (clock_mono_ms() < s->pause_until_ms)
        return;
    if (!s->out.is_busy && outbox_end(s) > s->out.done) {
        begin(s, &s->out.is_busy);
        jobs_submit(records_jobs(s->records), s->loop, read_outbox, on_outbox, s);
    }
    if (!s->in.is_busy) {
        begin(s, &s->in.is_busy);
        s->state->ops->stream_get(s->state, s->loop, s->in.epoch, s->in.after, SHARE_PIECE, on_piece, s);
    }
}

void share_start(struct share *s, struct loop *loop)
{
    s->loop = loop;
    take_turn(s);
}

void share_stop(struct share *s)
{
    s->is_stopped = true;
    if (s->loop)
        loop_timer_cancel(s->loop, &s->timer);
}

bool share_is_busy(const struct share *s)
{
    return atomic_load(&s->busy) != 0;
}

/* ---- the end ---- */

struct waiting {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool is_over, failed;
};

static void on_last_put(void *arg, const struct err *err)
{
    struct waiting *w = arg;
    pthread_mutex_lock(&w->lock);
    w->is_over = true;
    w->failed = err != NULL;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

static bool put_and_wait(struct share *s)
{
    struct waiting w = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, false};
    s->state->ops->stream_put(s->state, NULL, records_journal(s->records)->replica, s->out.entry,
                              s->out.count, on_last_put, &w);
    pthread_mutex_lock(&w.lock);
    while (!w.is_over) /* it always comes */
        pthread_cond_wait(&w.wake, &w.lock);
    pthread_mutex_unlock(&w.lock);
    return !w.failed;
}

void share_finish(struct share *s)
{
    struct journal *j = records_journal(s->records);
    struct err err;
    while (outbox_end(s) > s->out.done) {
        read_outbox(s);
        if (s->out.failed || s->out.read == s->out.done || (s->out.count && !put_and_wait(s)))
            return; /* kept for the next start */
        if (j->ops->write(j, &(struct journal_batch){.forwarded = s->out.read}, &err) < 0)
            return;
        s->out.done = s->out.read;
    }
}

void share_free(struct share *s)
{
    if (!s)
        return;
    forget_docs(&s->in);
    for (size_t i = 0; i < SHARE_PIECE; ++i)
        buf_free(&s->out.body[i]);
    free(s);
}
