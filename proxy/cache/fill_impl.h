// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_CACHE_FILL_IMPL_H
#define RAC_CACHE_FILL_IMPL_H
/* For fill*.c only. */
#include <pthread.h>
#include <stdatomic.h>

#include "common/digest.h"
#include "common/hash.h"
#include "common/metrics.h"
#include "proxy/cache/fill.h"
#include "proxy/cache/fill_window.h"

#define FILL_GATHER ((size_t)256 << 10)

struct fills {
    const struct cache_env *env;
    struct metric *in_flight, *bytes, *resumes, *joined, *ok, *failed, *not_kept;
    pthread_mutex_t lock; /* guards map; taken before a fill's own */
    struct fill *map;
};

enum fill_phase { PHASE_OPENING, PHASE_ASKING, PHASE_STREAMING, PHASE_VERIFIED, PHASE_FAILED };

struct fill {
    UT_hash_handle hh;
    unsigned refs; /* atomic: the table's, the download's, each reader's */
    struct fills *table;
    struct loop *loop; /* the download's */
    struct repo *repo;
    struct digest digest;
    uint64_t expected_size;
    bool may_read; /* what the store has is for who asks */

    pthread_mutex_t lock; /* guards what readers on other loops look at: */
    enum fill_phase phase;
    bool size_known;
    uint64_t size;
    uint64_t available; /* bytes that readers may have */
    int fd;             /* of the file, ours; open and the same as long as there is a reader */
    struct err err;
    struct fill_reader *readers;
    struct fill_window window; /* in use once the disk is full */
    bool making_room;          /* the window keeps all it has: it may still go to the file */
    bool paused;               /* the download waits for room in the window */

    /* The download's own, on its loop only: */
    struct blob_partial *partial;
    struct fetch *fetch;
    struct loop_timer retry;
    char *gather;    /* FILL_GATHER bytes, once there is a body */
    size_t gathered; /* received and hashed, not written yet */
    bool all_received;
    uint64_t written;  /* bytes in the file, or passed through the window, and hashed */
    uint64_t skip;     /* bytes still to be dropped: a 200 to our Range */
    uint64_t tried_at; /* written, when the last try began */
    unsigned tries;
    bool notify_posted;
    bool room_asked;
    char what[400];
};

struct fill_reader {
    struct fill_reader *prev, *next;
    struct fill *fill;
    struct loop *loop;
    void (*changed)(void *arg); /* NULL: left */
    void *arg;
    bool waiting, posted, left;
    bool refused;    /* came too late for a fill that streams through its window */
    uint64_t offset; /* the reader's place: bytes before it are not wanted any more */
};

void fill_ref(struct fill *f);
void fill_unref(struct fill *f);
/* Wakes the readers that have something new to see. Under f->lock. */
void fill_wake(struct fill *f);
/* fill_download.c: begins on f->loop; the download has a reference of its own. */
void fill_download_begin(struct fill *f);
/* fill_write.c: takes received bytes, and writes what is gathered; -1: they have no place to go. */
int fill_gather(struct fill *f, const char *p, size_t len, struct err *err);
int fill_flush(struct fill *f, struct err *err);
static inline uint64_t fill_received(const struct fill *f)
{
    return f->written + f->gathered;
}
/* fill_download.c: the store answered whether it has room; on the fill's loop. */
void fill_download_room(struct fill *f);
/* The window has room again. On any loop. */
void fill_download_go_on(struct fill *f);
/* Out of the table, so that the next to ask begins anew (or finds it in the store). */
void fill_forget(struct fill *f);
/* The same, if it streams through its window and has no reader (true): nobody can join it after. */
bool fill_forget_unread(struct fill *f);
#endif
