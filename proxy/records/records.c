// SPDX-License-Identifier: Apache-2.0
#include "proxy/records/records.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <utlist.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/need.h"
#include "common/metrics.h"
#include "proxy/records/feed.h"
#include "proxy/records/records_impl.h"
#include "proxy/records/ring.h"

#define RING_BYTES ((size_t)8 << 20) /* a worker: about 40,000 reports */
#define GATHER_MS  100               /* between two transactions */
#define RETRY_MS   1000
#define TIDY_MS    60000
#define NICE       19 /* serving comes first */
#define READERS    2
#define REPORT_MAX ((size_t)2560) /* bytes: all texts as long as they may be */
/* What is looked at between two transactions, a worker: 5,000 pulls a second, some hundredths of its core.
 * More of them wait in the rings. Low priority alone does not keep a machine that serves all it can from
 * being slowed: the scheduler weighs threads within their group only. A report of a blob costs an eighth. */
#define TURN_WEIGHT     4000u
#define MANIFEST_WEIGHT 8u

/* ---- reporting: any worker ---- */

static void wake(struct records *c)
{
    if (atomic_load(&c->is_asleep) && atomic_exchange(&c->is_asleep, false)) {
        uint64_t one = 1;
        (void)!write(c->wake_fd, &one, sizeof one);
    }
}

bool records_are_full(struct records *c, unsigned worker)
{
    return ring_is_full(c->ring[worker], REPORT_MAX);
}

uint64_t records_refused(const struct records *c)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < c->workers; ++i)
        n += ring_refused(c->ring[i]);
    return n;
}

/* A report with its texts in the worker's ring, to be committed; NULL: dropped. */
static struct report *report_begin(struct records *c, unsigned worker, enum report_kind kind,
                                   const struct slice text[REPORT_TEXTS])
{
    size_t len = 1;
    uint16_t size[REPORT_TEXTS];
    for (int i = 0; i < REPORT_TEXTS; ++i) {
        size[i] = (uint16_t)(text[i].len > RECORDS_TEXT_MAX ? RECORDS_TEXT_MAX : text[i].len);
        len += size[i] ? size[i] + 1u : 0;
    }
    struct report *r = ring_reserve(c->ring[worker], sizeof *r + len);
    if (!r)
        return NULL;
    r->kind = kind;
    r->stamp_us = clock_mono_us();
    r->time_ms = (int64_t)(r->stamp_us / 1000) + atomic_load_explicit(&c->wall_ms, memory_order_relaxed);
    r->served = NULL;
    r->text[0] = '\0';
    uint16_t at = 1;
    for (int i = 0; i < REPORT_TEXTS; ++i) {
        r->at[i] = size[i] ? at : 0;
        if (!size[i])
            continue;
        memcpy(r->text + at, text[i].p, size[i]);
        r->text[at + size[i]] = '\0';
        at = (uint16_t)(at + size[i] + 1);
    }
    return r;
}

static void report_end(struct records *c, unsigned worker)
{
    ring_commit(c->ring[worker]);
    wake(c);
}

void records_manifest(struct records *c, unsigned worker, const struct records_who *who,
                      struct served *served, struct slice reference, bool is_digest,
                      enum records_question question)
{
    if (!c)
        return;
    const struct slice text[REPORT_TEXTS] = {[REPORT_NODE] = slice_of(who->node),
                                             [REPORT_LOCATION] = slice_of(who->location),
                                             [REPORT_ADDRESS] = slice_of(who->address),
                                             [REPORT_SUBJECT] = slice_of(who->subject),
                                             [REPORT_AGENT] = who->agent,
                                             [REPORT_HOST] = who->host,
                                             [REPORT_REFERENCE] = reference,
                                             [REPORT_REQUEST] = slice_of(who->request_id)};
    struct report *r = report_begin(c, worker, REPORT_MANIFEST, text);
    if (!r)
        return;
    r->question = question;
    r->is_digest = is_digest;
    r->served = served_ref(served);
    report_end(c, worker);
}

static void report_blob(struct records *c, unsigned worker, enum report_kind kind,
                        const struct records_blob *blob)
{
    const struct slice text[REPORT_TEXTS] = {[REPORT_NODE] = slice_of(blob->node),
                                             [REPORT_NAME] = slice_of(blob->name),
                                             [REPORT_DIGEST] = slice_of(blob->digest->s)};
    struct report *r = report_begin(c, worker, kind, text);
    if (!r)
        return;
    r->bytes = blob->bytes;
    r->miss = blob->miss;
    report_end(c, worker);
}

