// SPDX-License-Identifier: Apache-2.0
/*
 * A connection of any bytes to a server that runs: whatever came, each request that the handler sees is
 * well-formed, each gets one answer, where it comes from can be told, and the server ends the connection in
 * the end. Covers the parts that need one: pipelining, bodies, refusals, query parameters, X-Forwarded-For,
 * X-Rac-Node.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/mem.h"
#include "proxy/access/access.h"
#include "proxy/http/response.h"
#include "proxy/http/server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct access *who_asks;
static struct sockaddr_in address;
static struct http_server *server;

static void use_query(struct request *r)
{
    struct slice rest = request_query(r);
    while (rest.p) {
        struct slice value = slice_cut(&rest, '&'), key = slice_cut(&value, '=');
        char *name = request_strdup(r, key);
        struct slice decoded = request_query_param(r, name);
        assert(!decoded.p || (decoded.len <= rest.len + value.len + request_query(r).len &&
                              !memchr(decoded.p, '\0', decoded.len)));
    }
}

static void on_request(struct request *r, void *arg)
{
    (void)arg;
    struct access_origin o;
    struct net_address again;
    const struct caller *caller = NULL;
    struct err err = {0};
    assert(request_path(r).len && request_path(r).p[0] == '/' && request_body(r).len <= 4096);
    static const struct caller nobody = {.roles = ACCESS_PULL};
    int rc = access_identify(who_asks, r, &caller, NULL, NULL, &err); /* no passwords here: never later */
    assert(rc == 1 || (rc == -1 && (err.code == ERR_UNAUTHORIZED || err.code == ERR_LIMITED)));
    request_set_user(r, rc == 1 ? caller : &nobody);
    access_origin(who_asks, r, &o);
    assert(o.node[0] && strlen(o.node) <= 253 && !strpbrk(o.node, " \r\n\t"));
    assert(net_parse_address(slice_of(o.address), &again) && memcmp(&again, &o.ip, sizeof again) == 0);
    assert(!o.location || strcmp(o.location, "here") == 0 || strcmp(o.location, "there") == 0);
    use_query(r);
    response_header(r, "X-Node", slice_of(o.node));
    struct slice body = request_body(r);
    response_send(r, 200, body.p, body.len);
}

static void refuse(struct request *r, int status, const char *message, void *arg)
{
    (void)arg;
    assert(status >= 400 && status < 600 && message[0]);
    response_send(r, status, message, strlen(message));
}

static void start(void)
{
    static const char *const keys[] = {"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                                       NULL};
    static const struct access_account account = {.name = "a", .keys = keys, .roles = ACCESS_PULL};
    static struct net_range proxies[2];
    static struct access_location places[2] = {{.name = "here"}, {.name = "there"}};
    if (net_parse_range("127.0.0.0/8", &proxies[0], NULL) < 0 ||
        net_parse_range("fd00::/8", &proxies[1], NULL) < 0 ||
        net_parse_range("10.0.0.0/8", &places[0].network, NULL) < 0 ||
        net_parse_range("10.1.0.0/16", &places[1].network, NULL) < 0)
        abort();
    static const struct access_config who = {.accounts = &account,
                                             .account_count = 1,
                                             .anonymous = ACCESS_PULL,
                                             .locations = places,
                                             .location_count = 2,
                                             .trusted_proxies = proxies,
                                             .trusted_proxy_count = 2,
                                             .trust_headers = true};
    static const struct http_listen listen = {"127.0.0.1:0"};
    struct http_config config = {.listen = &listen,
                                 .listen_count = 1,
                                 .workers = 1,
                                 .limits = http_limits_default,
                                 .on_request = on_request,
                                 .refuse = refuse};
    /* No deadline ends what nothing else does: -timeout finds that. */
    config.limits.idle_timeout_ms = config.limits.head_timeout_ms = config.limits.body_timeout_ms = 1000000;
    config.limits.max_body_bytes = 4096;
    config.limits.max_header_bytes = 4096;
    (void)signal(SIGPIPE, SIG_IGN);
    who_asks = access_new(&who, NULL);
    server = http_server_new(&config, NULL);
    if (!server || http_server_start(server, NULL) < 0)
        abort();
    const char *port = strrchr(http_server_address(server, 0), ':') + 1;
    address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
}

/* Until the other side is through: it has all there is, so nothing is a reason to wait. */
static void read_all(int fd)
{
    char piece[16384];
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int ready = poll(&p, 1, 100000);
        assert(ready == 1); /* a connection that nobody answers, and that does not end */
        if (recv(fd, piece, sizeof piece, 0) <= 0)
            return;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!who_asks)
        start();
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    static const struct linger at_once = {.l_onoff = 1}; /* no port is left waiting */
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        abort();
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    (void)send(fd, data, size, MSG_NOSIGNAL);
    (void)shutdown(fd, SHUT_WR);
    read_all(fd);
    (void)close(fd);
    struct http_server_stats stats = {.connections_open = 1};
    for (unsigned i = 0; stats.connections_open || stats.requests_open; ++i) {
        assert(i < 100000); /* a connection or a request that does not end */
        if (i)
            (void)usleep(1000);
        http_server_stats(server, &stats);
    }
    return 0;
}
