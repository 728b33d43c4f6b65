// SPDX-License-Identifier: Apache-2.0
/*
 * A refusal that comes before its request's body was read (413, mostly): closing then makes the kernel send a
 * reset, which overtakes our answer, and the client reports a broken connection instead of what is wrong (RFC
 * 9112 section 9.6). So we keep a second descriptor of the socket; when h2o has answered and closed its own,
 * we say that nothing more comes, and throw away what the client still sends, for a while.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/mem.h"
#include "proxy/http/http_impl.h"

struct lingerer {
    struct worker *worker;
    struct link link; /* worker.lingerers */
    int fd;
    size_t left; /* bytes that may still come */
    struct loop_watch *watch;
    struct loop_timer timer;
};

static void end(void *arg)
{
    struct lingerer *l = arg;
    link_remove(&l->link);
    --l->worker->lingerer_count;
    loop_timer_cancel(l->worker->loop, &l->timer);
    loop_watch_remove(l->worker->loop, l->watch);
    (void)close(l->fd);
    free(l);
}

static void discard(void *arg, int fd, unsigned ready)
{
    (void)ready;
    struct lingerer *l = arg;
    char bytes[64 << 10];
    for (int i = 0; i < 16; ++i) {
        ssize_t n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0 || (size_t)n > l->left) {
            end(l);
            return;
        }
        l->left -= (size_t)n;
    }
}

void linger_keep(struct conn *c)
{
    if (c->linger_fd < 0 && c->worker->lingerer_count < HTTP_LINGERERS_MAX)
        c->linger_fd = fcntl(h2o_socket_get_fd(c->sock), F_DUPFD_CLOEXEC, 0);
}

void linger_begin(struct conn *c)
{
    struct worker *w = c->worker;
    if (c->linger_fd < 0)
        return;
    (void)shutdown(c->linger_fd, SHUT_WR);
    struct lingerer *l = mem_new(struct lingerer);
    *l = (struct lingerer){.worker = w, .fd = c->linger_fd, .left = HTTP_LINGER_BYTES};
    link_insert(&w->lingerers, &l->link);
    ++w->lingerer_count;
    l->watch = loop_watch_add(w->loop, l->fd, LOOP_READ, discard, l);
    loop_timer_arm(w->loop, &l->timer, HTTP_LINGER_MS, end, l);
}

void linger_end_all(struct worker *w)
{
    for (struct link *l = w->lingerers.next, *next; l != &w->lingerers; l = next) {
        next = l->next;
        end(LINK_OWNER(struct lingerer, link, l));
    }
}
