// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_CACHE_S3_IMPL_H
#define RAC_CACHE_S3_IMPL_H
/*
 * Inside of s3_blobs: s3_blobs.c (open, close, credentials, whether S3 is to be asked), s3_source.c (what
 * loops ask), s3_queue.c (what waits to be sent), s3_send.c (sending), s3_gc.c.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "common/hash.h"
#include "common/lru.h"
#include "common/metrics.h"
#include "proxy/cache/s3_blobs.h"
#include "proxy/cache/s3_url.h"
#include "s3/s3.h"

#define S3_SENDERS     2
#define S3_KEY_CAP     (S3_BLOBS_PREFIX_MAX + 16 + DIGEST_STR_MAX + 1)
#define S3_WAITING_MAX 65536 /* in memory; what is more waits on disk alone */
#define S3_KNOWN_BYTES ((uint64_t)16 << 20)
#define S3_KNOWN_MS    UINT64_C(3600000) /* how long a look at an object counts */
#define S3_REFRESH_MS  INT64_C(86400000) /* an object in use is made young again once it is that old */
#define S3_REDIRECT_S  900
#define S3_LOOKUP_S    300
#define S3_SMALL       ((uint64_t)16 << 20) /* up to that a blob is one PUT */
#define S3_PART        ((uint64_t)8 << 20)

/* A digest that a sender has something to do for. Guarded by s3_blobs.lock; a busy one is its sender's. */
struct s3_waiting {
    UT_hash_handle hh;
    struct s3_waiting *prev, *next;
    struct digest digest;
    bool send;   /* what it is for: it is to be there */
    bool wrong;  /* its object is to be deleted first */
    bool marked; /* there is a file for it */
    bool busy, pinned;
    bool again; /* wished for while it was busy: once more after that */
    unsigned tries;
    uint64_t not_before_ms; /* monotonic */
    char *upload_id;        /* of a multipart upload that was begun; NULL: none */
    uint64_t part_bytes;    /* its part size */
};

struct s3_known {
    struct lru_entry lru;
    uint64_t seen_ms; /* monotonic */
    bool wrong;       /* other bytes are there, and about to be deleted: not to be asked for */
    char hex[DIGEST_STR_MAX + 1];
};

struct s3_blobs {
    struct fill_source source; /* first */
    struct s3_blobs_url url;
    char *folder; /* <data>/upload */
    struct blob_store *store;
    struct jobs *jobs;
    struct upstream_client *(*client)(struct loop *loop);
    struct s3 *s3;
    char *ca_file; /* for the loop's requests; NULL: the system's */
    bool anonymous;
    struct cancel *cancel; /* fired to stop */
    struct lru *known;
    struct metric *hit, *missing, *failed, *wrong, *skipped;
    struct metric *sent, *there, *send_failed, *gone, *sent_bytes, *waiting_gauge, *up, *redirects;

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t wake;
    bool stopping;
    struct s3_waiting *by_digest, *order;
    unsigned waiting;
    bool more_on_disk;               /* than fits into memory */
    bool pinning;                    /* what waits is pinned */
    struct credentials *credentials; /* of the last look; NULL: none yet */
    unsigned failures;               /* in a row */
    uint64_t shut_until_ms;          /* monotonic */
    unsigned random;
    pthread_t senders[S3_SENDERS], keeper;
};

/* s3_blobs.c */
void s3_blobs_key(const struct s3_blobs *s, const struct digest *digest, char ret[S3_KEY_CAP]);
int s3_blobs_config(const struct s3_blobs_url *url, struct s3_config *ret, struct err *err);
/* Not shut out. Any thread. */
bool s3_blobs_may_ask(struct s3_blobs *s);
void s3_blobs_worked(struct s3_blobs *s);
/* A request got no answer, or one that says it is not well. */
void s3_blobs_failed(struct s3_blobs *s);
/* Milliseconds until it may be asked; 0: now. Under s->lock. */
uint64_t s3_blobs_pause(const struct s3_blobs *s);
/* malloc'd; NULL while there are no credentials. */
char *s3_blobs_sign(struct s3_blobs *s, const struct digest *digest, unsigned seconds);

/* s3_queue.c: under s->lock unless it says otherwise. */
int s3_queue_load(struct s3_blobs *s, struct err *err); /* takes the lock: what an earlier process left */
struct s3_waiting *s3_queue_add(struct s3_blobs *s, const struct digest *digest); /* NULL: too many wait */
/* The next that may be worked on, busy from then on; NULL with *ret_wait_ms (UINT64_MAX: until woken). */
struct s3_waiting *s3_queue_take(struct s3_blobs *s, uint64_t *ret_wait_ms);
void s3_queue_done(struct s3_blobs *s, struct s3_waiting *w);  /* out of it, and its file is gone */
void s3_queue_again(struct s3_blobs *s, struct s3_waiting *w); /* later */
void s3_queue_pin(struct s3_blobs *s, bool on);
void s3_queue_free(struct s3_blobs *s);
/* Writes the file of an entry, with what its upload has come to. Its sender's; not under the lock. */
int s3_queue_mark(struct s3_blobs *s, const struct s3_waiting *w, struct err *err);
/* On a thread of jobs: a wish to be sent, on disk and in memory. Takes the lock. */
void s3_queue_wish(struct s3_blobs *s, const struct digest *digest, bool send, bool wrong);

/* s3_send.c: the thread. */
void *s3_send_thread(void *s3_blobs);

/* s3_source.c */
extern const struct fill_source_ops s3_source_ops;
void s3_known_add(struct s3_blobs *s, const struct digest *digest);
void s3_known_wrong(struct s3_blobs *s, const struct digest *digest);
bool s3_known_is_wrong(struct s3_blobs *s, const struct digest *digest);
void s3_known_drop(struct s3_blobs *s, const struct digest *digest);
bool s3_known_lately(struct s3_blobs *s, const struct digest *digest);
#endif
