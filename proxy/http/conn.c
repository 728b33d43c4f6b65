// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "proxy/http/http_impl.h"

/*
 * The connection limit is one counter for all workers. A worker that finds it full stops listening and says
 * so in is_paused; whoever closes a connection wakes those that said so. Both look again after they wrote, so
 * that a close between the look and the pause is not missed.
 */
static bool reserve(struct http_server *s)
{
    if (atomic_fetch_add(&s->connections, 1) < s->config.limits.max_connections)
        return true;
    atomic_fetch_sub(&s->connections, 1);
    return false;
}

static void release(struct http_server *s)
{
    atomic_fetch_sub(&s->connections, 1);
    for (unsigned i = 0; i < s->worker_count; ++i) {
        struct worker *w = &s->workers[i];
        if (atomic_load(&w->is_paused) && atomic_exchange(&w->is_paused, false))
            loop_post(w->loop, conn_accept_resume, w);
    }
}

static void stop_listening(struct worker *w)
{
    for (unsigned i = 0; i < w->server->config.listen_count; ++i) {
        if (w->listeners[i].sock)
            h2o_socket_read_stop(w->listeners[i].sock);
    }
}

void conn_accept_resume(void *arg)
{
    struct worker *w = arg;
    if (w->is_draining)
        return;
    for (unsigned i = 0; i < w->server->config.listen_count; ++i) {
        if (w->listeners[i].sock)
            h2o_socket_read_start(w->listeners[i].sock, conn_accept);
    }
}

static void pause_at_limit(struct worker *w)
{
    count_up(&w->refused);
    stop_listening(w);
    atomic_store(&w->is_paused, true);
    if (atomic_load(&w->server->connections) < w->server->config.limits.max_connections &&
        atomic_exchange(&w->is_paused, false))
        loop_post(w->loop, conn_accept_resume, w);
}

/* Out of descriptors or memory: the listener stays readable, and asking again at once would only burn the
 * core. */
static void pause_after_error(struct worker *w, int errno_value)
{
    count_up(&w->refused);
    uint64_t now = clock_mono_us();
    if (w->accept_logged_us == 0 || now - w->accept_logged_us > 60000000) {
        w->accept_logged_us = now;
        log_warn("cannot accept connections; raise the limit of open files",
                 F_S("error", strerror(errno_value)));
    }
    stop_listening(w);
    loop_timer_arm(w->loop, &w->accept_timer, HTTP_ACCEPT_PAUSE_MS, conn_accept_resume, w);
}

/* ---- states and their deadlines ---- */

static void on_queue_timer(void *arg);

/* The timer is left to run out when its queue empties, and looks again: so a connection that is busy costs no
 * change of a timer. */
static void arm_queue(struct conn_queue *q, uint64_t now_us)
{
    if (loop_timer_armed(&q->timer) || q->conns.next == &q->conns)
        return;
    uint64_t due_us = LINK_OWNER(struct conn, queue, q->conns.next)->since_us + (uint64_t)q->ms * 1000;
    uint64_t ms = due_us > now_us ? (due_us - now_us) / 1000 + 1 : 0;
    loop_timer_arm(q->worker->loop, &q->timer, ms, on_queue_timer, q);
}

static void on_deadline(struct conn *c)
{
    switch (c->state) {
    case CONN_HANDSHAKE:
    case CONN_IDLE:
        conn_close(c);
        break;
    case CONN_HEAD:
    case CONN_BODY:
        http1_on_deadline(c);
        break;
    case CONN_CLOSING:
        link_remove(&c->queue);
        link_init(&c->queue);
        conn_reset(c);
        break;
    default:
        assert(false);
    }
}

static void on_queue_timer(void *arg)
{
    struct conn_queue *q = arg;
    uint64_t now_us = clock_mono_us();
    while (q->conns.next != &q->conns) {
        struct conn *c = LINK_OWNER(struct conn, queue, q->conns.next);
        if (now_us - c->since_us < (uint64_t)q->ms * 1000)
            break;
        on_deadline(c); /* it is out of this queue after */
    }
    arm_queue(q, now_us);
}

void conn_queues_init(struct worker *w)
{
    const struct http_limits *limits = &w->server->config.limits;
    const uint32_t ms[CONN_QUEUES] = {
        [CONN_HANDSHAKE] = limits->head_timeout_ms,
        [CONN_IDLE] = limits->idle_timeout_ms,
        [CONN_HEAD] = limits->head_timeout_ms,
        [CONN_BODY] = limits->body_timeout_ms,
        [CONN_CLOSING] = HTTP_CLOSE_MS,
    };
    for (unsigned i = 0; i < CONN_QUEUES; ++i) {
        w->queues[i].worker = w;
        w->queues[i].ms = ms[i];
        link_init(&w->queues[i].conns);
    }
}

void conn_queues_end(struct worker *w)
{
    for (unsigned i = 0; i < CONN_QUEUES; ++i)
        loop_timer_cancel(w->loop, &w->queues[i].timer);
}

