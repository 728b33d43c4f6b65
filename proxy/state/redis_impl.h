// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_STATE_REDIS_IMPL_H
#define RAC_STATE_REDIS_IMPL_H
/*
 * Inside of the store in Redis: what redis.c (its thread, what waits), redis_call.c (one call),
 * redis_script.c (what runs in Redis) and the files of the calls themselves share.
 *
 *     any thread                       the store's thread                 the caller's loop
 *     op: command made, call posted -> sent -> answer copied, posted ---> callback
 *
 * The store's thread sees the calls in the order in which they were made, and Redis answers one connection in
 * order: so a get sees the puts before it.
 */
#include <pthread.h>
#include <string.h>

#include "proxy/state/redis_conn.h"
#include "proxy/state/state.h"

#define REDIS_STATE_SCHEMA       1
#define REDIS_STATE_CONNECT_MS   2000
#define REDIS_STATE_COMMAND_MS   3000
#define REDIS_STATE_RETRY_MIN_MS 100
#define REDIS_STATE_RETRY_MAX_MS 2000
#define REDIS_STATE_OPEN_MS      10000
#define REDIS_STATE_WAITING_MAX  100000              /* calls that wait for their answer */
#define REDIS_STATE_BYTES_MAX    ((size_t)128 << 20) /* of their commands */
#define REDIS_STATE_DROPS_MAX    10000               /* drops that wait for Redis to be back */
#define REDIS_STATE_STREAM_MAX   100000              /* entries of the stream, about */
#define REDIS_STATE_PIECE_MAX    1000                /* of them at once */
#define REDIS_STATE_NAMES_MAX    10000               /* of one answer of names */

/* ---- redis_script.c ---- */

enum redis_script_id {
    REDIS_META,
    REDIS_CHECK,
    REDIS_LINK_PUT,
    REDIS_LINK_DROP,
    REDIS_LINK_BELOW,
    REDIS_MANIFEST_GET,
    REDIS_BLOB_GET,
    REDIS_VARIANT_PUT,
    REDIS_VARIANT_BY_TARGET,
    REDIS_VARIANT_BY_REF,
    REDIS_INJECTION_PUT,
    REDIS_TOKEN_PUT,
    REDIS_TOKEN_DROP,
    REDIS_TOKEN_PULLED,
    REDIS_TOKEN_PRUNE,
    REDIS_NAMES,
    REDIS_LEASE_TAKE,
    REDIS_LEASE_KEEP,
    REDIS_STREAM_PUT,
    REDIS_STREAM_GET,
    REDIS_TURN_TAKE,
    REDIS_METER,
    REDIS_SCRIPT_COUNT,
    REDIS_PLAIN = REDIS_SCRIPT_COUNT, /* no script: the words are a command */
};

#define REDIS_KEYS "rac:1:" /* what all our keys begin with: the number is that of the schema */
#define REDIS_SHA1 40

extern const char *const redis_script_text[REDIS_SCRIPT_COUNT];
/* What EVALSHA calls it by: SHA-1 of the text, lower-case hex. */
void redis_script_sha1(enum redis_script_id id, char ret[REDIS_SHA1 + 1]);

/* ---- redis_call.c ---- */

/* An answer as we ask for them: nothing, a number, a string, or strings one behind the other. */
struct redis_result {
    bool nil;
    int64_t number;
    size_t count;
    struct slice word[]; /* each with a NUL behind; p NULL: nil. Their bytes stand behind the last */
};

struct redis_state;
struct redis_call;
typedef void redis_answer_fn(struct redis_call *call);

/* One call, from the op that made it to its callback. */
struct redis_call {
    struct redis_state *s;
    struct redis_call *prev, *next; /* of the drops that wait */
    struct loop *loop;              /* NULL: the callback comes on our thread */
    redis_answer_fn *answer;        /* calls the callback, with `result` or `err`; NULL for none */
    uint64_t begin_us;
    bool write;
    bool keep;     /* a drop: waits for Redis to be back */
    char *command; /* as Redis reads it */
    size_t len;
    struct redis_result *result; /* NULL if it failed */
    struct err *err;             /* malloc'd */
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
        state_lease_fn *lease;
        state_piece_fn *piece;
        state_turn_fn *turn;
        state_meter_fn *meter;
    } fn;
    void *arg;
    /* what the answer is to be made of, besides the result */
    struct digest a, b, c;
    char *text;
    size_t n;
    uint8_t key[STATE_TOKEN_KEY];
};

/* The words of a command, borrowed until the call is made. */
struct redis_words {
    const char **p;
    size_t *len;
    size_t count, room;
};
struct redis_words redis_words_begin(enum redis_script_id id, const struct redis_state *s);
void redis_words_add(struct redis_words *w, const void *p, size_t len);
static inline void redis_words_str(struct redis_words *w, const char *s)
{
    redis_words_add(w, s ? s : "", s ? strlen(s) : 0);
}
/* Takes the words' memory away. answer NULL: nobody waits. */
struct redis_call *redis_call_new(struct redis_words *w, struct loop *loop, redis_answer_fn *answer,
                                  void *arg);
