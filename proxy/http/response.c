// SPDX-License-Identifier: Apache-2.0
#include "proxy/http/response.h"

#include "proxy/http/http_impl.h"

const char *response_reason(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 201:
        return "Created";
    case 202:
        return "Accepted";
    case 204:
        return "No Content";
    case 206:
        return "Partial Content";
    case 301:
        return "Moved Permanently";
    case 302:
        return "Found";
    case 303:
        return "See Other";
    case 304:
        return "Not Modified";
    case 307:
        return "Temporary Redirect";
    case 308:
        return "Permanent Redirect";
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 406:
        return "Not Acceptable";
    case 408:
        return "Request Timeout";
    case 409:
        return "Conflict";
    case 410:
        return "Gone";
    case 411:
        return "Length Required";
    case 412:
        return "Precondition Failed";
    case 413:
        return "Content Too Large";
    case 414:
        return "URI Too Long";
    case 415:
        return "Unsupported Media Type";
    case 416:
        return "Range Not Satisfiable";
    case 417:
        return "Expectation Failed";
    case 422:
        return "Unprocessable Content";
    case 429:
        return "Too Many Requests";
    case 431:
        return "Request Header Fields Too Large";
    case 500:
        return "Internal Server Error";
    case 501:
        return "Not Implemented";
    case 502:
        return "Bad Gateway";
    case 503:
        return "Service Unavailable";
    case 504:
        return "Gateway Timeout";
    case 505:
        return "HTTP Version Not Supported";
    case 507:
        return "Insufficient Storage";
    default:
        return "Status";
    }
}

/* ---- headers ---- */

static bool breaks_line(struct slice s)
{
    return s.len && (memchr(s.p, '\r', s.len) || memchr(s.p, '\n', s.len) || memchr(s.p, '\0', s.len));
}

void response_header_ref(struct request *r, const char *name, struct slice value)
{
    assert(!response_started(r));
    if (breaks_line(value)) { /* values may come from upstreams: none begins a header of its own */
        char *p = request_strdup(r, value);
        for (size_t i = 0; i < value.len; ++i) {
            if (p[i] == '\r' || p[i] == '\n' || p[i] == '\0')
                p[i] = ' ';
        }
        value.p = p;
    }
    if (r->is_http2)
        http2_header(r, name, value);
    else
        http1_header(r, name, value);
}

void response_header(struct request *r, const char *name, struct slice value)
{
    if (r->is_http2) /* HTTP/1 writes it down at once */
        value.p = request_strdup(r, value);
    response_header_ref(r, name, value);
}

/* ---- whole answers ---- */

static void start(struct request *r, int status, uint64_t content_length)
{
    assert(!response_started(r) && status >= 200 && status <= 999);
    response_header_ref(r, "X-Request-Id", (struct slice){r->id, 26});
    /* These two have no body and so no length (RFC 9110 section 8.6). */
    bool is_bodiless = status == 204 || (status == 304 && content_length == 0);
    r->status = status;
    r->content_length = content_length;
    ++r->writes;
    if (r->is_http2)
        http2_start(r, content_length, is_bodiless);
    else
        http1_start(r, content_length, is_bodiless);
}

static void send_last(struct request *r, const void *p, size_t len)
{
    r->state = REQUEST_LAST;
    r->is_complete = true;
    if (r->is_http2)
        http2_send(r, p, len, SEND_LAST);
    else
        http1_send(r, p, len, SEND_LAST);
}

static void whole_pull(struct request *r, void *arg)
{
    (void)arg;
    if (r->given == 0)
        response_write(r, r->whole.p, r->whole.len);
    else
        response_end(r);
}

void response_send_ref(struct request *r, int status, const void *body, size_t len)
{
    r->whole = (struct slice){body, len};
    if (len > HTTP_WHOLE_MAX && r->method != HTTP_HEAD) {
        response_begin(r, status, len, (struct response_stream){.pull = whole_pull});
        return;
    }
    start(r, status, len);
    bool sends_body = r->method != HTTP_HEAD && status != 204 && status != 304;
    r->given = r->sent = sends_body ? len : 0;
    send_last(r, body, sends_body ? len : 0);
}

void response_send(struct request *r, int status, const void *body, size_t len)
{
    void *copy = h2o_mem_alloc_pool(r->pool, len);
    if (len)
        memcpy(copy, body, len);
    response_send_ref(r, status, copy, len);
}

void response_begin(struct request *r, int status, uint64_t content_length, struct response_stream stream)
{
    assert(stream.pull);
    start(r, status, content_length);
    r->stream = stream;
    if (!r->is_plain && !r->is_http2 && content_length >= HTTP_BULK_BYTES)
        conn_expect_bulk(r->conn);
    if (r->method == HTTP_HEAD)
        send_last(r, NULL, 0);
    else
        stream_begin(r);
}

bool response_started(const struct request *r)
{
    return r->state > REQUEST_WAITING;
}

int response_status(const struct request *r)
{
    return r->status;
}

uint64_t response_bytes_sent(const struct request *r)
{
    return r->sent;
}
