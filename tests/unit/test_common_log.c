// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"

/* Logs into a pipe; what came out of it stands in `out` after log_end(). */
static int pipe_fd[2];
static struct buf out;

static void log_begin(enum log_level level, enum log_format format)
{
    assert_int_equal(pipe2(pipe_fd, O_CLOEXEC), 0);
    buf_reset(&out);
    log_start(pipe_fd[1], level, format);
}

static void log_end(void)
{
    log_stop();
    (void)close(pipe_fd[1]);
    char chunk[4096];
    for (ssize_t n; (n = read(pipe_fd[0], chunk, sizeof chunk)) > 0;)
        (void)buf_add(&out, chunk, (size_t)n);
    (void)close(pipe_fd[0]);
}

/* The n-th line behind its time. */
static char *line(unsigned n)
{
    struct slice rest = {buf_str(&out), out.len}, one = {NULL, 0};
    for (unsigned i = 0; i <= n; ++i)
        one = slice_cut(&rest, '\n');
    char *text = mem_strndup(one.len ? one.p : "", one.len);
    char *behind =
        mem_strdup(strncmp(text, "time=", 5) == 0 && strchr(text, ' ') ? strchr(text, ' ') + 1 : text);
    free(text);
    return behind;
}

static unsigned lines(void)
{
    unsigned n = 0;
    for (size_t i = 0; i < out.len; ++i)
        n += out.p[i] == '\n';
    return n;
}

static void expect_line(unsigned n, const char *expected)
{
    cleanup_free char *text = line(n);
    assert_string_equal(text, expected);
}

static void test_logfmt(void **state)
{
    (void)state;
    struct err err;
    (void)err_set(&err, ERR_IO, "no \"luck\"");
    log_begin(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT);
    log_info("started");
    log_warn("blob filled", F_S("digest", "sha256:ab"), F_U("bytes", UINT64_MAX), F_I("left", -5),
             F_US("ms", 1234567), F_S("absent", NULL), F_ERR(&err));
    log_error("injected\nline level=info", F_S("user", "a=b\nlevel=info msg=\"x\""), F_S("empty", ""),
              F_S("text", "a b"), F_SL("cut", ((struct slice){"abcdef", 3})), F_S("utf", "\xc3\xa9\xff"));
    log_debug("not shown");
    log_end();
    assert_int_equal(lines(), 3);
    expect_line(0, "level=info msg=started");
    expect_line(
        1, "level=warn msg=\"blob filled\" digest=sha256:ab bytes=18446744073709551615 left=-5 ms=1234.567 "
           "error=\"no \\\"luck\\\"\"");
    expect_line(
        2,
        "level=error msg=\"injected\\nline level=info\" user=\"a=b\\nlevel=info msg=\\\"x\\\"\" empty=\"\" "
        "text=\"a b\" cut=abc utf=\"\xc3\xa9\xef\xbf\xbd\"");
    int year, month, day, hour, minute, second, ms, used = 0;
    assert_int_equal(sscanf(out.p, "time=%4d-%2d-%2dT%2d:%2d:%2d.%3dZ %n", &year, &month, &day, &hour,
                            &minute, &second, &ms, &used),
                     7);
    assert_int_equal(used, 30);
}

static void test_json(void **state)
{
    (void)state;
    log_begin(LOG_LEVEL_DEBUG, LOG_FORMAT_JSON);
    log_debug("x \"y\"", F_S("a", "b\nc"), F_U("n", 7), F_I("i", -7), F_US("ms", 1500), F_S("none", NULL));
    log_end();
    struct err err;
    assert_int_equal(lines(), 1);
    cleanup_json json_t *j = json_parse(out.p, out.len, out.len, &err);
    assert_non_null(j);
    assert_int_equal(json_object_size(j), 7);
    assert_string_equal(json_string_value(json_object_get(j, "msg")), "x \"y\"");
    assert_string_equal(json_string_value(json_object_get(j, "level")), "debug");
    assert_string_equal(json_string_value(json_object_get(j, "a")), "b\nc");
    assert_int_equal(json_integer_value(json_object_get(j, "i")), -7);
    assert_true(json_real_value(json_object_get(j, "ms")) == 1.5);
    assert_int_equal(strlen(json_string_value(json_object_get(j, "time"))), 24);
}

static void test_levels(void **state)
{
    (void)state;
    log_begin(LOG_LEVEL_WARN, LOG_FORMAT_LOGFMT);
    assert_true(log_enabled(LOG_LEVEL_ERROR) && log_enabled(LOG_LEVEL_WARN));
    assert_false(log_enabled(LOG_LEVEL_INFO));
    log_info("1");
    log_start(pipe_fd[1], LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT); /* a reload */
    log_info("2");
    log_start(pipe_fd[1], LOG_LEVEL_OFF, LOG_FORMAT_LOGFMT);
    log_error("3");
    log_end();
    assert_int_equal(lines(), 1);
    expect_line(0, "level=info msg=2");
    enum log_level level;
    enum log_format format;
    struct err err;
    assert_int_equal(log_level_parse("Warn", &level, &err), 0);
    assert_int_equal(level, LOG_LEVEL_WARN);
    assert_true(log_level_parse("loud", &level, &err) < 0);
    assert_non_null(strstr(err.msg, "'loud'"));
    assert_int_equal(log_format_parse("JSON", &format, &err), 0);
    assert_int_equal(format, LOG_FORMAT_JSON);
    assert_true(log_format_parse("xml", &format, &err) < 0);
    assert_non_null(strstr(err.msg, "'xml'"));
}

