// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/http_client.h"

#include <sys/resource.h>

static void hello(struct request *r, struct site *s)
{
    (void)s;
    response_header_ref(r, "Content-Type", SLICE_LIT("text/plain"));
    response_header(r, "Docker-Content-Digest", SLICE_LIT("sha256:0123"));
    response_send_ref(r, 200, "hello\n", 6);
}

/* What the request looked like, one fact a line. */
static void describe(struct request *r, struct site *s)
{
    (void)s;
    struct slice ns = request_query_param(r, "ns"), accept0 = request_header_at(r, "accept", 0),
                 accept1 = request_header_at(r, "accept", 1), accept2 = request_header_at(r, "accept", 2),
                 odd = request_header(r, "x-odd"), body = request_body(r);
    char text[1024];
    int n = snprintf(
        text, sizeof text,
        "method=%d %.*s\npath=%.*s\nquery=%.*s\nns=%.*s\naccept=%.*s|%.*s|%s\nodd=%.*s\nhost=%.*s\n"
        "body=%.*s\ntls=%d\npeer=%.10s\nid=%zu\n",
        (int)request_method(r), (int)request_method_name(r).len, request_method_name(r).p,
        (int)request_path(r).len, request_path(r).p, (int)request_query(r).len,
        request_query(r).p ? request_query(r).p : "", ns.p ? (int)ns.len : 1, ns.p ? ns.p : "-",
        (int)accept0.len, accept0.p ? accept0.p : "", (int)accept1.len, accept1.p ? accept1.p : "",
        accept2.p ? "?" : "-", (int)odd.len, odd.p ? odd.p : "", (int)request_host(r).len, request_host(r).p,
        (int)body.len, body.p ? body.p : "", request_is_tls(r), request_peer(r), strlen(request_id(r)));
    response_send(r, 200, text, (size_t)n);
}

