// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_STATE_STATE_H
#define RAC_STATE_STATE_H
/*
 * What the proxy must remember across restarts: which digest a tag had, what refers to what and who may read
 * it, which rewritten manifest came from which original. One table of functions with an embedded
 * implementation (sqlite.h).
 *
 * Every call is for any worker's loop (or, with loop NULL, any thread: the callback then comes on a thread of
 * the store), never blocks it, and answers later by the callback, on that loop: never from inside the call.
 * Arguments are copied by the call; results are valid during the callback only. The callback always comes;
 * its argument must stay valid until then.
 *
 * Puts without a callback may be lost by kill -9 within the last moments (they are facts that can be asked
 * for again). A put with a callback is durable against kill -9 when the callback comes: what was announced to
 * a client is put so. A get sees every put (and drop) whose call returned before it was called, on whichever
 * thread, acknowledged or not. When too many calls wait, a put without a callback is dropped and counted,
 * everything else answers ERR_OVERLOADED. A store that fails (full disk, broken file) answers with err set;
 * it never loses what it has, and pulls go on. A drop without a callback that fails is tried again until it
 * is done or the process ends; gets about the same repository answer with err set until then.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/clock.h"
#include "common/digest.h"
#include "common/err.h"
#include "common/loop.h"

/* A repository as seen with one set of credentials. */
struct state_repo {
    const char *scope;      /* struct upstream.scope */
    const char *upstream;   /* "docker.io" */
    const char *repository; /* "library/busybox" */
};

struct state_tag {
    struct digest digest; /* of the source manifest */
    int64_t checked_ms;   /* wall clock: when the upstream last said so */
};

struct state_ref {
    struct digest digest;
    uint64_t size;          /* 0 = not known */
    const char *media_type; /* may be NULL */
};

struct state_manifest {
    struct digest digest;
    const char *media_type; /* what it is served as */
    uint64_t size;
};

/* A rewritten manifest: made of `source` by `injection`, for the image `canonical`. */
struct state_variant {
    const char *canonical; /* "docker.io/library/busybox" */
    struct digest source, injection, target;
    const char *media_type;
    const char *ref_media_type; /* variant_by_ref: of the digest that was asked for, as its manifest says;
                                   else NULL */
};

#define STATE_TOKEN_KEY 32 /* bytes: SHA-256 of a container token */

#define STATE_FOR_GOOD INT64_MAX
/* How long an injection stays that is only of tokens, once it is not needed any more, or since it was put:
 * far longer than it takes to make a token of it. */
#define STATE_PASSING_MS (INT64_C(6) * 3600 * 1000)

/* Until when the injection of a token stays that ends then (0: there is none yet). */
static inline int64_t state_passing_until(int64_t expires_ms)
{
    const int64_t most = INT64_C(1) << 52; /* a number in Lua, too */
    int64_t now = clock_wall_ms(), from = expires_ms > now ? expires_ms : now;
    return (from < most ? from : most) + STATE_PASSING_MS;
}

/* A container token: which image it stands for, and how that one is rewritten. Strings may be NULL where it
 * says so. */
struct state_token {
    uint8_t key[STATE_TOKEN_KEY];
    int64_t created_ms, expires_ms; /* wall clock */
    const char *account;            /* who made it; NULL: anonymous */
    const char *canonical;          /* "docker.io/library/busybox" */
    const char *tag;                /* NULL: pinned to the target's digest */
    struct digest source, injection, target;
    const char *image;    /* as it was asked for */
    const char *platform; /* "linux/amd64"; NULL: all */
    const char *note;     /* JSON of what else was said of it; NULL: nothing */
    uint64_t pulls;       /* token_put leaves it at 0 */
};

/* Who does something for all replicas. */
struct state_lease {
    bool mine; /* who asked has it, as of now */
    bool done; /* it is done, and the holder has what came of it */
    uint64_t fence;
    const char *holder;
};

/* Something in the stream that all replicas share. */
struct state_entry {
    uint64_t place; /* grows; given by the store. stream_put: what its replica counts it as */
    struct slice bytes;
};

/* A piece of the stream, oldest first. */
struct state_piece {
    /* Another one: it is another stream, and places of the last one mean nothing in it; "": none yet. */
    const char *epoch;
    const struct state_entry *entries;
    size_t count;
};

/* A task that one replica of all does at a time, and how far it got: a place in the stream. */
struct state_turn {
    const char *name, *holder;
    uint32_t hold_ms; /* unless it is asked for again, another may have it then; 0: it is given up now */
    uint64_t done;    /* who had it got so far; 0: as before */
    uint64_t known;   /* where to go on if the store does not know; 0: at the stream's end */
};

