// SPDX-License-Identifier: Apache-2.0
/*
 * HTTP/1, the side that reads: bytes of a connection become requests, one at a time (http_impl.h has the
 * drawing of a connection's states).
 *
 * Over plaintext we read from the socket ourselves (h2o only tells when), over TLS h2o does; both leave the
 * bytes in the socket's input buffer. A request that is there whole is used where it stands, its head and its
 * body; while it is answered nothing more is read, so that nothing moves, and further requests wait behind
 * it. Where a body is still to come, the head is copied to the request's memory first, because the buffer
 * will move; what comes is then taken from the buffer piece by piece.
 */
#include <errno.h>
#include <sys/socket.h>

#include "proxy/http/http_impl.h"

static void on_readable(h2o_socket_t *sock, const char *err);

static struct slice input_of(const struct conn *c)
{
    return (struct slice){c->sock->input->bytes, c->sock->input->size};
}

/* An empty buffer goes back to the worker's few: idle connections hold none. */
static void consume(struct conn *c, size_t n)
{
    h2o_buffer_consume(&c->sock->input, n);
    if (c->sock->input->size == 0) {
        h2o_buffer_dispose(&c->sock->input);
        h2o_buffer_init(&c->sock->input, &h2o_socket_buffer_prototype);
    }
}

static void want_more(struct conn *c)
{
    if (!h2o_socket_is_reading(c->sock))
        h2o_socket_read_start(c->sock, on_readable);
}

/* ---- heads ---- */

static struct request *new_request(struct conn *c, const struct head *h)
{
    void *memory = h2o_mem_alloc_pool(&c->pool, sizeof(struct request));
    struct request *r = request_init(memory, c, &c->pool, h->target);
    request_set_method(r, h->method);
    r->is_plain = !c->sock->ssl;
    r->is_http_1_0 = h->is_http_1_0;
    r->keep_alive = h->keep_alive;
    r->host = h->host;
    r->body = (struct slice){"", 0};
    size_t bytes = h->field_count * sizeof *h->fields;
    struct head_field *fields = h2o_mem_alloc_pool(&c->pool, bytes ? bytes : 1);
    memcpy(fields, h->fields, bytes);
    r->fields = fields;
    r->field_count = h->field_count;
    c->current = r;
    return r;
}

/* What is wrong with it, and the end of the connection: where this request ends, and another begins, is
 * something that client and server do not agree on any more. */
static void refuse(struct conn *c, struct request *r, int status, const char *message)
{
    h2o_socket_read_stop(c->sock);
    r->keep_alive = false;
    r->state = REQUEST_WAITING;
    if (h2o_socket_is_writing(c->sock)) { /* "100 Continue" does not leave */
        response_abort(r);
        return;
    }
    conn_enter(c, CONN_ANSWER);
    linger_keep(c);
    request_refuse(r, status, message);
}

static void refuse_head(struct conn *c, const struct head *h, int status, const char *message)
{
    refuse(c, new_request(c, h), status, message);
}

static void deliver(struct conn *c)
{
    h2o_socket_read_stop(c->sock);
    conn_enter(c, CONN_ANSWER);
    c->current->state = REQUEST_WAITING;
    request_deliver(c->current);
}

static void read_body(struct conn *c);

static void on_continued(h2o_socket_t *sock, const char *err)
{
    struct conn *c = conn_of_socket(sock);
    if (err)
        response_abort(c->current);
    else
        read_body(c);
}

/* A body that is not there yet. */
static void begin_body(struct conn *c, const struct head *h, size_t head_len)
{
    bool expects_continue = h->expects_continue;
    char *copy = h2o_mem_alloc_pool(&c->pool, head_len);
    memcpy(copy, c->sock->input->bytes, head_len);
    const char *ignored;
    int status = head_parse((struct slice){copy, head_len}, &c->worker->head, &ignored);
    assert(status == 0);
    struct request *r = new_request(c, &c->worker->head);
    r->state = REQUEST_READING;
    consume(c, head_len);
    c->is_chunked = h->is_chunked;
    c->chunked = (struct chunked){0};
    c->body_left = h->content_length;
    c->body.max = c->worker->server->config.limits.max_body_bytes;
    c->window_bytes = 0;
    conn_enter(c, CONN_BODY);
    if (expects_continue && c->sock->input->size == 0) {
        h2o_socket_read_stop(c->sock);
        h2o_iovec_t v = h2o_iovec_init(H2O_STRLIT("HTTP/1.1 100 Continue\r\n\r\n"));
        h2o_socket_write(c->sock, &v, 1, on_continued);
        return;
    }
    read_body(c);
}

static void take_head(struct conn *c, size_t head_len)
{
    struct head *h = &c->worker->head;
    const char *message = "";
    int status = head_parse((struct slice){c->sock->input->bytes, head_len}, h, &message);
    if (!status && h->content_length > c->worker->server->config.limits.max_body_bytes) {
        status = 413;
        message = "the body of the request is too large";
    }
    if (status) {
        refuse_head(c, h, status, message);
    } else if (h->is_chunked || c->sock->input->size - head_len < h->content_length) {
        begin_body(c, h, head_len);
    } else {
        struct request *r = new_request(c, h);
        size_t body_len = (size_t)h->content_length;
        c->request_bytes = head_len + body_len;
        r->body = (struct slice){c->sock->input->bytes + head_len, body_len};
        deliver(c);
    }
}

