// SPDX-License-Identifier: Apache-2.0
/* What the store in Redis promises besides what all do (test_state_suite.c): what happens while it is away,
 * late, full, empty, somebody else's; and that two processes see the same. */
#include "common/cleanup.h"
#include "common/log.h"
#include "tests/unit/state_redis.h"

#define WAIT_MS 30000

static int setup(void **state)
{
    return fixture_new(&redis_backend, state);
}

static void kill_redis(struct fixture *f)
{
    redis_server_kill(server_of(f));
}

/* What check says once. */
static enum err_code check_once(struct fixture *f)
{
    begin(&f->a, f->loop);
    f->s->ops->check(f->s, f->loop, on_done, &f->a);
    assert_false(f->a.done);
    wait_for(&f->a);
    return f->a.err.code;
}

static void wait_check(struct fixture *f, bool good)
{
    uint64_t end = patience_end_ms(WAIT_MS);
    while ((check_once(f) == ERR_NONE) != good) {
        if (clock_mono_ms() > end)
            fail_msg("it does not %s: %s", good ? "come back" : "go away", f->a.err.msg);
        (void)usleep(10000);
    }
}

static void put_tag(struct fixture *f, const char *tag, unsigned n)
{
    struct state_tag value = {digest_n("m", n), n};
    f->s->ops->tag_put(f->s, &busybox, tag, &value);
}

/* A put, waited for, that is expected to fail so. */
static void put_fails(struct fixture *f, enum err_code code)
{
    struct state_token t = token_n(99, 5000);
    begin(&f->a, f->loop);
    f->s->ops->token_put(f->s, f->loop, &t, "{}", 2, on_done, &f->a);
    wait_for(&f->a);
    assert_int_equal(f->a.err.code, code);
}

/* How long Redis keeps that injection: -1 for good, -2 not at all. */
static int64_t left_ms(struct fixture *f, struct digest d)
{
    cleanup_free char *line = mem_printf("PTTL rac:1:injection:%s", d.s);
    cleanup_free char *text = tell(f, line);
    return atoll(text);
}

/* What only tokens asked for goes some time after the last of them, by itself. */
static void test_injections_expire(void **state)
{
    struct fixture *f = *state;
    const int64_t hour = 3600 * 1000;
    struct state_token t = token_n(1, clock_wall_ms() + hour);
    struct digest kept = digest_n("i", 2), brief = digest_n("i", 3);
    put_token(f, &t, "{}");
    assert_in_range(left_ms(f, t.injection), STATE_PASSING_MS + hour - 60000, STATE_PASSING_MS + hour);
    struct state_token longer = token_n(2, clock_wall_ms() + 2 * hour), shorter = token_n(3, 1);
    put_token(f, &longer, NULL);
    put_token(f, &shorter, "{}");
    put_injection(f, t.injection, "{}", clock_wall_ms());
    assert_in_range(left_ms(f, t.injection), STATE_PASSING_MS + 2 * hour - 60000,
                    STATE_PASSING_MS + 2 * hour);
    put_injection(f, kept, "{}", STATE_FOR_GOOD);
    put_injection(f, kept, "{}", clock_wall_ms() + hour);
    assert_int_equal(left_ms(f, kept), -1);
    put_injection(f, t.injection, "{}", STATE_FOR_GOOD);
    struct state_token late = token_n(4, clock_wall_ms());
    put_token(f, &late, NULL);
    assert_int_equal(left_ms(f, t.injection), -1);
    put_injection(f, brief, "{}", clock_wall_ms() + 50);
    uint64_t end = patience_end_ms(WAIT_MS);
    while (get_injection(f, brief) && clock_mono_ms() < end)
        (void)usleep(10000);
    assert_false(get_injection(f, brief));
    assert_true(get_injection(f, kept));
    assert_null(f->s->ops->injection_prune);
}

static void test_two_see_the_same(void **state)
{
    struct fixture *f = *state, other = *f;
    struct state_token t = token_n(1, 5000);
    other.s = redis_place_open(f->place);
    memset(&other.a, 0, sizeof other.a);
    assert_memory_equal(f->s->scope_key, other.s->scope_key, 32);
    put_token(f, &t, "{}");
    put_link(f, &busybox, digest_n("m", 1), OCI_MANIFEST, NULL, 0);
    check_token(&other, &t);
    assert_true(get_manifest(&other, &busybox, digest_n("m", 1)));
    close_store(f); /* also when the one that made them is gone */
    check_token(&other, &t);
    begin(&other.a, f->loop);
    other.s->ops->token_drop(other.s, f->loop, t.key, on_done, &other.a);
    wait_for(&other.a);
    reopen(f);
    assert_false(get_token(f, &t));
    close_store(&other);
    answer_clear(&other.a);
}

