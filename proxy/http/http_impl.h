// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_HTTP_IMPL_H
#define RAC_HTTP_IMPL_H
/*
 * What the files of this folder share, and nobody else sees: the only header that includes h2o.
 *
 *     http_server        one a process: configuration, listeners' addresses, counters that all workers share
 *       worker           one a thread: h2o's loop and context, our loop inside it, its listeners,
 * connections, requests conn           one a connection: hangs on h2o's socket (on_close.data), dies with it
 *           request      one a request: in h2o's request memory, dies with it
 *
 * Two rules of h2o 2.2.5 shape the code (docs/decisions/0002-http-engine.md):
 *   - h2o_send() only inside h2o_evloop_run(): all callbacks of common/loop.h run there, because h2o watches
 * our epoll descriptor and calls loop_dispatch();
 *   - h2o_send() without bytes and with FINAL or ERROR may free the request before it returns, and call the
 * handler for the next one: it is always the last statement.
 */
#include <h2o.h>
#include <h2o/http1.h>
#include <h2o/http2.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>

#include "common/loop.h"
#include "common/str.h"
#include "proxy/http/request.h"
#include "proxy/http/response.h"
#include "proxy/http/server.h"

enum {
    HTTP_ACCEPT_BATCH = 16,
    HTTP_ACCEPT_PAUSE_MS = 100,     /* after EMFILE and its like */
    HTTP_BACKLOG = 4096,            /* the kernel caps it at net.core.somaxconn */
    HTTP_NOTSENT_LOWAT = 256 << 10, /* bytes the kernel holds for a reader beyond what is in flight */
    HTTP_TURN_BYTES = 4 << 20,      /* of a file, before others have their turn */
    HTTP_READ_AHEAD = 2 << 20,      /* of a file, asked of the kernel before it is needed */
    HTTP_PIECE_PLAIN = 4 << 20,     /* one write, as h2o gets it: over plaintext nothing is copied; … */
    HTTP_PIECE_TLS = 64 << 10,      /* over TLS it is encrypted into memory whole; … */
    HTTP_PIECE_HTTP2 = 64 << 10,    /* over HTTP/2 a piece is the unit of a reader's progress */
    HTTP_WHOLE_MAX = 64 << 10,      /* a larger body in memory is sent as a stream */
    HTTP_SWEEP_MS = 1000,           /* watch.c */
    HTTP_HEADER_NAMES = 128,        /* different names of response headers that are resolved once */
    HTTP_RESETS_BURST = 100,        /* HTTP/2 streams that a client may reset before their answer, … */
    HTTP_RESETS_PER_S = 10,         /* … and how fast that budget comes back */
    HTTP_LINGERERS_MAX = 256,       /* connections that are closed once their client has said it all; … */
    HTTP_LINGER_BYTES = 64 << 20,   /* … or so much, … */
    HTTP_LINGER_MS = 5000,          /* … or for that long */
    HTTP_END_MS = 2000,             /* for connections to close, at the end */
};

struct link {
    struct link *prev, *next;
};
static inline void link_init(struct link *anchor)
{
    anchor->prev = anchor->next = anchor;
}
static inline void link_insert(struct link *anchor, struct link *l)
{
    l->prev = anchor->prev;
    l->next = anchor;
    l->prev->next = l->next->prev = l;
}
static inline void link_remove(struct link *l)
{
    l->prev->next = l->next;
    l->next->prev = l->prev;
}
#define LINK_OWNER(type, member, l) ((type *)(void *)((char *)(l)-offsetof(type, member)))

/* A counter that one thread writes and any may read. */
static inline void count_up(_Atomic uint64_t *c)
{
    atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + 1, memory_order_relaxed);
}

struct listener {
    struct worker *worker;
    h2o_socket_t *sock; /* NULL once closed */
};

struct header_name {
    const char *key;   /* as the caller gave it: compared by address, then by content */
    char *usual;       /* our copy of it */
    h2o_iovec_t *name; /* lower case: a token of h2o, or `own` */
    h2o_iovec_t own;
};

struct worker {
    struct http_server *server;
    unsigned index;
    pthread_t thread;
    struct loop *loop;
    int *listen_fds; /* its row of http_server.fds */
    struct listener *listeners;

    /* All below is the worker's thread's, but for the atomics. */
    h2o_context_t ctx;
    h2o_accept_ctx_t accept_ctx;
    h2o_socket_t *loop_sock; /* our loop's descriptor, as h2o sees it */
    struct link conns, requests, lingerers;
    uint32_t conn_count, lingerer_count;
    bool is_draining, is_stopping;
    uint64_t accept_logged_us; /* when it last said so */
    struct loop_timer accept_timer, sweep_timer;
    uint32_t sweep_ms;
    struct pollfd *polls; /* the sweep's, as long as polls_cap */
    struct request **polled;
    size_t polls_cap;
    uint64_t random;
    struct header_name names[HTTP_HEADER_NAMES];

    atomic_bool is_paused; /* not accepting, because of the connection limit */
    _Atomic uint32_t requests_open;
    _Atomic uint64_t accepted, refused, slow_cut, vanished;
};

struct http_server {
    struct http_config config; /* listen and the two file names are ours */
    char **addresses;          /* "127.0.0.1:9090", with the real port */
    char *certificate, *key, *client_ca;
    int *fds; /* listening sockets, [worker][address]; -1 once h2o owns it */
    h2o_globalconf_t h2o;
    struct worker *workers;
    unsigned worker_count;
    unsigned threads; /* that were started */
    bool is_drained;
    _Atomic uint32_t connections;
    _Atomic unsigned drains_begun, cut_off;

