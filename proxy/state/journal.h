// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_STATE_JOURNAL_H
#define RAC_STATE_JOURNAL_H
/*
 * Where pull records are kept: in order, for a while, then as sums. One table of functions with an embedded
 * implementation (sqlite_journal.h), seen by proxy/records only.
 *
 * A record gets its number when it is written: 1, 2, 3, … without a gap that a reader could see: who reads
 * "all behind number n" misses nothing and gets nothing twice, also across restarts. Its public name is a
 * ULID made of the time at which it was written and the number (journal_id), so ids sort as numbers do.
 *
 * Everything here blocks. Writing calls (write, tidy) are for one thread at a time; reading calls are for any
 * thread, beside it. Errors leave everything as it was before the call.
 *
 * Days are UTC days since 1970. What is past `keep_days` is left as one sum per day, image and location, and
 * past `sum_days` not at all; the same happens to the oldest days once the file is larger than `max_bytes`.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/digest.h"
#include "common/err.h"

#define JOURNAL_ID_LEN      26
#define JOURNAL_REPLICA_LEN 16 /* hex */
#define JOURNAL_EVENT_MAX   53 /* bytes of a record's id as an event, and a NUL */

enum journal_kind { JOURNAL_PULL, JOURNAL_CHECK };

/* Strings are never NULL; "" is "not known". A digest that is not known is empty. */
struct journal_record {
    uint64_t number; /* given by write */
    uint64_t id[2];  /* of another replica's: its id as two halves. {0, 0}: made here, see journal_id */
    uint64_t place;  /* in the stream; 0: not known (yet) */
    uint64_t seen;   /* how far this journal had followed the stream when it was written */
    int64_t made_ms; /* 0: given by write, now; never before that of a record with a smaller number */
    int64_t time_ms; /* of the request, wall clock */
    enum journal_kind kind;
    const char *node, *location, *address, *agent, *subject;
    const char *registry, *repository; /* "docker.io", "library/busybox" */
    const char *reference;             /* tag or digest */
    const char *platform, *media_type;
    struct digest source, served, injection;
    uint64_t size; /* of the manifest */
    const char *request_id, *host, *method;
    uint64_t bytes_sent, duration_ms;
    uint32_t cache_hits, cache_misses;
    bool complete;
};

/* What became of a record after it was written. */
struct journal_update {
    uint64_t number;
    uint64_t bytes_sent, duration_ms;
    uint32_t cache_hits, cache_misses;
    bool complete;
    bool complete_as_before; /* complete is that of the same node's last pull of the same source instead */
    const char *platform;    /* "": as it is */
};

/* What is not a record yet and must not be lost: bytes under a number of the caller's. */
struct journal_pending {
    uint64_t key;
    const void *p; /* NULL: forget it */
    size_t len;
};

/* What a replica wrote, as it comes from the stream that all of them share: a record, or what became of one.
 * Those of this journal's own only tell it where in the stream they are. */
struct journal_arrival {
    bool is_update, is_own; /* update: of the record with that id; its outcome and platform alone count */
    /* id and place are set; places grow. number, made_ms: given by write; number 0: it was there already */
    struct journal_record r;
};

/* How far a reader got that must go on there after a restart. */
struct journal_cursor {
    const char *name;
    uint64_t number; /* read up to and with this one */
};

/* One transaction: all of it or nothing. */
struct journal_batch {
    struct journal_record *records; /* number and made_ms are set */
    size_t record_count;
    const struct journal_update *updates;
    size_t update_count;
    const struct journal_pending *pending;
    size_t pending_count;
    const struct journal_cursor *cursors;
    size_t cursor_count;
    struct journal_arrival *arrivals; /* behind the records */
    size_t arrival_count;
    uint64_t forwarded; /* what is to be passed on, up to this one, was: it is forgotten. 0: none */
};

struct journal_query {
    const char *image; /* canonical name, or NULL: any */
    const char *node, *location;
    int kind;                   /* enum journal_kind, or -1 */
    int64_t since_ms, until_ms; /* time of the record: since <= time < until; INT64_MIN, INT64_MAX: open */
    uint64_t after, before;     /* numbers: after < number < before; 0, UINT64_MAX: open */
    bool oldest_first;
    bool by_place; /* after is a place: what is in the stream behind it, in its order; nothing else counts */
    uint32_t limit;
};

