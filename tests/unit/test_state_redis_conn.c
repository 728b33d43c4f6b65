// SPDX-License-Identifier: Apache-2.0
/* The connection to Redis against real servers: found, logged in, lost, late, and back again. */
#include <hiredis/hiredis.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/str.h"
#include "proxy/state/redis_conn.h"
#include "tests/unit/redis_rig.h"

#define WAIT_MS 30000

/* ---- URLs ---- */

static void test_url(void **state)
{
    static const struct {
        const char *text, *user, *password, *host, *socket, *primary, *shown;
        unsigned port, db, hosts;
    } rows[] = {
        {"redis://h", NULL, NULL, "h", NULL, NULL, "redis://h", 6379, 0, 1},
        {"redis://h:1/", NULL, NULL, "h", NULL, NULL, "redis://h:1/", 1, 0, 1},
        {"redis://:se:cr@t@10.0.0.1:7000/15", NULL, "se:cr@t", "10.0.0.1", NULL, NULL,
         "redis://10.0.0.1:7000/15", 7000, 15, 1},
        {"redis://ann:p%40%2F%3a@[::1]:7000/2", "ann", "p@/:", "::1", NULL, NULL, "redis://[::1]:7000/2",
         7000, 2, 1},
        {"redis://[fe80::1]", NULL, NULL, "fe80::1", NULL, NULL, "redis://[fe80::1]", 6379, 0, 1},
        {"redis+unix:///run/redis.sock", NULL, NULL, NULL, "/run/redis.sock", NULL,
         "redis+unix:///run/redis.sock", 0, 0, 0},
        {"redis+unix://a:b@/run/re%20dis?db=3", "a", "b", NULL, "/run/re dis", NULL,
         "redis+unix:///run/re%20dis?db=3", 0, 3, 0},
        {"redis+sentinel://:x@s1,s2:5,[::2]/main/4", NULL, "x", "s1", NULL, "main",
         "redis+sentinel://s1,s2:5,[::2]/main/4", 26379, 4, 3},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
        struct redis_url u;
        struct err err;
        if (redis_url_parse(rows[i].text, &u, &err) < 0)
            fail_msg("%s: %s", rows[i].text, err.msg);
        const char *const got[] = {u.user, u.password, u.host_count ? u.hosts[0].name : NULL, u.socket,
                                   u.primary};
        const char *const want[] = {rows[i].user, rows[i].password, rows[i].host, rows[i].socket,
                                    rows[i].primary};
        for (int k = 0; k < 5; ++k)
            assert_string_equal(got[k] ? got[k] : "(null)", want[k] ? want[k] : "(null)");
        assert_string_equal(u.shown, rows[i].shown);
        assert_int_equal(u.host_count ? u.hosts[0].port : 0, rows[i].port);
        assert_int_equal(u.db, rows[i].db);
        assert_int_equal(u.host_count, rows[i].hosts);
        redis_url_clear(&u);
    }
}

static void test_url_bad(void **state)
{
    static const char *const rows[] = {"",
                                       "redis",
                                       "http://h",
                                       "redis:/h",
                                       "redis://",
                                       "redis://:6379",
                                       "redis://h:0",
                                       "redis://h:65536",
                                       "redis://h:x",
                                       "redis://h/x",
                                       "redis://h/1/2",
                                       "redis://h/65536",
                                       "redis://h h",
                                       "redis://[::1",
                                       "redis://[::1]x",
                                       "redis://@h",
                                       "redis://sesame:@h",
                                       "redis://a:sesame%zz@h",
                                       "redis://a:sesame%00@h",
                                       "redis://a:sesame@",
                                       "redis+unix://redis.sock",
                                       "redis+unix:///x?y=1",
                                       "redis+unix:///x?db=y",
                                       "redis+sentinel://h",
                                       "redis+sentinel://h/",
                                       "redis+sentinel:///main",
                                       "redis+sentinel://h,,i/main",
                                       "rediss://h:1"};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
        struct redis_url u = {.db = 77};
        struct err err;
        if (redis_url_parse(rows[i], &u, &err) == 0)
            fail_msg("taken: %s", rows[i]);
        assert_int_equal(err.code, ERR_INVALID);
        assert_int_equal(u.db, 77); /* not written */
        assert_null(strstr(err.msg, "sesame"));
    }
}

