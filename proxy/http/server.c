// SPDX-License-Identifier: Apache-2.0
#include "proxy/http/server.h"

#include <errno.h>
#include <sched.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/mem.h"
#include "proxy/http/http_impl.h"

const struct http_limits http_limits_default = {
    .max_connections = 10000,
    .max_body_bytes = 16u << 20,
    .max_bodies_bytes = 256u << 20,
    .max_header_bytes = 64u << 10,
    .idle_timeout_ms = 75000,
    .head_timeout_ms = 15000,
    .body_timeout_ms = 30000,
    .slow_reader_timeout_ms = 60000,
    .tcp_user_timeout_ms = 60000,
};

static unsigned cores_allowed(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    int n = CPU_COUNT(&set);
    return n > 0 ? (unsigned)n : 1;
}

static void configure_h2o(struct http_server *s)
{
    h2o_globalconf_t *conf = &s->h2o;
    const struct http_limits *limits = &s->config.limits;
    h2o_config_init(conf);
    conf->server_name = h2o_iovec_init(NULL, 0); /* no Server header */
    conf->max_request_entity_size = limits->max_body_bytes;
    conf->http2.idle_timeout = limits->idle_timeout_ms;
    conf->http2.max_concurrent_requests_per_connection = 100;
    h2o_hostconf_t *host = h2o_config_register_host(conf, h2o_iovec_init(H2O_STRLIT("default")), 65535);
    host->http2.push_preload = 0;
    /* One path takes all: rooms route. h2o sends a target that is not a path to the fallback. */
    h2o_create_handler(h2o_config_register_path(host, "/", 0), sizeof(h2o_handler_t))->on_req =
        http2_on_request;
    h2o_create_handler(&host->fallback_path, sizeof(h2o_handler_t))->on_req = http2_on_request;
}

static int check_config(const struct http_config *c, struct err *err)
{
    if (c->listen_count == 0)
        return err_set(err, ERR_INVALID, "no address to listen on");
    if (!c->tls_certificate != !c->tls_key)
        return err_set(err, ERR_INVALID, "TLS needs both a certificate and a key");
    if (c->tls_client_ca && !c->tls_certificate)
        return err_set(err, ERR_INVALID, "certificates of clients need TLS");
    if (c->limits.max_connections == 0 || c->limits.max_header_bytes == 0 || c->limits.idle_timeout_ms == 0 ||
        c->limits.head_timeout_ms == 0 || c->limits.body_timeout_ms == 0)
        return err_set(err, ERR_INVALID, "the limits of connections, header bytes and times must not be 0");
    return 0;
}

static int set_up(struct http_server *s, struct err *err)
{
    const struct http_config *c = &s->config;
    if (s->certificate) {
        s->ssl_ctx = tls_load(s, err);
        if (!s->ssl_ctx)
            return -1;
    }
    for (unsigned i = 0; i < c->listen_count; ++i) {
        if (listen_open(c->listen[i].address, &c->limits, &s->fds[i], c->listen_count, s->worker_count,
                        &s->addresses[i], err) < 0)
            return -1;
    }
    return 0;
}

struct http_server *http_server_new(const struct http_config *config, struct err *err)
{
    if (check_config(config, err) < 0)
        return NULL;
    struct http_server *s = mem_new(struct http_server);
    s->config = *config;
    s->worker_count = config->workers ? config->workers : cores_allowed();
    s->certificate = config->tls_certificate ? mem_strdup(config->tls_certificate) : NULL;
    s->key = config->tls_key ? mem_strdup(config->tls_key) : NULL;
    s->client_ca = config->tls_client_ca ? mem_strdup(config->tls_client_ca) : NULL;
    s->config.tls_certificate = s->config.tls_key = s->config.tls_client_ca = NULL;
    s->addresses = mem_zalloc(config->listen_count * sizeof *s->addresses);
    size_t fd_count = (size_t)s->worker_count * config->listen_count;
    s->fds = mem_alloc(fd_count * sizeof *s->fds);
    for (size_t i = 0; i < fd_count; ++i)
        s->fds[i] = -1;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    configure_h2o(s);
    s->workers = mem_zalloc(s->worker_count * sizeof *s->workers);
    for (unsigned i = 0; i < s->worker_count; ++i) {
        struct worker *w = &s->workers[i];
        w->server = s;
        w->index = i;
        w->loop = loop_new(i);
        w->listen_fds = &s->fds[(size_t)i * config->listen_count];
        w->listeners = mem_zalloc(config->listen_count * sizeof *w->listeners);
    }
    if (set_up(s, err) < 0) {
        http_server_free(s);
        return NULL;
    }
    s->config.listen = NULL;
    return s;
}

int http_server_start(struct http_server *s, struct err *err)
{
    for (unsigned i = 0; i < s->worker_count; ++i) {
        int rc = pthread_create(&s->workers[i].thread, NULL, worker_run, &s->workers[i]);
        if (rc != 0) {
            (void)http_server_drain(s, 0); /* those that run stand on what the caller is about to free */
            return err_set_errno(err, ERR_INTERNAL, rc, "cannot start worker %u", i);
        }
        ++s->threads;
    }
    pthread_mutex_lock(&s->lock);
    while (s->workers_ready < s->worker_count)
        pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
    return 0;
}

