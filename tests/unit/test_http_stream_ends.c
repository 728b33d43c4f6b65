// SPDX-License-Identifier: Apache-2.0
/* Streams that end before their time: aborted, cut short, read by nobody, drained. */
#include "http_flow.h"

#include <pthread.h>

static void test_abort_is_a_reset(void **state)
{
    (void)state;
    for (int is_file = 0; is_file < 2; ++is_file) {
        struct site s;
        struct flow f;
        flow_init(&f, &s, 1 << 20, 10000);
        f.file = is_file ? pattern_file(1 << 20) : -1;
        f.abort_at = 300000;
        site_start(&s);
        struct client c;
        struct answer a;
        client_dial(&c, &s);
        client_get(&c, "/");
        client_head(&c, &a);
        assert_int_equal(a.length, 1 << 20);
        uint64_t got = client_pattern(&c, 0, 1 << 20);
        assert_true(got <= 300000);
        assert_true(c.reset);
        eventually(atomic_load(&f.disposed) == 1);
        assert_int_equal(atomic_load(&s.aborted), 1);
        client_close(&c);
        site_stop(&s);
        flow_free(&f);
    }
}

static void abort_at_once(struct request *r, struct site *s)
{
    request_on_dispose(r, flow_gone, s->data);
    response_abort(r);
}

static void test_abort_before_an_answer(void **state)
{
    (void)state;
    struct site s;
    struct flow f;
    flow_init(&f, &s, 1, 1);
    s.handler = abort_at_once;
    site_start(&s);
    struct client c;
    client_dial(&c, &s);
    client_get(&c, "/");
    assert_false(client_fill(&c)); /* not one byte */
    assert_true(c.reset);
    eventually(atomic_load(&f.disposed) == 1);
    client_close(&c);
    site_stop(&s);
    flow_free(&f);
}

static void abort_now(void *arg)
{
    struct flow *f = arg;
    if (f->request)
        response_abort(f->request);
}

/* The reader has stopped, so bytes are on their way when the room gives up. */
static void test_abort_while_sending(void **state)
{
    (void)state;
    for (int is_file = 0; is_file < 2; ++is_file) {
        struct site s;
        struct flow f;
        flow_init(&f, &s, 32 << 20, 8 << 20);
        f.file = is_file ? pattern_file(32 << 20) : -1;
        site_start(&s);
        struct client c;
        client_dial_with(&c, &s, 4096);
        client_get(&c, "/");
        eventually(atomic_load(&f.pulls) > 0);
        (void)usleep(50000);
        loop_post(f.loop, abort_now, &f);
        eventually(atomic_load(&f.disposed) == 1);
        assert_int_equal(atomic_load(&s.aborted), 1);
        while (client_fill(&c)) /* what its kernel had already */
            ;
        assert_true(c.reset);
        client_close(&c);
        site_stop(&s);
        flow_free(&f);
    }
}

static void on_short(void *arg)
{
    atomic_fetch_add(&((struct flow *)arg)->shorts, 1);
}

static void short_pull(struct request *r, void *arg)
{
    struct flow *f = arg;
    response_write_file(r, f->file, 0, f->size, on_short, f);
}

static void short_begin(struct request *r, struct site *s)
{
    struct flow *f = s->data;
    request_on_dispose(r, flow_gone, f);
    response_begin(r, 200, f->size, (struct response_stream){.pull = short_pull, .arg = f});
}

static void test_short_file(void **state)
{
    (void)state;
    struct site s;
    struct flow f;
    flow_init(&f, &s, 2 << 20, 1);
    s.handler = short_begin;
    f.file = pattern_file(1 << 20); /* half of what is promised */
    site_start(&s);
    struct client c;
    struct answer a;
    client_dial(&c, &s);
    client_get(&c, "/");
    client_head(&c, &a);
    assert_int_equal(a.length, 2 << 20);
    assert_true(client_pattern(&c, 0, 2 << 20) <= 1 << 20);
    assert_true(c.reset);
    eventually(atomic_load(&f.disposed) == 1);
    assert_int_equal(atomic_load(&f.shorts), 1);
    assert_int_equal(atomic_load(&s.aborted), 1);
    client_close(&c);
    site_stop(&s);
    flow_free(&f);
}

