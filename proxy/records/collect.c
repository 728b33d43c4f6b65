// SPDX-License-Identifier: Apache-2.0
#include "proxy/records/collect.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "common/hash.h"
#include "common/mem.h"
#include "proxy/records/collect_impl.h"

#define HOLD_US      UINT64_C(2000000) /* a record waits that long for what its manifest was made of */
#define HOLD_LOOK_US UINT64_C(50000)

struct collect *collect_new(uint64_t window_ms, const struct collect_out *out)
{
    struct collect *c = mem_new(struct collect);
    c->window_us = window_ms * 1000;
    c->out = *out;
    c->next_key = 1;
    return c;
}

/* ---- tracks ---- */

static struct track *track_get(struct collect *c, const char *node, const char *registry,
                               const char *repository, bool make)
{
    char key[3 * RECORDS_TEXT_MAX + 8];
    const struct slice piece[] = {slice_of(node),
                                  {"\n", 1},
                                  slice_of(registry),
                                  {repository ? "/" : "", repository ? 1 : 0},
                                  slice_of(repository ? repository : "")};
    size_t len = str_join(key, sizeof key, piece, 5);
    struct track *t;
    HASH_FIND(hh, c->tracks, key, len, t);
    if (t || !make)
        return t;
    t = mem_zalloc(sizeof *t + len + 1);
    memcpy(t->key, key, len);
    HASH_ADD_KEYPTR(hh, c->tracks, t->key, (unsigned)len, t);
    return t;
}

void track_drop_if_empty(struct collect *c, struct track *t)
{
    if (t->pulls || t->notes)
        return;
    HASH_DEL(c->tracks, t); // NOLINT(clang-analyzer-unix.Malloc): uthash takes it off the list first
    free(t);
}

/* ---- records ---- */

static struct collected *collected_of(const struct report *r)
{
    const struct served *s = r->served;
    static const char *const method[] = {
        [RECORDS_GET] = "GET", [RECORDS_HEAD] = "HEAD", [RECORDS_NOT_MODIFIED] = "GET"};
    struct journal_record record = {.kind = r->question == RECORDS_GET && s->is_runnable ? JOURNAL_PULL
                                                                                         : JOURNAL_CHECK,
                                    .time_ms = r->time_ms,
                                    .node = report_text(r, REPORT_NODE),
                                    .location = report_text(r, REPORT_LOCATION),
                                    .address = report_text(r, REPORT_ADDRESS),
                                    .agent = report_text(r, REPORT_AGENT),
                                    .subject = report_text(r, REPORT_SUBJECT),
                                    .registry = s->registry,
                                    .repository = s->repository,
                                    .reference = report_text(r, REPORT_REFERENCE),
                                    .platform = "",
                                    .media_type = s->media_type,
                                    .served = s->digest,
                                    .size = s->size,
                                    .request_id = report_text(r, REPORT_REQUEST),
                                    .host = report_text(r, REPORT_HOST),
                                    .method = method[r->question]};
    struct collected *c = collected_new(&record);
    c->served = served_ref(r->served);
    return c;
}

static void set_platform(struct collected *c, const char *platform)
{
    (void)snprintf(c->platform, sizeof c->platform, "%s", platform);
    c->r.platform = c->platform;
}

/* What the worker found out since. False: not yet. */
static bool take_source(struct collected *c)
{
    const struct served *s = c->served;
    if (!atomic_load_explicit(&s->has_source, memory_order_acquire))
        return false;
    c->r.source = s->source;
    c->r.injection = s->injection;
    return true;
}

void collect_written(struct collected *c)
{
    if (c->pull) {
        c->pull->number = c->r.number;
        c->pull->record = NULL;
    }
    collected_free(c);
}

void collect_lost(struct collected *c)
{
    if (c->pull)
        c->pull->record = NULL;
    collected_free(c);
}

/* ---- pulls ---- */

static void pull_touch(struct collect *c, struct collect_pull *p, uint64_t now_us)
{
    p->last_us = now_us;
    DL_DELETE2(c->pulls, p, older, newer);
    DL_APPEND2(c->pulls, p, older, newer);
}

static bool is_whole(const struct collect_pull *p)
{
    return p->asked > 0 && p->whole == p->asked && p->busy == 0;
}

