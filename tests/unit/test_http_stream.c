// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/http_client.h"

#include <fcntl.h>
#include <pthread.h>

#include "common/cleanup.h"

/* One answer that a test watches. */
struct flow {
    struct request *request; /* NULL once it is over */
    struct loop *loop;
    uint64_t size, at;
    size_t step;
    int file; /* -1: from memory */
    char *mem;
    atomic_int pulls, disposed, shorts, answered;
    atomic_bool waiting; /* a pull that was not answered */
    bool hold;           /* leave pulls unanswered */
    uint64_t abort_at;   /* 0: never */
    void *arg;
};

static void flow_step(struct flow *f)
{
    f->waiting = false;
    uint64_t left = f->size - f->at, n = left < f->step ? left : f->step;
    if (f->abort_at && f->at >= f->abort_at) {
        response_abort(f->request);
        return;
    }
    if (left == 0) {
        response_end(f->request);
        return;
    }
    uint64_t at = f->at;
    f->at += n;
    if (f->file >= 0) {
        response_write_file(f->request, f->file, at, n, NULL, NULL);
    } else {
        pattern_fill(f->mem, at, (size_t)n);
        response_write(f->request, f->mem, (size_t)n);
    }
}

static void flow_pull(struct request *r, void *arg)
{
    struct flow *f = arg;
    assert_ptr_equal(f->request, r);
    assert_false(f->waiting);
    atomic_fetch_add(&f->pulls, 1);
    f->waiting = true;
    if (!f->hold)
        flow_step(f);
}

static void flow_gone(void *arg)
{
    struct flow *f = arg;
    f->request = NULL;
    f->waiting = false;
    atomic_fetch_add(&f->disposed, 1);
}

static void flow_begin(struct request *r, struct site *s)
{
    struct flow *f = s->data;
    assert_null(f->request);
    f->request = r;
    f->loop = request_loop(r);
    f->at = 0;
    request_on_dispose(r, flow_gone, f);
    atomic_fetch_add(&f->answered, 1);
    response_begin(r, 200, f->size, (struct response_stream){.pull = flow_pull, .arg = f});
}

/* A file of `size` patterned bytes that has no name any more. */
static int pattern_file(uint64_t size)
{
    char name[] = "/tmp/rac-test-XXXXXX";
    int fd = mkstemp(name);
    assert_true(fd >= 0);
    (void)unlink(name);
    char buf[65536];
    for (uint64_t at = 0; at < size;) {
        size_t n = size - at < sizeof buf ? (size_t)(size - at) : sizeof buf;
        pattern_fill(buf, at, n);
        assert_int_equal(write(fd, buf, n), (ssize_t)n);
        at += n;
    }
    return fd;
}

static void flow_init(struct flow *f, struct site *s, uint64_t size, size_t step)
{
    memset(f, 0, sizeof *f);
    f->size = size;
    f->step = step;
    f->file = -1;
    f->mem = mem_alloc(step);
    site_init(s, flow_begin);
    s->data = f;
}

static void flow_free(struct flow *f)
{
    free(f->mem);
    if (f->file >= 0)
        (void)close(f->file);
}

static void expect_whole(struct client *c, uint64_t size)
{
    struct answer a;
    client_get(c, "/");
    client_head(c, &a);
    assert_int_equal(a.status, 200);
    assert_int_equal(a.length, size);
    assert_int_equal(client_pattern(c, 0, size), size);
}

static void test_memory_and_files_of_many_sizes(void **state)
{
    (void)state;
    static const struct {
        uint64_t size;
        size_t step;
    } cases[] = {{0, 1},
                 {1, 1},
                 {1000, 7},
                 {65536, 65536},
                 {1 << 20, 4096},
                 {3 << 20, 1 << 20},
                 {9 << 20, 9 << 20},
                 {(17 << 20) + 13, 777777},
                 {(40 << 20) + 1, 40 << 20}};
    for (int is_file = 0; is_file < 2; ++is_file) {
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
            struct site s;
            struct flow f;
            flow_init(&f, &s, cases[i].size, cases[i].step);
            f.file = is_file ? pattern_file(cases[i].size) : -1;
            site_start(&s);
            struct client c;
            client_dial(&c, &s);
            for (int n = 1; n <= 2; ++n) { /* the connection stays good */
                expect_whole(&c, cases[i].size);
                eventually(atomic_load(&f.disposed) == n);
            }
            client_close(&c);
            assert_int_equal(atomic_load(&s.aborted), 0);
            site_stop(&s);
            flow_free(&f);
        }
    }
}