/* What all replicas count together, under a name. */
struct state_meter {
    const char *name;
    int64_t add;
    uint32_t window_ms; /* it counts what was added since its first time, so long; 0: it is a bucket that
                           leaks: `add` is how much longer it takes to be empty, in ms */
};

typedef void state_done_fn(void *arg, const struct err *err); /* err NULL = done */
typedef void state_tag_fn(void *arg, const struct state_tag *tag,
                          const struct err *err); /* both NULL = not known */
typedef void state_manifest_fn(void *arg, const struct state_manifest *m, const struct err *err);
typedef void state_ref_fn(void *arg, const struct state_ref *ref, const struct err *err);
typedef void state_variant_fn(void *arg, const struct state_variant *v, const struct err *err);
typedef void state_text_fn(void *arg, const char *text, size_t len,
                           const struct err *err); /* text NULL = not known */
typedef void state_token_fn(void *arg, const struct state_token *t, const struct err *err);
typedef void state_count_fn(void *arg, size_t count, const struct err *err);
typedef void state_piece_fn(void *arg, const struct state_piece *piece, const struct err *err);
/* place: how far whoever had it got. */
typedef void state_turn_fn(void *arg, bool is_ours, uint64_t place, const struct err *err);
/* value: the count, this one included, and until when; of a bucket both are how long it takes to be empty. */
typedef void state_meter_fn(void *arg, uint64_t value, uint64_t left_ms, const struct err *err);
typedef void state_names_fn(void *arg, const char *const *names, size_t count, const struct err *err);
typedef void state_lease_fn(void *arg, const struct state_lease *lease, const struct err *err);

struct state;
struct state_ops {
    void (*tag_get)(struct state *, struct loop *, const struct state_repo *, const char *tag, state_tag_fn *,
                    void *arg);
    void (*tag_put)(struct state *, const struct state_repo *, const char *tag,
                    const struct state_tag *value);
    void (*tag_drop)(struct state *, const struct state_repo *, const char *tag);

    /* A manifest was served under this name: from now on the name refers to it and to `refs` (config, layers,
     * children; of an injected manifest, its own). done may be NULL. */
    void (*link_put)(struct state *, struct loop *, const struct state_repo *, const struct state_manifest *,
                     const struct state_ref *refs, size_t ref_count, state_done_fn *done, void *arg);
    /* Is that manifest one the name refers to (directly, or as child of one)? Its media type and size if so.
     * A ref of a link_put counts as a child if its media type is a manifest's or an index's. */
    void (*manifest_get)(struct state *, struct loop *, const struct state_repo *, const struct digest *,
                         state_manifest_fn *, void *arg);
    /* Is that blob one the name refers to, through a manifest? */
    void (*blob_get)(struct state *, struct loop *, const struct state_repo *, const struct digest *,
                     state_ref_fn *, void *arg);
    /* The upstream said no (401, 403, 404) for that manifest under this name: the name refers to it no more,
     * nor to its children, nor to what was made of them by injections. */
    void (*link_drop)(struct state *, const struct state_repo *, const struct digest *manifest);

    void (*variant_by_source)(struct state *, struct loop *, const char *canonical,
                              const struct digest *source, const struct digest *injection, state_variant_fn *,
                              void *arg);
    void (*variant_by_target)(struct state *, struct loop *, const char *canonical,
                              const struct digest *target, state_variant_fn *, void *arg);
    /* The variant that `digest` belongs to, as far as `repo` refers to it: its target, or listed by it. */
    void (*variant_by_ref)(struct state *, struct loop *, const struct state_repo *repo,
                           const char *canonical, const struct digest *digest, state_variant_fn *, void *arg);
    void (*variant_put)(struct state *, struct loop *, const struct state_variant *, state_done_fn *done,
                        void *arg);

    /* Injections by their digest: the full text (with locations), so that an announced variant can be made
     * again. until_ms: wall clock, when it may be forgotten; the latest that was ever said holds, and
     * STATE_FOR_GOOD for good: then its text is that of who said so last. */
    void (*injection_put)(struct state *, struct loop *, const struct digest *, const char *text, size_t len,
                          int64_t until_ms, state_done_fn *done, void *arg);
    void (*injection_get)(struct state *, struct loop *, const struct digest *, state_text_fn *, void *arg);

