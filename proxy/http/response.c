// SPDX-License-Identifier: Apache-2.0
#include "proxy/http/response.h"

#include "common/mem.h"
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
    case 507:
        return "Insufficient Storage";
    default:
        return "Status";
    }
}

/* ---- headers ---- */

static void resolve_name(struct header_name *n, const char *name)
{
    size_t len = strlen(name);
    n->key = name;
    n->usual = mem_strndup(name, len);
    n->own = h2o_iovec_init(mem_strndup(name, len), len);
    h2o_strtolower(n->own.base, len);
    const h2o_token_t *token = h2o_lookup_token(n->own.base, len);
    n->name = token ? (h2o_iovec_t *)(uintptr_t)&token->buf : &n->own;
}

/* Names are static strings, so their address finds them. Entries stay until the worker ends, because answers
 * on their way point to them. NULL once the table is full. */
static const struct header_name *find_name(struct worker *w, const char *name)
{
    size_t at = ((uintptr_t)name >> 2) * 0x9e3779b1u % HTTP_HEADER_NAMES;
    for (unsigned i = 0; i < HTTP_HEADER_NAMES; ++i, at = (at + 1) % HTTP_HEADER_NAMES) {
        struct header_name *n = &w->names[at];
        if (!n->key)
            resolve_name(n, name);
        if (n->key == name && strcmp(n->usual, name) == 0)
            return n;
    }
    return NULL;
}

static bool breaks_line(struct slice s)
{
    return s.len && (memchr(s.p, '\r', s.len) || memchr(s.p, '\n', s.len) || memchr(s.p, '\0', s.len));
}

void response_header_ref(struct request *r, const char *name, struct slice value)
{
    assert(!response_started(r));
    h2o_mem_pool_t *pool = &r->h2o->pool;
    h2o_headers_t *headers = &r->h2o->res.headers;
    if (breaks_line(value)) { /* values may come from upstreams: none begins a header of its own */
        char *p = request_strdup(r, value);
        for (size_t i = 0; i < value.len; ++i) {
            if (p[i] == '\r' || p[i] == '\n' || p[i] == '\0')
                p[i] = ' ';
        }
        value.p = p;
    }
    h2o_iovec_t v = h2o_iovec_init(value.p, value.len);
    const struct header_name *n = find_name(r->worker, name);
    if (n) {
        h2o_vector_reserve(pool, headers, headers->size + 1);
        headers->entries[headers->size++] =
            (h2o_header_t){.name = n->name, .orig_name = n->usual, .value = v};
    } else {
        struct slice s = slice_of(name);
        char *lower = request_strdup(r, s);
        h2o_strtolower(lower, s.len);
        h2o_add_header_by_str(pool, headers, lower, s.len, 1, request_strdup(r, s), v.base, v.len);
    }
}

void response_header(struct request *r, const char *name, struct slice value)
{
    response_header_ref(r, name, (struct slice){request_strdup(r, value), value.len});
}

/* ---- whole answers ---- */

static void start(struct request *r, int status, uint64_t content_length)
{
    assert(!response_started(r));
    response_header_ref(r, "X-Request-Id", (struct slice){r->id, 26});
    h2o_req_t *req = r->h2o;
    req->res.status = status;
    req->res.reason = response_reason(status);
    /* These two have no body and so no length (RFC 9110 section 8.6); h2o leaves the header out on SIZE_MAX.
     */
    bool bodiless = status == 204 || (status == 304 && content_length == 0);
    req->res.content_length = bodiless || content_length == RESPONSE_OPEN ? SIZE_MAX : content_length;
    r->content_length = content_length;
    ++r->writes;
    if (!r->is_captured)
        h2o_start_response(req, &r->generator);
}

static void whole_pull(struct request *r, void *arg)
{
    (void)arg;
    if (r->given == 0)
        response_write(r, r->whole.base, r->whole.len);
    else
        response_end(r);
}

void response_send_ref(struct request *r, int status, const void *body, size_t len)
{
    r->whole = h2o_iovec_init(body, len);
    if (len > HTTP_WHOLE_MAX && !r->is_captured && r->method != HTTP_HEAD) {
        response_begin(r, status, len, (struct response_stream){.pull = whole_pull});
        return;
    }
    start(r, status, len);
    bool sends_body = len > 0 && r->method != HTTP_HEAD && status != 204 && status != 304;
    r->given = r->sent = sends_body ? len : 0;
    r->state = REQUEST_LAST;
    r->is_complete = true;
    if (!r->is_captured)
        h2o_send(r->h2o, &r->whole, sends_body, H2O_SEND_STATE_FINAL);
}

void response_send(struct request *r, int status, const void *body, size_t len)
{
    void *copy = h2o_mem_alloc_pool(&r->h2o->pool, len);
    if (len)
        memcpy(copy, body, len);
    response_send_ref(r, status, copy, len);
}

void response_begin(struct request *r, int status, uint64_t content_length, struct response_stream stream)
{
    assert(!r->is_captured && stream.pull);
    start(r, status, content_length);
    r->stream = stream;
    if (r->method == HTTP_HEAD) {
        r->state = REQUEST_LAST;
        r->is_complete = true;
        h2o_send(r->h2o, NULL, 0, H2O_SEND_STATE_FINAL);
        return;
    }
    stream_begin(r);
}

bool response_started(const struct request *r)
{
    return r->state != REQUEST_WAITING;
}

int response_status(const struct request *r)
{
    return r->h2o->res.status;
}

uint64_t response_bytes_sent(const struct request *r)
{
    return r->sent;
}
