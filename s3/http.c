// SPDX-License-Identifier: Apache-2.0
#include "s3/http.h"

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/mem.h"
#include "s3/http_pool.h"

#define INTERIM_MAX  8    /* 1xx answers before the real one */
#define CONTINUE_MS  1000 /* then the body is sent unasked (RFC 9110 section 10.1.1) */
#define TLS_JOIN_MAX ((size_t)16 << 10)

struct http {
    struct http_pool *pool;
    uint32_t answer_timeout_ms, stall_timeout_ms;
};

struct http *http_new(const struct http_config *config)
{
    struct http *h = mem_new(struct http);
    h->pool = http_pool_new(config->ca_file, config->connections_max, config->connect_timeout_ms);
    h->answer_timeout_ms = config->answer_timeout_ms;
    h->stall_timeout_ms = config->stall_timeout_ms;
    return h;
}

void http_free(struct http *h)
{
    if (!h)
        return;
    http_pool_free(h->pool);
    free(h);
}

void http_answer_free(struct http_answer *a)
{
    http_head_free(&a->head);
    buf_free(&a->text);
}

/* One call's parts together. */
struct call {
    struct http *http;
    const struct http_request *request;
    struct http_answer *answer;
    struct http_conn *conn;
    uint64_t body_bytes;
    struct err *err;
};

static int build_head(struct call *c, bool expect, struct buf *head)
{
    const struct http_request *q = c->request;
    char authority[URL_AUTHORITY_MAX + 1];
    const char *target = q->target ? q->target : q->server->target;
    s3_url_authority(q->server, authority);
    (void)buf_printf(head, "%s %s HTTP/1.1\r\nHost: %s\r\n", q->method, *target ? target : "/", authority);
    if (q->body || q->expects_body)
        (void)buf_printf(head, "Content-Length: %llu\r\n", (unsigned long long)c->body_bytes);
    if (expect)
        (void)buf_add_str(head, "Expect: 100-continue\r\n");
    (void)buf_add_slice(head, q->headers);
    (void)buf_add_str(head, "\r\n");
    if (head->overflow)
        return err_set(c->err, ERR_INVALID, "the request's head is longer than %zu bytes", head->max);
    return 0;
}

/* The next head, interim or not. */
static int read_head(struct call *c, uint32_t timeout_ms, struct err *err)
{
    struct http_conn *n = c->conn;
    size_t end;
    while (!(end = http_head_end(n->buffer + n->begin, n->end - n->begin))) {
        ptrdiff_t got = http_conn_fill(n, c->request->server, timeout_ms, c->request->cancel, err);
        if (got < 0)
            return -1;
        if (got == 0)
            return err_set(err, ERR_IO, "%s: the connection was closed %s", c->request->server->host,
                           n->end > n->begin ? "within an answer's head" : "before an answer");
    }
    int rc = http_head_parse(&c->answer->head, n->buffer + n->begin, end, err);
    n->begin += end;
    return rc;
}

static uint32_t answer_timeout(const struct call *c)
{
    return c->request->answer_timeout_ms ? c->request->answer_timeout_ms : c->http->answer_timeout_ms;
}

static int only_interim(struct call *c)
{
    return err_set(c->err, ERR_IO, "%s: no answer among its interim ones", c->request->server->host);
}

/* The first head that is not interim. */
static int read_final_head(struct call *c)
{
    for (int i = 0; i <= INTERIM_MAX; ++i) {
        if (read_head(c, answer_timeout(c), c->err) < 0)
            return -1;
        if (c->answer->head.status >= 200)
            return 0;
        if (c->answer->head.status == 101)
            break;
    }
    return only_interim(c);
}

/* Sends what iov holds. 1: the server has answered before it had all of it, its final head is read. An
 * interim one in between, such as a 100 Continue that was not waited for any longer, is no reason to stop:
 * the server waits for the rest. */