/* ---- a connection ---- */

struct fixture {
    struct loop *loop;
    struct redis_server *server;
    struct redis_url url;
    struct redis_conn *c;
    unsigned ups, downs, answers, failures;
    uint64_t last_integer;
    char why[ERR_MSG_MAX], text[ERR_MSG_MAX];
    enum err_code code;
};

static void on_up(void *arg)
{
    ++((struct fixture *)arg)->ups;
}

static void on_down(void *arg, const struct err *err)
{
    struct fixture *f = arg;
    ++f->downs;
    f->code = err->code;
    (void)snprintf(f->why, sizeof f->why, "%s", err->msg);
}

static void on_reply(void *arg, const redisReply *reply, const struct err *err)
{
    struct fixture *f = arg;
    assert_true((reply == NULL) == (err != NULL));
    if (!reply) {
        ++f->failures;
        (void)snprintf(f->text, sizeof f->text, "%s", err->msg);
        return;
    }
    ++f->answers;
    f->last_integer = reply->type == REDIS_REPLY_INTEGER ? (uint64_t)reply->integer : 0;
    (void)snprintf(f->text, sizeof f->text, "%.*s", (int)(reply->str ? reply->len : 0),
                   reply->str ? reply->str : "");
}

/* Runs the loop until *counter is at least n. */
static void wait_count(struct fixture *f, const unsigned *counter, unsigned n)
{
    uint64_t end = patience_end_ms(WAIT_MS);
    while (*counter < n && clock_mono_ms() < end)
        loop_run_once(f->loop, 100);
    if (*counter < n)
        fail_msg("%u instead of %u; last failure: %s", *counter, n, f->why);
}

static void connect_to(struct fixture *f, const char *url, uint32_t command_ms)
{
    struct err err;
    redis_conn_free(f->c);
    redis_url_clear(&f->url);
    if (redis_url_parse(url, &f->url, &err) < 0)
        fail_msg("%s", err.msg);
    struct redis_conn_config config = {.url = &f->url,
                                       .connect_ms = command_ms,
                                       .command_ms = command_ms,
                                       .retry_min_ms = 5,
                                       .retry_max_ms = 50,
                                       .on_up = on_up,
                                       .on_down = on_down,
                                       .arg = f};
    f->ups = f->downs = f->answers = f->failures = 0;
    f->why[0] = f->text[0] = '\0';
    f->c = redis_conn_new(f->loop, &config);
}

static void connect_socket(struct fixture *f, const char *login, const char *behind)
{
    cleanup_free char *url = mem_printf("redis+unix://%s%s%s", login, f->server->socket, behind);
    connect_to(f, url, WAIT_MS);
}

static bool send_words(struct fixture *f, int argc, const char *const *argv)
{
    return redis_conn_send(f->c, argc, argv, NULL, on_reply, f);
}

/* The answer, in f->text. */
static void ask(struct fixture *f, int argc, const char *const *argv)
{
    unsigned before = f->answers;
    assert_true(send_words(f, argc, argv));
    assert_int_equal(f->answers, before); /* never from inside */
    wait_count(f, &f->answers, before + 1);
}
#define ASK(f, ...)                                                                                          \
    ask(f, (int)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)),                               \
        (const char *const[]){__VA_ARGS__})

static int setup_alone(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    f->loop = loop_new(0);
    loop_set_current(f->loop);
    *state = f;
    return 0;
}

static int setup(void **state)
{
    (void)setup_alone(state);
    ((struct fixture *)*state)->server = redis_server_new(false, NULL);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    redis_conn_free(f->c);
    redis_url_clear(&f->url);
    redis_server_free(f->server);
    loop_free(f->loop);
    free(f);
    return 0;
}

