// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_STATE_SQLITE_IMPL_H
#define RAC_STATE_SQLITE_IMPL_H
/*
 * Inside of the embedded store: what sqlite.c (open, close), sqlite_file.c (any file of SQLite's),
 * sqlite_schema.c (tables), sqlite_conn.c (one connection), sqlite_queue.c (threads), sqlite_call.c and the
 * files of the calls themselves share.
 *
 *     any thread             writer thread                       reader threads
 *     put ----> write queue ----> one transaction for all
 *                                 that waits, answers after
 *                                 the commit
 *     get ----> read queue  ------------------------------------> one query, answer
 *          \--> parked until the writes it must see are done --/
 *
 * A get must see the puts that were made before it. Each call has a topic: the hash of what it is about (the
 * repository, the image name, the injection), and the store remembers per topic the number of the last put. A
 * get waits until the writer is past that number, and for nothing else: it is at once where nothing about its
 * topic waits, the usual case, and behind one commit where something does. Two topics in one slot cost a
 * wait, never a wrong answer.
 *
 * A put that fails is a fact that can be asked for again. A withdrawal is not: one that the disk did not take
 * is owed, and tried again before whatever is written next, until it is there. A get of its topic fails
 * meanwhile: what it would find is what must not be served.
 */
#include <pthread.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <string.h>

#include "proxy/state/state.h"

#define SQLITE_STATE_READERS     2
#define SQLITE_STATE_TOPICS      4096
#define SQLITE_STATE_BATCH_MAX   4096                /* writes a transaction */
#define SQLITE_STATE_WAITING_MAX 100000              /* writes that wait, and as many reads */
#define SQLITE_STATE_BYTES_MAX   ((size_t)128 << 20) /* of calls that wait, with their arguments */
#define SQLITE_STATE_OWED_MAX    4096                /* withdrawals that a full disk did not take */
#define SQLITE_STATE_OWED_MS     2000 /* until they are tried again, if nothing else is written */
#define SQLITE_STATE_SCHEMA      3    /* PRAGMA user_version */

/* ---- sqlite_conn.c: a connection of one thread, with its prepared statements ---- */

enum sqlite_stmt_id {
    SQL_BEGIN,
    SQL_COMMIT,
    SQL_ROLLBACK,
    SQL_OBJECT_ID,
    SQL_OBJECT_ADD,
    SQL_REPO_ID,
    SQL_REPO_ADD,
    SQL_MEDIA_ID,
    SQL_MEDIA_ADD,
    SQL_IMAGE_ID,
    SQL_IMAGE_ADD,
    SQL_IMAGE_PULLED,
    SQL_TAG_GET,
    SQL_TAG_PUT,
    SQL_TAG_DROP,
    SQL_LINK_PUT,
    SQL_LINK_OWN,
    SQL_LINK_CHILD,
    SQL_LINK_REF,
    SQL_LINK_DROP,
    SQL_VARIANT_BY_SOURCE,
    SQL_VARIANT_BY_TARGET,
    SQL_VARIANT_BY_REF,
    SQL_VARIANT_PUT,
    SQL_INJECTION_PUT,
    SQL_INJECTION_GET,
    SQL_INJECTION_PRUNE,
    SQL_PASSING_PUT,
    SQL_PASSING_LATER,
    SQL_PASSING_NOT,
    SQL_PASSING_PRUNE,
    SQL_SWEPT,
    SQL_TOKEN_PUT,
    SQL_TOKEN_GET,
    SQL_TOKEN_DROP,
    SQL_TOKEN_PULLED,
    SQL_TOKEN_PRUNE,
    SQL_LINK_BELOW,
    SQL_NAMES,
    SQL_CHECK_PUT,
    SQL_CHECK_GET,
    SQL_COUNT
};

struct sqlite_conn {
    sqlite3 *db;
    sqlite3_stmt *stmt[SQL_COUNT]; /* prepared when first needed */
};

/* A digest as stored: one byte for the algorithm, then its raw bytes. */
struct sqlite_key {
    unsigned char p[1 + 64];
    int len;
};

int sqlite_conn_open(struct sqlite_conn *c, const char *path, bool writer, struct err *err);
void sqlite_conn_close(struct sqlite_conn *c);
/* The statement, ready to be bound and stepped; NULL with err set. To be sqlite3_reset before the next use.
 */
sqlite3_stmt *sqlite_conn_stmt(struct sqlite_conn *c, enum sqlite_stmt_id id, struct err *err);
/* The same with ?1 and those behind it bound to numbers. */
sqlite3_stmt *sqlite_conn_stmt_ids(struct sqlite_conn *c, enum sqlite_stmt_id id, const int64_t *ids,
                                   size_t n, struct err *err);
#define SQLITE_IDS(...)                                                                                      \
    (const int64_t[]){__VA_ARGS__}, sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t)
