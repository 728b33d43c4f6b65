// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "proxy/http/http_impl.h"

struct endpoint {
    struct sockaddr_storage sa;
    socklen_t len;
};

char *listen_format(const struct sockaddr *sa, char *out, size_t cap)
{
    char ip[INET6_ADDRSTRLEN] = "?";
    if (sa->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)sa;
        unsigned port = ntohs(in6->sin6_port);
        if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
            (void)inet_ntop(AF_INET, &in6->sin6_addr.s6_addr[12], ip, sizeof ip);
            (void)snprintf(out, cap, "%s:%u", ip, port);
        } else {
            (void)inet_ntop(AF_INET6, &in6->sin6_addr, ip, sizeof ip);
            (void)snprintf(out, cap, "[%s]:%u", ip, port);
        }
    } else if (sa->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)sa;
        (void)inet_ntop(AF_INET, &in->sin_addr, ip, sizeof ip);
        (void)snprintf(out, cap, "%s:%u", ip, (unsigned)ntohs(in->sin_port));
    } else {
        (void)snprintf(out, cap, "?");
    }
    return out;
}

static int resolve(const char *address, struct endpoint *ret, struct err *err)
{
    const char *colon = strrchr(address, ':');
    uint64_t port;
    if (!colon || !slice_to_u64(slice_of(colon + 1), 65535, &port))
        return err_set(err, ERR_INVALID,
                       "listen address \"%s\": give it as ADDRESS:PORT, like 127.0.0.1:9090 or :9090",
                       address);
    const char *host = address;
    size_t host_len = (size_t)(colon - address);
    if (host_len >= 2 && host[0] == '[' && host[host_len - 1] == ']') {
        ++host;
        host_len -= 2;
    } else if (memchr(host, ':', host_len)) {
        return err_set(err, ERR_INVALID,
                       "listen address \"%s\": an IPv6 address stands in brackets, like [::1]:9090", address);
    }
    cleanup_free char *name = mem_strndup(host, host_len);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    if (host_len == 0) {
        /* All addresses of both families, where the machine has IPv6. */
        cleanup_close int probe = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
        hints.ai_family = probe >= 0 ? AF_INET6 : AF_INET;
    }
    int rc = getaddrinfo(host_len ? name : NULL, colon + 1, &hints, &found);
    if (rc != 0 || !found)
        return err_set(err, ERR_INVALID, "listen address \"%s\": %s", address, gai_strerror(rc));
    const struct addrinfo *best = found;
    for (const struct addrinfo *a = found; a; a = a->ai_next) {
        if (a->ai_family == AF_INET) { /* "localhost" means 127.0.0.1 to most clients */
            best = a;
            break;
        }
    }
    memcpy(&ret->sa, best->ai_addr, best->ai_addrlen);
    ret->len = best->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

static int bind_error(struct err *err, const char *address, int errno_value)
{
    switch (errno_value) {
    case EADDRINUSE:
        return err_set(err, ERR_IO, "%s is in use: stop what listens there, or choose another port", address);
    case EACCES:
        return err_set(err, ERR_IO, "%s: no right to listen there (ports below 1024 need root)", address);
    case EADDRNOTAVAIL:
        return err_set(err, ERR_IO, "%s: this machine has no such address", address);
    default:
        return err_set_errno(err, ERR_IO, errno_value, "cannot listen on %s", address);
    }
}

static int open_socket(const struct endpoint *ep, bool share_port)
{
    cleanup_close int fd = socket(ep->sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    int on = 1, off = 0;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (ep->sa.ss_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (share_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0)
        return -1;
    if (bind(fd, (const struct sockaddr *)&ep->sa, ep->len) != 0)
        return -1;
    return steal_fd(&fd);
}

/* Accepted sockets inherit these from the listener, so that accepting costs no further system call. */
static void set_options(int fd, const struct http_limits *limits)
{
    int on = 1, idle_s = 60, interval_s = 15, lowat = HTTP_NOTSENT_LOWAT;
    /* The kernel applies this to a reader with a closed window too; that one is the slow-reader watchdog's
     * business. */
    uint32_t longest = limits->tcp_user_timeout_ms;
    if (longest && longest < limits->slow_reader_timeout_ms)
        longest = limits->slow_reader_timeout_ms;
    int user_timeout = longest > INT32_MAX ? INT32_MAX : (int)longest;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout, sizeof user_timeout);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof lowat);
}

int listen_open(const char *address, const struct http_limits *limits, int *fds, size_t stride,
                unsigned count, char **ret_address, struct err *err)
{
    struct endpoint ep = {.len = 0};
    if (resolve(address, &ep, err) < 0)
        return -1;
    struct sockaddr_in *in = (void *)&ep.sa; /* the port is at the same place in both families */
    if (in->sin_port != 0) {
        /* SO_REUSEPORT would let a second server of the same user in without a word: look first. */
        int probe = open_socket(&ep, false);
        if (probe < 0 || listen(probe, 1) != 0) {
            int saved = errno;
            if (probe >= 0)
                (void)close(probe);
            return bind_error(err, address, saved);
        }
        (void)close(probe);
    }
    for (unsigned i = 0; i < count; ++i) {
        int *slot = &fds[i * stride];
        *slot = open_socket(&ep, true);
        if (*slot < 0)
            return bind_error(err, address, errno);
        set_options(*slot, limits);
        if (listen(*slot, HTTP_BACKLOG) != 0)
            return bind_error(err, address, errno);
        socklen_t len = sizeof ep.sa; /* port 0 became a real one, which the others share */
        if (getsockname(*slot, (struct sockaddr *)&ep.sa, &len) != 0)
            return err_set_errno(err, ERR_IO, errno, "cannot listen on %s", address);
    }
    char text[80];
    *ret_address = mem_strdup(listen_format((const struct sockaddr *)&ep.sa, text, sizeof text));
    return 0;
}