static void test_answers_in_order(void **state)
{
    struct fixture *f = *state;
    connect_socket(f, "", "");
    assert_false(send_words(f, 1, (const char *const[]){"PING"})); /* not yet */
    wait_count(f, &f->ups, 1);
    assert_string_equal(redis_conn_address(f->c), f->server->socket);
    for (unsigned i = 0; i < 1000; ++i)
        assert_true(send_words(f, 2, (const char *const[]){"INCR", "n"}));
    wait_count(f, &f->answers, 1000);
    assert_int_equal(f->last_integer, 1000);
    size_t len = 5 << 20;
    cleanup_free char *big = mem_zalloc(len);
    assert_true(redis_conn_send(f->c, 3, (const char *const[]){"SET", "big", big},
                                (const size_t[]){3, 3, len}, on_reply, f));
    ASK(f, "STRLEN", "big");
    wait_count(f, &f->answers, 1002);
    assert_int_equal(f->last_integer, len);
    ASK(f, "NO-SUCH-COMMAND"); /* an error is an answer */
    assert_non_null(strstr(f->text, "unknown command"));
    assert_int_equal(f->failures + f->downs, 0);
}

static void test_log_in(void **state)
{
    struct fixture *f = *state;
    connect_socket(f, "", "");
    wait_count(f, &f->ups, 1);
    ASK(f, "ACL", "SETUSER", "ann", "on", ">letmein", "allkeys", "+@all");
    ASK(f, "CONFIG", "SET", "requirepass", "open sesame");
    connect_socket(f, ":open%20sesame@", "");
    wait_count(f, &f->ups, 1);
    connect_socket(f, "ann:letmein@", "");
    wait_count(f, &f->ups, 1);
    ASK(f, "ACL", "WHOAMI");
    assert_string_equal(f->text, "ann");
    static const char *const wrong[] = {"", ":open%20barley@", "ann:barley@", "bob:open%20sesame@"};
    for (int i = 0; i < 4; ++i) {
        connect_socket(f, wrong[i], "");
        wait_count(f, &f->downs, 3); /* it goes on trying */
        assert_int_equal(f->ups, 0);
        assert_int_equal(f->code, ERR_OVERLOADED);
        assert_non_null(strstr(f->why, i ? "WRONGPASS" : "NOAUTH"));
        assert_non_null(strstr(f->why, f->server->socket));
        assert_null(strstr(f->why, "barley"));
        assert_null(strstr(f->why, "sesame"));
    }
}

static void test_database(void **state)
{
    struct fixture *f = *state;
    connect_socket(f, "", "?db=3");
    wait_count(f, &f->ups, 1);
    ASK(f, "SET", "k", "in three");
    connect_socket(f, "", "?db=3");
    wait_count(f, &f->ups, 1);
    ASK(f, "GET", "k");
    assert_string_equal(f->text, "in three");
    connect_socket(f, "", "");
    wait_count(f, &f->ups, 1);
    ASK(f, "EXISTS", "k");
    assert_int_equal(f->last_integer, 0);
    connect_socket(f, "", "?db=99");
    wait_count(f, &f->downs, 1);
    assert_non_null(strstr(f->why, "database refused"));
}

static void test_killed_and_back(void **state)
{
    struct fixture *f = *state;
    connect_socket(f, "", "");
    wait_count(f, &f->ups, 1);
    redis_conn_settled(f->c);
    ASK(f, "SET", "k", "kept");
    for (unsigned round = 1; round <= 3; ++round) {
        f->downs = 0;
        assert_int_equal(kill(f->server->pid, SIGSTOP), 0); /* so that they surely wait */
        for (unsigned i = 0; i < 10; ++i)
            assert_true(send_words(f, 2, (const char *const[]){"GET", "k"}));
        redis_server_kill(f->server);
        wait_count(f, &f->failures, 10 * round);
        wait_count(f, &f->downs, 3);
        assert_int_equal(f->failures, 10 * round); /* each once */
        assert_false(send_words(f, 1, (const char *const[]){"PING"}));
        redis_server_start(f->server, NULL);
        wait_count(f, &f->ups, 1 + round);
        ASK(f, "GET", "k");
        assert_string_equal(f->text, "kept");
    }
}

