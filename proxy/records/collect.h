// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_RECORDS_COLLECT_H
#define RAC_RECORDS_COLLECT_H
/*
 * Makes records of reports: which belong together, when a pull is through, which question was a mere check
 * (the rule is in records.h). Knows no thread, no ring and no journal: reports go in, changes come out.
 *
 *     track   a node and a name: its open pulls, its questions, youngest first
 *     pull    OPEN ── all sent, or quiet ──> closed: an update
 *     note    a question ── followed ──> forgotten │ ── window over ──> a check
 *
 * All is bounded: PULLS_PER_TRACK and NOTES_PER_TRACK of a track, COLLECT_PULLS and COLLECT_NOTES of all;
 * what is over a bound ends the oldest as if its time had come (a pull over its bound that never asked for a
 * blob stays as it was written).
 */
#include "proxy/records/report.h"

#define COLLECT_PULLS_PER_TRACK 8
#define COLLECT_NOTES_PER_TRACK 64
#define COLLECT_PULLS           20000
#define COLLECT_NOTES           100000

/* A record on its way to the journal; its strings stand behind it. */
struct collected {
    struct collected *prev, *next;
    struct journal_record r;
    struct collect_pull *pull; /* that goes on: told its number by collect_written */
    struct served *served;     /* a reference, or NULL */
    uint64_t held_us;          /* since when it waits for its source */
    char platform[SERVED_PLATFORM_MAX], reference[DIGEST_STR_MAX + 1];
    char store[];
};

/* What the owner does with changes; each takes its argument over or copies it. */
struct collect_out {
    /* A new record; collect_written or collect_lost ends it. */
    void (*record)(void *arg, struct collected *c);
    void (*update)(void *arg, const struct journal_update *u);
    void (*pending)(void *arg, const struct journal_pending *p);
    void *arg;
};

struct collect;
struct collect *collect_new(uint64_t window_ms, const struct collect_out *out);
void collect_free(struct collect *c);

void collect_report(struct collect *c, const struct report *r);
/* A question that an earlier process kept; its time has come. */
void collect_restore(struct collect *c, uint64_t key, struct collected *record);
/* What is due at that time; to be called again at the returned time (UINT64_MAX: not before a report). */
uint64_t collect_tick(struct collect *c, uint64_t now_us);
/* The end: pulls close with what they have, questions become checks. */
void collect_finish(struct collect *c);

/* The record is in the journal, and has its number. Frees it. */
void collect_written(struct collected *c);
/* There was no room for it. Frees it. */
void collect_lost(struct collected *c);

/* A question as it is kept until it is a check, and back. pending_read: NULL if the bytes are none of ours.
 */
void pending_format(const struct journal_record *r, struct buf *out);
struct collected *pending_read(const void *p, size_t len);
void collected_free(struct collected *c); /* NULL is fine */
/* A copy of r and all its strings. */
struct collected *collected_new(const struct journal_record *r);
#endif