static void whole_body(struct request *r, struct site *s)
{
    struct flow *f = s->data;
    if (slice_eq_str(request_path(r), "/copy"))
        response_send(r, 200, f->mem, (size_t)f->size);
    else
        response_send_ref(r, 200, f->mem, (size_t)f->size);
}

static void test_large_whole_bodies(void **state)
{
    (void)state;
    static const size_t sizes[] = {65535, 65536, 65537, 5 << 20};
    for (size_t i = 0; i < 4; ++i) {
        struct site s;
        struct flow f;
        flow_init(&f, &s, sizes[i], sizes[i]);
        s.handler = whole_body;
        pattern_fill(f.mem, 0, sizes[i]);
        site_start(&s);
        struct client c;
        struct answer a;
        client_dial(&c, &s);
        for (int n = 0; n < 4; ++n) {
            client_send(&c, n == 3  ? "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
                            : n % 2 ? "GET /copy HTTP/1.1\r\nHost: a\r\n\r\n"
                                    : "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            client_head(&c, &a);
            assert_int_equal(a.length, sizes[i]);
            if (n < 3)
                assert_int_equal(client_pattern(&c, 0, sizes[i]), sizes[i]);
        }
        client_close(&c);
        eventually(atomic_load(&s.finished) == 4);
        assert_int_equal(atomic_load(&s.aborted), 0);
        site_stop(&s);
        flow_free(&f);
    }
}

static void test_head_of_a_stream(void **state)
{
    (void)state;
    struct site s;
    struct flow f;
    flow_init(&f, &s, 1 << 30, 1);
    site_start(&s);
    struct client c;
    struct answer a;
    client_dial(&c, &s);
    for (int n = 1; n <= 2; ++n) {
        client_send(&c, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
        client_head(&c, &a);
        assert_int_equal(a.status, 200);
        assert_int_equal(a.length, 1 << 30);
        eventually(atomic_load(&f.disposed) == n);
    }
    assert_int_equal(atomic_load(&f.pulls), 0);
    client_close(&c);
    site_stop(&s);
    flow_free(&f);
}

static void step_later(void *arg)
{
    struct flow *f = arg;
    if (f->request && f->waiting)
        flow_step(f);
}

/* A growing blob: another thread says when there is more. */
static void *feed(void *arg)
{
    struct flow *f = arg;
    while (!atomic_load(&f->disposed)) {
        if (atomic_load(&f->waiting))
            loop_post(f->loop, step_later, f);
        (void)usleep(200);
    }
    return NULL;
}

static void test_pulls_answered_from_another_thread(void **state)
{
    (void)state;
    for (int is_file = 0; is_file < 2; ++is_file) {
        struct site s;
        struct flow f;
        uint64_t size = (2 << 20) + 5;
        flow_init(&f, &s, size, 30000);
        f.file = is_file ? pattern_file(size) : -1;
        f.hold = true;
        site_start(&s);
        struct client c;
        struct answer a;
        client_dial(&c, &s);
        client_get(&c, "/");
        client_head(&c, &a); /* the head leaves before the first byte is there */
        assert_int_equal(a.status, 200);
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, feed, &f), 0);
        assert_int_equal(client_pattern(&c, 0, size), size);
        assert_int_equal(pthread_join(thread, NULL), 0);
        client_close(&c);
        site_stop(&s);
        flow_free(&f);
    }
}

static void answer_from_timer(void *arg)
{
    struct flow *f = arg;
    response_send_ref(f->request, 200, "late", 4);
}