static void test_late(void **state)
{
    struct fixture *f = *state;
    cleanup_free char *url = mem_printf("redis+unix://%s", f->server->socket);
    connect_to(f, url, 1000);
    wait_count(f, &f->ups, 1);
    assert_int_equal(kill(f->server->pid, SIGSTOP), 0);
    uint64_t begin = clock_mono_ms();
    assert_true(send_words(f, 1, (const char *const[]){"PING"}));
    wait_count(f, &f->failures, 1);
    assert_true(clock_mono_ms() - begin >= 1000);
    assert_non_null(strstr(f->text, "does not answer in time"));
    wait_count(f, &f->downs, 2); /* the kernel still accepts for it: it says no hello in time */
    assert_int_equal(kill(f->server->pid, SIGCONT), 0);
    wait_count(f, &f->ups, 2);
    ASK(f, "PING");
    assert_string_equal(f->text, "PONG");
}

static void test_reset(void **state)
{
    struct fixture *f = *state;
    struct err err;
    connect_socket(f, "", "");
    wait_count(f, &f->ups, 1);
    assert_true(send_words(f, 1, (const char *const[]){"PING"}));
    (void)err_set(&err, ERR_OVERLOADED, "the test says so");
    redis_conn_reset(f->c, &err);
    assert_int_equal(f->failures, 1);
    assert_string_equal(f->text, "the test says so");
    assert_string_equal(f->why, "the test says so");
    wait_count(f, &f->ups, 2);
    assert_int_equal(f->downs, 1);
}

static void test_replica_is_refused(void **state)
{
    struct fixture *f = *state;
    connect_socket(f, "", "");
    wait_count(f, &f->ups, 1);
    ASK(f, "REPLICAOF", "127.0.0.1", "1");
    connect_socket(f, "", "");
    wait_count(f, &f->downs, 1);
    assert_int_equal(f->ups, 0);
    assert_non_null(strstr(f->why, "is no primary"));
}

static void test_free_with_commands_waiting(void **state)
{
    struct fixture *f = *state;
    connect_socket(f, "", "");
    wait_count(f, &f->ups, 1);
    for (unsigned i = 0; i < 10; ++i)
        assert_true(send_words(f, 1, (const char *const[]){"PING"}));
    redis_conn_free(f->c);
    f->c = NULL;
    assert_int_equal(f->failures, 10);
    connect_socket(f, "", ""); /* and freed before it went anywhere */
}

/* ---- TCP, names, and peers that are no Redis ---- */

static void test_by_name(void **state)
{
    struct fixture *f = *state;
    f->server = redis_server_new(true, NULL);
    static const char *const names[] = {"localhost", "127.0.0.1"};
    for (int i = 0; i < 2; ++i) {
        cleanup_free char *url = mem_printf("redis://%s:%u", names[i], f->server->port);
        connect_to(f, url, WAIT_MS);
        wait_count(f, &f->ups, 1);
        ASK(f, "PING");
    }
    connect_to(f, "redis://no.such.host.invalid", WAIT_MS);
    wait_count(f, &f->downs, 2);
    assert_non_null(strstr(f->why, "no.such.host.invalid:6379: "));
    cleanup_free char *url = mem_printf("redis://localhost:%u", redis_free_port());
    connect_to(f, url, WAIT_MS);
    wait_count(f, &f->downs, 2);
    assert_non_null(strstr(f->why, "refused"));
    connect_to(f, "redis://localhost", WAIT_MS); /* freed while a name may be looked up */
    loop_run_once(f->loop, 100);
}

/* Listens; never accepts, or answers whatever comes with `says`. */
static void test_no_redis(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    cleanup_free char *url = mem_printf("redis://127.0.0.1:%u", ntohs(a.sin_port));
    connect_to(f, url, 300);
    wait_count(f, &f->downs, 2); /* silent */
    assert_non_null(strstr(f->why, "does not answer in time"));
    (void)fcntl(fd, F_SETFL, O_NONBLOCK);
    static const char *const says[] = {"HTTP/1.1 400 Bad Request\r\n\r\n",
                                       "",
                                       "*-7\r\n",
                                       "$99999999999999999999\r\n",
                                       "*1\r\n$5\r\nslave\r\n",
                                       ":1\r\n",
                                       "-ERR go away\r\n"};
    for (size_t i = 0; i < sizeof says / sizeof says[0]; ++i) {
        connect_to(f, url, WAIT_MS);
        for (unsigned before = f->downs; f->downs == before;) {
            loop_run_once(f->loop, 10);
            int peer = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
            if (peer < 0)
                continue;
            for (int k = 0; k < 10; ++k)
                loop_run_once(f->loop, 1); /* its hello comes */
            assert_true(send(peer, says[i], strlen(says[i]), MSG_NOSIGNAL) >= 0 || errno == ECONNRESET);
            (void)close(peer);
            for (int k = 0; k < 10 && f->downs == before; ++k)
                loop_run_once(f->loop, 10);
        }
        assert_int_equal(f->ups, 0);
    }
    (void)close(fd);
}