static void test_reader_that_stops_is_cut(void **state)
{
    (void)state;
    for (int kind = 0; kind < 3; ++kind) { /* memory, file, whole body */
        struct site s;
        struct flow f;
        uint64_t size = 24 << 20;
        flow_init(&f, &s, size, kind == 2 ? (size_t)size : 1 << 20);
        f.file = kind == 1 ? pattern_file(size) : -1;
        if (kind == 2)
            s.handler = whole_body;
        s.config.limits.slow_reader_timeout_ms = 300;
        site_start(&s);
        struct client c;
        client_dial_with(&c, &s, 8192);
        uint64_t begin = clock_mono_ms();
        client_get(&c, "/");
        eventually(atomic_load(&s.aborted) == 1);
        uint64_t took = clock_mono_ms() - begin;
        assert_true(took >= 300);
        assert_int_equal(site_stats(&s).slow_readers_cut, 1);
        eventually(site_stats(&s).connections_open == 0);
        while (client_fill(&c))
            ;
        assert_true(c.reset);
        client_close(&c);
        site_stop(&s);
        flow_free(&f);
    }
}

static void test_slow_but_moving_reader_is_not_cut(void **state)
{
    (void)state;
    for (int is_file = 0; is_file < 2; ++is_file) {
        struct site s;
        struct flow f;
        uint64_t size = 4 << 20;
        flow_init(&f, &s, size, 2 << 20);
        f.file = is_file ? pattern_file(size) : -1;
        s.config.limits.slow_reader_timeout_ms = 600;
        site_start(&s);
        struct client c;
        struct answer a;
        client_dial_with(&c, &s, 16384);
        client_get(&c, "/");
        client_head(&c, &a);
        uint64_t begin = clock_mono_ms(), at = 0;
        while (clock_mono_ms() - begin <
               2000) { /* over three timeouts, and each single write takes longer than one */
            assert_int_equal(client_pattern(&c, at, 40000), 40000);
            at += 40000;
            (void)usleep(100000);
            if (at + 40000 > size)
                break;
        }
        assert_int_equal(client_pattern(&c, at, size - at), size - at);
        eventually(atomic_load(&f.disposed) == 1);
        assert_int_equal(site_stats(&s).slow_readers_cut, 0);
        assert_int_equal(atomic_load(&s.aborted), 0);
        client_close(&c);
        site_stop(&s);
        flow_free(&f);
    }
}

static void test_room_that_is_slow_is_not_the_readers_fault(void **state)
{
    (void)state;
    struct site s;
    struct flow f;
    flow_init(&f, &s, 1000, 500);
    f.hold = true;
    s.config.limits.slow_reader_timeout_ms = 100;
    site_start(&s);
    struct client c;
    struct answer a;
    client_dial(&c, &s);
    client_get(&c, "/");
    client_head(&c, &a);
    for (int i = 0; i < 3; ++i) {
        eventually(atomic_load(&f.waiting));
        (void)usleep(300000);
        assert_int_equal(atomic_load(&f.disposed), 0);
        loop_post(f.loop, step_later, &f);
        if (i < 2)
            assert_int_equal(client_pattern(&c, (uint64_t)i * 500, 500), 500);
    }
    eventually(atomic_load(&f.disposed) == 1);
    assert_int_equal(atomic_load(&s.aborted), 0);
    client_close(&c);
    site_stop(&s);
    flow_free(&f);
}

static void hold_request(struct request *r, struct site *s)
{
    struct flow *f = s->data;
    request_on_dispose(r, flow_gone, f);
    atomic_fetch_add(&f->answered, 1);
}

