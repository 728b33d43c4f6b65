// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_HTTP_SERVER_H
#define RAC_HTTP_SERVER_H
/*
 * The HTTP server: one worker thread per core, each with its own event loop and its own SO_REUSEPORT listener
 * on every address. The only place (with its neighbours in this folder) that knows h2o; see docs/decisions
 * for its traps.
 *
 * Life: http_server_new (binds, so that errors come before anything runs) -> http_server_start ->
 * http_server_drain -> http_server_free. These are for the main thread.
 */
#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/loop.h"
#include "proxy/http/request.h"

struct http_server;

struct http_listen {
    const char *address; /* "127.0.0.1:9090", "[::1]:9090", ":9090" (all), "localhost:0" (any free port) */
};

struct http_limits {
    uint32_t max_connections;  /* over it, new connections wait in the backlog */
    uint64_t max_body_bytes;   /* of a request; more is 413 */
    uint64_t max_bodies_bytes; /* of all requests that a worker reads or answers; what is over it is 503 */
    uint32_t max_header_bytes; /* of a request's head; more is 431 */
    uint32_t idle_timeout_ms;  /* a connection between two requests, or before its first */
    uint32_t head_timeout_ms;  /* a request's head, from its first byte to its last; a TLS handshake */
    uint32_t body_timeout_ms;  /* a request's body must go on by 8 KiB within it, or end */
    uint32_t slow_reader_timeout_ms; /* a reader that takes nothing for that long is cut off; 0 = never */
    uint32_t tcp_user_timeout_ms;    /* dead peers */
};
extern const struct http_limits
    http_limits_default; /* 10000, 16 MiB, 256 MiB, 64 KiB, 75 s, 15 s, 30 s, 60 s, 60 s */

struct http_config {
    const struct http_listen *listen;
    unsigned listen_count;
    unsigned workers; /* 0 = one per core that the process may use */
    struct http_limits limits;
    const char *tls_certificate, *tls_key; /* PEM files; both or none; then every listener speaks TLS */
    bool http2;                            /* only with TLS, by ALPN */
    const char
        *tls_client_ca; /* PEM file of authorities: clients are asked for a certificate; NULL: they are not */
    bool tls_client_required; /* who has none is turned away */

    /* On the worker's thread, before its first request and after its last: where per-worker things are made
     * and freed. */
    void (*worker_begin)(struct loop *loop, void *arg);
    void (*worker_end)(struct loop *loop, void *arg);
    /* Each request whose head and body are complete and were found to be well-formed (see head.h, chunked.h).
     */
    void (*on_request)(struct request *r, void *arg);
    /* After the answer left or was given up, just before the dispose callbacks: access log and metrics. */
    void (*on_finished)(struct request *r, bool aborted, void *arg);
    /* The answer to what the server itself refuses (bad head, too large, …): sends a whole answer. */
    void (*refuse)(struct request *r, int status, const char *message, void *arg);
    void *arg;
};

/* Binds and listens; ERR_INVALID / ERR_IO with the address and what to do ("port 9090 is in use: …"). */
struct http_server *http_server_new(const struct http_config *config, struct err *err);
/* Threads run when it returns 0, and none does if it failed: worker_end was run on those that had begun. */
int http_server_start(struct http_server *s, struct err *err);
unsigned http_server_workers(const struct http_server *s);
struct loop *http_server_loop(const struct http_server *s, unsigned worker);
/* "127.0.0.1:9090" of listener i, with the real port. Owned by the server. */
const char *http_server_address(const struct http_server *s, unsigned i);
/* Reads certificate, key and authorities of clients again, for new connections. On an error the old ones
 * stay. Any thread. */
int http_server_reload_tls(struct http_server *s, struct err *err);
/* No new connections; waits until every request is answered, the first one of who was let in shortly before
 * included, grace_ms at most; then cuts off what is left,
 * runs worker_end on each worker and joins them. Returns the number of requests cut off. */
unsigned http_server_drain(struct http_server *s, uint32_t grace_ms);
void http_server_free(struct http_server *s);

struct http_server_stats {
    uint64_t connections_accepted;
    uint64_t connections_refused; /* times a worker stopped accepting: at the limit, or out of descriptors */
    uint32_t connections_open, requests_open;
    uint64_t slow_readers_cut, clients_vanished;
};
void http_server_stats(const struct http_server *s, struct http_server_stats *ret); /* any thread */
#endif
