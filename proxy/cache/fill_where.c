// SPDX-License-Identifier: Apache-2.0
/*
 * Where the bytes of a fill come from, asked anew whenever it begins or what was asked ended too early:
 *
 *     may read? ──> the second level ──> the lease of the digest ──┬─ ours ────────> the upstream
 *         └─ no: the upstream's answer is the permission           ├─ a peer's ────> the peer
 *                                                                  └─ unknown ─────> the upstream
 *
 * The lease stands in the state that replicas share. Whoever has it asks the upstream, and renews it while
 * the bytes come; the others read from its fill, as its readers do, one each. When it is done the lease says
 * where the blob is for some minutes more.
 *
 * A lease says who asks the upstream, never what is right: one that is lost costs a second download, and no
 * wrong byte. Its fence tells a lease from another of the same digest: a holder that slept over the end of
 * its own changes nothing at that of the next, and whoever finds that a peer does not give what its lease
 * says takes over that very one, so that of many who find it only one asks the upstream.
 *
 * No circle: a fill that reads from a peer has no peer among its readers, nor gets one.
 */
#include <assert.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "proxy/cache/document_fetch.h"
#include "proxy/cache/fill_impl.h"

#define LEASE_MS      6000
#define LOOK_MS       (LEASE_MS / 3) /* between renewals, and between looks whether bytes come */
#define LEASE_DONE_MS (UINT64_C(10) * 60 * 1000)
#define PEERS_MAX     5                    /* that failed, before a fill asks no more of them */
#define IDLE_ASK      (LEASE_MS / LOOK_MS) /* looks without a byte: is the peer still there? */
#define IDLE_MAX      15                   /* looks without a byte: then its lease does not help it either */
#define IDLE_SECOND   1                    /* of the second level */

static const char *const names[FILL_FROM_COUNT] = {"upstream", "second", "peer"};

const char *fill_where_name(const struct fill *f)
{
    if (f->from == FILL_FROM_UPSTREAM)
        return f->repo->upstream->name;
    return f->from == FILL_FROM_PEER ? "peer" : f->table->env->second->name;
}

void fill_where_metrics(struct fills *t)
{
    char labels[64];
    for (int i = 0; i < FILL_FROM_COUNT; ++i) {
        const char *name = i == FILL_FROM_SECOND && t->env->second ? t->env->second->name : names[i];
        (void)snprintf(labels, sizeof labels, "source=\"%s\"", name);
        if (i == FILL_FROM_SECOND && !t->env->second)
            continue;
        t->from[i] = metric_get("rac_fill_sources_total", labels);
        t->from_bytes[i] = metric_get("rac_fill_source_bytes_total", labels);
        if (i != FILL_FROM_UPSTREAM)
            t->source_failed[i] = metric_get("rac_fill_source_failures_total", labels);
    }
    t->lease_taken = metric_get("rac_fill_leases_total", "result=\"taken\"");
    t->lease_busy = metric_get("rac_fill_leases_total", "result=\"busy\"");
    t->lease_lost = metric_get("rac_fill_leases_total", "result=\"lost\"");
    t->lease_failed = metric_get("rac_fill_leases_total", "result=\"failed\"");
}

/* What others have may be given to its readers: the upstream need not be asked whether. */
static bool may_be_given(const struct fill *f)
{
    return f->may_read || f->phase == PHASE_STREAMING;
}

static bool is_over(const struct fill *f)
{
    return f->phase == PHASE_VERIFIED || f->phase == PHASE_FAILED;
}

/* ---- the lease ---- */

static void on_renew(void *arg);

static void on_renewed(void *arg, size_t count, const struct err *err)
{
    struct fill *f = arg;
    struct fill_where *w = &f->where;
    if (w->leased && (err || count)) { /* a state that is away may be back before the lease ends */
        loop_timer_arm(f->loop, &w->renew, LOOK_MS, on_renew, f);
    } else if (w->leased) {
        w->leased = false;
        w->fence = 0;
        metric_inc(f->table->lease_lost);
        log_warn("the lease of a blob is lost: others may download it, too", F_S("blob", f->what));
    }
    fill_unref(f);
}

static void on_renew(void *arg)
{
    struct fill *f = arg;
    struct state *s = f->table->env->state;
    fill_ref(f);
    s->ops->lease_keep(s, f->loop, &f->digest, f->where.fence, LEASE_MS, false, on_renewed, f);
}

static void lease_hold(struct fill *f, uint64_t fence)
{
    f->where.leased = true;
    f->where.disproved = false;
    f->where.fence = fence;
    metric_inc(f->table->lease_taken);
    loop_timer_arm(f->loop, &f->where.renew, LOOK_MS, on_renew, f);
}

static void lease_end(struct fill *f, bool stored)
{
    struct state *s = f->table->env->state;
    f->where.leased = false;
    loop_timer_cancel(f->loop, &f->where.renew);
    /* Who cannot be asked need not be named. */
    bool done = stored && *peers_address(f->table->env->peers);
    s->ops->lease_keep(s, NULL, &f->digest, f->where.fence, done ? LEASE_DONE_MS : 0, done, NULL, NULL);
}

