// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_RECORDS_COLLECT_IMPL_H
#define RAC_RECORDS_COLLECT_IMPL_H
/* What collect.c (tracks, pulls) and note.c (questions) share. */
#include "common/hash.h"
#include "proxy/records/collect.h"

#define PULL_BUSY_MAX_US (UINT64_C(6) * 3600 * 1000000) /* a blob whose end was never reported */

struct pull_part {
    uint64_t bytes;
    bool asked, whole;
};

struct collect_pull {
    struct collect_pull *prev, *next;   /* of its track, youngest first */
    struct collect_pull *older, *newer; /* of all, by last_us */
    struct track *track;
    struct served *served;
    struct collected *record; /* not written yet; NULL: number is its number (0: it was lost) */
    uint64_t number;
    uint64_t begin_us, end_us; /* of the manifest, of the last blob */
    uint64_t last_us;          /* of the last report, or of a look that found it busy */
    uint64_t heard_us;         /* of the last report */
    uint64_t bytes;
    uint32_t hits, misses;
    unsigned busy;          /* blobs under way */
    size_t asked, whole;    /* parts */
    struct pull_part *part; /* NULL until one is asked for */
    bool has_platform;
    uint64_t through_us; /* not 0: all was sent; it closes once its platform is known, or a moment later */
    struct collect_pull *through_prev, *through_next;
};

struct note {
    struct note *prev, *next;   /* of its track, youngest first */
    struct note *older, *newer; /* of all, by time */
    struct track *track;
    struct served *served;
    struct collected *record; /* the check it may become; NULL: it can be none */
    uint64_t stamp_us, key;
    bool is_followed;
    char reference[DIGEST_STR_MAX + 1];
};

struct track {
    UT_hash_handle hh;
    struct collect_pull *pulls;
    struct note *notes;
    unsigned pull_count, note_count;
    char key[]; /* "<node>\n<registry>/<repository>" */
};

struct collect {
    uint64_t window_us;
    struct collect_out out;
    struct track *tracks;
    struct collect_pull *pulls; /* least recently touched first */
    struct note *notes;         /* oldest first */
    struct collect_pull *through;
    struct collected *held; /* records that wait for their source */
    size_t pull_count, note_count;
    uint64_t next_key; /* of pending questions */
};

/* note.c */
/* Takes record over. can_be_check: else it only says what later questions belong to. */
void note_begin(struct collect *c, struct track *t, const struct report *r, struct collected *record,
                bool can_be_check);
/* Its time has come: a check, unless it was followed. Frees it; the track may be empty after. */
void note_end(struct collect *c, struct note *n);
/* A pull of `served`: the questions that led to it are no checks. The youngest gives a record that was asked
 * for by digest its reference, and if that was an index, its platform. */
void notes_followed(struct collect *c, struct track *t, const struct served *served, bool by_digest,
                    struct collected *record);

/* collect.c */
void track_drop_if_empty(struct collect *c, struct track *t);
#endif
