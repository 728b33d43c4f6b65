// SPDX-License-Identifier: Apache-2.0
/* What callbacks may do, cancelling, back pressure. */
#include "upstream_client_rig.h"

static void test_cancel_in_callbacks(void **state)
{
    struct fixture *x = *state;
    static const unsigned habits[] = {GOT_CANCEL_IN_HEAD,
                                      GOT_FALSE_IN_HEAD,
                                      GOT_CANCEL_IN_DATA,
                                      GOT_FALSE_IN_DATA,
                                      GOT_CANCEL_IN_HEAD | GOT_FALSE_IN_HEAD,
                                      GOT_CANCEL_IN_DATA | GOT_FALSE_IN_DATA};
    for (size_t i = 0; i < sizeof habits / sizeof habits[0]; ++i) {
        struct got g = {.habits = habits[i]}, after = {0};
        struct fetch_params params = {.upstream = x->upstream, .path = i % 2 ? "/v2/plain" : "/v2/big"};
        got_start(&g, x->bench.client, &params);
        uint64_t end_ms = patience_end_ms(10000);
        bool in_head = habits[i] & (GOT_CANCEL_IN_HEAD | GOT_FALSE_IN_HEAD);
        while (!(in_head ? g.heads : g.bytes) && clock_mono_ms() < end_ms)
            loop_run_once(x->bench.loop, 50);
        pump_for(x->bench.loop, 30); /* what would come behind it */
        assert_int_equal(g.heads, 1);
        assert_int_equal(g.dones, 0);
        assert_true(in_head ? g.bytes == 0 : g.bytes > 0);
        /* All is well with the client. */
        get(x, &after, "/v2/plain", false);
        assert_false(after.failed);
        got_free(&g);
        got_free(&after);
    }
    struct got g = {.habits = GOT_CANCEL_IN_DONE};
    get(x, &g, "/v2/plain", false);
    assert_int_equal(g.dones, 1);
    got_free(&g);
}

static void test_cancel_at_any_time(void **state)
{
    struct fixture *x = *state;
    for (unsigned turns = 0; turns < 12; ++turns) {
        struct got g = {0};
        got_start(&g, x->bench.client, &(struct fetch_params){.upstream = x->upstream, .path = "/v2/big"});
        for (unsigned i = 0; i < turns; ++i)
            loop_run_once(x->bench.loop, 20);
        assert_false(g.done);
        fetch_cancel(g.fetch);
        unsigned heads = g.heads;
        uint64_t bytes = g.bytes;
        pump_for(x->bench.loop, 5);
        assert_int_equal(g.heads, heads);
        assert_int_equal(g.bytes, bytes);
        assert_int_equal(g.dones, 0);
        got_free(&g);
    }
    /* What never started, and a client that goes with fetches under way. */
    struct got bad = {0}, left[4] = {0};
    got_start(&bad, x->bench.client, &(struct fetch_params){.upstream = x->upstream, .path = "bad"});
    fetch_cancel(bad.fetch);
    for (int i = 0; i < 4; ++i)
        got_start(&left[i], x->bench.client,
                  &(struct fetch_params){.upstream = x->upstream, .path = "/v2/big"});
    pump_for(x->bench.loop, 20);
    upstream_client_free(x->bench.client);
    x->bench.client = upstream_client_new(x->bench.loop, x->bench.shared);
    for (int i = 0; i < 4; ++i) {
        assert_int_equal(left[i].dones, 0);
        got_free(&left[i]);
    }
}

/* Starts one fetch more from inside of each callback of the one before. */
struct chain {
    struct fixture *x;
    struct got inner[3];
    unsigned started;
};

static void start_inner(struct chain *c)
{
    struct fetch_params params = {.upstream = c->x->upstream, .path = "/v2/plain"};
    if (c->started < 3)
        got_start(&c->inner[c->started], c->x->bench.client, &params);
    ++c->started;
}

static bool chain_on_head(void *arg, const struct fetch_head *head)
{
    (void)head;
    start_inner(arg);
    return true;
}

static bool chain_on_data(void *arg, const void *p, size_t len)
{
    (void)p;
    (void)len;
    start_inner(arg);
    return true;
}

static void chain_on_done(void *arg, const struct err *err)
{
    (void)err;
    start_inner(arg);
}

static void test_start_in_callbacks(void **state)
{
    struct fixture *x = *state;
    static const struct fetch_ops ops = {chain_on_head, chain_on_data, chain_on_done};
    struct chain c = {.x = x};
    (void)fetch_start(x->bench.client, &(struct fetch_params){.upstream = x->upstream, .path = "/v2/plain"},
                      &ops, &c);
    uint64_t end_ms = patience_end_ms(10000);
    while (!(c.inner[0].done && c.inner[1].done && c.inner[2].done) && clock_mono_ms() < end_ms)
        loop_run_once(x->bench.loop, 50);
    for (int i = 0; i < 3; ++i) {
        assert_string_equal(buf_str(&c.inner[i].body), "hello");
        got_free(&c.inner[i]);
    }
    assert_int_equal(c.started, 3);
}

