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

enum fill_from { FILL_FROM_UPSTREAM, FILL_FROM_SECOND, FILL_FROM_PEER };
#define FILL_FROM_COUNT 3

struct fills {
    const struct cache_env *env;
    struct metric *in_flight, *bytes, *from[FILL_FROM_COUNT], *from_bytes[FILL_FROM_COUNT];
    struct metric *source_failed[FILL_FROM_COUNT], *lease_taken, *lease_busy, *lease_lost, *lease_failed;
    struct metric *resumes, *joined, *ok, *failed, *not_kept;
    pthread_mutex_t lock; /* guards map; taken before a fill's own */
    struct fill *map;
};

/* Where a fill's bytes come from (fill_where.c). On the fill's loop only. */
struct fill_where {
    bool looking;      /* a question of where is under way; it holds a reference */
    bool asked_second; /* once a fill */
    unsigned failed;   /* peers that did not give what they had */
    bool leased;       /* it is for us to ask the upstream */
    bool disproved;    /* the peer with that fence has failed */
    uint64_t fence;    /* of our lease; of the peer's while it is asked, or once it failed; 0: none */
    char *peer;        /* whom that peer's lease named; malloc'd */
    bool answered;     /* there was a head */
    uint64_t seen;     /* bytes received when the watch last looked */
    unsigned idle;     /* looks without a byte */
    struct loop_timer watch, renew;
    uint64_t bytes[FILL_FROM_COUNT];
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
    bool told, given;   /* some reader knows the size; has had bytes */
    bool misled; /* it failed by wrong bytes of a peer or the second level: the upstream's may be right */
    int fd;      /* of the file, ours; open and the same as long as there is a reader */
    struct err err;
    struct fill_reader *readers;
    struct fill_window window; /* in use once the disk is full */
    bool making_room;          /* the window keeps all it has: it may still go to the file */
    bool paused;               /* the download waits for room in the window */
    enum fill_from from;       /* what `fetch` asks, or asked last … */
    bool asked;                /* … if anything was */

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
    struct fill_where where;
    char what[400];
};

struct fill_reader {
    struct fill_reader *prev, *next;
    struct fill *fill;
    struct loop *loop;
    void (*changed)(void *arg); /* NULL: left */
    void *arg;
    bool waiting, posted, left;
    bool is_peer;    /* another replica, which must not wait for what waits for it */
    bool refused;    /* came too late for a fill that streams through its window; or a peer, see there */
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
/* fill_download.c: asks there, from f->written on. The params' range is set here. */
void fill_download_from(struct fill *f, enum fill_from from, struct fetch_params *params);
/* fill_download.c: gives up what is asked, and puts what came so far in its place; false: the fill failed. */
bool fill_download_stop(struct fill *f);
/* fill.c: readers that are peers are sent away. Under f->lock. */
void fill_refuse_peers(struct fill *f);
void fill_where_metrics(struct fills *t);
/* fill_where.c: asks whoever is to be asked next. The fill may be over when it returns. */
void fill_where_ask(struct fill *f);
/* The peer or the second level that was asked did not give all; asks the next. */
void fill_where_failed(struct fill *f, enum fill_source_end end, const struct err *err);
/* The bytes have another digest. True: some came from elsewhere than the upstream, which this fill will not
 * ask again. */
bool fill_where_lied(struct fill *f);
/* All bytes are there and right. */
void fill_where_gave(struct fill *f);
/* The fill is over; stored: the blob store has the blob now. */
void fill_where_end(struct fill *f, bool stored);
/* Who is asked: "docker.io", "peer", "s3". */
const char *fill_where_name(const struct fill *f);
/* Out of the table, so that the next to ask begins anew (or finds it in the store). */
void fill_forget(struct fill *f);
/* The same, if it streams through its window and has no reader (true): nobody can join it after. */
bool fill_forget_unread(struct fill *f);
#endif
