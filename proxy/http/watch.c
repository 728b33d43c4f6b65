// SPDX-License-Identifier: Apache-2.0
/*
 * The sweep: once a second (more often if the slow-reader timeout is short), while requests are open, each
 * worker looks at all of its requests.
 *
 * Who waits for us (no answer yet, or a pull that the room has not answered) may have left: nobody reads the
 * socket of an HTTP/1 request that is being handled. One poll(2) over all of them tells.
 *
 * Whom we wait for (bytes were given and have not left) may have stopped reading. Its progress is what its
 * kernel has acknowledged, so that a reader that takes a little each time is left alone; over HTTP/2, where
 * one connection carries many, it is the pieces that left. A counter of writes spares fast readers even that
 * look.
 */
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include "common/clock.h"
#include "common/mem.h"
#include "proxy/http/http_impl.h"

static uint64_t bytes_acked(const struct conn *c)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof info;
    if (getsockopt(h2o_socket_get_fd(c->sock), IPPROTO_TCP, TCP_INFO, &info, &len) != 0)
        return 0;
    return info.tcpi_bytes_acked;
}

static bool is_stuck(struct request *r, uint64_t now_us, uint32_t timeout_ms)
{
    bool moved = r->writes != r->writes_seen;
    if (!moved && !r->is_http2) {
        uint64_t acked = bytes_acked(r->conn);
        moved = acked != r->acked_seen;
        r->acked_seen = acked;
    }
    if (moved) {
        r->writes_seen = r->writes;
        r->progress_us = now_us;
    }
    return now_us - r->progress_us >= (uint64_t)timeout_ms * 1000;
}

static void poll_waiting(struct worker *w, size_t n)
{
    if (n == 0 || poll(w->polls, n, 0) <= 0)
        return;
    /* Disposing of one request may end others: those that left wait on a list of their own, where they can
     * vanish too. */
    struct link left;
    link_init(&left);
    for (size_t i = 0; i < n; ++i) {
        if (w->polls[i].revents & (POLLRDHUP | POLLHUP | POLLERR)) {
            link_remove(&w->polled[i]->link);
            link_insert(&left, &w->polled[i]->link);
        }
    }
    while (left.next != &left) {
        struct request *r = LINK_OWNER(struct request, link, left.next);
        link_remove(&r->link);
        link_insert(&w->requests, &r->link);
        count_up(&w->vanished);
        response_abort(r);
    }
}

static void sweep(void *arg)
{
    struct worker *w = arg;
    uint32_t timeout_ms = w->server->config.limits.slow_reader_timeout_ms;
    uint64_t now_us = clock_mono_us();
    uint32_t open = atomic_load_explicit(&w->requests_open, memory_order_relaxed);
    if (open > w->polls_cap) {
        w->polls_cap = (size_t)open * 2;
        w->polls = mem_realloc(w->polls, w->polls_cap * sizeof *w->polls);
        w->polled = mem_realloc(w->polled, w->polls_cap * sizeof(struct request *));
    }
    size_t n = 0;
    for (struct link *l = w->requests.next; l != &w->requests; l = l->next) {
        struct request *r = LINK_OWNER(struct request, link, l);
        if (r->is_aborting || r->state == REQUEST_READING) /* it is read from, and its end is seen there */
            continue;
        if (r->state == REQUEST_WAITING || r->state == REQUEST_PULLED) {
            if (r->is_http2)
                continue; /* h2o reads on, and sees it */
            w->polls[n] = (struct pollfd){.fd = h2o_socket_get_fd(r->conn->sock), .events = POLLRDHUP};
            w->polled[n++] = r;
        } else if (timeout_ms && is_stuck(r, now_us, timeout_ms)) {
            count_up(&w->slow_cut);
            response_abort(r); /* in these states it only cuts the socket: the list stays as it is */
            if (r->is_http2)
                conn_reset(r->conn);
        }
    }
    poll_waiting(w, n);
    watch_arm(w);
}

void watch_arm(struct worker *w)
{
    if (loop_timer_armed(&w->sweep_timer) || w->requests.next == &w->requests)
        return;
    uint32_t ms = HTTP_SWEEP_MS, timeout_ms = w->server->config.limits.slow_reader_timeout_ms;
    if (timeout_ms && timeout_ms / 4 < ms)
        ms = timeout_ms / 4 + 1;
    loop_timer_arm(w->loop, &w->sweep_timer, ms, sweep, w);
}

void watch_free(struct worker *w)
{
    free(w->polls);
    free(w->polled);
}
