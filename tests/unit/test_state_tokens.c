// SPDX-License-Identifier: Apache-2.0
/* Container tokens in the embedded store: what is put is what is got, also after kill -9 and from a backup.
 */
#include <signal.h>

#include "tests/unit/state_sqlite.h"

static int setup(void **state)
{
    return fixture_new(&sqlite_backend, state);
}

static void test_kill_9(void **state)
{
    struct fixture *f = *state;
    int pipe_fd[2];
    unsigned acknowledged = 0, n;
    close_store(f);
    assert_int_equal(pipe(pipe_fd), 0);
    pid_t child = fork();
    if (child == 0) {
        reopen(f);
        for (n = 0;; ++n) {
            struct state_token t = token_n(n, INT64_MAX);
            put_token(f, &t, "{}");
            if (write(pipe_fd[1], &n, sizeof n) != sizeof n)
                _exit(1);
        }
    }
    (void)close(pipe_fd[1]);
    while (acknowledged < 300 && read(pipe_fd[0], &n, sizeof n) == sizeof n)
        ++acknowledged;
    (void)kill(child, SIGKILL);
    (void)waitpid(child, NULL, 0);
    while (read(pipe_fd[0], &n, sizeof n) == sizeof n)
        ++acknowledged;
    (void)close(pipe_fd[0]);
    assert_true(acknowledged >= 300);
    reopen(f);
    for (n = 0; n < acknowledged; ++n) {
        struct state_token t = token_n(n, INT64_MAX);
        assert_true(get_token(f, &t));
    }
}

static void test_backup(void **state)
{
    struct fixture *f = *state;
    struct err err;
    char *there = scratch_new();
    char *to = mem_printf("%s/state.db", there);
    struct state_token one = token_n(1, 5000), two = token_n(2, 5000);
    put_token(f, &one, "{}");
    if (sqlite_state_backup(f->place, to, &err) < 0) /* while it is in use */
        fail_msg("%s", err.msg);
    put_token(f, &two, "{}");
    assert_true(sqlite_state_backup(f->place, to, &err) < 0);
    assert_non_null(strstr(err.msg, "is there already"));
    assert_true(sqlite_state_backup(there, "/nonexistent/x", &err) < 0);
    assert_true(sqlite_state_backup("/nonexistent", "/nonexistent/x", &err) < 0);
    close_store(f);
    f->s = f->backend->open(there);
    check_token(f, &one);
    assert_false(get_token(f, &two));
    close_store(f);
    scratch_free(there);
    free(to);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, fixture_free)

int main(void)
{
    const struct CMUnitTest tests[] = {T(test_kill_9), T(test_backup)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