static int send_bytes(struct call *c, struct iovec *iov, int len)
{
    for (int i = 0; i <= INTERIM_MAX; ++i) {
        int rc = http_conn_write(c->conn, c->request->server, iov, len, c->http->stall_timeout_ms,
                                 c->request->cancel, c->err);
        if (rc != 1)
            return rc;
        if (read_head(c, answer_timeout(c), c->err) < 0)
            return -1;
        if (c->answer->head.status >= 200)
            return 1;
    }
    return only_interim(c);
}

/* Waits for leave to send the body. 1: a final answer came instead, it is in the answer. */
static int await_continue(struct call *c)
{
    struct err mine = {0};
    if (read_head(c, CONTINUE_MS, &mine) < 0) {
        if (mine.code == ERR_TIMEOUT)
            return 0;
        *c->err = mine;
        return -1;
    }
    return c->answer->head.status >= 200;
}

static struct iovec *body_copy(const struct http_request *q, struct slice head)
{
    struct iovec *iov = mem_alloc(((size_t)q->body_len + 1) * sizeof *iov);
    iov[0] = (struct iovec){(void *)(uintptr_t)head.p, head.len};
    for (int i = 0; i < q->body_len; ++i)
        iov[i + 1] = q->body[i];
    return iov;
}

/* A short request in one TLS record: head and body apart would be two packets. */
static void join(struct call *c, struct buf *head)
{
    if (!c->conn->ssl || c->body_bytes + head->len > TLS_JOIN_MAX)
        return;
    for (int i = 0; i < c->request->body_len; ++i)
        (void)buf_add(head, c->request->body[i].iov_base, c->request->body[i].iov_len);
}

/* Returns 1 if the final head is read already. */
static int send_request(struct call *c)
{
    const struct http_request *q = c->request;
    bool expect = c->body_bytes >= HTTP_EXPECT_BYTES;
    cleanup_buf struct buf head = {.max = HTTP_HEAD_MAX};
    if (build_head(c, expect, &head) < 0)
        return -1;
    size_t head_len = head.len;
    if (!expect)
        join(c, &head);
    cleanup_free struct iovec *iov = body_copy(q, (struct slice){head.p, head.len});
    bool joined = head.len > head_len;
    c->answer->sent = true;
    int rc = send_bytes(c, iov, expect || joined ? 1 : q->body_len + 1);
    if (rc == 0 && expect) {
        rc = await_continue(c);
        if (rc == 0)
            rc = send_bytes(c, iov + 1, q->body_len);
    }
    if (rc == 1) {
        c->answer->head.keep_alive = false; /* whether it still waits for the body is not known */
        return 1;
    }
    if (rc < 0 && (c->err->code == ERR_CANCELLED || c->err->code == ERR_TIMEOUT))
        return -1;
    /* A server that has heard enough answers and closes: its answer says more than our failure to write. */
    struct err before = *c->err;
    if (read_final_head(c) < 0) {
        if (rc < 0)
            *c->err = before;
        return -1;
    }
    if (rc < 0)
        c->answer->head.keep_alive = false;
    return 1;
}

/* Takes len bytes of the body: 0, or 1 if they are more than there is room for. */
static int take(struct call *c, const char *p, size_t len)
{
    struct http_answer *a = c->answer;
    if (c->request->into && a->head.status < 300) {
        size_t room = c->request->into_cap - a->into_len, n = len < room ? len : room;
        if (n)
            memcpy((char *)c->request->into + a->into_len, p, n);
        a->into_len += n;
        a->cut = n < len;
        return a->cut;
    }
    if (!buf_add(&a->text, p, len))
        return err_set(c->err, ERR_IO, "%s: an answer is longer than %zu bytes", c->request->server->host,
                       HTTP_TEXT_MAX);
    return 0;
}

static int closed_early(struct call *c)
{
    return err_set(c->err, ERR_IO, "%s: the connection was closed within a body", c->request->server->host);
}