static void test_away(void **state)
{
    struct fixture *f = *state;
    struct state_token t = token_n(1, 5000);
    struct digest m = digest_n("m", 1);
    put_token(f, &t, "{}");
    put_link(f, &busybox, m, OCI_MANIFEST, NULL, 0);
    put_link(f, &alpine, m, OCI_MANIFEST, NULL, 0);
    put_tag(f, "latest", 1);
    assert_true(get_tag(f, &busybox, "latest"));
    kill_redis(f);
    wait_check(f, false);
    uint64_t begin_ms = clock_mono_ms();
    for (int i = 0; i < 100; ++i) {
        begin(&f->a, f->loop);
        f->s->ops->tag_get(f->s, f->loop, &busybox, "latest", on_tag, &f->a);
        assert_false(f->a.done);
        wait_for(&f->a);
        assert_int_equal(f->a.err.code, ERR_OVERLOADED);
        assert_true(f->a.err.retry_after_s > 0);
        assert_non_null(strstr(f->a.err.msg, server_of(f)->socket));
    }
    assert_true(clock_mono_ms() - begin_ms < 10000); /* at once: far from 100 deadlines */
    put_fails(f, ERR_OVERLOADED);
    uint64_t dropped = f->s->dropped;
    put_tag(f, "lost", 1);
    f->s->ops->link_drop(f->s, &busybox, &m);
    f->s->ops->tag_drop(f->s, &busybox, "latest");
    (void)check_once(f); /* behind them */
    assert_int_equal(f->s->dropped, dropped + 1);
    assert_int_equal(f->s->writes_waiting, 0);

    redis_server_start(server_of(f), NULL);
    wait_check(f, true);
    check_token(f, &t); /* acknowledged before a kill -9, kept by its append-only file */
    assert_false(get_manifest(f, &busybox, m));
    assert_true(get_manifest(f, &alpine, m));
    assert_false(get_tag(f, &busybox, "latest"));
    assert_false(get_tag(f, &busybox, "lost"));
}

/* Stopped, not gone: connections stay, nothing answers. */
static void test_late(void **state)
{
    struct fixture *f = *state;
    struct state_token t = token_n(1, 5000);
    struct err err;
    struct digest m = digest_n("m", 1);
    put_token(f, &t, "{}");
    put_link(f, &busybox, m, OCI_MANIFEST, NULL, 0);
    close_store(f);
    assert_int_equal(redis_place_try(f->place, WAIT_MS, 500, &f->s, &err), 0);
    assert_int_equal(kill(server_of(f)->pid, SIGSTOP), 0);
    f->s->ops->link_drop(f->s, &busybox, &m); /* sent, and not known to be done */
    uint64_t begin_ms = clock_mono_ms();
    put_fails(f, ERR_OVERLOADED);
    assert_true(clock_mono_ms() - begin_ms >= 400);
    wait_check(f, false);
    assert_int_equal(kill(server_of(f)->pid, SIGCONT), 0);
    wait_check(f, true);
    check_token(f, &t);
    assert_false(get_manifest(f, &busybox, m));
}

/* It lost all that it had: it gets our scope key, and what it knew is asked for again. */
static void test_restarted_empty(void **state)
{
    struct fixture *f = *state;
    uint8_t key[32];
    struct state_token t = token_n(1, 5000);
    put_token(f, &t, "{}");
    memcpy(key, f->s->scope_key, 32);
    kill_redis(f);
    cleanup_free char *command = mem_printf("rm -rf '%s'/appendonlydir", server_of(f)->dir);
    assert_int_equal(system(command), 0);
    redis_server_start(server_of(f), NULL);
    wait_check(f, true);
    assert_false(get_token(f, &t));
    put_token(f, &t, "{}");
    check_token(f, &t);
    reopen(f);
    assert_memory_equal(f->s->scope_key, key, 32);
}

/* Another's: what we know was scoped by another key, so it is not used, and not written to. */
static void test_of_other_replicas(void **state)
{
    struct fixture *f = *state;
    put_tag(f, "latest", 1);
    assert_true(get_tag(f, &busybox, "latest"));
    order(f, "HSET rac:1:meta scope_key 0123456789abcdef0123456789abcdef");
    order(f, "CLIENT KILL TYPE normal");
    wait_check(f, false);
    uint64_t end = patience_end_ms(WAIT_MS);
    while (check_once(f) != ERR_NONE && !strstr(f->a.err.msg, "belongs to other replicas"))
        assert_true(clock_mono_ms() < end);
    assert_int_equal(f->a.err.code, ERR_OVERLOADED);
    reopen(f);
    assert_memory_equal(f->s->scope_key, "0123456789abcdef0123456789abcdef", 32);
}