/* Runs a statement that gives no rows, and resets it. */
int sqlite_conn_run(struct sqlite_conn *c, sqlite3_stmt *s, struct err *err);
/* 1 = a row is there (reset after reading it), 0 = none, -1 = failed (both reset already). */
int sqlite_conn_row(struct sqlite_conn *c, sqlite3_stmt *s, struct err *err);
int sqlite_conn_exec(struct sqlite_conn *c, const char *sql, struct err *err);
/* What the connection's last call failed with, as an error. */
int sqlite_conn_error(struct sqlite_conn *c, struct err *err);
void sqlite_key_of(const struct digest *d, struct sqlite_key *ret);
/* False if the bytes are no key of ours. */
bool sqlite_key_digest(const void *p, int len, struct digest *ret);

/* ---- sqlite_schema.c ---- */

/* Brings the file to our schema, and checks it. 1: it is damaged (err says how) and wants to be moved aside.
 */
int sqlite_schema_prepare(struct sqlite_conn *c, const char *path, struct err *err);
/* The 32 random bytes made with the store. */
int sqlite_schema_scope_key(struct sqlite_conn *c, uint8_t ret[32], struct err *err);

/* ---- sqlite_queue.c: calls and the threads that run them ---- */

struct sqlite_call;
typedef int sqlite_run_fn(struct sqlite_conn *c, struct sqlite_call *call, struct err *err);

/* One call, from the op that made it to its callback. Its arguments stand behind it in one allocation. */
struct sqlite_call {
    struct sqlite_call *next;
    struct loop *loop; /* NULL: the callback comes on our thread */
    sqlite_run_fn *run;
    void (*answer)(struct sqlite_call *call); /* calls the callback; NULL for none */
    void (*free_result)(struct sqlite_call *call);
    uint64_t number; /* a write: its own; a read: the last write it must see */
    uint64_t begin_us;
    size_t bytes;
    bool write,
        keep;        /* keep: not dropped by a queue that is only full of facts that can be asked for again */
    bool others_too; /* names */
    bool everything; /* a read that must see all writes, whatever their topic */
    uint32_t topic;
    struct err *err; /* it failed; malloc'd, because most do not and many may wait */
    /* the callback */
    union {
        state_done_fn *done;
        state_tag_fn *tag;
        state_manifest_fn *manifest;
        state_ref_fn *ref;
        state_variant_fn *variant;
        state_text_fn *text;
        state_names_fn *names;
        state_token_fn *token;
        state_count_fn *count;
    } fn;
    void *arg;
    /* arguments; strings stand in `store` */
    struct state_repo repo;
    const char *text, *media_type;
    struct digest a, b, c;
    uint64_t n;
    int64_t time_ms;
    struct state_ref *refs;
    size_t count;
    void *data; /* malloc'd; of the file that made the call */
    /* the result */
    bool found;
    char ref_media_type[128];
    char *result_text; /* malloc'd */
    size_t result_len;
    char **result_names; /* malloc'd, each too */
    size_t result_count;
    char *store_at; /* where the next string goes */
    char store[];
};

struct sqlite_queue {
    struct sqlite_call *head, **tail;
    size_t count, bytes;
};

struct sqlite_state {
    struct state base;
    char *path;
    int lock_fd;
    struct sqlite_conn writer, reader[SQLITE_STATE_READERS];
    pthread_t writer_thread, reader_thread[SQLITE_STATE_READERS];
    _Atomic uint64_t complained_ms; /* when a failure was last logged, monotonic */
    pthread_mutex_t lock;           /* guards what follows */
    pthread_cond_t wake_writer, wake_reader;
    struct sqlite_queue writes, reads, parked;
    uint64_t last_number, done_number; /* of writes: given out, and past (committed or failed) */
    uint64_t topic_number[SQLITE_STATE_TOPICS];
    uint16_t topic_owed[SQLITE_STATE_TOPICS]; /* how many of `owed` are about it */
    struct sqlite_queue owed;                 /* changed by the writer only */
    unsigned stopping; /* 1: the writer ends when its queue is empty; 2: the readers too */
};

void sqlite_queue_start(struct sqlite_state *s);
/* Runs what waits, then ends the threads. */
void sqlite_queue_stop(struct sqlite_state *s);
/* Takes the call over; its callback comes later, also when the queue is full. Any thread. */
void sqlite_queue_submit(struct sqlite_state *s, struct sqlite_call *call);
void sqlite_call_free(struct sqlite_call *call);

/* ---- sqlite_call.c: what all calls are made of ---- */

/* All strings are copied; each may be NULL, `text` has `text_len` bytes. The topic is the repository's if
 * there is one. */
struct sqlite_call *sqlite_call_new(struct loop *loop, sqlite_run_fn *run, const struct state_repo *repo,
                                    const char *text, size_t text_len, const char *media_type);
/* Bytes a copy of it takes; 0 for NULL. */
static inline size_t sqlite_text_size(const char *s)
{
    return s ? strlen(s) + 1 : 0;
}
void sqlite_call_submit(struct state *s, struct sqlite_call *call);
uint32_t sqlite_topic_add(uint32_t topic, const char *s);
const struct err *sqlite_call_failure(const struct sqlite_call *call); /* for the callback */
void sqlite_answer_done(struct sqlite_call *call);
void sqlite_answer_count(struct sqlite_call *call);
void sqlite_free_text(struct sqlite_call *call);
void sqlite_bind_text(sqlite3_stmt *s, int at, const char *text); /* not copied; NULL binds NULL */
/* The number of a media type, made if need be, or NULL of NULL. */
int sqlite_bind_media_type(struct sqlite_conn *c, sqlite3_stmt *s, int at, const char *media_type,
                           struct err *err);