static void test_get_head_keep_alive(void **state)
{
    (void)state;
    struct site s;
    site_init(&s, hello);
    site_start(&s);
    struct client c;
    client_dial(&c, &s);
    struct answer a;
    char body[64], first_id[40] = "";
    for (int i = 0; i < 3; ++i) {
        client_get(&c, "/");
        client_head(&c, &a);
        assert_int_equal(a.status, 200);
        client_body(&c, &a, body, sizeof body);
        assert_string_equal(body, "hello\n");
        assert_non_null(strstr(a.head, "\r\nContent-Type: text/plain\r\n"));
        assert_non_null(strstr(a.head, "\r\nDocker-Content-Digest: sha256:0123\r\n"));
        assert_null(strstr(a.head, "Server:"));
        const char *id = strstr(a.head, "\r\nX-Request-Id: ");
        assert_non_null(id);
        assert_memory_equal(id + 16 + 26, "\r\n", 2);
        assert_memory_not_equal(id + 16, first_id, 26);
        memcpy(first_id, id + 16, 26);
    }
    client_send(&c, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client_head(&c, &a);
    assert_int_equal(a.status, 200);
    assert_int_equal(a.length, 6);
    /* No body of the HEAD: the next bytes are the next answer. */
    assert_int_equal(client_answer(&c, body, sizeof body), 200);
    assert_string_equal(body, "hello\n");
    client_send(&c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_int_equal(client_answer(&c, body, sizeof body), 200);
    client_expect_end(&c);
    assert_true(c.eof);
    client_close(&c);
    eventually(atomic_load(&s.finished) == 6);
    assert_int_equal(atomic_load(&s.aborted), 0);
    site_stop(&s);
}

static void test_pipelining(void **state)
{
    (void)state;
    struct site s;
    site_init(&s, describe);
    site_start(&s);
    struct client c;
    client_dial(&c, &s);
    enum { N = 200 };
    for (int i = 0; i < N; ++i) {
        char path[32];
        (void)snprintf(path, sizeof path, "/r/%d", i);
        client_get(&c, path);
    }
    for (int i = 0; i < N; ++i) {
        char body[2048], line[40];
        assert_int_equal(client_answer(&c, body, sizeof body), 200);
        (void)snprintf(line, sizeof line, "\npath=/r/%d\n", i);
        assert_non_null(strstr(body, line));
    }
    client_close(&c);
    site_stop(&s);
}

static void test_what_a_request_says(void **state)
{
    (void)state;
    struct site s;
    site_init(&s, describe);
    site_start(&s);
    struct client c;
    char body[2048];
    client_dial(&c, &s);
    client_send(
        &c, "POST /v2/a%2Fb/../c?n=1&ns=quay.io%3A443+x&bad=%00 HTTP/1.1\r\nHost: reg:5000\r\nAccept: one\r\n"
            "X-Odd: odd value \r\nACCEPT: two\r\nContent-Length: 5\r\n\r\nbody!");
    assert_int_equal(client_answer(&c, body, sizeof body), 200);
    assert_string_equal(
        body, "method=2 POST\npath=/v2/a%2Fb/../c\nquery=n=1&ns=quay.io%3A443+x&bad=%00\n"
              "ns=quay.io:443 x\naccept=one|two|-\nodd=odd value\nhost=reg:5000\nbody=body!\ntls=0\n"
              "peer=127.0.0.1:\nid=26\n");
    /* A plain Content-Length leaves the connection usable. */
    client_send(&c, "GET /?ns=%00&ns=x HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_int_equal(client_answer(&c, body, sizeof body), 200);
    assert_non_null(strstr(body, "\nns=-\n"));
    /* And so does a chunked one, which ends where it says. */
    client_send(&c, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
                    "chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n");
    assert_int_equal(client_answer(&c, body, sizeof body), 200);
    assert_non_null(strstr(body, "\nbody=abcde\n"));
    client_send(&c, "GET / HTTP/1.0\r\n\r\n");
    assert_int_equal(client_answer(&c, body, sizeof body), 200);
    assert_non_null(strstr(body, "\nhost=\n"));
    client_expect_end(&c);
    client_close(&c);
    site_stop(&s);
}

static void never(struct request *r, struct site *s)
{
    (void)s;
    (void)r;
    fail_msg("the request reached the handler");
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *request;
    } cases[] = {
        {400, "GET /\r\nX: y HTTP/1.1\r\nHost: a\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n\r\n"},
        {400, "GET * HTTP/1.1\r\nHost: a\r\n\r\n"},
        {400, "GET http://a/v2/ HTTP/1.1\r\nHost: a\r\n\r\n"},
        {400, "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n"},
        {400, "GET /a%00b HTTP/1.1\r\nHost: a\r\n\r\n"},
        {400, "GET /a\x01 HTTP/1.1\r\nHost: a\r\n\r\n"},
        {400, "GET / HTTP/1.1\nHost: a\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost : a\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: "
              "chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n"},
        {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 4\r\n\r\nabcd"},
        {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: one\r\n\r\na"},
        {400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"},
        {400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n"},
        {413, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n"},
        {413, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n"},
        {417, "POST / HTTP/1.1\r\nHost: a\r\nExpect: a-pony\r\nContent-Length: 1\r\n\r\n1"},
        {417, "GET / HTTP/1.1\r\nHost: a\r\nExpect: a-pony\r\n\r\n"},
        {505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
    };
    struct site s;
    site_init(&s, never);
    s.config.limits.max_body_bytes = 1000;
    site_start(&s);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        struct client c;
        struct answer a;
        char body[400];
        client_dial(&c, &s);
        client_send(&c, cases[i].request);
        if (cases[i].status == 413 && strstr(cases[i].request, "chunked")) {
            char chunk[0xfff];
            memset(chunk, 'x', sizeof chunk);
            client_send_bytes(&c, chunk, sizeof chunk);
        }
        client_head(&c, &a);
        if (a.status != cases[i].status)
            fail_msg("%d instead of %d for: %s", a.status, cases[i].status, cases[i].request);
        client_body(&c, &a, body, sizeof body);
        assert_non_null(strstr(a.head, "Connection: close"));
        client_expect_end(&c);
        client_close(&c);
    }
    assert_int_equal(site_stats(&s).requests_open, 0);
    assert_int_equal(atomic_load(&s.finished), atomic_load(&s.refused));
    site_stop(&s);
}

static void test_what_a_refusal_says(void **state)
{
    (void)state;
    struct site s;
    site_init(&s, never);
    s.config.limits.max_body_bytes = 1000;
    site_start(&s);
    struct client c;
    struct answer a;
    char body[400];
    client_dial(&c, &s);
    client_send(&c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n");
    client_head(&c, &a);
    assert_int_equal(a.status, 413);
    assert_non_null(strstr(a.head, "\r\nContent-Type: application/json\r\n"));
    assert_non_null(strstr(a.head, "\r\nX-Request-Id: "));
    client_body(&c, &a, body, sizeof body);
    assert_string_equal(body, "{\"refused\":\"the body of the request is too large\"}");
    client_close(&c);
    eventually(atomic_load(&s.finished) == 1);
    site_stop(&s);
}

/* The client says all it has to say before it listens, as most do. */
static void test_refused_upload_still_gets_its_answer(void **state)
{
    (void)state;
    struct site s;
    site_init(&s, never);
    s.config.limits.max_body_bytes = 1 << 20;
    site_start(&s);
    enum { SIZE = 17 << 20 };
    char *body = mem_zalloc(SIZE), text[200];
    for (int i = 0; i < 3; ++i) {
        struct client c;
        client_dial(&c, &s);
        (void)snprintf(text, sizeof text, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", SIZE);
        client_send(&c, text);
        client_send_bytes(&c, body, SIZE);
        assert_int_equal(client_answer(&c, text, sizeof text), 413);
        client_expect_end(&c);
        assert_true(c.eof);
        client_close(&c);
    }
    struct client c; /* one that never stops is not waited for */
    client_dial(&c, &s);
    client_send(&c, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n");
    assert_int_equal(client_answer(&c, text, sizeof text), 413);
    free(body);
    site_stop(&s);
    client_close(&c);
}

static void test_header_limit(void **state)
{
    (void)state;
    struct site s;
    site_init(&s, hello);
    s.config.limits.max_header_bytes = 8192;
    site_start(&s);
    char *big = mem_alloc(300000), body[400];
    static const struct {
        int bytes, status;
    } cases[] = {{8000, 200}, {8200, 431}, {250000, 431}};
    for (size_t i = 0; i < 3; ++i) {
        struct client c;
        client_dial(&c, &s);
        int n = sprintf(big, "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: ");
        memset(big + n, 'x', (size_t)(cases[i].bytes - n));
        memcpy(big + cases[i].bytes, "\r\n\r\n", 5);
        client_send(&c, big);
        assert_int_equal(client_answer(&c, body, sizeof body), cases[i].status);
        client_close(&c);
    }
    free(big);
    site_stop(&s);
}

static void test_head_and_body_in_pieces(void **state)
{
    (void)state;
    struct site s;
    site_init(&s, describe);
    site_start(&s);
    struct client c;
    char body[2048];
    client_dial(&c, &s);
    const char *text = "POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    for (size_t i = 0; i < strlen(text); ++i) {
        client_send_bytes(&c, text + i, 1);
        (void)usleep(500);
    }
    assert_int_equal(client_answer(&c, body, sizeof body), 200);
    assert_non_null(strstr(body, "\nbody=abc\n"));
    client_close(&c);
    site_stop(&s);
}

static void test_header_values_cannot_break_lines(void **state);
static void broken_header(struct request *r, struct site *s)
{
    (void)s;
    response_header(r, "X-Foreign", SLICE_LIT("a\r\nSet-Cookie: b"));
    response_send_ref(r, 200, NULL, 0);
}
static void test_header_values_cannot_break_lines(void **state)
{
    (void)state;
    struct site s;
    site_init(&s, broken_header);
    site_start(&s);
    struct client c;
    struct answer a;
    client_dial(&c, &s);
    client_get(&c, "/");
    client_head(&c, &a);
    assert_int_equal(a.status, 200);
    assert_true(a.has_length && a.length == 0);
    assert_non_null(strstr(a.head, "\r\nX-Foreign: a  Set-Cookie: b\r\n"));
    client_close(&c);
    site_stop(&s);
}

static void no_content(struct request *r, struct site *s)
{
    (void)s;
    response_send_ref(r, slice_eq_str(request_path(r), "/304") ? 304 : 204, NULL, 0);
}

static void test_statuses_without_body(void **state)
{
    (void)state;
    struct site s;
    site_init(&s, no_content);
    site_start(&s);
    struct client c;
    client_dial(&c, &s);
    for (int i = 0; i < 4; ++i) {
        struct answer a;
        client_get(&c, i % 2 ? "/304" : "/");
        client_head(&c, &a);
        assert_int_equal(a.status, i % 2 ? 304 : 204);
        assert_false(a.has_length);
        assert_null(strstr(a.head, "ransfer-"));
    }
    client_close(&c);
    site_stop(&s);
}

static void test_connection_limit(void **state)
{
    (void)state;
    struct site s;
    site_init(&s, hello);
    s.config.limits.max_connections = 4;
    site_start(&s);
    struct client in[4], waiting;
    char body[64];
    for (int i = 0; i < 4; ++i) {
        client_dial(&in[i], &s);
        client_get(&in[i], "/");
        assert_int_equal(client_answer(&in[i], body, sizeof body), 200);
    }
    client_dial(&waiting, &s); /* the kernel's backlog takes it */
    client_get(&waiting, "/");
    struct pollfd p = {.fd = waiting.fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 200), 0);
    assert_int_equal(site_stats(&s).connections_open, 4);
    client_get(&in[2], "/"); /* who is in goes on */
    assert_int_equal(client_answer(&in[2], body, sizeof body), 200);
    client_close(&in[1]);
    assert_int_equal(client_answer(&waiting, body, sizeof body), 200);
    assert_true(site_stats(&s).connections_refused > 0);
    client_close(&waiting);
    for (int i = 0; i < 4; ++i)
        client_close(&in[i]);
    /* Many more than the limit, all at once and in any order: each gets its answer in the end. */
    struct client many[40];
    for (int i = 0; i < 40; ++i) {
        client_dial(&many[i], &s);
        client_send(&many[i], "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    }
    for (int i = 39; i >= 0; --i) {
        assert_int_equal(client_answer(&many[i], body, sizeof body), 200);
        client_close(&many[i]);
    }
    site_stop(&s);
}

static void test_out_of_descriptors(void **state)
{
    (void)state;
    const char *preload = getenv("LD_PRELOAD");
    if (preload && strstr(preload, "vgpreload"))
        skip(); /* valgrind has descriptors of its own at the limit, and sets another */
    struct site s;
    site_init(&s, hello);
    s.config.workers = 1;
    site_start(&s);
    struct client c;
    char body[64];
    client_dial(&c, &s);
    /* The client's own socket is there; the server finds none left for its end. */
    int probe = dup(c.fd);
    struct rlimit before, low;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    client_get(&c, "/");
    assert_int_equal(client_answer(&c, body, sizeof body), 200);
    struct client second;
    memset(&second, 0, sizeof second);
    second.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    low = before;
    low.rlim_cur = (rlim_t)probe;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    sa.sin_port = site_port(http_server_address(s.server, 0));
    assert_int_equal(connect(second.fd, (struct sockaddr *)&sa, sizeof sa), 0);
    client_get(&second, "/");
    eventually(site_stats(&s).connections_refused > 0);
    struct rusage r0, r1;
    assert_int_equal(getrusage(RUSAGE_SELF, &r0), 0);
    (void)usleep(500000);
    assert_int_equal(getrusage(RUSAGE_SELF, &r1), 0);
    long ms = (r1.ru_utime.tv_sec + r1.ru_stime.tv_sec - r0.ru_utime.tv_sec - r0.ru_stime.tv_sec) * 1000 +
              (r1.ru_utime.tv_usec + r1.ru_stime.tv_usec - r0.ru_utime.tv_usec - r0.ru_stime.tv_usec) / 1000;
    if (ms > 150)
        fail_msg("%ld ms of CPU in 500 ms without a free descriptor: it spins", ms);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(client_answer(&second, body, sizeof body), 200);
    client_close(&second);
    client_close(&c);
    (void)close(probe);
    site_stop(&s);
}

static void test_port_in_use(void **state)
{
    (void)state;
    struct site s, second;
    site_init(&s, hello);
    site_start(&s);
    site_init(&second, hello);
    second.listen.address = http_server_address(s.server, 0);
    struct err err = {0};
    assert_null(http_server_new(&second.config, &err));
    assert_int_equal(err.code, ERR_IO);
    assert_non_null(strstr(err.msg, second.listen.address));
    assert_non_null(strstr(err.msg, "in use"));
    static const char *bad[] = {
        "", "127.0.0.1", "127.0.0.1:", "127.0.0.1:99999", "::1:80", "no.such.host.invalid:1", "[::1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
        second.listen.address = bad[i];
        err = (struct err){0};
        assert_null(http_server_new(&second.config, &err));
        assert_int_equal(err.code, ERR_INVALID);
    }
    site_stop(&s);
}

static void test_addresses(void **state)
{
    (void)state;
    static const char *addresses[] = {"127.0.0.1:0", ":0", "localhost:0"};
    for (size_t i = 0; i < 3; ++i) {
        struct site s;
        site_init(&s, describe);
        s.listen.address = addresses[i];
        site_start(&s);
        struct client c;
        char body[2048];
        client_dial(&c, &s);
        client_get(&c, "/");
        assert_int_equal(client_answer(&c, body, sizeof body), 200);
        assert_non_null(strstr(body, "\npeer=127.0.0.1:\n")); /* also where the listener is IPv6 */
        client_close(&c);
        site_stop(&s);
    }
}

static long resident_kb(void)
{
    char line[200], *resident = NULL;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f));
    (void)fclose(f);
    (void)strtol(line, &resident, 10); /* the first number is the address space */
    return strtol(resident, NULL, 10) * (sysconf(_SC_PAGESIZE) / 1024);
}

static void test_2000_idle_connections(void **state)
{
    (void)state;
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_max < 4200)
        skip();
    limit.rlim_cur = limit.rlim_max < 65536 ? limit.rlim_max : 65536;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    struct site s;
    site_init(&s, hello);
    site_start(&s);
    enum { N = 2000 };
    int *fds = mem_alloc(N * sizeof *fds);
    long before = resident_kb();
    for (int i = 0; i < N; ++i) {
        struct client c;
        char body[64];
        client_dial(&c, &s);
        client_get(&c, "/");
        assert_int_equal(client_answer(&c, body, sizeof body), 200);
        fds[i] = c.fd;
    }
    assert_int_equal(site_stats(&s).connections_open, N);
    long kb = resident_kb() - before;
    print_message("%d idle connections: %ld KiB, %.2f KiB each\n", N, kb, (double)kb / N);
    /* ASan's red zones and quarantine are in there: the bound is wide, the printed figure of a release build
     * is not. */
    assert_true(kb < (long)N * 16);
    for (int i = 0; i < N; ++i)
        (void)close(fds[i]);
    eventually(site_stats(&s).connections_open == 0);
    free(fds);
    site_stop(&s);
}

static void test_stop_with_idle_and_half_open_connections(void **state)
{
    (void)state;
    struct site s;
    site_init(&s, hello);
    site_start(&s);
    struct client idle[5], half[5];
    char body[64];
    for (int i = 0; i < 5; ++i) {
        client_dial(&idle[i], &s);
        client_get(&idle[i], "/");
        assert_int_equal(client_answer(&idle[i], body, sizeof body), 200);
        client_dial(&half[i], &s);
        client_send(&half[i], "GET / HTT");
    }
    uint64_t begin = clock_mono_ms();
    assert_int_equal(http_server_drain(s.server, 60000), 0);
    assert_true(clock_mono_ms() - begin < 30000); /* it waits for requests, not for connections */
    for (int i = 0; i < 5; ++i) {
        client_expect_end(&idle[i]);
        client_close(&idle[i]);
        client_close(&half[i]);
    }
    site_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_get_head_keep_alive),
        cmocka_unit_test(test_pipelining),
        cmocka_unit_test(test_what_a_request_says),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_what_a_refusal_says),
        cmocka_unit_test(test_refused_upload_still_gets_its_answer),
        cmocka_unit_test(test_header_limit),
        cmocka_unit_test(test_head_and_body_in_pieces),
        cmocka_unit_test(test_header_values_cannot_break_lines),
        cmocka_unit_test(test_statuses_without_body),
        cmocka_unit_test(test_connection_limit),
        cmocka_unit_test(test_out_of_descriptors),
        cmocka_unit_test(test_port_in_use),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_2000_idle_connections),
        cmocka_unit_test(test_stop_with_idle_and_half_open_connections),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