    /* A token with its injection, as injection_put has it (text NULL: it is known to be there), which stays
     * until state_passing_until of the token's end, at least. */
    void (*token_put)(struct state *, struct loop *, const struct state_token *, const char *injection_text,
                      size_t len, state_done_fn *done, void *arg);
    /* Expired ones too, until they are pruned. */
    void (*token_get)(struct state *, struct loop *, const uint8_t key[STATE_TOKEN_KEY], state_token_fn *,
                      void *arg);
    /* Gone for good when done comes; one that is not there is no error. */
    void (*token_drop)(struct state *, struct loop *, const uint8_t key[STATE_TOKEN_KEY], state_done_fn *done,
                       void *arg);
    /* Adds to its pulls. */
    void (*token_pulled)(struct state *, const uint8_t key[STATE_TOKEN_KEY], uint64_t pulls);
    /* Forgets tokens that expired before then, n at most; count says how many. */
    void (*token_prune)(struct state *, struct loop *, int64_t before_ms, size_t n, state_count_fn *,
                        void *arg);
    /* Forgets injections whose time was over by then, n at most; count says how many. What was made by them
     * stays for now. NULL: this store does it by itself. */
    void (*injection_prune)(struct state *, struct loop *, int64_t before_ms, size_t n, state_count_fn *,
                            void *arg);
    /* count is 1 if `digest` is what that manifest lists, or what one of its children lists, as far as links
     * under that name tell; else 0. */
    void (*link_below)(struct state *, struct loop *, const struct state_repo *,
                       const struct digest *manifest, const struct digest *digest, state_count_fn *,
                       void *arg);

    /* Names pulled so far ("docker.io/library/busybox"), sorted by bytes, behind `after` (may be ""), at most
     * n: those that were seen with these scopes. scopes: a JSON object from upstreams' names to scopes; what
     * is not in it counts as "anon" if others_too, else not at all. */
    void (*names)(struct state *, struct loop *, const char *scopes, bool others_too, const char *after,
                  size_t n, state_names_fn *, void *arg);

    /* Leases of what one replica is to do for all: NULL where this process is the only one. Keys are digests;
     * a lease ends by itself ttl_ms after it was taken or kept, and each that is taken has a fence of its
     * own, higher than those before. Takes the lease, unless another has it: one whose holder is neither
     * `holder` nor has the fence `instead_of` (0: none). holder: how others reach who takes it; "": they
     * cannot. */
    void (*lease_take)(struct state *, struct loop *, const struct digest *, const char *holder,
                       uint64_t ttl_ms, uint64_t instead_of, state_lease_fn *, void *arg);
    /* If the lease has that fence still, it lasts ttl_ms from now on (0: ends at once), as one of what is
     * done, or not: count 1; else nothing happens: count 0. fn may be NULL. */
    void (*lease_keep)(struct state *, struct loop *, const struct digest *, uint64_t fence, uint64_t ttl_ms,
                       bool is_done, state_count_fn *, void *arg);

    /* The stream of all replicas. All three are NULL where the store is one process's. */

    /* Behind all that is there, in one piece and in this order. If the last one that this replica put is
     * among them, it and those before it are not put again. */
    void (*stream_put)(struct state *, struct loop *, const char *replica, const struct state_entry *entries,
                       size_t count, state_done_fn *, void *arg);
    /* At most n that stand behind that place, of that epoch; of another one, from its beginning. The stream
     * is bounded: what is older than its youngest 100,000 may be gone. */
    void (*stream_get)(struct state *, struct loop *, const char *epoch, uint64_t after, size_t n,
                       state_piece_fn *, void *arg);
    /* Has it from now on, unless another one does. */
    void (*turn_take)(struct state *, struct loop *, const struct state_turn *, state_turn_fn *, void *arg);

    /* NULL where the store is one process's: it counts by itself. */
    void (*meter)(struct state *, struct loop *, const struct state_meter *, state_meter_fn *, void *arg);

    /* Answers a small write and read, or says what is wrong: /readyz. */
    void (*check)(struct state *, struct loop *, state_done_fn *, void *arg);
    /* Writes what waits, closes. All loops that answers are due on must still run. Blocking; main thread. */
    void (*close)(struct state *);
};

struct state {
    const struct state_ops *ops;
    bool shared;           /* other processes write to it, too: what was read of it may have changed since */
    uint8_t scope_key[32]; /* random, made with the store: keys struct upstream.scope */
    /* For /metrics. Microseconds are from call to answer, waiting included. dropped: puts without a callback
     * that were lost because the queue was full or the store failed. */
    _Atomic uint64_t reads, writes, read_us, write_us, errors, writes_waiting, dropped;
};
#endif