void redis_call_free(struct redis_call *call);
/* A copy of the answer; NULL with err set, as error answers do. *ret_reset: the connection is no good. */
struct redis_result *redis_result_of(const redisReply *reply, bool *ret_reset, struct err *err);
void redis_answer_done(struct redis_call *call);
void redis_answer_count(struct redis_call *call); /* the number, 0 on failure */

/* "<scope>|<upstream>/<repository>", malloc'd: as it stands in keys. */
char *redis_repo_text(const struct state_repo *repo);
/* "<head> <media type>" or "<head>": the head's length; *ret_media_type NULL if there is none. Text is of a
 * result: the media type ends where it does. */
size_t redis_split(struct slice text, const char **ret_media_type);
bool redis_digest(struct slice text, struct digest *ret);
/* For an answer that cannot be what we wrote. */
const struct err *redis_damaged(struct redis_call *call);

/* ---- redis.c ---- */

struct redis_state {
    struct state base;
    struct redis_url url;
    uint32_t open_ms, command_ms;
    char sha1[REDIS_SCRIPT_COUNT][REDIS_SHA1 + 1];
    struct loop *loop;
    pthread_t thread;
    struct redis_conn *conn;
    /* the store's thread only */
    bool ready, stopping, has_scope_key;
    unsigned loading;         /* scripts whose answer is due */
    struct redis_call *drops; /* oldest first */
    size_t drop_count;
    uint64_t complained_ms; /* monotonic */
    _Atomic size_t waiting, bytes;
    pthread_mutex_t lock; /* guards what follows, for who opens */
    pthread_cond_t wake;
    bool opened, refused;
    struct err why; /* what it is away for */
};

/* Takes the call over; its callback comes later. Any thread. */
void redis_call_submit(struct redis_state *s, struct redis_call *call);
extern const struct state_ops redis_state_ops;

/* ---- the calls, as state.h has them ---- */
void redis_state_close(struct state *base);
void redis_link_put(struct state *s, struct loop *loop, const struct state_repo *repo,
                    const struct state_manifest *m, const struct state_ref *refs, size_t ref_count,
                    state_done_fn *done, void *arg);
void redis_manifest_get(struct state *s, struct loop *loop, const struct state_repo *repo,
                        const struct digest *digest, state_manifest_fn *fn, void *arg);
void redis_blob_get(struct state *s, struct loop *loop, const struct state_repo *repo,
                    const struct digest *digest, state_ref_fn *fn, void *arg);
void redis_link_drop(struct state *s, const struct state_repo *repo, const struct digest *manifest);
void redis_link_below(struct state *s, struct loop *loop, const struct state_repo *repo,
                      const struct digest *manifest, const struct digest *digest, state_count_fn *fn,
                      void *arg);
void redis_variant_by_source(struct state *s, struct loop *loop, const char *canonical,
                             const struct digest *source, const struct digest *injection,
                             state_variant_fn *fn, void *arg);
void redis_variant_by_target(struct state *s, struct loop *loop, const char *canonical,
                             const struct digest *target, state_variant_fn *fn, void *arg);
void redis_variant_by_ref(struct state *s, struct loop *loop, const struct state_repo *repo,
                          const char *canonical, const struct digest *digest, state_variant_fn *fn,
                          void *arg);
void redis_variant_put(struct state *s, struct loop *loop, const struct state_variant *v, state_done_fn *done,
                       void *arg);
void redis_injection_put(struct state *s, struct loop *loop, const struct digest *digest, const char *text,
                         size_t len, int64_t until_ms, state_done_fn *done, void *arg);
void redis_injection_get(struct state *s, struct loop *loop, const struct digest *digest, state_text_fn *fn,
                         void *arg);
void redis_token_put(struct state *s, struct loop *loop, const struct state_token *t,
                     const char *injection_text, size_t len, state_done_fn *done, void *arg);
void redis_token_get(struct state *s, struct loop *loop, const uint8_t key[STATE_TOKEN_KEY],
                     state_token_fn *fn, void *arg);
void redis_token_drop(struct state *s, struct loop *loop, const uint8_t key[STATE_TOKEN_KEY],
                      state_done_fn *done, void *arg);
void redis_token_pulled(struct state *s, const uint8_t key[STATE_TOKEN_KEY], uint64_t pulls);
void redis_stream_put(struct state *s, struct loop *loop, const char *replica,
                      const struct state_entry *entries, size_t count, state_done_fn *done, void *arg);
void redis_stream_get(struct state *s, struct loop *loop, const char *epoch, uint64_t after, size_t n,
                      state_piece_fn *fn, void *arg);
void redis_meter(struct state *s, struct loop *loop, const struct state_meter *meter, state_meter_fn *fn,
                 void *arg);
void redis_turn_take(struct state *s, struct loop *loop, const struct state_turn *turn, state_turn_fn *fn,
                     void *arg);
void redis_token_prune(struct state *s, struct loop *loop, int64_t before_ms, size_t n, state_count_fn *fn,
                       void *arg);
void redis_lease_take(struct state *s, struct loop *loop, const struct digest *digest, const char *holder,
                      uint64_t ttl_ms, uint64_t instead_of, state_lease_fn *fn, void *arg);
void redis_lease_keep(struct state *s, struct loop *loop, const struct digest *digest, uint64_t fence,
                      uint64_t ttl_ms, bool is_done, state_count_fn *fn, void *arg);
#endif
