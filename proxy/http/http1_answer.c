// SPDX-License-Identifier: Apache-2.0
/*
 * HTTP/1, the side that writes. The headers of an answer are laid down one behind the other as the room gives
 * them; what stands before them is known only when the answer begins, and is put in front, into room that was
 * left for it. So a head is one piece of memory, and leaves in one write with the first bytes of the body.
 */
#include <stdlib.h>

#include "proxy/http/http_impl.h"

/* Room for `more` bytes behind the headers. The old memory stays the pool's: heads seldom grow. */
static char *head_room(struct request *r, size_t more)
{
    if (r->head_cap - r->head_len < more) {
        size_t cap = r->head ? (r->head_len + more) * 2 : HTTP_ANSWER_HEAD;
        if (cap < HTTP_ANSWER_FRONT + more)
            cap = HTTP_ANSWER_FRONT + more;
        char *head = h2o_mem_alloc_pool(r->pool, cap);
        if (r->head)
            memcpy(head, r->head, r->head_len);
        else
            r->head_len = HTTP_ANSWER_FRONT;
        r->head = head;
        r->head_cap = cap;
    }
    return r->head + r->head_len;
}

void http1_header(struct request *r, const char *name, struct slice value)
{
    size_t name_len = strlen(name);
    char *p = head_room(r, name_len + value.len + 4);
    memcpy(p, name, name_len);
    p += name_len;
    *p++ = ':';
    *p++ = ' ';
    if (value.len)
        memcpy(p, value.p, value.len);
    p += value.len;
    *p++ = '\r';
    *p++ = '\n';
    r->head_len = (size_t)(p - r->head);
}

/* Once a second. */
static const char *date_of(struct worker *w)
{
    uint64_t now_s = h2o_now(w->ctx.loop) / 1000;
    if (now_s != w->date_s) {
        w->date_s = now_s;
        time_t t = (time_t)now_s;
        struct tm tm;
        (void)gmtime_r(&t, &tm);
        h2o_time2str_rfc1123(w->date, &tm);
    }
    return w->date;
}

/* Writes from behind: the front ends where the headers begin. */
static char *put(char *end, const void *p, size_t len)
{
    return memcpy(end - len, p, len);
}
#define PUT(end, literal) put((end), (literal), sizeof(literal) - 1)

static char *put_number(char *end, uint64_t n)
{
    do {
        *--end = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0);
    return end;
}

static size_t make_front(struct request *r, uint64_t content_length, bool is_bodiless)
{
    char *p = r->head + HTTP_ANSWER_FRONT;
    if (r->is_chunked) {
        p = PUT(p, "Transfer-Encoding: chunked\r\n");
    } else if (!is_bodiless && content_length != RESPONSE_OPEN) {
        p = PUT(p, "\r\n");
        p = put_number(p, content_length);
        p = PUT(p, "Content-Length: ");
    }
    if (!r->keep_alive)
        p = PUT(p, "Connection: close\r\n");
    else if (r->is_http_1_0)
        p = PUT(p, "Connection: keep-alive\r\n");
    p = PUT(p, "\r\n");
    p = put(p, date_of(r->worker), H2O_TIMESTR_RFC1123_LEN);
    p = PUT(p, "\r\nDate: ");
    const char *reason = response_reason(r->status);
    p = put(p, reason, strlen(reason));
    p = PUT(p, " ");
    p = put_number(p, (unsigned)r->status);
    p = PUT(p, "HTTP/1.1 ");
    assert(p >= r->head);
    return (size_t)(p - r->head);
}

void http1_start(struct request *r, uint64_t content_length, bool is_bodiless)
{
    if (r->worker->is_draining)
        r->keep_alive = false;
    if (content_length == RESPONSE_OPEN && !is_bodiless) {
        r->is_chunked = !r->is_http_1_0;
        r->keep_alive = r->keep_alive && r->is_chunked;
    }
    memcpy(head_room(r, 2), "\r\n", 2);
    r->head_len += 2;
    size_t front = make_front(r, content_length, is_bodiless);
    r->head += front;
    r->head_len -= front;
    r->head_cap = 0; /* closed */
}

static void on_sent(h2o_socket_t *sock, const char *err)
{
    struct conn *c = conn_of_socket(sock);
    struct request *r = c->current;
    assert(r && r->magic == REQUEST_MAGIC);
    if (err) {
        r->is_aborting = true;
        r->is_complete = false;
        r->inflight = 0;
    }
    if (r->is_last)
        http1_end(r);
    else
        stream_on_left(r);
}

/* RFC 9112 section 7.1: a chunk is its size in hexadecimal digits, and its bytes, each followed by CR LF. */
static size_t make_chunk_line(struct request *r, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    char *p = PUT(r->chunk_line + sizeof r->chunk_line, "\r\n");
    do {
        *--p = digits[len & 15];
        len >>= 4;
    } while (len > 0);
    return (size_t)(p - r->chunk_line);
}

void http1_send(struct request *r, const void *p, size_t len, enum send_how how)
{
    h2o_iovec_t v[5];
    size_t n = 0;
    bool in_chunks = r->is_chunked && r->method != HTTP_HEAD;
    if (!r->head_left) {
        r->head_left = true;
        v[n++] = h2o_iovec_init(r->head, r->head_len);
    }
    if (len > 0) {
        if (in_chunks) {
            size_t at = make_chunk_line(r, len);
            v[n++] = h2o_iovec_init(r->chunk_line + at, sizeof r->chunk_line - at);
        }
        v[n++] = h2o_iovec_init(p, len);
        if (in_chunks)
            v[n++] = h2o_iovec_init(H2O_STRLIT("\r\n"));
    }
    if (how == SEND_LAST) {
        r->is_last = true;
        if (in_chunks)
            v[n++] = h2o_iovec_init(H2O_STRLIT("0\r\n\r\n"));
    }
    h2o_socket_write(r->conn->sock, v, n, on_sent);
}
