// SPDX-License-Identifier: Apache-2.0
#include "s3/http_conn.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/mem.h"
#include "s3/http_tls.h"
#include "s3/http_wait.h"

#define IOV_STEP 64 /* slices in one sendmsg */

static int connect_to(const struct sockaddr *address, socklen_t size, const struct s3_url *server,
                      uint64_t deadline_ms, struct cancel *cancel, struct err *err)
{
    cleanup_close int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_set_errno(err, ERR_IO, errno, "no socket");
    int on = 1, problem = 0;
    socklen_t problem_size = sizeof problem;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    if (connect(fd, address, size) < 0) {
        if (errno != EINPROGRESS)
            return err_set_errno(err, ERR_IO, errno, "%s port %u: cannot connect", server->host,
                                 server->port);
        if (http_wait(fd, POLLOUT, deadline_ms, cancel, err) < 0)
            return err_wrap(err, "%s port %u: connecting", server->host, server->port);
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &problem, &problem_size) < 0 || problem)
            return err_set_errno(err, ERR_IO, problem, "%s port %u: cannot connect", server->host,
                                 server->port);
    }
    return steal_fd(&fd);
}

static int connect_any(const struct http_addresses *addresses, const struct s3_url *server,
                       uint64_t deadline_ms, struct cancel *cancel, struct err *err)
{
    int fd = -1;
    for (size_t i = 0; i < addresses->len && fd < 0; ++i) {
        uint64_t now = clock_mono_ms(), left = deadline_ms > now ? deadline_ms - now : 0;
        /* One silent address is not to take the time of all that follow. */
        uint64_t until = i + 1 < addresses->len ? now + left / 2 : deadline_ms;
        fd = connect_to((const struct sockaddr *)&addresses->list[i], addresses->sizes[i], server, until,
                        cancel, err);
        if (fd < 0 && (cancel_fired(cancel) || clock_mono_ms() >= deadline_ms))
            break;
    }
    return fd;
}

/* What to wait for after an OpenSSL call gave no result: POLLIN or POLLOUT; 0 at the end of the stream; -1
 * for a failure. */
static int tls_wants(SSL *ssl, int result)
{
    switch (SSL_get_error(ssl, result)) {
    case SSL_ERROR_WANT_READ:
        return POLLIN;
    case SSL_ERROR_WANT_WRITE:
        return POLLOUT;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    default:
        return -1;
    }
}

static int handshake(struct http_conn *c, const struct s3_url *server, uint64_t deadline_ms,
                     struct cancel *cancel, struct err *err)
{
    for (;;) {
        ERR_clear_error();
        int rc = SSL_do_handshake(c->ssl);
        if (rc == 1)
            return 0;
        int wants = tls_wants(c->ssl, rc);
        if (wants <= 0)
            return http_tls_err(c->ssl, server, "TLS handshake", err);
        if (http_wait(c->fd, (short)wants, deadline_ms, cancel, err) < 0)
            return err_wrap(err, "%s: TLS handshake", server->host);
    }
}

struct http_conn *http_conn_open(const struct http_addresses *addresses, const struct s3_url *server,
                                 SSL_CTX *tls, uint64_t deadline_ms, struct cancel *cancel, struct err *err)
{
    int fd = connect_any(addresses, server, deadline_ms, cancel, err);
    if (fd < 0)
        return NULL;
    struct http_conn *c = mem_alloc(sizeof *c); /* the buffer need not be zeroed */
    memset(c, 0, offsetof(struct http_conn, buffer));
    c->next = NULL;
    c->fd = fd;
    if (!server->https)
        return c;
    c->ssl = http_tls_session(tls, fd, server, err);
    if (!c->ssl || handshake(c, server, deadline_ms, cancel, err) < 0) {
        http_conn_close(c);
        return NULL;
    }
    return c;
}

void http_conn_close(struct http_conn *c)
{
    if (!c)
        return;
    SSL_free(c->ssl);
    (void)close(c->fd);
    free(c);
}

bool http_conn_usable(struct http_conn *c)
{
    char byte;
    if (c->begin != c->end)
        return false;
    if (c->ssl) {
        /* Session tickets may lie there: they are no sign of a problem, and reading them shows the rest. */
        ERR_clear_error();
        int n = SSL_peek(c->ssl, &byte, 1);
        return n <= 0 && tls_wants(c->ssl, n) == POLLIN;
    }
    ssize_t n = recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n < 0 && errno == EAGAIN;
}

