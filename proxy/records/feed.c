// SPDX-License-Identifier: Apache-2.0
#include "proxy/records/feed.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <utlist.h>

#include "common/mem.h"
#include "proxy/records/records.h"

/* A record as it is kept. */
struct kept {
    uint64_t number;
    enum journal_kind kind;
    char id[JOURNAL_EVENT_MAX];
    char *json;
    size_t len;
};

struct feed_reader {
    struct feed_reader *prev, *next;
    struct feed *feed;
    struct loop *loop;
    loop_fn *fn;
    void *arg;
    uint64_t after;
    bool is_waiting;
    bool is_posted; /* its turn is in the loop's mailbox */
    bool is_closed; /* on_turn frees it */
};

struct feed {
    struct journal *journal;
    pthread_mutex_t lock; /* guards all below */
    struct kept kept[FEED_RECORDS];
    uint64_t first, last; /* numbers that are kept: first <= n <= last; first > last: none */
    size_t bytes;
    struct feed_reader *readers;
    unsigned reader_count;
};

struct feed *feed_new(struct journal *journal)
{
    struct journal_stats stats;
    struct feed *f = mem_new(struct feed);
    f->journal = journal;
    pthread_mutex_init(&f->lock, NULL);
    journal->ops->stats(journal, &stats);
    f->last = stats.last;
    f->first = stats.last + 1;
    return f;
}

static void drop_first(struct feed *f)
{
    struct kept *k = &f->kept[f->first++ % FEED_RECORDS];
    f->bytes -= k->len;
    free(k->json);
    k->json = NULL;
}

void feed_free(struct feed *f)
{
    if (!f)
        return;
    assert(!f->readers);
    while (f->first <= f->last)
        drop_first(f);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

void feed_publish(struct feed *f, const struct journal_record *r)
{
    pthread_mutex_lock(&f->lock);
    bool wanted = f->readers != NULL;
    pthread_mutex_unlock(&f->lock);
    cleanup_buf struct buf b = {0};
    if (wanted)
        record_format_json(f->journal, r, &b);
    pthread_mutex_lock(&f->lock);
    if (!wanted) {
        while (f->first <= f->last)
            drop_first(f);
        f->first = r->number + 1;
    } else {
        while (f->first <= f->last && (f->last - f->first + 1 >= FEED_RECORDS || f->bytes > FEED_BYTES))
            drop_first(f);
        struct kept *k = &f->kept[r->number % FEED_RECORDS];
        k->number = r->number;
        k->kind = r->kind;
        k->len = b.len;
        k->json = buf_take(&b);
        f->bytes += k->len;
        (void)journal_event_id(f->journal, r, k->id);
    }
    f->last = r->number;
    pthread_mutex_unlock(&f->lock);
}

uint64_t feed_last(struct feed *f)
{
    pthread_mutex_lock(&f->lock);
    uint64_t last = f->last;
    pthread_mutex_unlock(&f->lock);
    return last;
}

/* ---- readers ---- */

static void on_turn(void *arg)
{
    struct feed_reader *r = arg;
    pthread_mutex_lock(&r->feed->lock);
    r->is_posted = false;
    bool closed = r->is_closed;
    pthread_mutex_unlock(&r->feed->lock);
    if (closed)
        free(r);
    else
        r->fn(r->arg);
}

/* Under the lock. */
static void wake_if_due(struct feed *f, struct feed_reader *r)
{
    if (!r->is_waiting || r->after >= f->last)
        return;
    r->is_waiting = false;
    r->is_posted = true;
    loop_post(r->loop, on_turn, r);
}

void feed_wake(struct feed *f)
{
    struct feed_reader *r;
    pthread_mutex_lock(&f->lock);
    DL_FOREACH (f->readers, r)
        wake_if_due(f, r);
    pthread_mutex_unlock(&f->lock);
}

struct feed_reader *feed_open(struct feed *f, struct loop *loop, loop_fn *fn, void *arg)
{
    struct feed_reader *r = mem_new(struct feed_reader);
    *r = (struct feed_reader){.feed = f, .loop = loop, .fn = fn, .arg = arg};
    pthread_mutex_lock(&f->lock);
    DL_APPEND(f->readers, r);
    ++f->reader_count;
    pthread_mutex_unlock(&f->lock);
    return r;
}

void feed_close(struct feed_reader *r)
{
    struct feed *f = r->feed;
    pthread_mutex_lock(&f->lock);
    DL_DELETE(f->readers, r);
    --f->reader_count;
    r->is_closed = true;
    bool posted = r->is_posted;
    pthread_mutex_unlock(&f->lock);
    if (!posted)
        free(r);
}

void feed_wait(struct feed_reader *r, uint64_t after)
{
    pthread_mutex_lock(&r->feed->lock);
    assert(!r->is_posted);
    r->after = after;
    r->is_waiting = true;
    wake_if_due(r->feed, r);
    pthread_mutex_unlock(&r->feed->lock);
}

bool feed_read(struct feed *f, uint64_t after, size_t max_bytes, feed_format_fn *each, struct buf *out,
               uint64_t *ret_last)
{
    pthread_mutex_lock(&f->lock);
    bool kept = after >= f->last || after + 1 >= f->first;
    *ret_last = after;
    for (uint64_t n = after + 1; kept && n <= f->last && out->len < max_bytes; ++n) {
        const struct kept *k = &f->kept[n % FEED_RECORDS];
        each(out, k->id, k->kind, k->json, k->len);
        *ret_last = n;
    }
    pthread_mutex_unlock(&f->lock);
    return kept;
}

unsigned feed_readers(struct feed *f)
{
    pthread_mutex_lock(&f->lock);
    unsigned n = f->reader_count;
    pthread_mutex_unlock(&f->lock);
    return n;
}