/* One fetch cancels another while curl has both in hand. */
static bool cancel_other(void *arg, const struct fetch_head *head)
{
    struct got *other = arg;
    (void)head;
    if (other->fetch)
        fetch_cancel(other->fetch);
    other->fetch = NULL;
    return true;
}

static bool take_data(void *arg, const void *p, size_t len)
{
    (void)arg;
    (void)p;
    return len > 0;
}

static _Atomic unsigned ends;

static void count_end(void *arg, const struct err *err)
{
    (void)arg;
    (void)err;
    ++ends;
}

static void test_cancel_of_another(void **state)
{
    struct fixture *x = *state;
    static const struct fetch_ops ops = {cancel_other, take_data, count_end};
    for (int i = 0; i < 20; ++i) {
        struct got other = {.habits = GOT_PAUSE_IN_DATA}; /* so that it cannot end by itself first */
        ends = 0;
        got_start(&other, x->bench.client,
                  &(struct fetch_params){.upstream = x->upstream, .path = "/v2/big"});
        (void)fetch_start(x->bench.client,
                          &(struct fetch_params){.upstream = x->upstream, .path = "/v2/plain"}, &ops, &other);
        uint64_t end_ms = patience_end_ms(10000);
        while (!ends && clock_mono_ms() < end_ms)
            loop_run_once(x->bench.loop, 50);
        assert_int_equal(ends, 1);
        assert_int_equal(other.dones, 0);
        got_free(&other);
    }
}

/* A paused fetch takes no more, whatever the upstream sends, and no stall is counted against it. */
static void test_back_pressure(void **state)
{
    struct fixture *x = *state;
    struct got g = {.habits = GOT_PAUSE_IN_DATA};
    got_start(&g, x->bench.client, &(struct fetch_params){.upstream = x->upstream, .path = "/v2/big"});
    uint64_t end_ms = patience_end_ms(10000);
    while (!g.bytes && clock_mono_ms() < end_ms)
        loop_run_once(x->bench.loop, 50);
    uint64_t first = g.bytes;
    assert_true(first > 0 && first <= 16384);
    pump_for(x->bench.loop, 1500); /* longer than the stall timeout */
    assert_int_equal(g.bytes, first);
    assert_false(g.done);
    /* Each resume is good for one piece; none comes from inside of fetch_resume. */
    for (int i = 0; i < 50; ++i) {
        uint64_t before = g.bytes;
        fetch_resume(g.fetch);
        assert_int_equal(g.bytes, before);
        end_ms = patience_end_ms(10000);
        while (g.bytes == before && clock_mono_ms() < end_ms)
            loop_run_once(x->bench.loop, 50);
        assert_true(g.bytes > before && g.bytes <= before + 16384);
    }
    /* Resume and pause at once: nothing comes. */
    uint64_t before = g.bytes;
    fetch_resume(g.fetch);
    fetch_pause(g.fetch);
    pump_for(x->bench.loop, 30);
    assert_int_equal(g.bytes, before);
    g.habits = 0;
    fetch_resume(g.fetch);
    assert_true(pump_until(x->bench.loop, &g.done));
    assert_false(g.failed);
    assert_int_equal(g.bytes, (uint64_t)64 << 20);
    got_free(&g);
}

static void test_pause_in_head(void **state)
{
    struct fixture *x = *state;
    struct got g = {.habits = GOT_PAUSE_IN_HEAD};
    got_start(&g, x->bench.client, &(struct fetch_params){.upstream = x->upstream, .path = "/v2/plain"});
    uint64_t end_ms = patience_end_ms(10000);
    while (!g.heads && clock_mono_ms() < end_ms)
        loop_run_once(x->bench.loop, 50);
    pump_for(x->bench.loop, 100); /* what would come behind it */
    assert_int_equal(g.heads, 1);
    assert_int_equal(g.bytes, 0);
    assert_false(g.done);
    fetch_resume(g.fetch);
    assert_true(pump_until(x->bench.loop, &g.done));
    assert_string_equal(buf_str(&g.body), "hello");
    got_free(&g);
    /* Cancelled while paused, and while a resume is on its way. */
    for (int i = 0; i < 2; ++i) {
        g.habits = GOT_PAUSE_IN_HEAD;
        got_start(&g, x->bench.client, &(struct fetch_params){.upstream = x->upstream, .path = "/v2/plain"});
        pump_for(x->bench.loop, 30);
        if (i)
            fetch_resume(g.fetch);
        fetch_cancel(g.fetch);
        pump_for(x->bench.loop, 10);
        assert_int_equal(g.bytes, 0);
        got_free(&g);
    }
}

int main(void)
{
    unset_proxies();
#define with_server(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        with_server(test_cancel_in_callbacks),
        with_server(test_cancel_at_any_time),
        with_server(test_start_in_callbacks),
        with_server(test_cancel_of_another),
        with_server(test_pause_in_head),
        cmocka_unit_test_setup_teardown(test_back_pressure, set_up_quick, tear_down),
    };
    return cmocka_run_group_tests_name("upstream client", tests, NULL, NULL);
}