/* ---- Sentinel ---- */

static pid_t sentinel_start(const char *dir, unsigned port, unsigned primary_port)
{
    char *path = mem_printf("%s/sentinel.conf", dir);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    (void)fprintf(file,
                  "port %u\nbind 127.0.0.1\ndir %s\nsentinel monitor main 127.0.0.1 %u 1\n"
                  "sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 5000\n",
                  port, dir, primary_port);
    (void)fclose(file);
    pid_t pid = redis_spawn(dir, (char *const[]){"redis-sentinel", path, NULL});
    free(path);
    return pid;
}

static void test_sentinel_fails_over(void **state)
{
    struct fixture *f = *state;
    f->server = redis_server_new(true, NULL);
    char port[16];
    (void)snprintf(port, sizeof port, "%u", f->server->port);
    struct redis_server *replica =
        redis_server_new(true, (const char *const[]){"--replicaof", "127.0.0.1", port, NULL});
    char *dir = scratch_new();
    unsigned sentinel_port = redis_free_port();
    pid_t sentinel = sentinel_start(dir, sentinel_port, f->server->port);
    /* The first of the two is not there. */
    cleanup_free char *url =
        mem_printf("redis+sentinel://127.0.0.1:%u,127.0.0.1:%u/main", redis_free_port(), sentinel_port);
    connect_to(f, url, 2000);
    wait_count(f, &f->ups, 1);
    cleanup_free char *address = mem_printf("127.0.0.1:%u", f->server->port);
    assert_string_equal(redis_conn_address(f->c), address);
    ASK(f, "SET", "k", "kept");
    uint64_t end = patience_end_ms(WAIT_MS); /* the replica is in step, and the Sentinel knows it */
    do {
        assert_true(clock_mono_ms() < end);
        ASK(f, "WAIT", "1", "500");
    } while (f->last_integer < 1);
    cleanup_free char *known =
        mem_printf("redis-cli -p %u sentinel replicas main | grep -qx %u", sentinel_port, replica->port);
    while (system(known) != 0) {
        assert_true(clock_mono_ms() < end);
        (void)usleep(50000);
    }
    redis_server_kill(f->server);
    wait_count(f, &f->ups, 2);
    free(address);
    address = mem_printf("127.0.0.1:%u", replica->port);
    assert_string_equal(redis_conn_address(f->c), address);
    ASK(f, "GET", "k");
    assert_string_equal(f->text, "kept");

    cleanup_free char *unknown = mem_printf("redis+sentinel://127.0.0.1:%u/other", sentinel_port);
    connect_to(f, unknown, WAIT_MS);
    wait_count(f, &f->downs, 1);
    assert_non_null(strstr(f->why, "knows no primary of that name"));
    (void)kill(sentinel, SIGKILL);
    (void)waitpid(sentinel, NULL, 0);
    scratch_free(dir);
    redis_server_free(replica);
}

int main(void)
{
    log_start(2, LOG_LEVEL_OFF, LOG_FORMAT_LOGFMT);
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define A(name) cmocka_unit_test_setup_teardown(name, setup_alone, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_url),
        cmocka_unit_test(test_url_bad),
        T(test_answers_in_order),
        T(test_log_in),
        T(test_database),
        T(test_killed_and_back),
        T(test_late),
        T(test_reset),
        T(test_replica_is_refused),
        T(test_free_with_commands_waiting),
        A(test_by_name),
        A(test_no_redis),
        A(test_sentinel_fails_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
