// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_RECORDS_RECORDS_IMPL_H
#define RAC_RECORDS_RECORDS_IMPL_H
/* Inside of the records: what records.c (reports, the thread) and records_write.c (what it writes) share. */
#include <pthread.h>
#include <stdatomic.h>

#include "proxy/records/collect.h"
#include "proxy/records/share.h"

#define CURSORS_MAX 64
#define CURSOR_NAME 128

struct saved_cursor {
    char name[CURSOR_NAME];
    uint64_t number;
    bool is_due;
};

struct records {
    struct journal *journal;
    struct jobs *jobs;
    struct feed *feed;
    unsigned workers;
    struct ring **ring;
    int wake_fd;
    atomic_bool is_asleep, is_ending;
    _Atomic int64_t wall_ms; /* what wall time is ahead of the monotonic clock: one clock is asked, not two */
    struct metric *written_pulls, *written_checks, *dropped_records, *failed, *seconds, *waiting;
    pthread_t thread;
    pthread_mutex_t cursor_lock; /* guards cursor and incoming */
    struct saved_cursor cursor[CURSORS_MAX];
    struct records_incoming *incoming[RECORDS_INCOMING]; /* NULL: none waits */
    struct share *share;                                 /* NULL: the journal is this process's alone */

    /* the thread's */
    struct collect *collect;
    struct collected *backlog;
    size_t backlog_count;
    struct journal_update *updates;
    size_t update_count, update_room;
    struct journal_pending *pending;
    size_t pending_count, pending_room;
    uint64_t lost; /* records */
    uint64_t complained_ms, complained_dropped, retry_ms, tidy_ms;
};

/* records_write.c, on the records' thread */
/* What the collector calls (collect_out). */
void records_take_record(void *arg, struct collected *one);
void records_take_update(void *arg, const struct journal_update *u);
void records_take_pending(void *arg, const struct journal_pending *p);
/* All that waits, in one transaction. False: it failed, and waits still. */
bool records_write_batch(struct records *c);
/* Once a minute at most. err NULL: of what was dropped, if something was. */
void records_complain(struct records *c, const struct err *err);
#endif
