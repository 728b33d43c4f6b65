// SPDX-License-Identifier: Apache-2.0
#include "proxy/http/request.h"

#include "common/clock.h"
#include "proxy/http/guard.h"
#include "proxy/http/http_impl.h"

/* ---- birth and end ---- */

static uint64_t next_random(struct worker *w)
{
    /* splitmix64: unique is enough, nobody's right hangs on these. */
    uint64_t z = (w->random += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void base32(char *out, unsigned digits, uint64_t value)
{
    static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    while (digits-- > 0) {
        out[digits] = alphabet[value & 31];
        value >>= 5;
    }
}

/* 48 bits of milliseconds, 80 random bits, in Crockford's base 32. */
static void make_id(struct worker *w, char out[27])
{
    base32(out, 10, h2o_now(w->ctx.loop) & 0xffffffffffffu);
    base32(out + 10, 8, next_random(w));
    base32(out + 18, 8, next_random(w));
    out[26] = '\0';
}

static enum http_method method_of(struct slice m)
{
    static const struct {
        const char *name;
        size_t len;
        enum http_method method;
    } methods[] = {
        {"GET", 3, HTTP_GET},         {"HEAD", 4, HTTP_HEAD},   {"POST", 4, HTTP_POST},
        {"PUT", 3, HTTP_PUT},         {"PATCH", 5, HTTP_PATCH}, {"DELETE", 6, HTTP_DELETE},
        {"OPTIONS", 7, HTTP_OPTIONS},
    };
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; ++i) {
        if (m.len == methods[i].len && memcmp(m.p, methods[i].name, m.len) == 0)
            return methods[i].method;
    }
    return HTTP_OTHER;
}

static void on_dispose(void *p)
{
    struct request *r = p;
    assert(r->magic == REQUEST_MAGIC);
    struct worker *w = r->worker;
    struct conn *c = r->conn;
    const struct http_config *config = &w->server->config;
    /* What runs below may look at the request, but it is out of everybody's reach already. */
    link_remove(&r->link);
    loop_timer_cancel(w->loop, &r->timer);
    if (c->current == r)
        c->current = NULL;
    if (r->gone)
        *r->gone = true;
    if (r->is_http2 && !r->is_complete)
        conn_count_reset(c);
    if (config->on_finished)
        config->on_finished(r, !r->is_complete, config->arg);
    while (r->disposers) {
        struct dispose_entry *d = r->disposers;
        r->disposers = d->next;
        d->fn(d->arg);
    }
    stream_free(r);
    atomic_fetch_sub_explicit(&w->requests_open, 1, memory_order_release);
    r->magic = 0;
}

struct request *request_new(struct conn *c, h2o_req_t *req)
{
    struct worker *w = c->worker;
    /* Its release is h2o's one reliable word that a request is over. */
    struct request *r = h2o_mem_alloc_shared(&req->pool, sizeof *r, on_dispose);
    memset(r, 0, sizeof *r);
    r->magic = REQUEST_MAGIC;
    r->h2o = req;
    r->conn = c;
    r->worker = w;
    r->is_http2 = req->version >= 0x200;
    r->is_plain = !r->is_http2 && !c->sock->ssl;
    r->file_fd = -1;
    r->generator.proceed = stream_proceed;
    r->begin_us = clock_mono_us();
    make_id(w, r->id);
    r->method = method_of((struct slice){req->input.method.base, req->input.method.len});
    r->path = (struct slice){req->input.path.base, req->input.path.len};
    const char *mark = r->path.len ? memchr(r->path.p, '?', r->path.len) : NULL;
    if (mark) {
        r->query = (struct slice){mark + 1, r->path.len - (size_t)(mark + 1 - r->path.p)};
        r->path.len = (size_t)(mark - r->path.p);
    }
    r->host = slice_trim((struct slice){req->input.authority.base, req->input.authority.len});
    if (!r->is_http2)
        c->current = r;
    link_insert(&w->requests, &r->link);
    atomic_fetch_add_explicit(&w->requests_open, 1, memory_order_relaxed);
    watch_arm(w);
    return r;
}

/* ---- h2o's handler ---- */

void request_refuse(struct request *r, int status, const char *message)
{
    const struct http_config *config = &r->worker->server->config;
    r->h2o->http1_is_persistent = 0;
    if (config->refuse) {
        config->refuse(r, status, message, config->arg);
        return;
    }
    response_header_ref(r, "Content-Type", SLICE_LIT("text/plain"));
    response_send_ref(r, status, message, strlen(message));
}

static int check_http1(struct request *r, const char **ret_message)
{
    const h2o_buffer_t *input = r->conn->sock->input;
    struct guard_head head;
    int status = guard_check_head((struct slice){input->bytes, input->size},
                                  r->worker->server->config.limits.max_header_bytes, r->h2o->version == 0x100,
                                  &head, ret_message);
    if (status)
        return status;
    if (!head.has_host)
        r->host = (struct slice){"", 0}; /* h2o made one up */
    /* h2o's chunked decoder forgives more than it should: nothing may follow on this connection. */
    if (head.chunked)
        r->h2o->http1_is_persistent = 0;
    return 0;
}

static int check_http2(struct request *r, const char **ret_message)
{
    size_t bytes = r->h2o->input.path.len + r->h2o->input.authority.len;
    for (size_t i = 0; i < r->h2o->headers.size; ++i)
        bytes += r->h2o->headers.entries[i].name->len + r->h2o->headers.entries[i].value.len;
    if (bytes <= r->worker->server->config.limits.max_header_bytes)
        return 0;
    *ret_message = "the head of the request is too large";
    return 431;
}

static void deliver(void *arg)
{
    struct request *r = arg;
    const struct http_config *config = &r->worker->server->config;
    config->on_request(r, config->arg);
}

int request_on_h2o(h2o_handler_t *self, h2o_req_t *req)
{
    (void)self;
    struct request *r = request_new(conn_of(req), req);
    const char *message = "";
    int status = r->is_http2 ? check_http2(r, &message) : check_http1(r, &message);
    if (!status)
        status = guard_check_target((struct slice){req->input.path.base, req->input.path.len}, &message);
    if (status)
        request_refuse(r, status, message);
    else if (r->is_http2) /* a stream that is reset in the same turn costs nothing beyond this */
        loop_timer_arm(r->worker->loop, &r->timer, 0, deliver, r);
    else
        deliver(r);
    return 0;
}

/* ---- what a request says ---- */

enum http_method request_method(const struct request *r)
{
    return r->method;
}

struct slice request_method_name(const struct request *r)
{
    return (struct slice){r->h2o->input.method.base, r->h2o->input.method.len};
}

struct slice request_path(const struct request *r)
{
    return r->path;
}

struct slice request_query(const struct request *r)
{
    return r->query;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Into `out`, at least in.len bytes; -1 on a malformed escape or a NUL. */
static ssize_t decode(struct slice in, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < in.len; ++i) {
        char c = in.p[i];
        if (c == '+') {
            c = ' ';
        } else if (c == '%') {
            int high = i + 2 < in.len ? hex_value(in.p[i + 1]) : -1,
                low = high >= 0 ? hex_value(in.p[i + 2]) : -1;
            if (low < 0)
                return -1;
            c = (char)(high << 4 | low);
            i += 2;
        }
        if (c == '\0')
            return -1;
        out[n++] = c;
    }
    return (ssize_t)n;
}

struct slice request_query_param(struct request *r, const char *name)
{
    struct slice rest = r->query;
    while (rest.p) {
        struct slice value = slice_cut(&rest, '&');
        struct slice key = slice_cut(&value, '=');
        if (!slice_eq_str(key, name))
            continue;
        char *out = request_alloc(r, value.len + 1);
        ssize_t len = decode(value, out);
        return len < 0 ? (struct slice){NULL, 0} : (struct slice){out, (size_t)len};
    }
    return (struct slice){NULL, 0};
}

struct slice request_header_at(const struct request *r, const char *name, unsigned index)
{
    size_t len = strlen(name);
    const h2o_token_t *token = h2o_lookup_token(name, len);
    const h2o_headers_t *headers = &r->h2o->headers;
    if (token == H2O_TOKEN_HOST)
        return index == 0 && r->host.len ? r->host : (struct slice){NULL, 0};
    ssize_t at = -1;
    do {
        at = token ? h2o_find_header(headers, token, at) : h2o_find_header_by_str(headers, name, len, at);
    } while (at >= 0 && index-- > 0);
    if (at < 0)
        return (struct slice){NULL, 0};
    /* h2o leaves white space behind a value (RFC 9110 section 5.5). */
    return slice_trim((struct slice){headers->entries[at].value.base, headers->entries[at].value.len});
}

struct slice request_header(const struct request *r, const char *name)
{
    return request_header_at(r, name, 0);
}

struct slice request_host(const struct request *r)
{
    return r->host;
}

struct slice request_body(const struct request *r)
{
    return (struct slice){r->h2o->entity.base, r->h2o->entity.len};
}

bool request_is_tls(const struct request *r)
{
    return r->conn->sock->ssl != NULL;
}

const char *request_peer(struct request *r)
{
    struct conn *c = r->conn;
    if (!c->peer[0]) {
        struct sockaddr_storage sa = {.ss_family = AF_UNSPEC};
        (void)h2o_socket_getpeername(c->sock, (struct sockaddr *)&sa);
        listen_format((const struct sockaddr *)&sa, c->peer, sizeof c->peer);
    }
    return c->peer;
}

const char *request_client_name(const struct request *r)
{
    return r->conn->client_name;
}

const char *request_id(const struct request *r)
{
    return r->id;
}

uint64_t request_begin_us(const struct request *r)
{
    return r->begin_us;
}

struct loop *request_loop(const struct request *r)
{
    return r->worker->loop;
}

/* ---- what rooms hang on it ---- */

void *request_alloc(struct request *r, size_t size)
{
    void *p = h2o_mem_alloc_pool(&r->h2o->pool, size);
    memset(p, 0, size);
    return p;
}

char *request_strdup(struct request *r, struct slice s)
{
    char *p = h2o_mem_alloc_pool(&r->h2o->pool, s.len + 1);
    if (s.len)
        memcpy(p, s.p, s.len);
    p[s.len] = '\0';
    return p;
}

void request_on_dispose(struct request *r, void (*fn)(void *arg), void *arg)
{
    struct dispose_entry *d = request_alloc(r, sizeof *d);
    *d = (struct dispose_entry){.next = r->disposers, .fn = fn, .arg = arg};
    r->disposers = d;
}

void request_set_user(struct request *r, const void *user)
{
    r->user = user;
}

const void *request_user(const struct request *r)
{
    return r->user;
}

void request_set_route(struct request *r, const char *route)
{
    r->route = route;
}

const char *request_route(const struct request *r)
{
    return r->route;
}

void request_log_field(struct request *r, const char *key, struct slice value)
{
    struct log_entry **end = &r->log_fields;
    while (*end)
        end = &(*end)->next;
    *end = request_alloc(r, sizeof **end);
    **end = (struct log_entry){.key = key, .value = value};
}

unsigned request_log_fields(const struct request *r, struct log_field *out, unsigned max)
{
    unsigned n = 0;
    for (const struct log_entry *e = r->log_fields; e && n < max; e = e->next)
        out[n++] = F_SL(e->key, e->value);
    return n;
}
