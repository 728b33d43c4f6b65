// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_STATE_SQLITE_JOURNAL_IMPL_H
#define RAC_STATE_SQLITE_JOURNAL_IMPL_H
/*
 * Inside of the embedded journal.
 *
 *     record   one row a record, by number; strings and digests are numbers of `text` and `object`
 *     who      node, location, address, agent, subject of a client, as one number: few of them, many records
 *     what     image, reference, digests, platform, of a manifest, as one number
 *     day      sums per image, day, location and node: what demand is read from, kept with each record
 *     pending  bytes that are to become records
 *     outbox   numbers of records, and of what became of them, that are to be passed on to other replicas
 *
 * Records are found by number. made_ms grows with the number, so a time is looked up by bisection: no index
 * on time. The request's own time is before made_ms, by the largest
 * lag that ever was (meta) at most: minutes, unless the disk was full.
 */
#include <pthread.h>
#include <sqlite3.h>

#include "common/hash.h"
#include "proxy/state/journal.h"

#define JOURNAL_SCHEMA    2
#define JOURNAL_READERS   2
#define JOURNAL_DAY_MS    INT64_C(86400000)
#define JOURNAL_NAMES_MAX 50000 /* numbers of texts and their like, kept in memory */
#define JOURNAL_TIDY_ROWS 2000  /* records forgotten in one piece */
#define JOURNAL_QUERY_MS  10000 /* a query that takes longer is ended */

/* The number of something that is stored once, by "<kind>" and its bytes. */
struct journal_name {
    UT_hash_handle hh;
    int64_t id;
    char key[];
};

/* What has a number: a table each. */
enum journal_name_kind { NAME_NONE, NAME_WHO, NAME_WHAT, NAME_IMAGE, NAME_TEXT, NAME_OBJECT, NAME_KINDS };

struct journal_conn {
    sqlite3 *db;
    uint64_t deadline_ms; /* of the query that runs; 0: none */
    bool busy;
};

struct sqlite_journal {
    struct journal base;
    struct journal_limits limits;
    char *path;
    bool read_only;
    struct journal_conn writer;
    struct journal_name *names;
    sqlite3_stmt **stmt; /* the writer's, by enum of sqlite_journal_write.c */
    uint64_t last;
    int64_t last_made_ms, max_lag_ms;
    uint64_t outbox, place;      /* with what is being written: shown when that is committed */
    struct journal_sweep *sweep; /* NULL: none is under way */
    bool unswept;                /* something was forgotten since the last one */
    int64_t sweep_at_ms;         /* the next one, unless the file is full before */
    int64_t shrink_to; /* the file is full: records below this number go, then names; 0: it is not */
    _Atomic uint64_t shown_first, shown_last, shown_bytes, shown_outbox, shown_place;
    pthread_mutex_t lock; /* guards the readers' busy */
    pthread_cond_t free;
    struct journal_conn reader[JOURNAL_READERS];
};

/* sqlite_journal.c */
int journal_error(sqlite3 *db, struct err *err);
int journal_exec(sqlite3 *db, const char *sql, struct err *err);
sqlite3_stmt *journal_prepare(sqlite3 *db, const char *sql, struct err *err);
/* First column of the first row, or `none`; -1 with err set on failure. */
int journal_int(sqlite3 *db, const char *sql, int64_t none, int64_t *ret, struct err *err);
struct journal_conn *journal_reader_take(struct sqlite_journal *j);
void journal_reader_give(struct sqlite_journal *j, struct journal_conn *c);

/* sqlite_journal_schema.c. 1: the file is damaged. */
int journal_schema_prepare(struct sqlite_journal *j, struct err *err);

/* sqlite_journal_write.c */
int sqlite_journal_write(struct journal *base, const struct journal_batch *b, struct err *err);
void sqlite_journal_write_end(struct sqlite_journal *j);
int sqlite_journal_each_pending(struct journal *base, journal_pending_fn *fn, void *arg, struct err *err);

/* A record, or what became of one, within the writer's transaction. */
int journal_write_record(struct sqlite_journal *j, const struct journal_record *r, struct err *err);
int journal_write_update(struct sqlite_journal *j, const struct journal_update *u, struct err *err);

/* sqlite_journal_shared.c: all of it is for a shared journal */
/* Is to be passed on; within the writer's transaction. */
int journal_outbox_add(struct sqlite_journal *j, uint64_t number, bool is_update, struct err *err);
/* What came, those that are not there yet numbered from `next`; *ret_count: how many. */
int journal_write_arrivals(struct sqlite_journal *j, const struct journal_batch *b, uint64_t next,
                           int64_t made_ms, size_t *ret_count, struct err *err);
int journal_outbox_forget(struct sqlite_journal *j, uint64_t upto, struct err *err);
int sqlite_journal_outbox(struct journal *base, uint64_t after, uint32_t n, journal_outbox_fn *fn, void *arg,
                          struct err *err);
int sqlite_journal_find(struct journal *base, const char *id, size_t len, uint64_t *ret, struct err *err);
int sqlite_journal_resume(struct journal *base, const char *id, size_t len, uint64_t *ret, struct err *err);

/* sqlite_journal_names.c: 0 is "" and the empty digest. */
int64_t journal_text_id(struct sqlite_journal *j, const char *text, struct err *err);
int64_t journal_object_id(struct sqlite_journal *j, const struct digest *d, struct err *err);
int64_t journal_who_id(struct sqlite_journal *j, const struct journal_record *r, int64_t node,
                       int64_t location, struct err *err);
int64_t journal_what_id(struct sqlite_journal *j, const struct journal_record *r, int64_t image,
                        int64_t source, struct err *err);
int64_t journal_image_id(struct sqlite_journal *j, const char *registry, const char *repository,
                         struct err *err);
void journal_names_forget(struct sqlite_journal *j);

/* sqlite_journal_read.c */
int sqlite_journal_read(struct journal *base, const struct journal_query *q, journal_record_fn *fn, void *arg,
                        struct err *err);
/* The record with that number; fn is not called if there is none. */
int journal_read_number(sqlite3 *db, uint64_t number, journal_record_fn *fn, void *arg, struct err *err);
int sqlite_journal_cursor(struct journal *base, const char *name, uint64_t *ret, struct err *err);
/* The number of a canonical name; -2: no record has it. */
int journal_find_image(sqlite3 *db, const char *image, int64_t *ret, struct err *err);
/* The smallest number whose made_ms is not before `ms`; last + 1 if there is none. */
int journal_seek(sqlite3 *db, int64_t ms, uint64_t *ret, struct err *err);
/* The same for who looks for requests before `ms`: all of them have smaller numbers. */
int journal_seek_past(sqlite3 *db, int64_t ms, uint64_t *ret, struct err *err);

/* sqlite_journal_demand.c */
int sqlite_journal_demand(struct journal *base, const char *image, int64_t since_ms, journal_need_fn *fn,
                          void *arg, struct err *err);

/* sqlite_journal_sweep.c: names that nothing has any more. */
int journal_sweep_begin(struct sqlite_journal *j, struct err *err);
/* A piece of it, in the caller's transaction. 1: there is more; 0: it is over; -1: it is given up. */
int journal_sweep_step(struct sqlite_journal *j, struct err *err);
void journal_sweep_end(struct sqlite_journal *j);
/* Called for every number that a name of a batch gets; returns it. */
int64_t journal_sweep_mark(struct sqlite_journal *j, enum journal_name_kind kind, int64_t id);

/* sqlite_journal_tidy.c */
int sqlite_journal_tidy(struct journal *base, int64_t now_ms, struct err *err);
#endif