unsigned http_server_workers(const struct http_server *s)
{
    return s->worker_count;
}

struct loop *http_server_loop(const struct http_server *s, unsigned worker)
{
    assert(worker < s->worker_count);
    return s->workers[worker].loop;
}

const char *http_server_address(const struct http_server *s, unsigned i)
{
    assert(i < s->config.listen_count);
    return s->addresses[i];
}

struct new_ctx {
    struct worker *worker;
    SSL_CTX *ctx;
};

static void use_new_ctx(void *arg)
{
    struct new_ctx *n = arg;
    SSL_CTX_free(n->worker->accept_ctx.ssl_ctx);
    n->worker->accept_ctx.ssl_ctx = n->ctx;
    free(n);
}

int http_server_reload_tls(struct http_server *s, struct err *err)
{
    if (!s->certificate)
        return err_set(err, ERR_INVALID, "this server does not speak TLS");
    SSL_CTX *ctx = tls_load(s, err);
    if (!ctx)
        return -1;
    pthread_mutex_lock(&s->lock);
    SSL_CTX_free(s->ssl_ctx);
    s->ssl_ctx = ctx;
    for (unsigned i = 0; i < s->threads; ++i) {
        struct new_ctx *n = mem_new(struct new_ctx);
        SSL_CTX_up_ref(ctx);
        *n = (struct new_ctx){&s->workers[i], ctx};
        loop_post(s->workers[i].loop, use_new_ctx, n);
    }
    pthread_mutex_unlock(&s->lock);
    return 0;
}

static uint32_t requests_open(const struct http_server *s)
{
    uint32_t n = 0;
    for (unsigned i = 0; i < s->worker_count; ++i)
        n += atomic_load(&s->workers[i].requests_open);
    return n;
}

static uint32_t newcomers(const struct http_server *s)
{
    uint32_t n = 0;
    for (unsigned i = 0; i < s->worker_count; ++i)
        n += atomic_load(&s->workers[i].newcomers);
    return n;
}

/* Requests, not connections: an idle keep-alive connection would hold us up until its timeout, and its client
 * asks again elsewhere when it ends (RFC 9112 section 9.3.1). Not so whose first request is on its way: no
 * client takes the end of a connection that it just made for anything but a failure. */
static bool is_waited_for(const struct http_server *s, uint64_t newcomers_until_ms)
{
    if (atomic_load(&s->drains_begun) < s->threads)
        return true;
    bool new_ones =
        newcomers(s) > 0 && clock_mono_ms() < newcomers_until_ms; /* they become requests: first */
    return new_ones || requests_open(s) > 0;
}

unsigned http_server_drain(struct http_server *s, uint32_t grace_ms)
{
    if (s->threads == 0 || s->is_drained)
        return 0;
    s->is_drained = true;
    for (unsigned i = 0; i < s->threads; ++i)
        loop_post(s->workers[i].loop, worker_begin_drain, &s->workers[i]);
    uint64_t begin = clock_mono_ms(), deadline = begin + grace_ms;
    while (clock_mono_ms() < deadline && is_waited_for(s, begin + HTTP_NEWCOMER_MS))
        (void)usleep(2000);
    for (unsigned i = 0; i < s->threads; ++i)
        loop_post(s->workers[i].loop, worker_stop, &s->workers[i]);
    for (unsigned i = 0; i < s->threads; ++i)
        (void)pthread_join(s->workers[i].thread, NULL);
    return atomic_load(&s->cut_off);
}

void http_server_free(struct http_server *s)
{
    if (!s)
        return;
    (void)http_server_drain(s, 0);
    unsigned listen_count = s->config.listen_count, workers = s->worker_count;
    for (size_t i = 0; i < (size_t)workers * listen_count; ++i) {
        if (s->fds[i] >= 0)
            (void)close(s->fds[i]);
    }
    for (unsigned i = 0; i < workers; ++i) {
        loop_free(s->workers[i].loop);
        free(s->workers[i].listeners);
    }
    for (unsigned i = 0; i < listen_count; ++i)
        free(s->addresses[i]);
    h2o_config_dispose(&s->h2o);
    SSL_CTX_free(s->ssl_ctx);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->changed);
    free(s->addresses);
    free(s->fds);
    free(s->certificate);
    free(s->key);
    free(s->client_ca);
    free(s->workers);
    free(s);
}

void http_server_stats(const struct http_server *s, struct http_server_stats *ret)
{
    struct http_server_stats sum = {.connections_open = atomic_load(&s->connections),
                                    .requests_open = requests_open(s)};
    for (unsigned i = 0; i < s->worker_count; ++i) {
        const struct worker *w = &s->workers[i];
        sum.connections_accepted += atomic_load_explicit(&w->accepted, memory_order_relaxed);
        sum.connections_refused += atomic_load_explicit(&w->refused, memory_order_relaxed);
        sum.slow_readers_cut += atomic_load_explicit(&w->slow_cut, memory_order_relaxed);
        sum.clients_vanished += atomic_load_explicit(&w->vanished, memory_order_relaxed);
    }
    *ret = sum;
}
