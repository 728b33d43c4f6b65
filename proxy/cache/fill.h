// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_CACHE_FILL_H
#define RAC_CACHE_FILL_H
/*
 * A fill: one download of a blob from upstream, for all who read it meanwhile, on whatever worker and under
 * whatever name.
 *
 *      upstream ──> [ partial file ......written| ]      the fill, on the loop of who asked first
 *                     ^reader   ^reader                  each at its own pace, behind `available`
 *
 * Bytes go into a partial file and every reader, the first too, reads from that file behind the write
 * position: a slow reader never slows the fill or another reader, one that leaves never stops it, and memory
 * does not grow with the blob. The last FILL_HOLD_BACK bytes are held back until the digest of all of them is
 * right, so no reader ever gets a complete wrong blob. A download that breaks is taken up again with Range,
 * FILL_RETRIES times; what is there when it gives up stays for the next request, also across restarts.
 *
 *      OPENING ─> ASKING ─> STREAMING ─> VERIFIED ─> (published: the store has it)
 *         └─────────┴───────────┴──────> FAILED
 *
 * When the disk is full the store is asked to make room; if there is none, the rest streams through a bounded
 * window in memory at the pace of the slowest reader, and the blob is not kept (fill_window.h).
 */
#include "proxy/cache/document.h"

#define FILL_HOLD_BACK ((uint64_t)64 << 10)
#define FILL_RETRIES   5

struct fills;
struct fill_reader;

struct fills *fills_new(const struct cache_env *env);
/* Cancels what is under way; what is there stays for the next start. Loops have stopped. */
void fills_free(struct fills *t); /* NULL is fine */

enum fill_state {
    FILL_WAITING,  /* nothing to say yet */
    FILL_READY,    /* the size is known, bytes come */
    FILL_COMPLETE, /* all bytes are there and verified */
    FILL_FAILED,   /* see fill_reader_error */
    FILL_MISLED,   /* failed, and by wrong bytes from elsewhere than the upstream: join again at once */
    FILL_BUSY,     /* this fill can take no more readers (full disk): join again later */
};

/* Joins the fill of that digest, or begins it by asking `repo`. `expected_size`: from a manifest, 0 if not
 * known. `changed` comes on `loop`, never from inside a call here, whenever fill_reader_* have something new
 * to say that the reader waits for: it waits after a join, and after fill_reader_wait. `may_read`: `repo` is
 * known to refer to the blob. Then bytes that another fill stored since the caller looked into the store are
 * taken from there, so that nothing is downloaded twice; else the upstream's answer to this very request is
 * the permission, and a caller that finds itself in the fill of another repository has to ask first. */
struct fill_reader *fill_join(struct fills *t, struct loop *loop, struct repo *repo,
                              const struct digest *digest, uint64_t expected_size, bool may_read,
                              void (*changed)(void *arg), void *arg);
/* The same for another replica, which may read any blob: joins what is under way, and not if the bytes come
 * from a third replica: NULL. If they do later, the reader is BUSY. */
struct fill_reader *fill_join_for_peer(struct fills *t, struct loop *loop, const struct digest *digest,
                                       void (*changed)(void *arg), void *arg);
/* `changed` never comes after this. */
void fill_leave(struct fill_reader *r);

enum fill_state fill_reader_state(struct fill_reader *r);
uint64_t fill_reader_size(struct fill_reader *r);           /* READY and COMPLETE */
const struct err *fill_reader_error(struct fill_reader *r); /* FAILED, MISLED */
/* The repository that the fill asks, to tell whose refusal an error is; borrowed. */
const struct repo *fill_reader_repo(const struct fill_reader *r);
/* The upstream will still say whether that repository may have the blob: who joins it now learns that, too.
 */
bool fill_reader_is_question(struct fill_reader *r);

/* Does it stream through memory (full disk)? Then fill_reader_next wants a buffer. */
bool fill_reader_in_memory(struct fill_reader *r);
/* Bytes from `offset` on that may be read now. From the file: *ret_fd is set (borrowed). From memory (full
 * disk): *ret_fd is -1 and up to `cap` bytes were copied to `copy`. 0: wait. The reader's place is `offset`
 * from then on. */
uint64_t fill_reader_next(struct fill_reader *r, uint64_t offset, int *ret_fd, void *copy, size_t cap);
/* `changed` comes when there are bytes behind `offset`, or the state changes. */
void fill_reader_wait(struct fill_reader *r, uint64_t offset);
#endif