void records_blob_begin(struct records *c, unsigned worker, const struct records_blob *blob)
{
    if (c)
        report_blob(c, worker, REPORT_BLOB_BEGIN, blob);
}

void records_blob_end(struct records *c, unsigned worker, const struct records_blob *blob)
{
    if (c)
        report_blob(c, worker, REPORT_BLOB_END, blob);
}

void records_give(struct records *c, enum records_incoming_kind kind, struct records_incoming *in)
{
    pthread_mutex_lock(&c->cursor_lock);
    c->incoming[kind] = in;
    pthread_mutex_unlock(&c->cursor_lock);
    wake(c);
}

void records_save_cursor(struct records *c, const char *name, uint64_t number)
{
    pthread_mutex_lock(&c->cursor_lock);
    for (int i = 0; i < CURSORS_MAX; ++i) {
        struct saved_cursor *s = &c->cursor[i];
        if (s->name[0] && strcmp(s->name, name) != 0)
            continue;
        (void)snprintf(s->name, sizeof s->name, "%s", name);
        s->number = number;
        s->is_due = true;
        break;
    }
    pthread_mutex_unlock(&c->cursor_lock);
    wake(c);
}

static void tidy(struct records *c)
{
    struct err err;
    uint64_t now_ms = clock_mono_ms();
    if (now_ms < c->tidy_ms)
        return;
    int more = c->journal->ops->tidy(c->journal, clock_wall_ms(), &err);
    if (more < 0)
        records_complain(c, &err);
    c->tidy_ms = more > 0 ? now_ms : now_ms + TIDY_MS;
}

/* ---- the thread ---- */

/* Reports until `until_us`, in the order of their time: what a client asked for after an answer has a later
 * stamp than the report of that answer, whichever workers they were on. True: there may be more. */
static bool take_reports(struct records *c, uint64_t until_us)
{
    unsigned weight = 0;
    while (weight < TURN_WEIGHT * c->workers) {
        struct report *first = NULL;
        unsigned from = 0;
        for (unsigned i = 0; i < c->workers; ++i) {
            struct report *r = ring_peek(c->ring[i]);
            if (r && r->stamp_us <= until_us && (!first || r->stamp_us < first->stamp_us)) {
                first = r;
                from = i;
            }
        }
        if (!first)
            return false;
        weight += first->kind == REPORT_MANIFEST ? MANIFEST_WEIGHT : 1;
        collect_report(c->collect, first);
        served_unref(first->served);
        ring_release(c->ring[from]);
    }
    return true;
}

static bool rings_are_empty(struct records *c)
{
    for (unsigned i = 0; i < c->workers; ++i)
        if (ring_peek(c->ring[i]))
            return false;
    return true;
}

static bool something_is_due(struct records *c)
{
    pthread_mutex_lock(&c->cursor_lock);
    bool due = c->incoming[RECORDS_ARRIVED] || c->incoming[RECORDS_FORWARDED];
    for (int i = 0; i < CURSORS_MAX; ++i)
        due = due || c->cursor[i].is_due;
    pthread_mutex_unlock(&c->cursor_lock);
    return due;
}

/* Until a report comes, or that time. */
static void sleep_until(struct records *c, uint64_t due_us)
{
    atomic_store(&c->is_asleep, true);
    if (rings_are_empty(c) && !something_is_due(c) && !c->is_ending) {
        uint64_t now_us = clock_mono_us(), tidy_us = c->tidy_ms * 1000;
        due_us = tidy_us < due_us ? tidy_us : due_us;
        struct pollfd p = {.fd = c->wake_fd, .events = POLLIN};
        (void)poll(&p, 1, due_us > now_us ? (int)((due_us - now_us) / 1000 + 1) : 0);
    }
    atomic_store(&c->is_asleep, false);
    uint64_t ignored;
    (void)!read(c->wake_fd, &ignored, sizeof ignored);
}

static void pause_ms(struct records *c, unsigned ms)
{
    if (!c->is_ending)
        (void)usleep(ms * 1000);
}

static void on_restored(void *arg, uint64_t key, const void *p, size_t len)
{
    struct records *c = arg;
    collect_restore(c->collect, key, pending_read(p, len));
}

static void restore(struct records *c)
{
    struct err err;
    if (c->journal->ops->each_pending(c->journal, on_restored, c, &err) < 0)
        log_warn("questions that were kept are not read", F_ERR(&err));
}