ptrdiff_t http_conn_read(struct http_conn *c, const struct s3_url *server, void *p, size_t len,
                         uint32_t stall_ms, struct cancel *cancel, struct err *err)
{
    uint64_t deadline = 0;
    for (;;) {
        int wants = POLLIN;
        /* A stream that never pauses must not outrun a cancellation. */
        if (cancel_fired(cancel))
            return err_set(err, ERR_CANCELLED, "cancelled");
        if (c->ssl) {
            size_t got = 0;
            ERR_clear_error();
            int rc = SSL_read_ex(c->ssl, p, len, &got);
            if (rc == 1)
                return (ptrdiff_t)got;
            wants = tls_wants(c->ssl, rc);
            if (wants < 0)
                return http_tls_err(c->ssl, server, "reading", err);
            if (wants == 0)
                return 0;
        } else {
            ssize_t n = recv(c->fd, p, len, 0);
            if (n >= 0)
                return n;
            if (errno != EAGAIN && errno != EINTR)
                return err_set_errno(err, ERR_IO, errno, "%s: reading", server->host);
        }
        if (!deadline)
            deadline = clock_mono_ms() + stall_ms;
        if (http_wait(c->fd, (short)wants, deadline, cancel, err) < 0)
            return err_wrap(err, "%s: waiting for its answer", server->host);
    }
}

ptrdiff_t http_conn_fill(struct http_conn *c, const struct s3_url *server, uint32_t stall_ms,
                         struct cancel *cancel, struct err *err)
{
    if (c->begin == c->end)
        c->begin = c->end = 0;
    if (c->begin && c->end == sizeof c->buffer) {
        memmove(c->buffer, c->buffer + c->begin, c->end - c->begin);
        c->end -= c->begin;
        c->begin = 0;
    }
    if (c->end == sizeof c->buffer)
        return err_set(err, ERR_IO, "%s: its answer's head is longer than %zu bytes", server->host,
                       sizeof c->buffer);
    ptrdiff_t n =
        http_conn_read(c, server, c->buffer + c->end, sizeof c->buffer - c->end, stall_ms, cancel, err);
    if (n > 0)
        c->end += (size_t)n;
    return n;
}

/* One write; bytes written, 0 with *ret_wants set if it must wait, -1. */
static ptrdiff_t write_some(struct http_conn *c, const struct s3_url *server, struct iovec *iov, int iov_len,
                            int *ret_wants, struct err *err)
{
    if (c->ssl) {
        size_t put = 0;
        ERR_clear_error();
        int rc = SSL_write_ex(c->ssl, iov->iov_base, iov->iov_len, &put);
        if (rc == 1)
            return (ptrdiff_t)put;
        *ret_wants = tls_wants(c->ssl, rc);
        return *ret_wants > 0 ? 0 : http_tls_err(c->ssl, server, "writing", err);
    }
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = (size_t)(iov_len < IOV_STEP ? iov_len : IOV_STEP)};
    ssize_t n = sendmsg(c->fd, &m, MSG_NOSIGNAL);
    if (n >= 0)
        return n;
    *ret_wants = POLLOUT | POLLIN;
    if (errno == EAGAIN || errno == EINTR)
        return 0;
    return err_set_errno(err, ERR_IO, errno, "%s: writing", server->host);
}

int http_conn_write(struct http_conn *c, const struct s3_url *server, struct iovec *iov, int iov_len,
                    uint32_t stall_ms, struct cancel *cancel, struct err *err)
{
    uint64_t deadline = 0;
    while (iov_len) {
        if (!iov->iov_len) {
            ++iov, --iov_len;
            continue;
        }
        int wants = 0;
        if (cancel_fired(cancel))
            return err_set(err, ERR_CANCELLED, "cancelled");
        ptrdiff_t n = write_some(c, server, iov, iov_len, &wants, err);
        if (n < 0)
            return -1;
        if (n > 0) {
            deadline = 0;
            for (size_t left = (size_t)n; left;) {
                size_t step = left < iov->iov_len ? left : iov->iov_len;
                iov->iov_base = (char *)iov->iov_base + step;
                iov->iov_len -= step;
                left -= step;
                if (!iov->iov_len)
                    ++iov, --iov_len;
            }
            continue;
        }
        if (!deadline)
            deadline = clock_mono_ms() + stall_ms;
        int ready = http_wait(c->fd, (short)wants, deadline, cancel, err);
        if (ready < 0)
            return err_wrap(err, "%s: sending", server->host);
        if (!c->ssl && (ready & POLLIN) && !(ready & POLLOUT))
            return 1;
    }
    return 0;
}
