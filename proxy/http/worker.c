// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/random.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "proxy/http/http_impl.h"

static void on_loop_readable(h2o_socket_t *sock, const char *err)
{
    (void)err;
    struct worker *w = sock->data;
    loop_dispatch(w->loop);
}

static void turn(struct worker *w, int32_t wait_ms)
{
    if (h2o_evloop_run(w->ctx.loop, wait_ms) != 0 && errno != EINTR) {
        /* epoll refused a descriptor: h2o has lost track of it, and nothing can be promised any more. */
        log_error("the event loop failed", F_S("error", strerror(errno)));
        abort();
    }
}

static void set_up(struct worker *w)
{
    struct http_server *s = w->server;
    h2o_context_init(&w->ctx, h2o_evloop_create(), &s->h2o);
    link_init(&w->conns);
    link_init(&w->requests);
    link_init(&w->lingerers);
    conn_queues_init(w);
    if (getrandom(&w->random, sizeof w->random, 0) != sizeof w->random)
        w->random = clock_mono_us() ^ ((uint64_t)w->index << 56);
    pthread_mutex_lock(&s->lock);
    w->accept_ctx = (h2o_accept_ctx_t){.ctx = &w->ctx, .hosts = s->h2o.hosts, .ssl_ctx = s->ssl_ctx};
    if (s->ssl_ctx)
        SSL_CTX_up_ref(s->ssl_ctx);
    pthread_mutex_unlock(&s->lock);
    /* h2o closes the descriptors that it is given. */
    int fd = fcntl(loop_fd(w->loop), F_DUPFD_CLOEXEC, 0);
    assert(fd >= 0);
    w->loop_sock = h2o_evloop_socket_create(w->ctx.loop, fd, H2O_SOCKET_FLAG_DONT_READ);
    w->loop_sock->data = w;
    h2o_socket_read_start(w->loop_sock, on_loop_readable);
    for (unsigned i = 0; i < s->config.listen_count; ++i) {
        struct listener *l = &w->listeners[i];
        l->worker = w;
        l->sock = h2o_evloop_socket_create(w->ctx.loop, w->listen_fds[i], H2O_SOCKET_FLAG_DONT_READ);
        l->sock->data = l;
        w->listen_fds[i] = -1;
        h2o_socket_read_start(l->sock, conn_accept);
    }
}

static void close_listeners(struct worker *w)
{
    for (unsigned i = 0; i < w->server->config.listen_count; ++i) {
        if (!w->listeners[i].sock)
            continue;
        h2o_socket_close(w->listeners[i].sock);
        w->listeners[i].sock = NULL;
    }
}

void worker_begin_drain(void *arg)
{
    struct worker *w = arg;
    /* Who waits in the backlog was promised a connection: one last batch. */
    for (unsigned i = 0; !atomic_load(&w->is_paused) && i < w->server->config.listen_count; ++i)
        conn_accept(w->listeners[i].sock, NULL);
    w->is_draining = true;
    close_listeners(w);
    loop_timer_cancel(w->loop, &w->accept_timer);
    h2o_context_request_shutdown(&w->ctx);
    atomic_fetch_add(&w->server->drains_begun, 1);
}

void worker_stop(void *arg)
{
    ((struct worker *)arg)->is_stopping = true;
}

/* A room may answer or give up another request while one of its own is disposed of: start over each time. */
static void cut_requests(struct worker *w)
{
    unsigned n = 0;
    for (;;) {
        struct link *l = w->requests.next;
        while (l != &w->requests && LINK_OWNER(struct request, link, l)->is_aborting)
            l = l->next;
        if (l == &w->requests)
            break;
        ++n;
        response_abort(LINK_OWNER(struct request, link, l));
    }
    atomic_fetch_add(&w->server->cut_off, n);
}

struct ending {
    struct worker *worker;
    struct loop_timer timer;
};

static void end_connections(void *arg)
{
    struct ending *e = arg;
    struct worker *w = e->worker;
    cut_requests(w);
    for (struct link *l = w->conns.next; l != &w->conns; l = l->next)
        conn_shut(LINK_OWNER(struct conn, link, l));
    if (w->conn_count > 0)
        loop_timer_arm(w->loop, &e->timer, 20, end_connections, e);
}

static void tear_down(struct worker *w)
{
    /* Inside a turn of the loop, as everything that reaches h2o_send(). */
    struct ending e = {.worker = w};
    loop_timer_arm(w->loop, &e.timer, 0, end_connections, &e);
    uint64_t deadline = clock_mono_ms() + HTTP_END_MS;
    do {
        turn(w, 10);
    } while (w->conn_count > 0 && clock_mono_ms() < deadline);
    loop_timer_cancel(w->loop, &e.timer);
    loop_timer_cancel(w->loop, &w->sweep_timer);
    conn_queues_end(w);
    linger_end_all(w);
    if (w->conn_count > 0)
        log_error("connections were left at the end", F_U("count", w->conn_count));
    if (w->server->config.worker_end)
        w->server->config.worker_end(w->loop, w->server->config.arg);
    h2o_socket_close(w->loop_sock);
    SSL_CTX_free(w->accept_ctx.ssl_ctx);
    watch_free(w);
    http2_names_free(w);
    if (w->conn_count > 0)
        return; /* h2o asserts that nothing is left of its own */
    h2o_timeout_unlink(&w->ctx.http2._graceful_shutdown_timeout); /* the drain's, which h2o leaves armed */
    h2o_evloop_t *loop = w->ctx.loop;
    h2o_context_dispose(&w->ctx);
    h2o_evloop_destroy(loop); /* forgets to close its epoll descriptor, and keeps no way for us to */
}

void *worker_run(void *arg)
{
    struct worker *w = arg;
    struct http_server *s = w->server;
    char name[16];
    (void)snprintf(name, sizeof name, "http-%u", w->index);
    (void)pthread_setname_np(pthread_self(), name);
    /* writev() and sendfile() have no MSG_NOSIGNAL; the signal is for the thread that wrote. */
    sigset_t sigpipe;
    sigemptyset(&sigpipe);
    sigaddset(&sigpipe, SIGPIPE);
    (void)pthread_sigmask(SIG_BLOCK, &sigpipe, NULL);

    loop_set_current(w->loop);
    set_up(w);
    if (s->config.worker_begin)
        s->config.worker_begin(w->loop, s->config.arg);
    pthread_mutex_lock(&s->lock);
    ++s->workers_ready;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
    while (!w->is_stopping)
        turn(w, INT32_MAX);
    tear_down(w);
    loop_set_current(NULL);
    return NULL;
}

#if defined(__SANITIZE_ADDRESS__)
#define RAC_HAS_LSAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RAC_HAS_LSAN 1
#endif
#endif
#ifdef RAC_HAS_LSAN
/* What h2o keeps for a thread beyond its end: lists of buffers to use again, and the struct of its message
 * queue. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_options(void);
const char *__lsan_default_options(void)
{
    return "print_suppressions=0";
}
const char *__lsan_default_suppressions(void)
{
    return "leak:h2o_mem_alloc_recycle\nleak:h2o_multithread_create_queue\n";
}
#endif
