// SPDX-License-Identifier: Apache-2.0
/* Leases: which replica does something for all. Nothing here outlives a minute or ten, and nothing that is
 * lost costs more than doing it twice. */
#include <inttypes.h>
#include <stdio.h>

#include "common/clock.h"
#include "proxy/state/redis_impl.h"

#define NUMBER 24 /* bytes of one as text */

static void answer_lease(struct redis_call *call)
{
    struct state_lease lease = {0};
    const struct redis_result *r = call->result;
    bool good = call->err || (r->count == 4 && r->word[0].p && r->word[2].p && r->word[3].p &&
                              slice_to_u64(r->word[1], UINT64_MAX, &lease.fence));
    if (!call->err && good) {
        lease.mine = slice_eq_str(r->word[0], "1");
        lease.done = slice_eq_str(r->word[2], "1");
        lease.holder = r->word[3].p;
    }
    call->fn.lease(call->arg, !call->err && good ? &lease : NULL, good ? call->err : redis_damaged(call));
}

void redis_lease_take(struct state *base, struct loop *loop, const struct digest *digest, const char *holder,
                      uint64_t ttl_ms, uint64_t instead_of, state_lease_fn *fn, void *arg)
{
    struct redis_state *s = (struct redis_state *)base;
    char ttl[NUMBER], fence[NUMBER], first[NUMBER];
    struct redis_words w = redis_words_begin(REDIS_LEASE_TAKE, s);
    (void)snprintf(ttl, sizeof ttl, "%" PRIu64, ttl_ms);
    (void)snprintf(fence, sizeof fence, "%" PRIu64, instead_of);
    /* Higher than any from before a Redis lost what it had: nobody takes a thousand in a millisecond. */
    (void)snprintf(first, sizeof first, "%" PRId64 "000", clock_wall_ms());
    redis_words_str(&w, digest->s);
    redis_words_str(&w, holder);
    redis_words_str(&w, ttl);
    redis_words_str(&w, fence);
    redis_words_str(&w, first);
    struct redis_call *call = redis_call_new(&w, loop, answer_lease, arg);
    call->write = true;
    call->fn.lease = fn;
    redis_call_submit(s, call);
}

void redis_lease_keep(struct state *base, struct loop *loop, const struct digest *digest, uint64_t fence,
                      uint64_t ttl_ms, bool is_done, state_count_fn *fn, void *arg)
{
    struct redis_state *s = (struct redis_state *)base;
    char ttl[NUMBER], text[NUMBER];
    struct redis_words w = redis_words_begin(REDIS_LEASE_KEEP, s);
    (void)snprintf(ttl, sizeof ttl, "%" PRIu64, ttl_ms);
    (void)snprintf(text, sizeof text, "%" PRIu64, fence);
    redis_words_str(&w, digest->s);
    redis_words_str(&w, text);
    redis_words_str(&w, ttl);
    redis_words_str(&w, is_done ? "1" : "0");
    struct redis_call *call = redis_call_new(&w, loop, fn ? redis_answer_count : NULL, arg);
    call->write = true;
    call->fn.count = fn;
    redis_call_submit(s, call);
}