    pthread_mutex_t lock; /* guards the three below */
    pthread_cond_t changed;
    unsigned workers_ready;
    SSL_CTX *ssl_ctx; /* NULL: no TLS */
};

#define CONN_MAGIC    0x636f6e6eu
#define REQUEST_MAGIC 0x72657175u

struct conn {
    uint32_t magic;
    struct worker *worker;
    h2o_socket_t *sock;
    struct link link;
    struct request *current; /* HTTP/1: the request that is being answered */
    uint32_t resets;         /* HTTP/2: the leaky bucket, in streams, … */
    uint64_t resets_us;      /* … as of then */
    int linger_fd;           /* linger.c: a second descriptor of the socket, or -1 */
    char peer[56];           /* "" until somebody asks */
    char *client_name;       /* tls.c: of a verified certificate, or NULL */
};

/*
 *   WAITING --response_send--> LAST            nobody answered yet: watched for a client that leaves
 *      |                        ^
 *      `--response_begin--> SENDING --all left--> PULLED --response_end/abort--> LAST --> over
 *                               ^                   |        the room owes bytes: watched like WAITING
 *                               `--response_write*--'
 *   SENDING and LAST: bytes are on their way: watched for a reader that takes nothing.
 */
enum request_state {
    REQUEST_WAITING,
    REQUEST_SENDING,
    REQUEST_PULLED,
    REQUEST_LAST,
};

struct dispose_entry {
    struct dispose_entry *next;
    void (*fn)(void *arg);
    void *arg;
};

struct log_entry {
    struct log_entry *next;
    const char *key;
    struct slice value;
};

struct request {
    uint32_t magic;
    enum request_state state;
    enum http_method method;
    bool is_http2, is_plain; /* plain: HTTP/1 without TLS, so that sendfile works */
    bool is_captured;        /* the answer goes into refusal.c's stream */
    bool is_aborting;        /* the connection was cut; its end comes through a callback */
    bool is_complete;        /* the last byte was handed over */
    bool in_pull, pull_again;
    bool file_was_short;
    bool *gone; /* set when the request is disposed of, for who called out */

    h2o_req_t *h2o;
    struct conn *conn;
    struct worker *worker;
    struct link link; /* worker.requests */
    struct slice path, query;
    struct slice host;
    uint64_t begin_us;
    char id[27];
    const char *route;
    const void *user;
    struct log_entry *log_fields;
    struct dispose_entry *disposers;
    struct loop_timer timer;

    h2o_generator_t generator;
    struct response_stream stream;
    uint64_t content_length, given, sent;
    const char *mem; /* what is left of response_write */
    size_t mem_len, inflight;
    int file_fd; /* what is left of response_write_file */
    uint64_t file_offset, file_left, file_advised;
    void (*on_short)(void *arg);
    void *on_short_arg;
    char *file_buf; /* where sendfile cannot be used */
    size_t turn_left;
    h2o_iovec_t whole;

    uint32_t writes, writes_seen; /* watch.c: progress */
    uint64_t acked_seen, progress_us;
};

/* conn.c */
void conn_accept(h2o_socket_t *listener,
                 const char *err); /* h2o's callback of a listener; sock->data is the listener */
void conn_accept_resume(void *worker);
void conn_shut(struct conn *c);        /* the connection ends as soon as h2o sees it */
void conn_reset(struct conn *c);       /* as conn_shut, and the client sees a reset, now */
void conn_count_reset(struct conn *c); /* HTTP/2: a stream was given up before its answer */
static inline struct conn *conn_of(h2o_req_t *req)
{
    struct conn *c = req->conn->callbacks->get_socket(req->conn)->on_close.data;
    assert(c->magic == CONN_MAGIC);
    return c;
}

/* request.c */
struct request *request_new(struct conn *c, h2o_req_t *req);
int request_on_h2o(h2o_handler_t *self, h2o_req_t *req); /* h2o's handler: guards, then on_request */
void request_refuse(struct request *r, int status, const char *message);

/* response.c */
const char *response_reason(int status);

/* stream.c */
void stream_proceed(h2o_generator_t *generator,
                    h2o_req_t *req); /* h2o's callback: all that was given has left */
void stream_begin(struct request *r);
void stream_free(struct request *r);

/* refusal.c: what h2o refuses by itself gets our answer and is logged like any other */
void refusal_register(h2o_pathconf_t *fallback);

/* linger.c */
void linger_keep(struct conn *c);  /* its answer leaves before its request was read */
void linger_begin(struct conn *c); /* h2o has closed its descriptor */
void linger_end_all(struct worker *w);

/* watch.c */
void watch_arm(struct worker *w);
void watch_free(struct worker *w);

/* listen.c */
/* Opens one listening socket a worker on `address`; the real address goes to *ret_address (malloc'd). */
int listen_open(const char *address, const struct http_limits *limits, int *fds, size_t stride,
                unsigned count, char **ret_address, struct err *err);
char *listen_format(const struct sockaddr *sa, char *out, size_t cap);

/* tls.c */
SSL_CTX *tls_load(const struct http_server *s, struct err *err); /* its files, as they are now */

/* worker.c */
void *worker_run(void *worker);
void worker_begin_drain(void *worker);
void worker_stop(void *worker);
#endif