static void pull_close(struct collect *c, struct collect_pull *p, bool crowded_out)
{
    struct track *t = p->track;
    bool complete = is_whole(p);
    /* Nothing was asked for: complete if the pull before was, which may still be open, too. */
    for (struct collect_pull *before = p->next; before && !p->asked && !complete; before = before->next)
        complete = digest_eq(&before->served->digest, &p->served->digest) && is_whole(before);
    uint64_t ms = p->end_us > p->begin_us ? (p->end_us - p->begin_us) / 1000 : 0;
    if (p->record) { /* on its way: it is written as it ended */
        if (!p->has_platform)
            set_platform(p->record, served_platform(p->served));
        p->record->r.bytes_sent = p->bytes;
        p->record->r.duration_ms = ms;
        p->record->r.cache_hits = p->hits;
        p->record->r.cache_misses = p->misses;
        p->record->r.complete = complete;
        p->record->pull = NULL;
    } else if (p->number && (p->asked || !crowded_out)) {
        const struct journal_update u = {.number = p->number,
                                         .bytes_sent = p->bytes,
                                         .duration_ms = ms,
                                         .cache_hits = p->hits,
                                         .cache_misses = p->misses,
                                         .complete = complete,
                                         .complete_as_before = p->asked == 0 && !complete,
                                         .platform = p->has_platform ? "" : served_platform(p->served)};
        c->out.update(c->out.arg, &u);
    }
    if (p->through_us)
        DL_DELETE2(c->through, p, through_prev, through_next);
    DL_DELETE(t->pulls, p);
    DL_DELETE2(c->pulls, p, older, newer);
    --t->pull_count;
    --c->pull_count;
    served_unref(p->served);
    free(p->part);
    free(p);
}

static void pull_begin(struct collect *c, struct track *t, const struct report *r)
{
    struct collected *record = collected_of(r);
    struct collect_pull *p = mem_new(struct collect_pull);
    p->track = t;
    p->served = served_ref(r->served);
    p->record = record;
    p->begin_us = p->last_us = p->heard_us = r->stamp_us;
    p->bytes = r->served->size;
    record->pull = p;
    record->held_us = r->stamp_us;
    record->r.bytes_sent = p->bytes;
    notes_followed(c, t, r->served, r->is_digest, record);
    if (!record->r.platform[0])
        set_platform(record, served_platform(r->served));
    p->has_platform = record->r.platform[0] != '\0';
    DL_PREPEND(t->pulls, p);
    DL_APPEND2(c->pulls, p, older, newer);
    ++t->pull_count;
    ++c->pull_count;
    if (!c->held && take_source(record))
        c->out.record(c->out.arg, record);
    else
        DL_APPEND(c->held, record);
    if (t->pull_count > COLLECT_PULLS_PER_TRACK)
        pull_close(c, t->pulls->prev, true);
    while (c->pull_count > COLLECT_PULLS) {
        struct track *crowded = c->pulls->track;
        pull_close(c, c->pulls, true);
        if (crowded != t)
            track_drop_if_empty(c, crowded);
    }
}

/* Records go out in their order, so one that waits for its source holds up those behind it. */
static uint64_t release_held(struct collect *c, uint64_t now_us, bool all)
{
    while (c->held) {
        struct collected *record = c->held;
        if (!take_source(record) && !all && now_us < record->held_us + HOLD_US)
            return now_us + HOLD_LOOK_US;
        DL_DELETE(c->held, record);
        c->out.record(c->out.arg, record);
    }
    return UINT64_MAX;
}

/* ---- blobs ---- */

