// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_UPSTREAM_TRANSFER_H
#define RAC_UPSTREAM_TRANSFER_H
/*
 * One exchange: one request, one answer, on a curl easy handle. Knows addresses, time limits, and what makes
 * an answer whole; knows nothing of authentication and redirects, which fetch.c makes out of several of
 * these. Private to proxy/upstream.
 *
 *     transfer_start -> queued -> running -> on_head -> on_data … -> on_done
 *
 * on_head and on_data come from inside of curl, where curl may not be called: so start, cancel, pause and
 * resume only note what is wanted while that is so, and mux.c does it when curl has returned. on_done comes
 * outside of curl.
 */
#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/loop.h"
#include "proxy/upstream/answer.h"
#include "proxy/upstream/client.h"
#include "proxy/upstream/url.h"

#define TRANSFER_DRAIN_MAX                                                                                   \
    ((size_t)64 << 10) /* bytes of an unwanted body that are read to keep the connection */

struct mux;

enum transfer_verdict {
    TRANSFER_BODY,  /* the body is wanted */
    TRANSFER_DRAIN, /* it is not: on_done comes soon, without error, whatever becomes of the body */
    TRANSFER_STOP,  /* as DRAIN, and the connection is not worth keeping */
};

struct transfer_ops {
    /* Once, with the head of the final (not 1xx) answer; it is the transfer's and good until on_done returns.
     */
    enum transfer_verdict (*on_head)(void *arg, struct answer *answer);
    void (*on_data)(void *arg, const void *p, size_t len);
    /* Once, last. err NULL: the answer was whole. The transfer is gone after it. */
    void (*on_done)(void *arg, const struct err *err);
};

struct transfer_params {
    struct url *url; /* taken: empty after */
    const char *who; /* "docker.io", for messages; outlives the transfer */
    bool head;
    bool direct;                /* not by the environment's proxy */
    bool may_be_private;        /* the socket's address need not be public */
    bool whole_limit;           /* head_timeout_ms is for the whole answer, not only its head */
    const char *ca_file;        /* NULL: the system's; outlives the transfer */
    struct curl_slist *headers; /* taken */
    const void *body;           /* POST, copied; NULL: none */
    size_t body_len;
};

struct transfer {
    struct mux *mux;
    const struct transfer_ops *ops; /* NULL: cancelled, no callback comes any more */
    void *arg;
    struct url url;
    const char *who;
    const char *ca_file;
    struct curl_slist *headers;
    CURL *easy;
    unsigned lane; /* of the mux */
    bool head, may_be_private, whole_limit, proxied;
    bool added; /* curl's multi handle has it */
    bool sent;  /* a connection was there, the request is on its way */
    enum transfer_verdict verdict;
    struct answer answer;
    struct err failure; /* noted inside of curl; code ERR_NONE: none */
    struct err refused; /* an address that was not dialled */
    bool dialled;       /* another one was */
    uint64_t body_bytes;
    uint64_t last_byte_us; /* of the body, or of a resume */
    uint64_t turn;         /* of the mux, that turn_bytes is about */
    size_t turn_bytes;
    bool paused; /* asked for */
    bool held;   /* curl holds bytes back: paused, or enough for this turn */
    bool waking; /* on the mux's list of those to be resumed */
    struct loop_timer timer;
    char curl_text[CURL_ERROR_SIZE];
    struct transfer *prev, *next; /* on one of the mux's lists, always */
    struct transfer *wake_prev, *wake_next;
};

/* Never calls back before it returns. NULL and *err if the address rules forbid it from its text; params->url
 * and headers are taken then too. */
struct transfer *transfer_start(struct mux *mux, struct transfer_params *params,
                                const struct transfer_ops *ops, void *arg, struct err *err);
void transfer_cancel(struct transfer *t); /* from anywhere but on_done; no callback comes any more */
/* From on_data: the rest is not wanted, as if on_head had said TRANSFER_DRAIN. */
void transfer_drop_body(struct transfer *t);
void transfer_pause(struct transfer *t);
void transfer_resume(struct transfer *t);

/* For mux.c. */
void *transfer_easy_new(const struct upstream_limits *limits); /* a CURL with all that never changes */
void transfer_finish(struct transfer *t,
                     int code);         /* curl is through with it: CURLcode; calls on_done, frees t */
void transfer_free(struct transfer *t); /* off every list and off curl */
#endif