/* One node's wish for one image. */
struct journal_need {
    const char *registry, *repository, *location;
    const char *node; /* "": sums of days that have no nodes any more */
    uint64_t pulls, checks;
    int64_t last_pull_ms, last_check_ms; /* 0: none */
    struct digest source;                /* of its last pull, else of its last check */
    bool complete;                       /* of its last pull */
};

/* Called for each row; strings are valid during the call. false: enough. */
typedef bool journal_record_fn(void *arg, const struct journal_record *r);
typedef bool journal_need_fn(void *arg, const struct journal_need *n);
typedef void journal_pending_fn(void *arg, uint64_t key, const void *p, size_t len);
/* r NULL: it was forgotten meanwhile. */
typedef void journal_outbox_fn(void *arg, uint64_t entry, bool is_update, const struct journal_record *r);

struct journal;
struct journal_stats {
    uint64_t bytes;       /* on disk */
    uint64_t first, last; /* numbers that are kept; last 0: none */
    uint64_t outbox;      /* the last thing that is to be passed on, or was; 0: there was none */
    uint64_t place;       /* followed the stream up to there */
};

struct journal_ops {
    int (*write)(struct journal *j, const struct journal_batch *b, struct err *err);
    /* A bounded piece of forgetting and summing up. 1: there is more to do. */
    int (*tidy)(struct journal *j, int64_t now_ms, struct err *err);
    /* What was pending when the last process ended; before the first write. */
    int (*each_pending)(struct journal *j, journal_pending_fn *fn, void *arg, struct err *err);

    int (*read)(struct journal *j, const struct journal_query *q, journal_record_fn *fn, void *arg,
                struct err *err);
    /* Ordered by image, location, node. ERR_TIMEOUT: it takes too long, ask for less. */
    int (*demand)(struct journal *j, const char *image, int64_t since_ms, journal_need_fn *fn, void *arg,
                  struct err *err);
    /* *ret UINT64_MAX: never written. */
    int (*cursor)(struct journal *j, const char *name, uint64_t *ret, struct err *err);
    /* Of a shared journal: what is to be passed on to the others, oldest first: records and what became of
     * them, each as it is now, behind that entry, at most n. */
    int (*outbox)(struct journal *j, uint64_t after, uint32_t n, journal_outbox_fn *fn, void *arg,
                  struct err *err);
    /* The number of the record with that id (journal_id), whoever made it. ERR_NOT_FOUND: none has. */
    int (*find)(struct journal *j, const char *id, size_t len, uint64_t *ret, struct err *err);
    /* Who had the event of that id (journal_event_id), from whichever replica, goes on behind number *ret: it
     * misses nothing; if it was another replica, some come again. ERR_NOT_FOUND: it is none of ours. */
    int (*resume)(struct journal *j, const char *id, size_t len, uint64_t *ret, struct err *err);
    void (*stats)(struct journal *j, struct journal_stats *ret);
    void (*close)(struct journal *j);
};

struct journal {
    const struct journal_ops *ops;
    uint16_t salt; /* random, of this journal: part of its ids, so that another journal's are told apart */
    bool shared;   /* one of several replicas': what is written here is to be passed on to the others */
    char replica[JOURNAL_REPLICA_LEN + 1]; /* this journal's name among them */
};

struct journal_limits {
    uint32_t keep_days, sum_days;
    uint64_t max_bytes;
    bool shared;
};

/* The id of a record: 48 bits of made_ms, 64 of the number, 16 of salt, in Crockford's base 32. Into `out`;
 * returns out. */
char *journal_id(const struct journal *j, const struct journal_record *r, char out[JOURNAL_ID_LEN + 1]);
/* As the id of an event: of a shared journal, with what tells another replica how far its reader is. */
char *journal_event_id(const struct journal *j, const struct journal_record *r, char out[JOURNAL_EVENT_MAX]);
/* The two halves of an id, whoever made it; false if it is none. */
bool journal_id_parse(const char *id, size_t len, uint64_t ret[2]);
/* Of an id's halves: when that record was written, where it was made. */
static inline int64_t journal_id_made_ms(const uint64_t id[2])
{
    return (int64_t)(id[0] >> 16);
}
/* The number in an id of this journal; false if it is none of its ids. */
bool journal_id_number(const struct journal *j, const char *id, size_t len, uint64_t *ret);
#endif
