// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#include "common/mem.h"
#include "proxy/records/collect_impl.h"

static void forget_pending(struct collect *c, struct note *n)
{
    const struct journal_pending gone = {.key = n->key};
    if (n->key)
        c->out.pending(c->out.arg, &gone);
    n->key = 0;
}

static void keep_pending(struct collect *c, struct note *n)
{
    cleanup_buf struct buf b = {0};
    n->key = c->next_key++;
    pending_format(&n->record->r, &b);
    const struct journal_pending keep = {.key = n->key, .p = b.p, .len = b.len};
    c->out.pending(c->out.arg, &keep);
}

void note_end(struct collect *c, struct note *n)
{
    struct track *t = n->track;
    if (n->record && !n->is_followed) {
        struct served *s = n->served;
        if (atomic_load_explicit(&s->has_source, memory_order_acquire)) {
            n->record->r.source = s->source;
            n->record->r.injection = s->injection;
        } /* else it cannot be told: the state did not answer all the time */
        (void)snprintf(n->record->platform, sizeof n->record->platform, "%s", served_platform(s));
        n->record->r.platform = n->record->platform;
        c->out.record(c->out.arg, n->record);
    } else {
        collected_free(n->record);
    }
    forget_pending(c, n);
    DL_DELETE(t->notes, n);
    DL_DELETE2(c->notes, n, older, newer);
    --t->note_count;
    --c->note_count;
    served_unref(n->served);
    free(n);
}

void note_begin(struct collect *c, struct track *t, const struct report *r, struct collected *record,
                bool can_be_check)
{
    struct note *n = mem_new(struct note);
    n->track = t;
    n->served = served_ref(r->served);
    n->stamp_us = r->stamp_us;
    n->record = record;
    (void)snprintf(n->reference, sizeof n->reference, "%s", report_text(r, REPORT_REFERENCE));
    DL_PREPEND(t->notes, n);
    DL_APPEND2(c->notes, n, older, newer);
    ++t->note_count;
    ++c->note_count;
    if (can_be_check) {
        keep_pending(c, n);
    } else {
        collected_free(n->record);
        n->record = NULL;
    }
    if (t->note_count > COLLECT_NOTES_PER_TRACK)
        note_end(c, t->notes->prev);
    while (c->note_count > COLLECT_NOTES) {
        struct track *crowded = c->notes->track;
        note_end(c, c->notes);
        track_drop_if_empty(c, crowded);
    }
}

void notes_followed(struct collect *c, struct track *t, const struct served *served, bool by_digest,
                    struct collected *record)
{
    const struct note *by = NULL; /* the youngest about a tag, else the youngest */
    for (struct note *n = t->notes; n; n = n->next) {
        const struct served_part *child =
            n->served->is_index ? served_find(n->served, served->digest.s) : NULL;
        if (!child && !digest_eq(&n->served->digest, &served->digest))
            continue;
        if (!by || (!by->record && n->record))
            by = n;
        if (child && child->platform && !record->r.platform[0]) {
            (void)snprintf(record->platform, sizeof record->platform, "%s", child->platform);
            record->r.platform = record->platform;
        }
        n->is_followed = true;
        forget_pending(c, n);
    }
    if (by && by_digest) {
        (void)snprintf(record->reference, sizeof record->reference, "%s", by->reference);
        record->r.reference = record->reference;
    }
}