static void test_refused_at_start(void **state)
{
    struct fixture *f = *state;
    struct state *s = NULL;
    struct err err;
    order(f, "HSET rac:1:meta schema 99");
    assert_true(redis_place_try(f->place, WAIT_MS, 0, &s, &err) < 0);
    assert_non_null(strstr(err.msg, "newer rac-proxy"));
    order(f, "HSET rac:1:meta schema nonsense");
    assert_true(redis_place_try(f->place, WAIT_MS, 0, &s, &err) < 0);
    assert_non_null(strstr(err.msg, "not what we put there"));
    order(f, "HSET rac:1:meta schema 1");
    close_store(f);
    order(f, "CONFIG SET requirepass sesame");
    assert_true(redis_place_try(f->place, 2000, 0, &s, &err) < 0);
    assert_non_null(strstr(err.msg, "NOAUTH"));
    kill_redis(f);
    assert_true(redis_place_try(f->place, 2000, 0, &s, &err) < 0);
    assert_non_null(strstr(err.msg, server_of(f)->socket));
    assert_null(s);
    redis_server_start(server_of(f), NULL);
    reopen(f);
}

static void test_scripts_flushed(void **state)
{
    struct fixture *f = *state;
    order(f, "SCRIPT FLUSH SYNC");
    wait_check(f, false);
    wait_check(f, true);
}

/* A failover that nobody told us of: our primary is a replica suddenly. */
static void test_read_only(void **state)
{
    struct fixture *f = *state;
    order(f, "REPLICAOF 127.0.0.1 1");
    wait_check(f, false);
    put_fails(f, ERR_OVERLOADED);
    assert_true(f->a.err.retry_after_s > 0);
    order(f, "REPLICAOF NO ONE");
    wait_check(f, true);
    struct state_token t = token_n(1, 5000);
    put_token(f, &t, "{}");
}

static void test_full(void **state)
{
    struct fixture *f = *state;
    struct state_token t = token_n(1, 5000);
    put_token(f, &t, "{}");
    order(f, "CONFIG SET maxmemory 1");
    put_fails(f, ERR_OVERLOADED);
    assert_non_null(strstr(f->a.err.msg, "OOM"));
    assert_int_equal(check_once(f), ERR_OVERLOADED);
    check_token(f, &t); /* what is there can be read */
    order(f, "CONFIG SET maxmemory 0");
    put_token(f,
              &(struct state_token){.key = {1},
                                    .canonical = "x/y",
                                    .image = "y",
                                    .source = t.source,
                                    .injection = t.injection,
                                    .target = t.target},
              NULL);
}

static void test_overload(void **state)
{
    struct fixture *f = *state;
    struct err err;
    close_store(f);
    assert_int_equal(redis_place_try(f->place, WAIT_MS, 10 * WAIT_MS, &f->s, &err), 0);
    assert_int_equal(kill(server_of(f)->pid, SIGSTOP), 0);
    for (unsigned i = 0; i < 110000; ++i)
        put_tag(f, "latest", 1);
    f->s->ops->tag_drop(f->s, &busybox, "latest"); /* a revocation is not lost with them */
    struct answer put = {0};
    begin(&put, f->loop);
    struct state_manifest m = {digest_n("m", 2), OCI_MANIFEST, 1};
    f->s->ops->link_put(f->s, f->loop, &busybox, &m, NULL, 0, on_done, &put);
    assert_false(put.done);
    wait_for(&put);
    assert_int_equal(put.err.code, ERR_OVERLOADED);
    assert_true(put.err.retry_after_s > 0);
    assert_in_range(f->s->dropped, 9000, 10000);
    assert_int_equal(kill(server_of(f)->pid, SIGCONT), 0);
    for (uint64_t end = patience_end_ms(10 * WAIT_MS); f->s->writes_waiting && clock_mono_ms() < end;)
        (void)usleep(1000);
    assert_int_equal(f->s->writes_waiting, 0);
    assert_false(get_tag(f, &busybox, "latest"));
}

