// SPDX-License-Identifier: Apache-2.0
/* The stream that all replicas share, whose turn it is to do something with it, and what they count together.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "common/mem.h"
#include "proxy/state/redis_impl.h"

#define NUMBER_BITS 20 /* of a place: the number within its millisecond; above it the milliseconds */
#define NUMBER_MAX  ((UINT64_C(1) << NUMBER_BITS) - 1)
#define ID_MAX      48
#define REMEMBER_S  (90 * 86400) /* what a replica put last, when it never comes back */

/* ---- places, and ids as Redis has them: "<ms>-<number>" ---- */

static void format_place(uint64_t place, char out[ID_MAX])
{
    (void)snprintf(out, ID_MAX, "%" PRIu64 "-%" PRIu64, place >> NUMBER_BITS, place & NUMBER_MAX);
}

static bool parse_place(struct slice text, uint64_t *ret)
{
    const char *dash = text.p ? memchr(text.p, '-', text.len) : NULL;
    uint64_t ms, number;
    if (!dash)
        return false;
    size_t head = (size_t)(dash - text.p);
    if (!slice_to_u64((struct slice){text.p, head}, INT64_MAX >> NUMBER_BITS, &ms) ||
        !slice_to_u64((struct slice){dash + 1, text.len - head - 1}, UINT64_MAX, &number))
        return false;
    *ret = ms << NUMBER_BITS | (number < NUMBER_MAX ? number : NUMBER_MAX);
    return true;
}

/* ---- the stream ---- */

void redis_stream_put(struct state *base, struct loop *loop, const char *replica,
                      const struct state_entry *entries, size_t count, state_done_fn *done, void *arg)
{
    struct redis_state *s = (struct redis_state *)base;
    char epoch[17], most[24], remember[24];
    uint64_t random = 0;
    assert(count && count <= REDIS_STATE_PIECE_MAX);
    (void)!getrandom(&random, sizeof random, 0);
    (void)snprintf(epoch, sizeof epoch, "%016" PRIx64, random);
    (void)snprintf(most, sizeof most, "%d", REDIS_STATE_STREAM_MAX);
    (void)snprintf(remember, sizeof remember, "%d", REMEMBER_S);
    cleanup_free char(*name)[24] = mem_alloc(count * sizeof *name);
    struct redis_words w = redis_words_begin(REDIS_STREAM_PUT, s);
    redis_words_str(&w, replica);
    redis_words_str(&w, epoch);
    redis_words_str(&w, most);
    redis_words_str(&w, remember);
    for (size_t i = 0; i < count; ++i) {
        (void)snprintf(name[i], sizeof name[i], "%" PRIu64, entries[i].place);
        redis_words_str(&w, name[i]);
        redis_words_add(&w, entries[i].bytes.p, entries[i].bytes.len);
    }
    struct redis_call *call = redis_call_new(&w, loop, redis_answer_done, arg);
    call->write = true;
    call->fn.done = done;
    redis_call_submit(s, call);
}

static void answer_piece(struct redis_call *call)
{
    if (call->err) {
        call->fn.piece(call->arg, NULL, call->err);
        return;
    }
    const struct redis_result *r = call->result;
    size_t count = r->count / 2;
    bool good = r->count % 2 == 1 && r->word[0].p;
    cleanup_free struct state_entry *entries = mem_zalloc(count * sizeof *entries + 1);
    for (size_t i = 0; good && i < count; ++i) {
        entries[i].bytes = r->word[2 * i + 2];
        good = parse_place(r->word[2 * i + 1], &entries[i].place) && entries[i].bytes.p;
    }
    const struct state_piece piece = {good ? r->word[0].p : "", entries, count};
    call->fn.piece(call->arg, good ? &piece : NULL, good ? NULL : redis_damaged(call));
}

void redis_stream_get(struct state *base, struct loop *loop, const char *epoch, uint64_t after, size_t n,
                      state_piece_fn *fn, void *arg)
{
    struct redis_state *s = (struct redis_state *)base;
    char id[ID_MAX], limit[24];
    format_place(after, id);
    (void)snprintf(limit, sizeof limit, "%zu", n < REDIS_STATE_PIECE_MAX ? n : REDIS_STATE_PIECE_MAX);
    struct redis_words w = redis_words_begin(REDIS_STREAM_GET, s);
    redis_words_str(&w, epoch);
    redis_words_str(&w, id);
    redis_words_str(&w, limit);
    struct redis_call *call = redis_call_new(&w, loop, answer_piece, arg);
    call->fn.piece = fn;
    redis_call_submit(s, call);
}

/* ---- turns ---- */

static void answer_turn(struct redis_call *call)
{
    uint64_t place = 0;
    bool good = call->err || (call->result->count == 2 && parse_place(call->result->word[1], &place));
    bool ours = good && !call->err && slice_eq_str(call->result->word[0], "1");
    call->fn.turn(call->arg, ours, place, good ? call->err : redis_damaged(call));
}

void redis_turn_take(struct state *base, struct loop *loop, const struct state_turn *turn, state_turn_fn *fn,
                     void *arg)
{
    struct redis_state *s = (struct redis_state *)base;
    char hold[16], done[ID_MAX] = "", known[ID_MAX] = "";
    (void)snprintf(hold, sizeof hold, "%" PRIu32, turn->hold_ms);
    if (turn->done)
        format_place(turn->done, done);
    if (turn->known)
        format_place(turn->known, known);
    struct redis_words w = redis_words_begin(REDIS_TURN_TAKE, s);
    redis_words_str(&w, turn->name);
    redis_words_str(&w, turn->holder);
    redis_words_str(&w, hold);
    redis_words_str(&w, done);
    redis_words_str(&w, known);
    struct redis_call *call = redis_call_new(&w, loop, answer_turn, arg);
    call->write = true;
    call->fn.turn = fn;
    redis_call_submit(s, call);
}

/* ---- meters ---- */

static void answer_meter(struct redis_call *call)
{
    uint64_t value = 0, left_ms = 0;
    bool good =
        call->err || (call->result->count == 2 && slice_to_u64(call->result->word[0], INT64_MAX, &value) &&
                      slice_to_u64(call->result->word[1], INT64_MAX, &left_ms));
    call->fn.meter(call->arg, value, left_ms, good ? call->err : redis_damaged(call));
}

void redis_meter(struct state *base, struct loop *loop, const struct state_meter *meter, state_meter_fn *fn,
                 void *arg)
{
    struct redis_state *s = (struct redis_state *)base;
    char add[24], window[16];
    (void)snprintf(add, sizeof add, "%" PRId64, meter->add);
    (void)snprintf(window, sizeof window, "%" PRIu32, meter->window_ms);
    struct redis_words w = redis_words_begin(REDIS_METER, s);
    redis_words_str(&w, meter->name);
    redis_words_str(&w, add);
    redis_words_str(&w, window);
    struct redis_call *call = redis_call_new(&w, loop, answer_meter, arg);
    call->write = true;
    call->fn.meter = fn;
    redis_call_submit(s, call);
}