void conn_enter(struct conn *c, enum conn_state state)
{
    c->state = state;
    link_remove(&c->queue);
    link_init(&c->queue);
    if (state >= CONN_QUEUES)
        return;
    struct conn_queue *q = &c->worker->queues[state];
    c->since_us = clock_mono_us();
    link_insert(&q->conns, &c->queue);
    if (!loop_timer_armed(&q->timer))
        arm_queue(q, c->since_us);
}

/* ---- birth and end ---- */

static void on_close(void *data)
{
    struct conn *c = data;
    assert(c->magic == CONN_MAGIC && !c->current);
    struct worker *w = c->worker;
    link_remove(&c->link);
    link_remove(&c->queue);
    --w->conn_count;
    if (!c->has_asked)
        atomic_fetch_sub_explicit(&w->newcomers, 1, memory_order_release);
    linger_begin(c);
    c->magic = 0;
    h2o_mem_clear_pool(&c->pool);
    buf_free(&c->body);
    free(c->client_name);
    SSL_CTX_free(c->ssl_ctx);
    free(c);
    release(w->server);
}

static struct conn *conn_new(struct worker *w, h2o_socket_t *sock)
{
    struct conn *c = mem_new(struct conn);
    c->magic = CONN_MAGIC;
    c->worker = w;
    c->sock = sock;
    c->linger_fd = -1;
    link_init(&c->queue);
    h2o_mem_init_pool(&c->pool);
    link_insert(&w->conns, &c->link);
    ++w->conn_count;
    atomic_fetch_add_explicit(&w->newcomers, 1, memory_order_relaxed);
    count_up(&w->accepted);
    sock->on_close.cb = on_close;
    sock->on_close.data = c;
    return c;
}

static void on_handshake(h2o_socket_t *sock, const char *err)
{
    struct conn *c = conn_of_socket(sock);
    if (err) {
        conn_close(c);
        return;
    }
    h2o_iovec_t protocol = h2o_socket_ssl_get_selected_protocol(sock);
    if (protocol.len == 2 && memcmp(protocol.base, "h2", 2) == 0) {
        conn_enter(c, CONN_HTTP2);
        struct timeval now;
        (void)gettimeofday(&now, NULL);
        h2o_http2_accept(&c->worker->accept_ctx, sock, now);
        return;
    }
    http1_begin(c);
}

void conn_accept(h2o_socket_t *listener, const char *err)
{
    if (err)
        return;
    struct worker *w = ((struct listener *)listener->data)->worker;
    for (int i = 0; i < HTTP_ACCEPT_BATCH; ++i) {
        if (!reserve(w->server)) {
            pause_at_limit(w);
            return;
        }
        h2o_socket_t *sock = h2o_evloop_socket_accept(listener);
        if (!sock) {
            int saved = errno;
            release(w->server);
            if (saved == EMFILE || saved == ENFILE || saved == ENOBUFS || saved == ENOMEM)
                pause_after_error(w, saved);
            return;
        }
        struct conn *c = conn_new(w, sock);
        if (w->accept_ctx.ssl_ctx) {
            conn_enter(c, CONN_HANDSHAKE);
            c->ssl_ctx = w->accept_ctx.ssl_ctx;
            SSL_CTX_up_ref(c->ssl_ctx);
            h2o_socket_ssl_handshake(sock, c->ssl_ctx, NULL, on_handshake);
        } else {
            http1_begin(c);
        }
    }
}

/* Over TLS h2o sends a farewell and waits for the client's, for ever: the state has a deadline. */
void conn_close(struct conn *c)
{
    conn_enter(c, CONN_CLOSING);
    h2o_socket_close(c->sock);
}

void conn_shut(struct conn *c)
{
    (void)shutdown(h2o_socket_get_fd(c->sock), SHUT_RDWR);
}

/* Disconnecting a TCP socket sends the reset at once, in front of whatever the kernel still holds; the
 * descriptor stays h2o's, whose writes fail from here on (over TLS that of its farewell too). */
void conn_reset(struct conn *c)
{
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    (void)connect(h2o_socket_get_fd(c->sock), &none, sizeof none);
}

/* h2o begins each connection with records of 1,400 bytes, so that a page shows early, and goes over to full
 * ones when it has written 200 KiB. That count is all it looks at. */
void conn_expect_bulk(struct conn *c)
{
    if (c->sock->bytes_written < HTTP_SMALL_RECORDS)
        c->sock->bytes_written = HTTP_SMALL_RECORDS;
}

/* A leaky bucket: HTTP_RESETS_BURST at once, HTTP_RESETS_PER_S in the long run (CVE-2023-44487,
 * CVE-2025-8671). */
void conn_count_reset(struct conn *c)
{
    uint64_t now = clock_mono_us(), back = (now - c->resets_us) * HTTP_RESETS_PER_S / 1000000;
    if (back > 0) {
        c->resets = back < c->resets ? c->resets - (uint32_t)back : 0;
        c->resets_us = now;
    }
    if (++c->resets == HTTP_RESETS_BURST) {
        log_warn("connection cut: the client resets its streams too often");
        conn_reset(c);
    }
}
