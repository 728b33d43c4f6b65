// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_RECORDS_WEBHOOK_H
#define RAC_RECORDS_WEBHOOK_H
/*
 * Sends each record to an endpoint: the distribution project's envelope (application/vnd.docker.distribution.
 * events.v2+json), at least once, in order. One for each endpoint, all on one worker's loop.
 *
 *     IDLE ── the feed has more ──> READING the journal ──> SENDING ── 2xx, 3xx ──> cursor on, READING
 *      ^                              │ nothing more           │ anything else
 *      └──────────────────────────────┘                     BACKING OFF ──> SENDING the same again
 *
 * What was delivered is a cursor in the journal, so it goes on there after a restart; what was delivered in
 * the last moment before a kill -9 is delivered again. A new endpoint begins with the next record. Waits
 * double from 200 ms up to `backoff`, each by a random quarter more or less; from `threshold` failures in a
 * row on they are all `backoff`.
 *
 * Where replicas share their records (share.h), one of them sends at a time: who has the turn of that
 * endpoint, which it asks for before each request, and with which it says how far it got:
 *
 *     ASKING ── ours ──> READING the journal, in the order of the stream ──> ASKING ── ours ──> SENDING
 *       ^  └─ another's, or the store is away: later                            │ not ours any more
 *       └───────────────────────────────────────────────────────────────────────┘
 *
 * A turn ends by itself, `timeout` and WEBHOOK_TURN_MS after it was asked for; who gets it next goes on where
 * the last one said it was.
 */
#include "proxy/records/records.h"
#include "proxy/state/state.h"
#include "proxy/upstream/client.h"

#define WEBHOOK_TURN_MS 15000

struct webhook_config {
    const char *name, *url;
    const char *const *headers; /* "Name: value"; NULL-terminated, or NULL */
    const char *ca;
    uint64_t timeout_ms, backoff_ms;
    uint32_t threshold;
    const char *const *ignore_media_types, *const *ignore_actions; /* NULL-terminated, or NULL */
    const char *public_address;                                    /* "registry.lab:9090": source.addr */
    bool tls;                                                      /* target.url is https */
};

struct webhook;
/* state: of records that replicas share, else NULL. The strings of config stay valid until webhook_free. */
struct webhook *webhook_new(struct records *records, struct state *state,
                            const struct webhook_config *config);
/* On the loop, with its client. */
void webhook_start(struct webhook *w, struct loop *loop, struct upstream_client *client);
/* On the loop: nothing is sent any more. */
void webhook_stop(struct webhook *w);
/* After the records' jobs have ended. NULL is fine. */
void webhook_free(struct webhook *w);
#endif
