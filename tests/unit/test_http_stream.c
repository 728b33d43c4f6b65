// SPDX-License-Identifier: Apache-2.0
/* Bodies of many sizes, from this thread and from others, for many readers. */
#include "http_flow.h"

#include <pthread.h>

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
        cmocka_unit_test(test_many_readers_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
