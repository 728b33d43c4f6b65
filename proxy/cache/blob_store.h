// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_CACHE_BLOB_STORE_H
#define RAC_CACHE_BLOB_STORE_H
/*
 * Content-addressed, immutable blobs. A blob is visible only when it is complete and we computed its digest
 * ourselves, once, on the way in. One table of functions; disk.h is the embedded implementation.
 *
 * Async calls never block a loop and answer later, on it; with loop NULL the answer comes on a thread of the
 * store. Results that are references belong to the callback.
 */
#include <stdbool.h>
#include <stdint.h>

#include "common/digest.h"
#include "common/err.h"
#include "common/loop.h"

/* An open blob. Reference-counted (atomic), immutable; stays readable when the blob is evicted meanwhile. */
struct blob {
    unsigned refs; /* use blob_ref/unref */
    int fd;        /* for pread and sendfile; never for writing, the offset is not used */
    uint64_t size;
    struct digest digest;
};
struct blob *blob_ref(struct blob *b);
void blob_unref(struct blob *b); /* NULL is fine; closes with the last reference */

/* A blob on its way in: one writer (a fill). */
struct blob_partial {
    int fd;               /* read-write; readers of the fill read from it too */
    uint64_t have;        /* bytes that are there from an earlier try */
    struct hasher *hash;  /* over those bytes; the owner goes on with it */
    struct digest digest; /* what it is to become */
    void *impl;
};

struct blob_store;
typedef void blob_get_fn(void *arg, struct blob *b, const struct err *err); /* both NULL = not there */
typedef void blob_partial_fn(void *arg, struct blob_partial *p, const struct err *err);
typedef void blob_done_fn(void *arg, const struct err *err);
typedef void blob_bytes_fn(void *arg, char *bytes, size_t len,
                           const struct err *err); /* bytes are the callee's to free; NULL = not there */

struct blob_store_ops {
    /* From the table of open blobs only: no system call. NULL = ask get(). Any thread. */
    struct blob *(*try)(struct blob_store *, const struct digest *);
    void (*get)(struct blob_store *, struct loop *, const struct digest *, blob_get_fn *, void *arg);
    /* A small blob, whole (a manifest, a config); ERR_SIZE_INVALID past max; verified again (SHA-256), a
     * damaged one is quarantined and answered as not there. */
    void (*read)(struct blob_store *, struct loop *, const struct digest *, size_t max, blob_bytes_fn *,
                 void *arg);
    /* A small blob from memory, durable when it answers. Bytes are copied; they are asserted to have that
     * digest. */
    void (*put)(struct blob_store *, struct loop *, const struct digest *, const void *p, size_t len,
                blob_done_fn *, void *arg);

    /* Opens <data>/partial/<hex>, hashing what is there from before. One owner a digest: who comes second (a
     * fill and an injected layer of the same digest) waits until the first has published or closed it. */
    void (*partial_open)(struct blob_store *, struct loop *, const struct digest *, blob_partial_fn *,
                         void *arg);
    /* The file holds exactly the blob and hash has its digest: fdatasync, rename, fsync of the folder. The
     * partial is consumed (its fd stays open until the callback, which gets a blob for readers to go on
     * with). On an error it is consumed too, and its bytes are deleted: a reader that is to go on has its own
     * descriptor (dup). A blob that is there already is no error: that one stays, and is what the callback
     * gets. */
    void (*partial_publish)(struct blob_store *, struct loop *, struct blob_partial *, blob_get_fn *,
                            void *arg);
    /* Closes it, keeping the bytes for the next try (keep), or deleting them. No callback. */
    void (*partial_close)(struct blob_store *, struct blob_partial *, bool keep);

    /* Moved to <data>/quarantine: short or unreadable. No callback. */
    void (*quarantine)(struct blob_store *, const struct digest *, const char *why);
    /* Never evicted while pinned (counted): layers of the injections in force. */
    void (*pin)(struct blob_store *, const struct digest *, bool on);
    void (*check)(struct blob_store *, struct loop *, blob_done_fn *, void *arg); /* /readyz */
    /* Tries to free that many bytes now by eviction (a full disk); answers when done. */
    void (*make_room)(struct blob_store *, struct loop *, uint64_t bytes, blob_done_fn *, void *arg);
    void (*close)(struct blob_store *);
};

struct blob_store {
    const struct blob_store_ops *ops;
    _Atomic uint64_t bytes, blobs; /* stored; exact once the first background scan is through */
    _Atomic uint64_t limit;        /* bytes; resolved from cache.size */
    _Atomic uint64_t evicted_blobs, evicted_bytes, quarantined;
};
#endif
