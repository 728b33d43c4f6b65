// SPDX-License-Identifier: Apache-2.0
#include "proxy/registry/peer_blob.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/mem.h"
#include "common/metrics.h"
#include "proxy/registry/blob_body.h"
#include "proxy/registry/reply.h"

struct ask {
    unsigned refs;     /* the request's, and one for each answer that is awaited */
    struct request *r; /* NULL: gone */
    struct loop *loop;
    struct registry *g;
    struct digest digest;
    struct fill_reader *reader; /* until the body takes it over */
    struct blob_body *body;
};

static void count(const char *labels)
{
    metric_count("rac_peer_requests_total", labels, 1);
}

static void ask_unref(struct ask *a)
{
    if (--a->refs == 0)
        free(a);
}

static void on_request_over(void *arg)
{
    struct ask *a = arg;
    a->r = NULL;
    a->body = NULL;
    if (a->reader)
        fill_leave(steal_ptr(&a->reader));
    ask_unref(a);
}

static void missing(struct request *r)
{
    count("result=\"missing\"");
    reply_error(r, 404, "BLOB_UNKNOWN", "this replica does not have it");
}

static void on_stored(void *arg, struct blob *blob, const struct err *err)
{
    struct ask *a = arg;
    (void)err; /* whoever asks can ask the upstream, too */
    if (!a->r) {
        blob_unref(blob);
    } else if (blob) {
        count("result=\"served\"");
        blob_body_from_store(a->r, a->g->env->store, blob);
    } else {
        missing(a->r);
    }
    ask_unref(a);
}

static void on_fill_changed(void *arg)
{
    struct ask *a = arg;
    if (a->body) {
        blob_body_fill_changed(a->body);
        return;
    }
    switch (fill_reader_state(a->reader)) {
    case FILL_WAITING:
        fill_reader_wait(a->reader, 0);
        break;
    case FILL_READY:
    case FILL_COMPLETE:
        count("result=\"served\"");
        ++a->refs; /* the request may be over before the call returns */
        struct blob_body *body = blob_body_from_fill(a->r, &a->digest, steal_ptr(&a->reader));
        if (a->r)
            a->body = body;
        ask_unref(a);
        break;
    case FILL_BUSY:
    case FILL_MISLED:
    case FILL_FAILED:
        fill_leave(steal_ptr(&a->reader));
        missing(a->r);
        break;
    }
}

bool peer_blob_handle(struct registry *g, struct request *r, struct slice text)
{
    struct digest digest;
    const struct peers *peers = g->env->peers;
    if (!peers || request_method(r) != HTTP_GET || digest_parse(text, &digest, NULL) < 0)
        return false;
    if (!peers_verify(peers, request_header(r, PEER_HEADER_LOWER), &digest, clock_wall_ms() / 1000)) {
        count("result=\"refused\"");
        return false;
    }
    request_set_route(r, "peer");
    struct blob *blob = g->env->store->ops->try(g->env->store, &digest);
    if (blob) {
        count("result=\"served\"");
        blob_body_from_store(r, g->env->store, blob);
        return true;
    }
    struct ask *a = mem_new(struct ask);
    *a = (struct ask){.refs = 2, .r = r, .loop = request_loop(r), .g = g, .digest = digest};
    request_on_dispose(r, on_request_over, a);
    /* What is in neither of the two, in this order, is not here: a fill ends after its blob is stored. */
    a->reader = fill_join_for_peer(g->fills, a->loop, &digest, on_fill_changed, a);
    if (a->reader)
        ask_unref(a);
    else
        g->env->store->ops->get(g->env->store, a->loop, &digest, on_stored, a);
    return true;
}