static void read_head(struct conn *c)
{
    struct slice in = input_of(c);
    if (!c->saw_blank && in.len >= 2 && memcmp(in.p, "\r\n", 2) == 0) {
        c->saw_blank = true; /* RFC 9112 section 2.2 */
        c->scan = (struct head_scan){0};
        consume(c, 2);
        in = input_of(c);
    }
    size_t head_len = 0;
    const char *message = "";
    int status =
        head_find_end(in, c->worker->server->config.limits.max_header_bytes, &c->scan, &head_len, &message);
    if (status) {
        struct head *h = &c->worker->head;
        h->method = h->target = h->host = (struct slice){"", 0};
        h->is_http_1_0 = false;
        h->field_count = 0;
        refuse_head(c, h, status, message);
    } else if (head_len > 0) {
        take_head(c, head_len);
    } else {
        if (in.len > 0 && c->state == CONN_IDLE)
            conn_enter(c, CONN_HEAD);
        want_more(c);
    }
}

/* ---- bodies ---- */

/* The next bytes of the body out of the input. 1 when it is whole; else 0, or the status to refuse it with.
 */
static int take_body(struct conn *c, const char **ret_message)
{
    const struct http_limits *limits = &c->worker->server->config.limits;
    struct slice in = input_of(c), data;
    if (in.len == 0) /* and no address to count from */
        return !c->is_chunked && c->body_left == 0;
    *ret_message = "the body of the request is too large";
    do {
        if (!c->is_chunked) {
            data = (struct slice){in.p, in.len < c->body_left ? in.len : (size_t)c->body_left};
            in.p += data.len;
            in.len -= data.len;
            c->body_left -= data.len;
        } else if (chunked_next(&c->chunked, &in, &data) < 0) {
            *ret_message = "the body of the request is not in chunks as its head says";
            return 400;
        }
        if (c->body.len + data.len > c->body.max)
            return 413;
        if (c->worker->bodies_bytes + data.len > limits->max_bodies_bytes) {
            *ret_message = "too many large bodies of requests come at once; try again later";
            return 503;
        }
        bool fits = buf_add_slice(&c->body, data);
        assert(fits);
        c->worker->bodies_bytes += data.len;
    } while (data.len > 0 && in.len > 0);
    /* A chunk says how long it is before it comes. */
    if (c->is_chunked && c->chunked.left > c->body.max - c->body.len)
        return 413;
    size_t taken = c->sock->input->size - in.len;
    c->window_bytes += taken;
    consume(c, taken);
    return c->is_chunked ? c->chunked.state == CHUNKED_DONE : c->body_left == 0;
}

static void read_body(struct conn *c)
{
    const char *message;
    int rc = take_body(c, &message);
    if (rc > 1) {
        refuse(c, c->current, rc, message);
    } else if (rc == 1) {
        c->request_bytes = 0;
        c->current->body = (struct slice){buf_str(&c->body), c->body.len};
        deliver(c);
    } else {
        if (c->window_bytes >= HTTP_BODY_WINDOW) {
            c->window_bytes = 0;
            conn_enter(c, CONN_BODY); /* another while for the next */
        }
        want_more(c);
    }
}

/* ---- the socket ---- */

/* Plaintext: one read. -1: the connection has ended. */
static int receive(struct conn *c)
{
    size_t room = c->state == CONN_BODY ? HTTP_RECEIVE_BODY : HTTP_RECEIVE_BYTES;
    h2o_iovec_t v = h2o_buffer_reserve(&c->sock->input, room);
    if (!v.base)
        return -1;
    ssize_t n = recv(h2o_socket_get_fd(c->sock), v.base, v.len, MSG_DONTWAIT);
    if (n > 0) {
        c->sock->input->size += (size_t)n;
        return 0;
    }
    return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

static void on_readable(h2o_socket_t *sock, const char *err)
{
    struct conn *c = conn_of_socket(sock);
    if (err || (!sock->ssl && receive(c) < 0)) {
        if (c->current) {
            count_up(&c->worker->vanished);
            response_abort(c->current);
        } else {
            conn_close(c);
        }
        return;
    }
    if (c->state == CONN_BODY)
        read_body(c);
    else
        read_head(c);
}

static void next_request(struct conn *c)
{
    c->scan = (struct head_scan){0};
    c->saw_blank = false;
    conn_enter(c, CONN_IDLE);
    if (c->sock->input->size > 0)
        read_head(c);
    else
        want_more(c);
}

void http1_begin(struct conn *c)
{
    if (!c->sock->ssl)
        h2o_socket_dont_read(c->sock, 1);
    next_request(c);
}

void http1_on_deadline(struct conn *c)
{
    if (c->state == CONN_BODY) {
        refuse(c, c->current, 408, "the body of the request did not come in time");
        return;
    }
    struct head *h = &c->worker->head;
    h->method = h->target = h->host = (struct slice){"", 0};
    h->is_http_1_0 = false;
    h->field_count = 0;
    refuse_head(c, h, 408, "the head of the request did not come in time");
}

void http1_end(struct request *r)
{
    struct conn *c = r->conn;
    bool goes_on = r->keep_alive && r->is_complete && !r->is_aborting;
    request_dispose(r);
    c->current = NULL;
    h2o_mem_clear_pool(&c->pool);
    c->worker->bodies_bytes -= c->body.len;
    buf_free(&c->body);
    if (!goes_on) {
        conn_close(c);
        return;
    }
    consume(c, c->request_bytes);
    c->request_bytes = 0;
    next_request(c);
}
