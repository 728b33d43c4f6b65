// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_HTTP_IMPL_H
#define RAC_HTTP_IMPL_H
/*
 * What the files of this folder share, and nobody else sees: the only header that includes h2o.
 *
 *     http_server        one a process: configuration, listeners' addresses, counters that all workers share
 *       worker           one a thread: h2o's loop and context, our loop inside it, its listeners,
 *                        connections, requests
 *         conn           one a connection: hangs on h2o's socket (on_close.data), dies with it
 *           request      one a request: in its connection's pool (HTTP/1) or h2o's (HTTP/2), dies with it
 *
 * HTTP/1 is ours: http1.c reads requests from h2o's sockets, http1_answer.c writes answers to them. HTTP/2 is
 * h2o's: http2.c is its handler. All else sees a request, whatever it came over.
 *
 * Two rules of h2o 2.2.5 shape the code (docs/decisions/0002-http-engine.md):
 *   - its sockets are written to only inside h2o_evloop_run(): all callbacks of common/loop.h run there,
 *     because h2o watches our epoll descriptor and calls loop_dispatch();
 *   - h2o_send() without bytes and with FINAL or ERROR may free the request before it returns: it is always
 *     the last statement.
 */
#include <h2o.h>
#include <h2o/http2.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>

#include "common/loop.h"
#include "common/str.h"
#include "proxy/http/chunked.h"
#include "proxy/http/head.h"
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
    HTTP_BULK_BYTES = 64 << 10,     /* a longer answer leaves in full TLS records from its beginning */
    HTTP_SMALL_RECORDS = 200 << 10, /* bytes of a TLS connection that h2o sends in small records */
    HTTP_PIECE_HTTP2 = 64 << 10,    /* over HTTP/2 a piece is the unit of a reader's progress */
    HTTP_WHOLE_MAX = 64 << 10,      /* a larger body in memory is sent as a stream */
    HTTP_SWEEP_MS = 1000,           /* watch.c */
    HTTP_RECEIVE_BYTES = 4096,      /* room for one read of a head, … */
    HTTP_RECEIVE_BODY = 64 << 10,   /* … and of a body */
    HTTP_BODY_WINDOW = 8 << 10,     /* bytes of a body that must come within `body_timeout` */
    HTTP_ANSWER_HEAD = 640,         /* first size of an answer's head */
    HTTP_ANSWER_FRONT = 192,        /* of it: status line and what this room adds */
    HTTP_CLOSE_MS = 5000,           /* for a TLS client to say farewell */
    HTTP_HEADER_NAMES = 128,        /* different names of response headers over HTTP/2, resolved once */
    HTTP_RESETS_BURST = 100,        /* HTTP/2 streams that a client may reset before their answer, … */
    HTTP_RESETS_PER_S = 10,         /* … and how fast that budget comes back */
    HTTP_LINGERERS_MAX = 256,       /* connections that are closed once their client has said it all; … */
    HTTP_LINGER_BYTES = 64 << 20,   /* … or so much, … */
    HTTP_LINGER_MS = 5000,          /* … or for that long */
    HTTP_NEWCOMER_MS = 2000,        /* a drain's, for the first request of who was let in shortly before */
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

/*
 *              .-- TLS --> HANDSHAKE --.--> HTTP2 (h2o's from here on)
 *     accepted-+                       v
 *              `--------------------> IDLE --first byte--> HEAD --whole--.---- body to come --> BODY
 *                                      ^ `------- whole at once --------'|                       |
 *                                      |                                 v                       |
 *                                      `---------keep-alive----------- ANSWER <------whole-------'
 *                                                                        `--> CLOSING
 * conn_enter() is the one way from one to another. HANDSHAKE, IDLE, HEAD, BODY and CLOSING end at a deadline;
 * each is a queue in the order of arrival, so that only its first is ever looked at.
 */
enum conn_state {
    CONN_HANDSHAKE,
    CONN_IDLE,
    CONN_HEAD,
    CONN_BODY,
    CONN_CLOSING,
    CONN_QUEUES, /* those below wait for no deadline of ours */
    CONN_ANSWER,
    CONN_HTTP2,
};

struct conn_queue {
    struct link conns; /* conn.queue, by since_us */
    uint32_t ms;
    struct loop_timer timer;
    struct worker *worker;
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
    struct conn_queue queues[CONN_QUEUES];
    uint32_t conn_count, lingerer_count;
    bool is_draining, is_stopping;
    uint64_t accept_logged_us; /* when it last said so */
    struct loop_timer accept_timer, sweep_timer;
    uint32_t sweep_ms;
    struct pollfd *polls; /* the sweep's, as long as polls_cap */
    struct request **polled;
    size_t polls_cap;
    uint64_t random;
    uint64_t bodies_bytes; /* that conn.body of all connections hold */
    struct head head;      /* the one that is being read */
    char date[32];         /* "Sun, 06 Nov 1994 08:49:37 GMT" … */
    uint64_t date_s;       /* … as of this second */
    struct header_name names[HTTP_HEADER_NAMES];

    atomic_bool is_paused; /* not accepting, because of the connection limit */
    _Atomic uint32_t requests_open;
    _Atomic uint32_t newcomers; /* connections that never asked for anything */
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
    enum conn_state state;
    struct worker *worker;
    h2o_socket_t *sock;
    struct link link, queue;
    bool has_asked;
    uint64_t since_us;       /* when it entered a state that has a deadline */
    struct request *current; /* HTTP/1: the request that is being read or answered */

