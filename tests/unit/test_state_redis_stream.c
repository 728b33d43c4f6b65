// SPDX-License-Identifier: Apache-2.0
/* What replicas have together in Redis: the stream, turns, meters. */
#include "common/cleanup.h"
#include "common/log.h"
#include "tests/unit/state_redis.h"

#define WAIT_MS 30000

static int setup(void **state)
{
    return fixture_new(&redis_backend, state);
}

struct piece {
    struct answer a;
    char epoch[64], text[256]; /* what came, one behind the other */
    uint64_t last;
    bool is_ours;
};

static void on_piece(void *arg, const struct state_piece *piece, const struct err *err)
{
    struct piece *p = arg;
    if (piece)
        (void)snprintf(p->epoch, sizeof p->epoch, "%s", piece->epoch);
    for (size_t i = 0; piece && i < piece->count; ++i) {
        assert_true(piece->entries[i].place > p->last);
        p->last = piece->entries[i].place;
        size_t len = strlen(p->text);
        (void)snprintf(p->text + len, sizeof p->text - len, "%.*s", (int)piece->entries[i].bytes.len,
                       piece->entries[i].bytes.p);
    }
    end(&p->a, err);
}

static void put_entries(struct fixture *f, const char *replica, uint64_t first, const char *letters)
{
    struct state_entry e[8];
    size_t n = strlen(letters);
    for (size_t i = 0; i < n; ++i)
        e[i] = (struct state_entry){first + i, {letters + i, 1}};
    begin(&f->a, f->loop);
    f->s->ops->stream_put(f->s, f->loop, replica, e, n, on_done, &f->a);
    wait_for(&f->a);
}

/* All behind p->last; p goes on. */
static const char *follow(struct fixture *f, struct piece *p, size_t n)
{
    p->text[0] = '\0';
    begin(&p->a, f->loop);
    f->s->ops->stream_get(f->s, f->loop, p->epoch, p->last, n, on_piece, p);
    wait_for(&p->a);
    assert_int_equal(p->a.err.code, ERR_NONE);
    return p->text;
}

static void test_a_stream_has_each_entry_once(void **state)
{
    struct fixture *f = *state;
    struct piece p = {0}, other = {0};
    assert_string_equal(follow(f, &p, 10), "");
    assert_string_equal(p.epoch, "");
    put_entries(f, "r1", 1, "abc");
    assert_string_equal(follow(f, &p, 2), "ab");
    assert_string_equal(follow(f, &p, 10), "c");
    assert_string_equal(follow(f, &p, 10), "");
    put_entries(f, "r1", 1, "abc"); /* its answer was lost */
    put_entries(f, "r1", 1, "abcd");
    put_entries(f, "r2", 3, "xyz"); /* another one counts for itself */
    assert_string_equal(follow(f, &p, 10), "dxyz");
    put_entries(f, "r1", 5, "ef");
    assert_string_equal(follow(f, &p, 10), "ef");
    char epoch[sizeof p.epoch];
    memcpy(epoch, p.epoch, sizeof epoch);
    reopen(f);
    put_entries(f, "r1", 5, "ef");
    assert_string_equal(follow(f, &p, 10), "");
    assert_string_equal(p.epoch, epoch);
    assert_string_equal(follow(f, &other, 100), "abcdxyzef");
    /* Emptied, it is another stream: from its beginning, whatever was read of the other. */
    order(f, "DEL rac:1:records rac:1:records-epoch rac:1:delivered:r1");
    put_entries(f, "r1", 7, "g");
    struct piece late = {0};
    begin(&late.a, f->loop);
    f->s->ops->stream_get(f->s, f->loop, epoch, UINT64_C(1) << 62, 10, on_piece, &late);
    wait_for(&late.a);
    assert_string_equal(late.text, "g");
    assert_string_not_equal(late.epoch, epoch);
}

static void on_turn(void *arg, bool is_ours, uint64_t place, const struct err *err)
{
    struct piece *p = arg;
    p->is_ours = is_ours;
    p->last = place;
    end(&p->a, err);
}

/* *ret_place: how far it got. */
static bool take_turn(struct fixture *f, const char *holder, uint32_t hold_ms, uint64_t done, uint64_t known,
                      uint64_t *ret_place)
{
    struct piece p = {0};
    begin(&p.a, f->loop);
    f->s->ops->turn_take(f->s, f->loop, &(struct state_turn){"t", holder, hold_ms, done, known}, on_turn, &p);
    wait_for(&p.a);
    assert_int_equal(p.a.err.code, ERR_NONE);
    *ret_place = p.last;
    return p.is_ours;
}