static void test_huge_field(void **state)
{
    (void)state;
    cleanup_free char *huge = mem_alloc(LOG_LINE_MAX + 1);
    memset(huge, 'x', LOG_LINE_MAX);
    huge[LOG_LINE_MAX] = '\0';
    log_begin(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT);
    log_info("seen", F_S("huge", huge), F_U("n", 1));
    log_end();
    expect_line(0, "level=info msg=seen note=\"fields too long\"");
}

static void *reader(void *arg)
{
    (void)arg;
    char chunk[4096];
    for (ssize_t n; (n = read(pipe_fd[0], chunk, sizeof chunk)) > 0;)
        (void)buf_add(&out, chunk, (size_t)n);
    return NULL;
}

/* Nobody reads: the caller is never held up, and the loss is told when there is a reader again. */
static void test_slow_reader(void **state)
{
    (void)state;
    char kilobyte[1001];
    memset(kilobyte, 'k', 1000);
    kilobyte[1000] = '\0';
    uint64_t before = log_dropped();
    log_begin(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT);
    assert_true(fcntl(pipe_fd[1], F_SETPIPE_SZ, 4096) > 0);
    uint64_t begin = clock_mono_ms();
    for (int i = 0; i < 12000; ++i)
        log_info("line", F_S("k", kilobyte));
    assert_true(clock_mono_ms() - begin < 10000);
    uint64_t dropped = log_dropped() - before;
    assert_in_range(dropped, 1000, 11999);
    pthread_t drain;
    assert_int_equal(pthread_create(&drain, NULL, reader, NULL), 0);
    uint64_t had; /* as long as the backlog is full, this is dropped too */
    do {
        (void)usleep(1000);
        had = log_dropped();
        log_info("after");
    } while (log_dropped() != had);
    dropped = log_dropped() - before;
    log_stop();
    (void)close(pipe_fd[1]);
    pthread_join(drain, NULL);
    (void)close(pipe_fd[0]);
    uint64_t told = 0;
    for (const char *at = buf_str(&out); (at = strstr(at, " lines=")); ++at)
        told += strtoull(at + 7, NULL, 10);
    assert_int_equal(told, dropped);
    assert_non_null(strstr(buf_str(&out), "msg=after\n"));
}

/* Nobody will ever read: the end comes all the same. */
static void test_stop_without_reader(void **state)
{
    (void)state;
    char kilobyte[1001];
    memset(kilobyte, 'k', 1000);
    kilobyte[1000] = '\0';
    log_begin(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT);
    for (int i = 0; i < 500; ++i)
        log_info("line", F_S("k", kilobyte));
    uint64_t begin = clock_mono_ms();
    log_stop();
    assert_in_range(clock_mono_ms() - begin, 500, 10000);
    (void)close(pipe_fd[1]);
    (void)close(pipe_fd[0]);
}

static void *shout(void *arg)
{
    for (unsigned i = 0; i < 500; ++i)
        log_info("thread", F_U("id", (uint64_t)(uintptr_t)arg), F_U("i", i));
    return NULL;
}

/* Whole lines, each thread's in its order; none lost, also when the log is stopped meanwhile. */
static void test_threads(void **state)
{
    (void)state;
    pthread_t thread[4], drain;
    log_begin(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT);
    assert_int_equal(pthread_create(&drain, NULL, reader, NULL), 0);
    for (uintptr_t i = 0; i < 4; ++i)
        assert_int_equal(pthread_create(&thread[i], NULL, shout, (void *)i), 0);
    (void)usleep(2000);
    log_stop();
    for (int i = 0; i < 4; ++i)
        pthread_join(thread[i], NULL);
    (void)close(pipe_fd[1]);
    pthread_join(drain, NULL);
    (void)close(pipe_fd[0]);
    assert_int_equal(lines(), 2000);
    unsigned next[4] = {0};
    struct slice rest = {out.p, out.len};
    while (rest.len) {
        struct slice one = slice_cut(&rest, '\n');
        cleanup_free char *text = mem_strndup(one.p, one.len);
        unsigned id, i;
        const char *at = strstr(text, " level=info msg=thread id=");
        assert_non_null(at);
        assert_int_equal(sscanf(at, " level=info msg=thread id=%u i=%u", &id, &i), 2);
        assert_true(id < 4);
        assert_int_equal(i, next[id]++);
    }
}

static void test_redact(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"https://user:secret@host:5000/v2/?token=secret#secret", "https://host:5000/v2/"},
        {"https://host/a@b", "https://host/a@b"},
        {"https://us%40er:p@ss@host/", "https://host/"},
        {"https://host?secret=1", "https://host"},
        {"https://secret@host#x", "https://host"},
        {"secret@host/x?y", "host/x"},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        char shown[128];
        assert_ptr_equal(log_redact_url(cases[i][0], shown, sizeof shown), shown);
        assert_string_equal(shown, cases[i][1]);
    }
    char small[8];
    assert_string_equal(log_redact_url("https://host/", small, sizeof small), "https:/");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logfmt),      cmocka_unit_test(test_json),
        cmocka_unit_test(test_levels),      cmocka_unit_test(test_huge_field),
        cmocka_unit_test(test_slow_reader), cmocka_unit_test(test_stop_without_reader),
        cmocka_unit_test(test_threads),     cmocka_unit_test(test_redact)};
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    buf_free(&out);
    return rc;
}