static int read_chunked(struct call *c)
{
    struct http_chunked chunked = {0};
    struct http_conn *n = c->conn;
    while (chunked.state != HTTP_CHUNK_DONE) {
        if (n->begin == n->end) {
            ptrdiff_t got =
                http_conn_fill(n, c->request->server, c->http->stall_timeout_ms, c->request->cancel, c->err);
            if (got <= 0)
                return got < 0 ? -1 : closed_early(c);
        }
        struct slice data;
        ptrdiff_t used = http_chunked_next(&chunked, n->buffer + n->begin, n->end - n->begin, &data, c->err);
        if (used < 0)
            return -1;
        int rc = take(c, data.p, data.len);
        if (rc)
            return rc;
        n->begin += (size_t)used;
    }
    return 0;
}

/* Where the next bytes may be read to without a copy; NULL if they have to go through the buffer. */
static char *direct(struct call *c, uint64_t left, size_t *ret_len)
{
    struct http_answer *a = c->answer;
    if (!c->request->into || a->head.status >= 300 || a->into_len == c->request->into_cap)
        return NULL;
    size_t room = c->request->into_cap - a->into_len;
    *ret_len = left < room ? (size_t)left : room;
    return (char *)c->request->into + a->into_len;
}

/* `left` bytes, or with UINT64_MAX what comes until the connection is closed. */
static int read_plain(struct call *c, uint64_t left)
{
    struct http_conn *n = c->conn;
    while (left) {
        if (n->begin == n->end) {
            size_t len;
            char *p = direct(c, left, &len);
            ptrdiff_t got = p ? http_conn_read(n, c->request->server, p, len, c->http->stall_timeout_ms,
                                               c->request->cancel, c->err)
                              : http_conn_fill(n, c->request->server, c->http->stall_timeout_ms,
                                               c->request->cancel, c->err);
            if (got < 0)
                return -1;
            if (got == 0)
                return left == UINT64_MAX ? 0 : closed_early(c);
            if (p) {
                c->answer->into_len += (size_t)got;
                left -= left == UINT64_MAX ? 0 : (uint64_t)got;
                continue;
            }
        }
        size_t have = n->end - n->begin, step = have < left ? have : (size_t)left;
        int rc = take(c, n->buffer + n->begin, step);
        if (rc)
            return rc;
        n->begin += step;
        left -= left == UINT64_MAX ? 0 : step;
    }
    return 0;
}

/* 0: complete; 1: cut; -1. */
static int read_body(struct call *c)
{
    struct http_head *h = &c->answer->head;
    c->answer->text.max = HTTP_TEXT_MAX;
    if (strcmp(c->request->method, "HEAD") == 0 || h->status == 204 || h->status == 304)
        return 0;
    if (h->chunked)
        return read_chunked(c);
    if (h->has_length)
        return read_plain(c, h->length);
    h->keep_alive = false;
    return read_plain(c, UINT64_MAX);
}

int http_call(struct http *h, const struct http_request *request, struct http_answer *ret, struct err *err)
{
    *ret = (struct http_answer){0};
    struct err unasked;
    struct call c = {.http = h, .request = request, .answer = ret, .err = err ? err : &unasked};
    struct http_lane *lane;
    for (int i = 0; i < request->body_len; ++i)
        c.body_bytes += request->body[i].iov_len;
    c.conn = http_pool_get(h->pool, request->server, request->fresh, request->connect_timeout_ms,
                           request->cancel, &lane, c.err);
    if (!c.conn)
        return -1;
    ret->reused = c.conn->served > 0;
    int rc = send_request(&c);
    if (rc >= 0)
        rc = read_body(&c);
    bool reusable = rc == 0 && ret->head.keep_alive && c.conn->begin == c.conn->end;
    ++c.conn->served;
    http_pool_put(lane, c.conn, reusable);
    return rc < 0 ? -1 : 0;
}