static void answer_later(struct request *r, struct site *s)
{
    struct flow *f = s->data;
    f->request = r;
    request_on_dispose(r, flow_gone, f);
    struct loop_timer *t = request_alloc(r, sizeof *t);
    loop_timer_arm(request_loop(r), t, 20, answer_from_timer, f);
}

static void test_answer_from_a_timer(void **state)
{
    (void)state;
    struct site s;
    struct flow f;
    flow_init(&f, &s, 4, 4);
    s.handler = answer_later;
    site_start(&s);
    struct client c;
    char body[10];
    client_dial(&c, &s);
    for (int i = 0; i < 3; ++i) {
        client_get(&c, "/");
        assert_int_equal(client_answer(&c, body, sizeof body), 200);
        assert_string_equal(body, "late");
        eventually(atomic_load(&f.disposed) == i + 1);
    }
    client_close(&c);
    site_stop(&s);
    flow_free(&f);
}

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
    char address[64];
    (void)snprintf(address, sizeof address, "%s", http_server_address(s.server, 0));
    struct client c;
    struct answer a;
    client_dial_with(&c, &s, 65536);
    client_get(&c, "/");
    client_head(&c, &a);
    assert_int_equal(client_pattern(&c, 0, 100000), 100000);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, drain_5s, &s), 0);
    /* New connections are refused while the old one goes on. */
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    sa.sin_port = site_port(address);
    int rc = 0;
    for (int i = 0; i < 2000 && rc == 0; ++i) {
        cleanup_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        rc = connect(fd, (struct sockaddr *)&sa, sizeof sa);
        (void)usleep(1000);
    }
    assert_int_equal(rc, -1);
    assert_int_equal(errno, ECONNREFUSED);
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

/* Many readers at once, some of which leave midway: nobody gets another one's bytes. */
struct reader {
    struct site *site;
    int index;
};

static void each_its_own(struct request *r, struct site *s)
{
    struct flow *f = request_alloc(r, sizeof *f), *shared = s->data;
    f->size = shared->size;
    f->step = 200000;
    f->file = shared->file;
    f->request = r;
    if (slice_eq_str(request_path(r), "/memory")) {
        f->file = -1;
        f->mem = request_alloc(r, f->step);
    }
    response_begin(r, 200, f->size, (struct response_stream){.pull = flow_pull, .arg = f});
}

static void *read_some(void *arg)
{
    struct reader *reader = arg;
    for (int i = 0; i < 6; ++i) {
        struct client c;
        struct answer a;
        client_dial(&c, reader->site);
        client_get(&c, (reader->index + i) % 2 ? "/memory" : "/file");
        client_head(&c, &a);
        uint64_t want = (reader->index + i) % 3 ? a.length : 500000;
        if (client_pattern(&c, 0, want) != want)
            abort();
        client_close(&c);
    }
    return NULL;
}

static void test_many_readers_at_once(void **state)
{
    (void)state;
    enum { READERS = 8 };
    struct site s;
    struct flow f;
    flow_init(&f, &s, 3 << 20, 1);
    s.handler = each_its_own;
    f.file = pattern_file(f.size);
    site_start(&s);
    pthread_t threads[READERS];
    struct reader readers[READERS];
    for (int i = 0; i < READERS; ++i) {
        readers[i] = (struct reader){&s, i};
        assert_int_equal(pthread_create(&threads[i], NULL, read_some, &readers[i]), 0);
    }
    for (int i = 0; i < READERS; ++i)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    eventually(site_stats(&s).requests_open == 0);
    assert_int_equal(atomic_load(&s.finished), READERS * 6);
    site_stop(&s);
    flow_free(&f);
}

int main(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_and_files_of_many_sizes),
        cmocka_unit_test(test_large_whole_bodies),
        cmocka_unit_test(test_head_of_a_stream),
        cmocka_unit_test(test_pulls_answered_from_another_thread),
        cmocka_unit_test(test_answer_from_a_timer),
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
        cmocka_unit_test(test_drain_cuts_what_is_left),
        cmocka_unit_test(test_many_readers_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