    /* HTTP/1: what is read of it. */
    h2o_mem_pool_t pool; /* of the current request */
    struct head_scan scan;
    bool saw_blank;       /* one empty line before a request is read past */
    size_t request_bytes; /* that stand in the input until the answer has left */
    uint64_t body_left;   /* with Content-Length */
    struct chunked chunked;
    bool is_chunked;
    struct buf body;
    size_t window_bytes; /* of the body, since since_us */

    uint32_t resets;    /* HTTP/2: the leaky bucket, in streams, … */
    uint64_t resets_us; /* … as of then */
    int linger_fd;      /* linger.c: a second descriptor of the socket, or -1 */
    char peer[56];      /* "" until somebody asks */
    char *client_name;  /* tls.c: of a verified certificate, or NULL */
    SSL_CTX *ssl_ctx;   /* a reference: h2o makes its SSL of it when the first bytes come, and holds none */
};

/*
 *   READING                                    HTTP/1: its body is not whole; conn_state has the deadline
 *      |
 *   WAITING --response_send--> LAST            nobody answered yet: watched for a client that leaves
 *      |                        ^
 *      `--response_begin--> SENDING --all left--> PULLED --response_end/abort--> LAST --> over
 *                               ^                   |        the room owes bytes: watched like WAITING
 *                               `--response_write*--'
 *   SENDING and LAST: bytes are on their way: watched for a reader that takes nothing.
 */
enum request_state {
    REQUEST_READING,
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
    bool keep_alive;         /* HTTP/1: the connection is good for another request after this one */
    bool is_http_1_0;
    bool is_chunked;  /* HTTP/1: so is the answer */
    bool head_left;   /* HTTP/1: the answer's head was given to the socket */
    bool is_last;     /* HTTP/1: and so was its end */
    bool is_aborting; /* the connection was cut; its end comes through a callback */
    bool is_complete; /* the last byte was handed over */
    bool in_pull, pull_again;
    bool file_was_short;
    bool *gone; /* set when the request is disposed of, for who called out */

    h2o_req_t *h2o; /* HTTP/2, else NULL */
    h2o_mem_pool_t *pool;
    struct conn *conn;
    struct worker *worker;
    struct link link; /* worker.requests */
    struct slice method_name, path, query, host, body;
    const struct head_field *fields;
    unsigned field_count;
    uint64_t begin_us;
    char id[27];
    const char *route;
    const void *user;
    struct log_entry *log_fields;
    struct dispose_entry *disposers;
    struct loop_timer timer;

    int status; /* 0 before there is an answer */
    char *head; /* HTTP/1: the answer's, from HTTP_ANSWER_FRONT on; its front is made last */
    size_t head_len, head_cap;
    char chunk_line[24];
    h2o_generator_t generator; /* HTTP/2 */
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
    struct slice whole;

    uint32_t writes, writes_seen; /* watch.c: progress */
    uint64_t acked_seen, progress_us;
};

/* conn.c */
/* h2o's callback of a listener; sock->data is the listener. */
void conn_accept(h2o_socket_t *listener, const char *err);
void conn_accept_resume(void *worker);
void conn_queues_init(struct worker *w);
void conn_queues_end(struct worker *w);
void conn_enter(struct conn *c, enum conn_state state);
void conn_close(struct conn *c);       /* over TLS with a farewell; the conn may be gone when it returns */
void conn_shut(struct conn *c);        /* the connection ends as soon as h2o sees it */
void conn_reset(struct conn *c);       /* as conn_shut, and the client sees a reset, now */
void conn_expect_bulk(struct conn *c); /* over TLS: a long answer is coming, records are full from here on */
void conn_count_reset(struct conn *c); /* HTTP/2: a stream was given up before its answer */
static inline struct conn *conn_of_socket(h2o_socket_t *sock)
{
    struct conn *c = sock->on_close.data;
    assert(c->magic == CONN_MAGIC);
    return c;
}

/* How bytes of an answer leave: more follow; these are the last. */
enum send_how { SEND_MORE, SEND_LAST };

/* http1.c */
void http1_begin(struct conn *c);
void http1_on_deadline(struct conn *c);
void http1_end(struct request *r); /* answered or given up; the connection may be gone when it returns */

/* http1_answer.c */
void http1_header(struct request *r, const char *name, struct slice value);
void http1_start(struct request *r, uint64_t content_length, bool is_bodiless);
/* The head, if it has not left, and bytes, if there are any; stream_on_left() follows, never from inside, or
 * with SEND_LAST the end of the request. */
void http1_send(struct request *r, const void *p, size_t len, enum send_how how);

/* http2.c */
int http2_on_request(h2o_handler_t *self, h2o_req_t *req); /* h2o's handler */
void http2_header(struct request *r, const char *name, struct slice value);
void http2_start(struct request *r, uint64_t content_length, bool is_bodiless);
void http2_send(struct request *r, const void *p, size_t len, enum send_how how);
void http2_cut(struct request *r); /* ends the stream without an answer; the request may be gone after */
void http2_names_free(struct worker *w);

/* request.c */
/* A request in `memory` of at least its size, with an id; the caller says what is in it. */
struct request *request_init(void *memory, struct conn *c, h2o_mem_pool_t *pool, struct slice target);
void request_set_method(struct request *r, struct slice name);
void request_dispose(struct request *r);
void request_refuse(struct request *r, int status, const char *message);
void request_deliver(void *request);

/* response.c */
const char *response_reason(int status);

/* stream.c */
void stream_begin(struct request *r);
void stream_on_left(struct request *r); /* all that was given to the socket, or to h2o, has left */
void stream_free(struct request *r);

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
