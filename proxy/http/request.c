// SPDX-License-Identifier: Apache-2.0
#include "proxy/http/request.h"

#include <strings.h>

#include "common/clock.h"
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

void request_dispose(struct request *r)
{
    assert(r->magic == REQUEST_MAGIC);
    struct worker *w = r->worker;
    const struct http_config *config = &w->server->config;
    /* What runs below may look at the request, but it is out of everybody's reach already. */
    link_remove(&r->link);
    loop_timer_cancel(w->loop, &r->timer);
    if (r->gone)
        *r->gone = true;
    if (r->is_http2 && !r->is_complete)
        conn_count_reset(r->conn);
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

struct request *request_init(void *memory, struct conn *c, h2o_mem_pool_t *pool, struct slice target)
{
    struct worker *w = c->worker;
    struct request *r = memory;
    memset(r, 0, sizeof *r);
    r->magic = REQUEST_MAGIC;
    r->pool = pool;
    r->conn = c;
    r->worker = w;
    r->file_fd = -1;
    r->begin_us = clock_mono_us();
    make_id(w, r->id);
    r->path = target;
    const char *mark = target.len ? memchr(target.p, '?', target.len) : NULL;
    if (mark) {
        r->query = (struct slice){mark + 1, target.len - (size_t)(mark + 1 - target.p)};
        r->path.len = (size_t)(mark - target.p);
    }
    link_insert(&w->requests, &r->link);
    atomic_fetch_add_explicit(&w->requests_open, 1, memory_order_relaxed);
    if (!c->has_asked) {
        c->has_asked = true;
        atomic_fetch_sub_explicit(&w->newcomers, 1, memory_order_release);
    }
    watch_arm(w);
    (void)request_peer(
        r); /* once a connection; later it may be gone, and the log would not know who it was */
    return r;
}

void request_set_method(struct request *r, struct slice name)
{
    r->method_name = name;
    r->method = method_of(name);
}

void request_refuse(struct request *r, int status, const char *message)
{
    const struct http_config *config = &r->worker->server->config;
    if (config->refuse) {
        config->refuse(r, status, message, config->arg);
        return;
    }
    response_header_ref(r, "Content-Type", SLICE_LIT("text/plain"));
    response_send_ref(r, status, message, strlen(message));
}

void request_deliver(void *request)
{
    struct request *r = request;
    const struct http_config *config = &r->worker->server->config;
    config->on_request(r, config->arg);
}

/* ---- what a request says ---- */

enum http_method request_method(const struct request *r)
{
    return r->method;
}

struct slice request_method_name(const struct request *r)
{
    return r->method_name;
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

static bool find_param(const struct request *r, const char *name, struct slice *ret_value)
{
    struct slice rest = r->query;
    while (rest.p) {
        struct slice value = slice_cut(&rest, '&');
        struct slice key = slice_cut(&value, '=');
        if (!slice_eq_str(key, name))
            continue;
        *ret_value = value;
        return true;
    }
    return false;
}

bool request_query_has(const struct request *r, const char *name)
{
    struct slice value;
    return find_param(r, name, &value);
}

struct slice request_query_param(struct request *r, const char *name)
{
    struct slice value;
    if (!find_param(r, name, &value))
        return (struct slice){NULL, 0};
    char *out = request_alloc(r, value.len + 1);
    ssize_t len = decode(value, out);
    return len < 0 ? (struct slice){NULL, 0} : (struct slice){out, (size_t)len};
}

struct slice request_header_at(const struct request *r, const char *name, unsigned index)
{
    size_t len = strlen(name);
    if (len == 4 && memcmp(name, "host", 4) == 0)
        return index == 0 && r->host.len ? r->host : (struct slice){NULL, 0};
    for (unsigned i = 0; i < r->field_count; ++i) {
        const struct head_field *f = &r->fields[i];
        if (f->name.len == len && strncasecmp(f->name.p, name, len) == 0 && index-- == 0)
            return f->value;
    }
    return (struct slice){NULL, 0};
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
    return r->body;
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
    void *p = h2o_mem_alloc_pool(r->pool, size);
    memset(p, 0, size);
    return p;
}

char *request_strdup(struct request *r, struct slice s)
{
    char *p = h2o_mem_alloc_pool(r->pool, s.len + 1);
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