static bool leases_are_of_use(const struct fill *f)
{
    const struct cache_env *env = f->table->env;
    return env->peers && env->state->ops->lease_take;
}

/* ---- each of them ---- */

static void ask_upstream(struct fill *f)
{
    cleanup_free char *path = document_path(f->repo, "blobs", f->digest.s);
    struct fetch_params params = {
        .upstream = f->repo->upstream, .path = path, .repository = f->repo->repository, .accept = "*/*"};
    loop_timer_cancel(f->loop, &f->where.watch);
    fill_download_from(f, FILL_FROM_UPSTREAM, &params);
}

static void on_watch(void *arg);

static void watch(struct fill *f)
{
    f->where.idle = 0;
    f->where.seen = fill_received(f);
    loop_timer_arm(f->loop, &f->where.watch, LOOK_MS, on_watch, f);
}

static void ask_peer(struct fill *f, const struct state_lease *lease)
{
    struct peers *peers = f->table->env->peers;
    char signature[PEER_HEADER_MAX], header[sizeof PEER_HEADER + 2 + PEER_HEADER_MAX];
    peers_sign(peers, &f->digest, clock_wall_ms() / 1000, signature);
    (void)snprintf(header, sizeof header, PEER_HEADER ": %s", signature);
    cleanup_free char *url = mem_printf("%s" PEER_PATH "%s", lease->holder, f->digest.s);
    struct fetch_params params = {.url = url,
                                  .who = "peer",
                                  .private_addresses = true,
                                  .plain_http = true,
                                  .direct = true,
                                  .ca_file = peers_ca_file(peers),
                                  .accept = "*/*",
                                  .headers = (const char *const[]){header, NULL}};
    log_debug("blob comes from a peer", F_S("blob", f->what), F_S("peer", lease->holder),
              F_U("from", f->written));
    free(f->where.peer);
    f->where.peer = mem_strdup(lease->holder);
    f->where.fence = lease->fence;
    f->where.disproved = f->where.answered = false;
    fill_download_from(f, FILL_FROM_PEER, &params);
    watch(f);
}

/* ---- who is it to be? ---- */

static void take_lease(struct fill *f, uint64_t instead_of);
static void failed(struct fill *f, enum fill_source_end end, const struct err *err);

/* A peer that sent no head is not asked for each blob. */
static void note_silent(struct fill *f)
{
    if (f->from == FILL_FROM_PEER && !f->where.answered)
        peers_note_silent(f->table->env->peers, f->where.peer);
}

static void silent(struct fill *f)
{
    struct err err;
    (void)err_set(&err, ERR_TIMEOUT, "%s: no byte for %u s", fill_where_name(f),
                  f->where.idle * (unsigned)LOOK_MS / 1000);
    if (fill_download_stop(f))
        failed(f, SOURCE_BROKE, &err);
}

/* It was asked already, or is not worth a try. */
static bool is_disproved(struct fill *f, const struct state_lease *lease)
{
    const struct fill_where *w = &f->where;
    return (w->disproved && lease->fence == w->fence) || peers_is_silent(f->table->env->peers, lease->holder);
}

static void go_by_lease(struct fill *f, const struct state_lease *lease)
{
    struct fill_where *w = &f->where;
    bool peer =
        lease && !lease->mine && may_be_given(f) && w->failed < PEERS_MAX && peer_address_ok(lease->holder);
    loop_timer_cancel(f->loop, &w->watch);
    if (!lease)
        metric_inc(f->table->lease_failed);
    else if (lease->mine)
        lease_hold(f, lease->fence);
    else
        metric_inc(f->table->lease_busy);
    if (peer && is_disproved(f, lease)) {
        ++w->failed;
        take_lease(f, lease->fence); /* that very one */
    } else if (peer) {
        ask_peer(f, lease);
    } else {
        ask_upstream(f);
    }
}

static void on_lease(void *arg, const struct state_lease *lease, const struct err *err)
{
    struct fill *f = arg;
    (void)err; /* logged where the state is */
    f->where.looking = false;
    if (is_over(f)) { /* nobody is left who would ask */
        struct state *s = f->table->env->state;
        if (lease && lease->mine)
            s->ops->lease_keep(s, NULL, &f->digest, lease->fence, 0, false, NULL, NULL);
    } else if (f->fetch) { /* of a peer, which has been silent for a while */
        bool same = lease && !lease->mine && lease->fence == f->where.fence;
        if (same && lease->done) { /* it has all of it: no reason to be silent */
            note_silent(f);
            silent(f);
        } else if (lease && !same && fill_download_stop(f)) {
            go_by_lease(f, lease);
        }
    } else {
        go_by_lease(f, lease);
    }
    fill_unref(f);
}