static void set_wall(struct records *c)
{
    atomic_store_explicit(&c->wall_ms, clock_wall_ms() - (int64_t)clock_mono_ms(), memory_order_relaxed);
}

static void *run(void *arg)
{
    struct records *c = arg;
    sigset_t all;
    sigfillset(&all);
    (void)pthread_sigmask(SIG_BLOCK, &all, NULL);
    (void)pthread_setname_np(pthread_self(), "records");
    (void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICE);
    restore(c);
    while (!c->is_ending) {
        set_wall(c);
        bool more = take_reports(c, clock_mono_us());
        uint64_t due_us = collect_tick(c->collect, clock_mono_us()), now_ms = clock_mono_ms();
        if (now_ms >= c->retry_ms && !records_write_batch(c))
            c->retry_ms = clock_mono_ms() + RETRY_MS;
        records_complain(c, NULL);
        tidy(c);
        if (!more && c->retry_ms <= now_ms)
            sleep_until(c, due_us);
        pause_ms(c, GATHER_MS);
    }
    /* A store that fails is not asked again for each turn: what it cannot take is counted. */
    bool works = true;
    while (take_reports(c, UINT64_MAX))
        works = works && records_write_batch(c);
    collect_finish(c->collect);
    (void)records_write_batch(c);
    return NULL;
}

/* ---- birth and end ---- */

struct records *records_new(const struct records_config *config)
{
    struct records *c = mem_new(struct records);
    const struct collect_out out = {records_take_record, records_take_update, records_take_pending, c};
    c->journal = config->journal;
    c->workers = config->workers;
    c->ring = mem_zalloc(c->workers * sizeof(struct ring *));
    for (unsigned i = 0; i < c->workers; ++i)
        c->ring[i] = ring_new(RING_BYTES);
    c->wake_fd = need_fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "mailbox");
    c->written_pulls = metric_get("rac_records_written_total", "kind=\"pull\"");
    c->written_checks = metric_get("rac_records_written_total", "kind=\"check\"");
    c->dropped_records = metric_get("rac_records_dropped_total", "reason=\"store\"");
    c->failed = metric_get("rac_records_errors_total", "");
    c->seconds = metric_get("rac_records_write_seconds", "");
    c->waiting = metric_get("rac_records_waiting", "");
    c->jobs = jobs_new(READERS);
    c->feed = feed_new(c->journal);
    c->collect = collect_new(config->check_window_ms, &out);
    pthread_mutex_init(&c->cursor_lock, NULL);
    if (config->state)
        c->share = share_new(c, config->state);
    set_wall(c);
    need_thread(&c->thread, "thread for pull records", run, c);
    return c;
}

void records_free(struct records *c)
{
    if (!c)
        return;
    atomic_store(&c->is_ending, true);
    atomic_store(&c->is_asleep, true);
    wake(c);
    (void)pthread_join(c->thread, NULL);
    jobs_free(c->jobs);
    if (c->share)
        share_finish(c->share);
    share_free(c->share);
    struct collected *one, *next;
    DL_FOREACH_SAFE (c->backlog, one, next) {
        DL_DELETE(c->backlog, one);
        collect_lost(one);
    }
    for (size_t i = 0; i < c->update_count; ++i)
        free((void *)(uintptr_t)c->updates[i].platform);
    for (size_t i = 0; i < c->pending_count; ++i)
        free((void *)(uintptr_t)c->pending[i].p);
    free(c->updates);
    free(c->pending);
    collect_free(c->collect);
    feed_free(c->feed);
    for (unsigned i = 0; i < c->workers; ++i)
        ring_free(c->ring[i]);
    free(c->ring);
    (void)close(c->wake_fd);
    c->journal->ops->close(c->journal);
    pthread_mutex_destroy(&c->cursor_lock);
    free(c);
}

void records_start(struct records *c, struct loop *loop)
{
    if (c->share)
        share_start(c->share, loop);
}

void records_stop(struct records *c)
{
    if (c->share)
        share_stop(c->share);
}

bool records_are_busy(struct records *c)
{
    return jobs_unfinished(c->jobs) || (c->share && share_is_busy(c->share));
}

struct journal *records_journal(struct records *c)
{
    return c->journal;
}

struct jobs *records_jobs(struct records *c)
{
    return c->jobs;
}

struct feed *records_feed(struct records *c)
{
    return c->feed;
}
