// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3_HTTP_H
#define RAC_S3_HTTP_H
/*
 * An HTTP/1.1 client: one request, one answer, blocking, any thread. It follows no redirect and repeats
 * nothing by itself; what happened is in the answer, and the caller decides.
 *
 * Bodies are memory on both sides: a request's is a list of slices, an answer's goes either straight into the
 * caller's memory (`into`, 2xx only) or into a bounded buf (`text`, everything else).
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "common/err.h"
#include "common/str.h"
#include "s3/cancel.h"
#include "s3/http_head.h"
#include "s3/s3_url.h"

struct http_config {
    const char *ca_file; /* see http_tls.h; read when the first https server is asked */
    unsigned connections_max;
    uint32_t connect_timeout_ms, answer_timeout_ms, stall_timeout_ms; /* see s3_config.h */
};

struct http;
struct http *http_new(const struct http_config *config); /* the config is copied */
void http_free(struct http *h);                          /* no call may be running; NULL is fine */

#define HTTP_TEXT_MAX     ((size_t)16 << 20)  /* a list of 1,000 keys of 1,024 bytes, escaped twice */
#define HTTP_EXPECT_BYTES ((uint64_t)1 << 20) /* longer bodies wait for 100 Continue (for a second) */

struct http_request {
    const char *method;
    const struct s3_url *server;
    const char *target;       /* path and query as sent; NULL: the URL's own */
    struct slice headers;     /* further ones, each ended by CR LF; Host and Content-Length are not in it */
    const struct iovec *body; /* NULL: none */
    int body_len;
    bool expects_body;           /* Content-Length is sent even if it is 0 */
    void *into;                  /* the body of a 2xx goes here; NULL: into the answer's text */
    size_t into_cap;             /* more than that is not read: answer->cut */
    uint32_t answer_timeout_ms;  /* 0: the config's */
    uint32_t connect_timeout_ms; /* 0: the config's (it bounds a fresh connection only) */
    bool fresh;                  /* on a new connection */
    struct cancel *cancel;
};

struct http_answer {
    struct http_head head; /* status 0: there was none */
    size_t into_len;       /* good bytes in `into`, also after a failure */
    struct buf text;
    bool cut;    /* the body was longer than into_cap */
    bool sent;   /* the server may have seen the request: what it asks for may be done */
    bool reused; /* on a connection that had served before: it may just have been closed */
};

/* 0 with any status; -1 with ERR_IO, ERR_TIMEOUT, ERR_CANCELLED or (certificate, CA file, name) ERR_INVALID
 * if there is no complete answer. *ret is zeroed first; http_answer_free in every case. */
int http_call(struct http *h, const struct http_request *request, struct http_answer *ret, struct err *err);
void http_answer_free(struct http_answer *a);
#define cleanup_http_answer RAC_CLEANUP(http_answer_free)
#endif
