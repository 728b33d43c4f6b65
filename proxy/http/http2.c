// SPDX-License-Identifier: Apache-2.0
/*
 * HTTP/2 is h2o's: its handler makes a request of what h2o has read, and answers go back to it in its own
 * structures.
 */
#include "common/mem.h"
#include "proxy/http/http_impl.h"

static void proceed(h2o_generator_t *generator, h2o_req_t *req)
{
    (void)req;
    struct request *r = LINK_OWNER(struct request, generator, generator);
    assert(r->magic == REQUEST_MAGIC);
    stream_on_left(r);
}

static void on_dispose(void *request)
{
    request_dispose(request);
}

static struct slice slice_from(h2o_iovec_t v)
{
    return (struct slice){v.base, v.len};
}

static struct request *new_request(h2o_req_t *req)
{
    struct conn *c = conn_of_socket(req->conn->callbacks->get_socket(req->conn));
    /* The release of shared memory is h2o's one reliable word that a request is over. */
    void *memory = h2o_mem_alloc_shared(&req->pool, sizeof(struct request), on_dispose);
    struct request *r = request_init(memory, c, &req->pool, slice_from(req->input.path));
    request_set_method(r, slice_from(req->input.method));
    r->is_http2 = true;
    r->h2o = req;
    r->generator.proceed = proceed;
    r->state = REQUEST_WAITING;
    r->host = slice_trim(slice_from(req->input.authority));
    r->body = slice_from(req->entity);
    struct head_field *fields = h2o_mem_alloc_pool(&req->pool, (req->headers.size + 1) * sizeof *fields);
    for (size_t i = 0; i < req->headers.size; ++i) {
        const h2o_header_t *h = &req->headers.entries[i];
        fields[i] = (struct head_field){slice_from(*h->name), slice_trim(slice_from(h->value))};
    }
    r->fields = fields;
    r->field_count = (unsigned)req->headers.size;
    return r;
}

static int check(const struct request *r, const char **ret_message)
{
    size_t bytes = r->h2o->input.path.len + r->h2o->input.authority.len;
    for (unsigned i = 0; i < r->field_count; ++i)
        bytes += r->fields[i].name.len + r->fields[i].value.len;
    if (bytes > r->worker->server->config.limits.max_header_bytes) {
        *ret_message = "the head of the request is too large";
        return 431;
    }
    return head_check_target(slice_from(r->h2o->input.path), ret_message);
}

int http2_on_request(h2o_handler_t *self, h2o_req_t *req)
{
    (void)self;
    struct request *r = new_request(req);
    const char *message = "";
    int status = check(r, &message);
    if (status)
        request_refuse(r, status, message);
    else /* a stream that is reset in the same turn costs nothing beyond this */
        loop_timer_arm(r->worker->loop, &r->timer, 0, request_deliver, r);
    return 0;
}

/* ---- answers ---- */

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

void http2_names_free(struct worker *w)
{
    for (unsigned i = 0; i < HTTP_HEADER_NAMES; ++i) {
        free(w->names[i].usual);
        free(w->names[i].own.base);
    }
}

void http2_header(struct request *r, const char *name, struct slice value)
{
    h2o_headers_t *headers = &r->h2o->res.headers;
    h2o_iovec_t v = h2o_iovec_init(value.p, value.len);
    const struct header_name *n = find_name(r->worker, name);
    if (n) {
        h2o_vector_reserve(r->pool, headers, headers->size + 1);
        headers->entries[headers->size++] =
            (h2o_header_t){.name = n->name, .orig_name = n->usual, .value = v};
        return;
    }
    struct slice s = slice_of(name);
    char *lower = request_strdup(r, s);
    h2o_strtolower(lower, s.len);
    h2o_add_header_by_str(r->pool, headers, lower, s.len, 1, request_strdup(r, s), v.base, v.len);
}

void http2_start(struct request *r, uint64_t content_length, bool is_bodiless)
{
    h2o_req_t *req = r->h2o;
    req->res.status = r->status;
    req->res.reason = response_reason(r->status);
    req->res.content_length = is_bodiless || content_length == RESPONSE_OPEN ? SIZE_MAX : content_length;
    h2o_start_response(req, &r->generator);
}

void http2_send(struct request *r, const void *p, size_t len, enum send_how how)
{
    h2o_iovec_t v = h2o_iovec_init(p, len);
    h2o_send(r->h2o, &v, len > 0, how == SEND_LAST ? H2O_SEND_STATE_FINAL : H2O_SEND_STATE_IN_PROGRESS);
}

void http2_cut(struct request *r)
{
    if (!response_started(r)) { /* h2o knows only one way out, an answer */
        r->h2o->res.status = r->status;
        r->h2o->res.reason = response_reason(r->status);
        r->h2o->res.headers.size = 0;
        r->h2o->res.content_length = 0;
        h2o_start_response(r->h2o, &r->generator);
    }
    r->state = REQUEST_LAST;
    h2o_send(r->h2o, NULL, 0, H2O_SEND_STATE_ERROR);
}
