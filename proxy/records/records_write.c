// SPDX-License-Identifier: Apache-2.0
/* What the records' thread writes: what the collector gave out, what came from other replicas, and how far
 * readers are; all that waits in one transaction. */
#include <stdlib.h>
#include <utlist.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/metrics.h"
#include "proxy/records/feed.h"
#include "proxy/records/records_impl.h"
#include "proxy/records/ring.h"

#define BACKLOG_MAX 20000 /* records that wait for a journal that does not take them */
#define COMPLAIN_MS 60000

/* ---- what the collector gives out ---- */

void records_take_record(void *arg, struct collected *one)
{
    struct records *c = arg;
    if (c->backlog_count >= BACKLOG_MAX) {
        metric_inc(c->dropped_records);
        ++c->lost;
        collect_lost(one);
        return;
    }
    DL_APPEND(c->backlog, one);
    ++c->backlog_count;
}

void records_take_update(void *arg, const struct journal_update *u)
{
    struct records *c = arg;
    if (c->update_count >= BACKLOG_MAX)
        return;
    if (c->update_count == c->update_room) {
        c->update_room = c->update_room ? c->update_room * 2 : 64;
        c->updates = mem_realloc(c->updates, c->update_room * sizeof *c->updates);
    }
    c->updates[c->update_count] = *u;
    c->updates[c->update_count++].platform = mem_strdup(u->platform);
}

void records_take_pending(void *arg, const struct journal_pending *p)
{
    struct records *c = arg;
    if (c->pending_count >= 2 * COLLECT_NOTES)
        return;
    if (c->pending_count == c->pending_room) {
        c->pending_room = c->pending_room ? c->pending_room * 2 : 64;
        c->pending = mem_realloc(c->pending, c->pending_room * sizeof *c->pending);
    }
    c->pending[c->pending_count] = *p;
    c->pending[c->pending_count++].p = p->p ? mem_dup(p->p, p->len) : NULL;
}

/* ---- the journal ---- */

void records_complain(struct records *c, const struct err *err)
{
    uint64_t now_ms = clock_mono_ms(), dropped = c->lost + records_refused(c);
    if (c->complained_ms && now_ms - c->complained_ms < COMPLAIN_MS)
        return;
    if (err)
        log_error("pull records are not written: pulls go on", F_ERR(err), F_U("waiting", c->backlog_count),
                  F_U("dropped", dropped - c->complained_dropped));
    else if (dropped != c->complained_dropped)
        log_warn("pull records were dropped: more came than could be written",
                 F_U("dropped", dropped - c->complained_dropped));
    else
        return;
    c->complained_dropped = dropped;
    c->complained_ms = now_ms;
}

static size_t take_cursors(struct records *c, struct journal_cursor *ret, struct saved_cursor *copy)
{
    size_t n = 0;
    pthread_mutex_lock(&c->cursor_lock);
    for (int i = 0; i < CURSORS_MAX; ++i) {
        if (!c->cursor[i].is_due)
            continue;
        copy[n] = c->cursor[i];
        ret[n] = (struct journal_cursor){copy[n].name, copy[n].number};
        ++n;
        c->cursor[i].is_due = false;
    }
    pthread_mutex_unlock(&c->cursor_lock);
    return n;
}

static void give_back_cursors(struct records *c, const struct saved_cursor *copy, size_t n)
{
    pthread_mutex_lock(&c->cursor_lock);
    for (size_t i = 0; i < n; ++i)
        for (int k = 0; k < CURSORS_MAX; ++k)
            if (strcmp(c->cursor[k].name, copy[i].name) == 0)
                c->cursor[k].is_due = true; /* with a younger number, if there is one */
    pthread_mutex_unlock(&c->cursor_lock);
}

/* What came, and how far what was to be passed on was. The owner keeps it until it is told. */
static void take_incoming(struct records *c, struct records_incoming *ret[RECORDS_INCOMING],
                          struct journal_batch *b)
{
    pthread_mutex_lock(&c->cursor_lock);
    memcpy(ret, c->incoming, sizeof c->incoming);
    pthread_mutex_unlock(&c->cursor_lock);
    if (ret[RECORDS_ARRIVED]) {
        b->arrivals = ret[RECORDS_ARRIVED]->arrivals;
        b->arrival_count = ret[RECORDS_ARRIVED]->arrival_count;
    }
    if (ret[RECORDS_FORWARDED])
        b->forwarded = ret[RECORDS_FORWARDED]->forwarded;
}

static void incoming_written(struct records *c, struct records_incoming *const taken[RECORDS_INCOMING])
{
    for (int i = 0; i < RECORDS_INCOMING; ++i) {
        struct records_incoming *in = taken[i];
        if (!in)
            continue;
        for (size_t k = 0; k < in->arrival_count; ++k)
            if (in->arrivals[k].r.number)
                feed_publish(c->feed, &in->arrivals[k].r);
        pthread_mutex_lock(&c->cursor_lock);
        c->incoming[i] = NULL;
        pthread_mutex_unlock(&c->cursor_lock);
        loop_post(in->loop, in->done, in->arg);
    }
}

static void written(struct records *c, struct journal_record *records)
{
    size_t i = 0;
    struct collected *one, *next;
    DL_FOREACH_SAFE (c->backlog, one, next) {
        one->r.number = records[i].number;
        one->r.made_ms = records[i].made_ms;
        one->r.seen = records[i].seen;
        metric_inc(one->r.kind == JOURNAL_PULL ? c->written_pulls : c->written_checks);
        feed_publish(c->feed, &one->r);
        ++i;
        DL_DELETE(c->backlog, one);
        collect_written(one);
    }
    c->backlog_count = 0;
    for (i = 0; i < c->update_count; ++i)
        free((void *)(uintptr_t)c->updates[i].platform);
    for (i = 0; i < c->pending_count; ++i)
        free((void *)(uintptr_t)c->pending[i].p);
    c->update_count = c->pending_count = 0;
}

/* All that waits, in one transaction. */
bool records_write_batch(struct records *c)
{
    struct journal_cursor cursors[CURSORS_MAX];
    struct saved_cursor copies[CURSORS_MAX];
    struct err err;
    size_t n = 0;
    struct journal_batch b = {.updates = c->updates,
                              .update_count = c->update_count,
                              .pending = c->pending,
                              .pending_count = c->pending_count,
                              .cursors = cursors,
                              .cursor_count = take_cursors(c, cursors, copies)};
    struct records_incoming *incoming[RECORDS_INCOMING];
    take_incoming(c, incoming, &b);
    if (!c->backlog_count && !b.update_count && !b.pending_count && !b.cursor_count &&
        !incoming[RECORDS_ARRIVED] && !incoming[RECORDS_FORWARDED])
        return true;
    cleanup_free struct journal_record *records = mem_alloc(c->backlog_count * sizeof *records + 1);
    struct collected *one;
    DL_FOREACH (c->backlog, one)
        records[n++] = one->r;
    b.records = records;
    b.record_count = n;
    uint64_t begin_us = clock_mono_us();
    int rc = c->journal->ops->write(c->journal, &b, &err);
    metric_observe_us(c->seconds, clock_mono_us() - begin_us);
    if (rc < 0) {
        metric_inc(c->failed);
        give_back_cursors(c, copies, b.cursor_count);
        metric_set(c->waiting, c->backlog_count);
        records_complain(c, &err);
        return false;
    }
    written(c, records);
    incoming_written(c, incoming);
    feed_wake(c->feed);
    metric_set(c->waiting, 0);
    return true;
}