static void test_vanished_clients(void **state)
{
    (void)state;
    enum { N = 50 };
    for (int is_streaming = 0; is_streaming < 2; ++is_streaming) {
        struct site s;
        struct flow f;
        flow_init(&f, &s, 1000, 500);
        f.hold = true;
        int clients = is_streaming ? 1 : N;
        if (!is_streaming)
            s.handler = hold_request;
        s.config.workers = 1; /* they share `f` */
        site_start(&s);
        struct client c[N];
        for (int i = 0; i < clients; ++i) {
            client_dial(&c[i], &s);
            client_get(&c[i], "/");
        }
        eventually(atomic_load(&f.answered) == clients);
        if (is_streaming)
            eventually(atomic_load(&f.waiting));
        for (int i = 0; i < clients; ++i) {
            if (i % 2) { /* by reset */
                struct linger now = {.l_onoff = 1};
                (void)setsockopt(c[i].fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
            }
            client_close(&c[i]);
        }
        eventually(atomic_load(&f.disposed) == clients);
        assert_int_equal(site_stats(&s).clients_vanished, clients);
        assert_int_equal(atomic_load(&s.aborted), clients);
        site_stop(&s);
        flow_free(&f);
    }
}

struct order {
    char text[16];
    atomic_int done;
};
struct mark {
    struct order *order;
    char c;
};

static void add_mark(void *arg)
{
    struct mark *m = arg;
    size_t n = strlen(m->order->text);
    m->order->text[n] = m->c;
    if (m->c == 'a')
        atomic_fetch_add(&m->order->done, 1);
}

static void mark_three(struct request *r, struct site *s)
{
    for (int i = 0; i < 3; ++i) {
        struct mark *m = request_alloc(r, sizeof *m);
        *m = (struct mark){s->data, "abc"[i]};
        request_on_dispose(r, add_mark, m);
    }
    if (slice_eq_str(request_path(r), "/answer"))
        response_send_ref(r, 200, NULL, 0);
}

static void test_dispose_callbacks_once_and_last_first(void **state)
{
    (void)state;
    for (int is_answered = 0; is_answered < 2; ++is_answered) {
        struct order order = {.text = ""};
        struct site s;
        site_init(&s, mark_three);
        s.data = &order;
        site_start(&s);
        struct client c;
        client_dial(&c, &s);
        client_get(&c, is_answered ? "/answer" : "/never");
        if (is_answered) {
            char body[8];
            assert_int_equal(client_answer(&c, body, sizeof body), 200);
        } else {
            eventually(site_stats(&s).requests_open == 1);
        }
        client_close(&c);
        eventually(atomic_load(&order.done) == 1);
        site_stop(&s);
        assert_string_equal(order.text, "cba");
        assert_int_equal(atomic_load(&s.finished), 1);
        assert_int_equal(atomic_load(&s.aborted), !is_answered);
    }
}

/* Waits until a drain has begun. */
static void expect_refusal(const struct site *s)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    sa.sin_port = site_port(http_server_address(s->server, 0));
    int rc = 0;
    for (int i = 0; i < 20000 && rc == 0; ++i) {
        cleanup_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        rc = connect(fd, (struct sockaddr *)&sa, sizeof sa);
        (void)usleep(1000);
    }
    assert_int_equal(rc, -1);
    assert_int_equal(errno, ECONNREFUSED);
}

static void *drain_60s(void *arg)
{
    struct site *s = arg;
    return (void *)(uintptr_t)http_server_drain(s->server, 60000);
}

static void *drain_5s(void *arg)
{
    struct site *s = arg;
    return (void *)(uintptr_t)http_server_drain(s->server, 5000);
}