/* Somebody else's hands in our keys: errors, not wrong answers. */
static void test_damaged(void **state)
{
    struct fixture *f = *state;
    struct digest m = digest_n("m", 1), i = digest_n("i", 1), t = digest_n("t", 1);
    static const char *const values[] = {"", "x", "1", "1 x", "99999999999999999999999 sha256:00", " "};
    struct state_token token = token_n(1, 5000);
    char line[1000];
    put_token(f, &token, NULL);
    for (size_t k = 0; k < sizeof values / sizeof values[0]; ++k) {
        redisContext *c = redisConnectUnix(server_of(f)->socket);
        freeReplyObject(
            redisCommand(c, "HSET rac:1:tags:anon|docker.io/library/busybox latest %s", values[k]));
        (void)snprintf(line, sizeof line, "rac:1:variants:c:%s", m.s);
        freeReplyObject(redisCommand(c, "HSET %s %s %s", line, i.s, values[k]));
        (void)snprintf(line, sizeof line, "rac:1:man:anon|docker.io/library/busybox:%s", m.s);
        freeReplyObject(redisCommand(c, "HSET %s %s %s", line, m.s, k == 2 || k == 3 ? "y 1" : values[k]));
        redisFree(c);
        begin(&f->a, f->loop);
        f->s->ops->tag_get(f->s, f->loop, &busybox, "latest", on_tag, &f->a);
        wait_for(&f->a);
        assert_int_equal(f->a.err.code, ERR_IO);
        begin(&f->a, f->loop);
        f->s->ops->variant_by_source(f->s, f->loop, "c", &m, &i, on_variant, &f->a);
        wait_for(&f->a);
        assert_int_equal(f->a.err.code, ERR_IO);
        begin(&f->a, f->loop);
        f->s->ops->manifest_get(f->s, f->loop, &busybox, &m, on_manifest, &f->a);
        wait_for(&f->a);
        assert_int_equal(f->a.err.code, ERR_IO);
    }
    static const char *const fields[] = {"source",     "injection", "target", "created_ms",
                                         "expires_ms", "canonical", "image"};
    char key[2 * STATE_TOKEN_KEY + 1];
    for (int k = 0; k < STATE_TOKEN_KEY; ++k)
        (void)snprintf(key + 2 * k, 3, "%02x", token.key[k]);
    for (size_t k = 0; k < sizeof fields / sizeof fields[0]; ++k) {
        redisContext *c = redisConnectUnix(server_of(f)->socket);
        redisReply *was = redisCommand(c, "HGET rac:1:token:%s %s", key, fields[k]);
        freeReplyObject(redisCommand(c, "HDEL rac:1:token:%s %s", key, fields[k]));
        begin(&f->a, f->loop);
        f->s->ops->token_get(f->s, f->loop, token.key, on_token, &f->a);
        wait_for(&f->a);
        assert_int_equal(f->a.err.code, ERR_IO);
        freeReplyObject(redisCommand(c, "HSET rac:1:token:%s %s %s", key, fields[k], was->str));
        freeReplyObject(was);
        redisFree(c);
    }
    check_token(f, &token);
    (void)snprintf(line, sizeof line, "SET rac:1:target:c:%s wrong-type", t.s);
    order(f, line);
    begin(&f->a, f->loop);
    f->s->ops->variant_by_target(f->s, f->loop, "c", &t, on_variant, &f->a);
    wait_for(&f->a);
    assert_int_equal(f->a.err.code, ERR_INTERNAL);
    assert_non_null(strstr(f->a.err.msg, "WRONGTYPE"));
}

static void test_close_while_away(void **state)
{
    struct fixture *f = *state;
    kill_redis(f);
    f->s->ops->tag_drop(f->s, &busybox, "latest");
    begin(&f->a, f->loop);
    f->s->ops->tag_get(f->s, f->loop, &busybox, "latest", on_tag, &f->a);
    uint64_t begin_ms = clock_mono_ms();
    close_store(f);
    assert_true(clock_mono_ms() - begin_ms < WAIT_MS / 2);
    wait_for(&f->a); /* its answer comes, too */
    assert_int_equal(f->a.err.code, ERR_OVERLOADED);
}

int main(void)
{
    log_start(2, LOG_LEVEL_OFF, LOG_FORMAT_LOGFMT);
#define T(name) cmocka_unit_test_setup_teardown(name, setup, fixture_free)
    const struct CMUnitTest tests[] = {
        T(test_two_see_the_same),
        T(test_injections_expire),
        T(test_away),
        T(test_late),
        T(test_restarted_empty),
        T(test_of_other_replicas),
        T(test_refused_at_start),
        T(test_scripts_flushed),
        T(test_read_only),
        T(test_full),
        T(test_overload),
        T(test_damaged),
        T(test_close_while_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