/* instead_of: the fence of a lease that does not count any more; 0: none. */
static void take_lease(struct fill *f, uint64_t instead_of)
{
    const struct cache_env *env = f->table->env;
    f->where.looking = true;
    fill_ref(f);
    env->state->ops->lease_take(env->state, f->loop, &f->digest, peers_address(env->peers), LEASE_MS,
                                instead_of, on_lease, f);
}

static void after_second(struct fill *f)
{
    if (!f->where.leased && leases_are_of_use(f))
        take_lease(f, f->where.fence);
    else
        ask_upstream(f);
}

static void on_second(void *arg, const struct fetch_params *found)
{
    struct fill *f = arg;
    f->where.looking = false;
    if (is_over(f)) {
        ;
    } else if (found) {
        struct fetch_params params = *found;
        fill_download_from(f, FILL_FROM_SECOND, &params);
        watch(f);
    } else {
        after_second(f);
    }
    fill_unref(f);
}

void fill_where_ask(struct fill *f)
{
    struct fill_source *second = f->table->env->second;
    assert(!f->fetch);
    if (f->where.looking)
        return; /* the answer that is due goes on */
    if (f->phase == PHASE_ASKING && f->asked && f->from == FILL_FROM_UPSTREAM) {
        ask_upstream(f); /* others wait for its yes, and get nothing by another's */
    } else if (second && !f->where.asked_second && may_be_given(f)) {
        f->where.asked_second = f->where.looking = true;
        fill_ref(f);
        second->ops->find(second, f->loop, &f->digest, f->written, on_second, f);
    } else {
        after_second(f);
    }
}

/* ---- what came of it ---- */

static void second_ended(struct fill *f, enum fill_source_end end)
{
    struct fill_source *second = f->table->env->second;
    second->ops->ended(second, f->loop, &f->digest, end);
}

static void failed(struct fill *f, enum fill_source_end end, const struct err *err)
{
    loop_timer_cancel(f->loop, &f->where.watch);
    metric_inc(f->table->source_failed[f->from]);
    log_info("blob does not come from there: asking elsewhere", F_S("blob", f->what),
             F_S("source", fill_where_name(f)), F_U("have", f->written), F_ERR(err));
    if (f->from == FILL_FROM_PEER) {
        ++f->where.failed;
        f->where.disproved = true;
    } else {
        second_ended(f, end);
    }
    fill_where_ask(f);
}

void fill_where_failed(struct fill *f, enum fill_source_end end, const struct err *err)
{
    note_silent(f);
    failed(f, end, err);
}

/* Now and then while a peer or the second level is asked: do bytes come? */
static void on_watch(void *arg)
{
    struct fill *f = arg;
    struct fill_where *w = &f->where;
    uint64_t received = fill_received(f);
    bool peer = f->from == FILL_FROM_PEER;
    w->idle = received != w->seen || f->paused ? 0 : w->idle + 1;
    w->seen = received;
    loop_timer_arm(f->loop, &w->watch, LOOK_MS, on_watch, f);
    if (w->idle >= (peer ? IDLE_MAX : IDLE_SECOND))
        silent(f);
    else if (peer && w->idle >= IDLE_ASK && !w->looking)
        take_lease(f, 0);
}

bool fill_where_lied(struct fill *f)
{
    struct fill_where *w = &f->where;
    struct state *s = f->table->env->state;
    bool lied = w->bytes[FILL_FROM_PEER] || w->bytes[FILL_FROM_SECOND];
    loop_timer_cancel(f->loop, &w->watch);
    if (w->bytes[FILL_FROM_PEER]) {
        metric_inc(f->table->source_failed[FILL_FROM_PEER]);
        w->failed = PEERS_MAX;
        if (!w->leased) { /* whoever comes next finds no lease that leads there */
            s->ops->lease_keep(s, NULL, &f->digest, w->fence, 0, false, NULL, NULL);
            w->fence = 0;
        }
    }
    if (f->from == FILL_FROM_SECOND) {
        metric_inc(f->table->source_failed[FILL_FROM_SECOND]);
        second_ended(f, w->bytes[FILL_FROM_SECOND] == f->written ? SOURCE_LIED : SOURCE_BROKE);
    }
    memset(w->bytes, 0, sizeof w->bytes);
    return lied;
}

void fill_where_gave(struct fill *f)
{
    loop_timer_cancel(f->loop, &f->where.watch);
    metric_inc(f->table->from[f->from]);
    if (f->from == FILL_FROM_SECOND)
        second_ended(f, SOURCE_GAVE);
}

void fill_where_end(struct fill *f, bool stored)
{
    struct fill_where *w = &f->where;
    struct fill_source *second = f->table->env->second;
    loop_timer_cancel(f->loop, &w->watch);
    if (w->leased)
        lease_end(f, stored);
    if (stored && second && w->bytes[FILL_FROM_UPSTREAM])
        second->ops->stored(second, f->loop, &f->digest, f->size);
}