/* Numbers of what is stored once; made if `make`. 0 = there is none, -1 = failed. */
int64_t sqlite_object_id(struct sqlite_conn *c, const struct digest *d, bool make, struct err *err);
int64_t sqlite_repo_id(struct sqlite_conn *c, const struct state_repo *repo, bool make, struct err *err);
int64_t sqlite_image_id(struct sqlite_conn *c, const char *canonical, bool make, struct err *err);
int64_t sqlite_text_id(struct sqlite_conn *c, enum sqlite_stmt_id find, enum sqlite_stmt_id add,
                       const char *text, bool make, struct err *err);
/* Steps a bound statement for the integer it finds: 0 = none, -1 = failed. */
int64_t sqlite_found_id(struct sqlite_conn *c, sqlite3_stmt *find, struct err *err);
/* A column of the row for the answer: into call->result_text, or as a digest. */
void sqlite_take_text(struct sqlite_call *call, sqlite3_stmt *s, int column);
int sqlite_take_digest(sqlite3_stmt *s, int column, struct digest *ret, struct err *err);

/* sqlite_variants.c: call->text, call->n bytes, as the injection of that number. */
int sqlite_run_injection_put(struct sqlite_conn *c, const struct sqlite_call *call, int64_t object,
                             int64_t until_ms, struct err *err);

/* ---- sqlite_passing.c: injections that do not stay for good ---- */

/* Before the text is put: says how long it is to stay. */
int sqlite_passing_put(struct sqlite_conn *c, int64_t injection, int64_t until_ms, struct err *err);
/* Of one that is there. */
int sqlite_passing_later(struct sqlite_conn *c, int64_t injection, int64_t until_ms, struct err *err);
/* Before anybody else looks at the file: forgets what was made by injections that are gone. */
void sqlite_passing_tidy(struct sqlite_conn *c);

/* ---- sqlite_calls.c, sqlite_links.c, sqlite_variants.c, sqlite_tokens.c, sqlite_passing.c: the table of
 * functions, as state.h says ---- */

extern const struct state_ops sqlite_state_ops;
void sqlite_token_put(struct state *s, struct loop *loop, const struct state_token *t,
                      const char *injection_text, size_t len, state_done_fn *done, void *arg);
void sqlite_token_get(struct state *s, struct loop *loop, const uint8_t key[STATE_TOKEN_KEY],
                      state_token_fn *fn, void *arg);
void sqlite_token_drop(struct state *s, struct loop *loop, const uint8_t key[STATE_TOKEN_KEY],
                       state_done_fn *done, void *arg);
void sqlite_token_pulled(struct state *s, const uint8_t key[STATE_TOKEN_KEY], uint64_t pulls);
void sqlite_token_prune(struct state *s, struct loop *loop, int64_t before_ms, size_t n, state_count_fn *fn,
                        void *arg);
void sqlite_injection_prune(struct state *s, struct loop *loop, int64_t before_ms, size_t n,
                            state_count_fn *fn, void *arg);
void sqlite_link_below(struct state *s, struct loop *loop, const struct state_repo *repo,
                       const struct digest *manifest, const struct digest *digest, state_count_fn *fn,
                       void *arg);
void sqlite_state_close(struct state *s);
void sqlite_link_put(struct state *s, struct loop *loop, const struct state_repo *repo,
                     const struct state_manifest *m, const struct state_ref *refs, size_t ref_count,
                     state_done_fn *done, void *arg);
void sqlite_manifest_get(struct state *s, struct loop *loop, const struct state_repo *repo,
                         const struct digest *digest, state_manifest_fn *fn, void *arg);
void sqlite_blob_get(struct state *s, struct loop *loop, const struct state_repo *repo,
                     const struct digest *digest, state_ref_fn *fn, void *arg);
void sqlite_link_drop(struct state *s, const struct state_repo *repo, const struct digest *manifest);
void sqlite_variant_by_source(struct state *s, struct loop *loop, const char *canonical,
                              const struct digest *source, const struct digest *injection,
                              state_variant_fn *fn, void *arg);
void sqlite_variant_by_target(struct state *s, struct loop *loop, const char *canonical,
                              const struct digest *target, state_variant_fn *fn, void *arg);
void sqlite_variant_by_ref(struct state *s, struct loop *loop, const struct state_repo *repo,
                           const char *canonical, const struct digest *digest, state_variant_fn *fn,
                           void *arg);
void sqlite_variant_put(struct state *s, struct loop *loop, const struct state_variant *v,
                        state_done_fn *done, void *arg);
void sqlite_injection_put(struct state *s, struct loop *loop, const struct digest *digest, const char *text,
                          size_t len, int64_t until_ms, state_done_fn *done, void *arg);
void sqlite_injection_get(struct state *s, struct loop *loop, const struct digest *digest, state_text_fn *fn,
                          void *arg);
#endif