static void test_drain_finishes_downloads(void **state)
{
    (void)state;
    struct site s;
    struct flow f;
    uint64_t size = 8 << 20;
    flow_init(&f, &s, size, 1 << 20);
    f.file = pattern_file(size);
    site_start(&s);
    struct client c;
    struct answer a;
    client_dial_with(&c, &s, 65536);
    client_get(&c, "/");
    client_head(&c, &a);
    assert_int_equal(client_pattern(&c, 0, 100000), 100000);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, drain_5s, &s), 0);
    expect_refusal(&s); /* new connections are, while the old one goes on */
    assert_int_equal(atomic_load(&f.disposed), 0);
    assert_int_equal(client_pattern(&c, 100000, size - 100000), size - 100000);
    void *cut = NULL;
    assert_int_equal(pthread_join(thread, &cut), 0);
    assert_null(cut);
    client_expect_end(&c);
    client_close(&c);
    site_stop(&s);
    flow_free(&f);
}

/* A connection was made, and its request is still on its way: that it is not there yet is no reason to go. */
static void test_drain_answers_who_was_let_in(void **state)
{
    (void)state;
    struct site s;
    struct flow f;
    flow_init(&f, &s, 1000, 1000);
    f.file = pattern_file(1000);
    site_start(&s);
    struct client late, silent;
    struct answer a;
    client_dial(&late, &s);
    client_dial(&silent, &s); /* and one that never asks: it is not waited for long */
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, drain_60s, &s), 0);
    expect_refusal(&s);
    client_get(&late, "/");
    client_head(&late, &a);
    assert_int_equal(a.status, 200);
    assert_int_equal(client_pattern(&late, 0, 1000), 1000);
    client_expect_end(&late);
    uint64_t begin = clock_mono_ms();
    void *cut = NULL;
    assert_int_equal(pthread_join(thread, &cut), 0);
    assert_null(cut);
    assert_true(clock_mono_ms() - begin < 30000);
    client_expect_end(&silent);
    client_close(&late);
    client_close(&silent);
    site_stop(&s);
    flow_free(&f);
}

static void test_drain_cuts_what_is_left(void **state)
{
    (void)state;
    struct site s;
    struct flow f, held;
    uint64_t size = 64 << 20;
    flow_init(&held, &s, 1, 1);
    flow_init(&f, &s, size, 1 << 20);
    f.file = pattern_file(size);
    site_start(&s);
    struct client c, waiting;
    client_dial_with(&c, &s, 8192); /* reads nothing */
    client_get(&c, "/");
    eventually(atomic_load(&f.pulls) > 0);
    s.handler = hold_request; /* and one that waits for an answer */
    s.data = &held;
    client_dial(&waiting, &s);
    client_get(&waiting, "/");
    eventually(atomic_load(&held.answered) == 1);
    uint64_t begin = clock_mono_ms();
    assert_int_equal(http_server_drain(s.server, 300), 2);
    uint64_t took = clock_mono_ms() - begin;
    assert_true(took >= 300 && took < 2500);
    assert_int_equal(atomic_load(&f.disposed), 1);
    assert_int_equal(atomic_load(&held.disposed), 1);
    assert_int_equal(atomic_load(&s.aborted), 2);
    client_close(&c);
    client_close(&waiting);
    site_stop(&s);
    flow_free(&f);
    flow_free(&held);
}

int main(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_abort_is_a_reset),
        cmocka_unit_test(test_abort_before_an_answer),
        cmocka_unit_test(test_abort_while_sending),
        cmocka_unit_test(test_short_file),
        cmocka_unit_test(test_reader_that_stops_is_cut),
        cmocka_unit_test(test_slow_but_moving_reader_is_not_cut),
        cmocka_unit_test(test_room_that_is_slow_is_not_the_readers_fault),
        cmocka_unit_test(test_vanished_clients),
        cmocka_unit_test(test_dispose_callbacks_once_and_last_first),
        cmocka_unit_test(test_drain_finishes_downloads),
        cmocka_unit_test(test_drain_answers_who_was_let_in),
        cmocka_unit_test(test_drain_cuts_what_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