static void test_a_turn_is_one_replicas_at_a_time(void **state)
{
    struct fixture *f = *state;
    struct piece p = {0};
    uint64_t place;
    put_entries(f, "r1", 1, "ab");
    (void)follow(f, &p, 10);
    assert_true(take_turn(f, "a", 60000, 0, 0, &place));
    assert_true(place == p.last); /* a new one begins with what comes */
    assert_false(take_turn(f, "b", 60000, 0, 0, &place));
    assert_true(take_turn(f, "a", 60000, place + 5, 0, &place));
    assert_true(place == p.last + 5);
    assert_false(take_turn(f, "b", 60000, place + 9, 0, &place)); /* it has nothing to say */
    assert_true(place == p.last + 5);
    assert_true(take_turn(f, "a", 60000, p.last + 1, 0, &place)); /* it never goes back */
    assert_true(place == p.last + 5);
    assert_false(take_turn(f, "b", 0, 0, 0, &place)); /* nor gives up what it has not */
    assert_false(take_turn(f, "b", 60000, 0, 0, &place));
    assert_false(take_turn(f, "a", 0, p.last + 7, 0, &place));
    assert_true(place == p.last + 7);
    assert_true(take_turn(f, "b", 1, 0, 0, &place)); /* given up; and it ends by itself */
    uint64_t until = clock_mono_ms() + WAIT_MS;
    while (!take_turn(f, "a", 60000, 0, 0, &place) && clock_mono_ms() < until)
        (void)usleep(5000);
    assert_true(take_turn(f, "a", 60000, 0, 0, &place));
    assert_true(place == p.last + 7);
    order(f, "DEL rac:1:turn:t rac:1:position:t");
    assert_true(take_turn(f, "b", 60000, 0, p.last + 6, &place)); /* forgotten: what is known counts */
    assert_true(place == p.last + 6);
}

struct metered {
    struct answer a;
    uint64_t value, left_ms;
};

static void on_meter(void *arg, uint64_t value, uint64_t left_ms, const struct err *err)
{
    struct metered *m = arg;
    m->value = value;
    m->left_ms = left_ms;
    end(&m->a, err);
}

static struct metered meter(struct fixture *f, const char *name, int64_t add, uint32_t window_ms)
{
    struct metered m = {0};
    begin(&m.a, f->loop);
    f->s->ops->meter(f->s, f->loop, &(struct state_meter){name, add, window_ms}, on_meter, &m);
    wait_for(&m.a);
    assert_int_equal(m.a.err.code, ERR_NONE);
    return m;
}

static void test_meters(void **state)
{
    struct fixture *f = *state;
    for (uint64_t i = 1; i <= 5; ++i) {
        struct metered m = meter(f, "w:a", 1, 3600000);
        assert_int_equal(m.value, i);
        assert_in_range(m.left_ms, 3000000, 3600000); /* since the first time, and no later one */
    }
    assert_int_equal(meter(f, "w:b", 1, 3600000).value, 1);
    reopen(f);
    assert_int_equal(meter(f, "w:a", 1, 3600000).value, 6);
    assert_int_equal(meter(f, "w:c", 1, 1).value, 1);
    (void)usleep(20000);
    assert_int_equal(meter(f, "w:c", 1, 1).value, 1); /* its time was over */
    assert_in_range(meter(f, "l:a", 3600000, 0).value, 3500000, 3600000);
    assert_in_range(meter(f, "l:a", 3600000, 0).value, 7000000, 7200000);
    assert_in_range(meter(f, "l:a", -3600000, 0).value, 3400000, 3600000);
    assert_int_equal(meter(f, "l:a", -7200000, 0).value, 0);
    char *there = tell(f, "EXISTS rac:1:meter:l:a");
    assert_string_equal(there, "0"); /* what is empty is not kept */
    free(there);
}

int main(void)
{
    log_start(2, LOG_LEVEL_OFF, LOG_FORMAT_LOGFMT);
#define T(name) cmocka_unit_test_setup_teardown(name, setup, fixture_free)
    const struct CMUnitTest tests[] = {
        T(test_a_stream_has_each_entry_once),
        T(test_a_turn_is_one_replicas_at_a_time),
        T(test_meters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