static void on_blob(struct collect *c, const struct report *r)
{
    struct track *t = track_get(c, report_text(r, REPORT_NODE), report_text(r, REPORT_NAME), NULL, false);
    struct collect_pull *p = NULL;
    const struct served_part *part = NULL;
    for (struct collect_pull *one = t ? t->pulls : NULL; one && !part; one = one->next) {
        part = served_find(one->served, report_text(r, REPORT_DIGEST));
        p = one;
    }
    if (!part)
        return;
    if (!p->part)
        p->part = mem_zalloc(p->served->part_count * sizeof *p->part);
    struct pull_part *mine = &p->part[part - p->served->part];
    pull_touch(c, p, r->stamp_us);
    p->heard_us = r->stamp_us;
    if (!mine->asked) {
        mine->asked = true;
        ++p->asked;
    }
    if (r->kind == REPORT_BLOB_BEGIN) {
        ++p->busy;
        return;
    }
    p->busy -= p->busy > 0;
    p->end_us = r->stamp_us;
    p->bytes += r->bytes;
    p->hits += !r->miss;
    p->misses += r->miss;
    mine->bytes += r->bytes;
    if (!mine->whole && r->bytes && mine->bytes >= part->size) {
        mine->whole = true;
        ++p->whole;
    }
    if (p->whole == p->served->part_count && p->busy == 0 && !p->through_us) {
        p->through_us = r->stamp_us;
        DL_APPEND2(c->through, p, through_prev, through_next);
    }
}

/* Pulls that are through close, but for those whose platform is being read from the config just sent. */
static uint64_t close_through(struct collect *c, uint64_t now_us)
{
    uint64_t next_us = UINT64_MAX;
    struct collect_pull *p, *next;
    DL_FOREACH_SAFE2(c->through, p, next, through_next)
    {
        if (!p->has_platform && !served_platform(p->served)[0] && now_us < p->through_us + HOLD_US) {
            next_us = now_us + HOLD_LOOK_US;
            continue;
        }
        struct track *t = p->track;
        pull_close(c, p, false);
        track_drop_if_empty(c, t);
    }
    return next_us;
}

/* ---- what comes in ---- */

void collect_report(struct collect *c, const struct report *r)
{
    if (r->kind != REPORT_MANIFEST) {
        on_blob(c, r);
        return;
    }
    struct served *s = r->served;
    if (!s->is_runnable && !s->is_index)
        return;
    bool pull = r->question == RECORDS_GET && s->is_runnable;
    /* A digest is a question about an image only as far as the manifest behind it says more than it does. */
    if (!pull && r->is_digest && !s->is_index && r->question != RECORDS_NOT_MODIFIED)
        return;
    struct track *t = track_get(c, report_text(r, REPORT_NODE), s->registry, s->repository, true);
    if (pull) {
        pull_begin(c, t, r);
    } else {
        struct collected *record = collected_of(r);
        record->r.kind = JOURNAL_CHECK;
        note_begin(c, t, r, record, !r->is_digest || r->question == RECORDS_NOT_MODIFIED);
    }
}

uint64_t collect_tick(struct collect *c, uint64_t now_us)
{
    uint64_t next_us = release_held(c, now_us, false), through_us = close_through(c, now_us);
    next_us = through_us < next_us ? through_us : next_us;
    while (c->pulls && now_us >= c->pulls->last_us + c->window_us) {
        struct collect_pull *p = c->pulls;
        if (p->busy && now_us - p->heard_us < PULL_BUSY_MAX_US) {
            pull_touch(c, p, now_us); /* a download under way is not quiet */
            continue;
        }
        struct track *t = p->track;
        pull_close(c, p, false);
        track_drop_if_empty(c, t);
    }
    while (c->notes && now_us >= c->notes->stamp_us + c->window_us) {
        struct track *t = c->notes->track;
        note_end(c, c->notes);
        track_drop_if_empty(c, t);
    }
    if (c->pulls && c->pulls->last_us + c->window_us < next_us)
        next_us = c->pulls->last_us + c->window_us;
    if (c->notes && c->notes->stamp_us + c->window_us < next_us)
        next_us = c->notes->stamp_us + c->window_us;
    return next_us;
}

void collect_restore(struct collect *c, uint64_t key, struct collected *record)
{
    const struct journal_pending gone = {.key = key};
    if (key >= c->next_key)
        c->next_key = key + 1;
    c->out.pending(c->out.arg, &gone);
    if (record)
        c->out.record(c->out.arg, record);
}

void collect_finish(struct collect *c)
{
    (void)release_held(c, 0, true);
    while (c->pulls) {
        struct track *t = c->pulls->track;
        pull_close(c, c->pulls, false);
        track_drop_if_empty(c, t);
    }
    while (c->notes) {
        struct track *t = c->notes->track;
        note_end(c, c->notes);
        track_drop_if_empty(c, t);
    }
}

void collect_free(struct collect *c)
{
    assert(!c || (!c->tracks && !c->held));
    free(c);
}
