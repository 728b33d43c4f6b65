// SPDX-License-Identifier: Apache-2.0
/* What the embedded store promises besides what all do (test_state_suite.c): its file, its queue, its disk.
 */
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>

#include "common/fs.h"
#include "common/log.h"
#include "tests/unit/state_sqlite.h"

static int setup(void **state)
{
    return fixture_new(&sqlite_backend, state);
}

static void test_overload(void **state)
{
    struct fixture *f = *state;
    sqlite3 *other;
    char *path = mem_printf("%s/state.db", (char *)f->place);
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    struct state_tag tag = {digest_n("m", 1), 1};
    for (unsigned i = 0; i < 110000; ++i)
        f->s->ops->tag_put(f->s, &busybox, "latest", &tag);
    uint64_t dropped = atomic_load(&f->s->dropped);
    assert_in_range(dropped, 5000, 10000); /* a batch may be with the writer already */
    assert_int_equal(atomic_load(&f->s->writes_waiting), 100000);
    f->s->ops->tag_drop(f->s, &busybox, "latest"); /* a revocation is not lost with them */
    struct answer put = {0};
    begin(&put, f->loop);
    struct state_manifest m = {digest_n("m", 2), OCI_MANIFEST, 1};
    f->s->ops->link_put(f->s, f->loop, &busybox, &m, NULL, 0, on_done, &put);
    assert_false(put.done);
    wait_for(&put);
    assert_int_equal(put.err.code, ERR_OVERLOADED);
    assert_true(put.err.retry_after_s > 0);
    assert_int_equal(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    (void)sqlite3_close(other);
    assert_false(get_tag(f, &busybox, "latest"));
    assert_int_equal(atomic_load(&f->s->dropped), dropped);
    free(path);
}

/* ---- the file ---- */

static void test_second_is_refused(void **state)
{
    struct fixture *f = *state;
    struct state *second = NULL;
    struct err err;
    char pid[32];
    assert_true(sqlite_state_open(f->place, &second, &err) < 0);
    (void)snprintf(pid, sizeof pid, "pid %d", (int)getpid());
    assert_non_null(strstr(err.msg, pid));
    assert_non_null(strstr(err.msg, f->place));
    assert_null(second);
    assert_false(get_tag(f, &busybox, "latest")); /* the first goes on */
}

static int pragma_int(sqlite3 *db, const char *text)
{
    sqlite3_stmt *s = NULL;
    assert_int_equal(sqlite3_prepare_v2(db, text, -1, &s, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    int value = sqlite3_column_int(s, 0);
    (void)sqlite3_finalize(s);
    return value;
}

static void test_newer_schema_is_refused(void **state)
{
    struct fixture *f = *state;
    sqlite3 *db;
    struct err err;
    uint8_t key[32];
    char *path = mem_printf("%s/state.db", (char *)f->place);
    memcpy(key, f->s->scope_key, 32);
    close_store(f);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    int ours = pragma_int(db, "PRAGMA user_version");
    assert_true(ours > 0);
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 99", NULL, NULL, NULL), SQLITE_OK);
    (void)sqlite3_close(db);
    assert_true(sqlite_state_open(f->place, &f->s, &err) < 0);
    assert_non_null(strstr(err.msg, "newer rac-proxy (schema 99"));
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    char *back = mem_printf("PRAGMA user_version = %d", ours);
    assert_int_equal(sqlite3_exec(db, back, NULL, NULL, NULL), SQLITE_OK);
    free(back);
    (void)sqlite3_close(db);
    reopen(f); /* nothing was lost, and the lock not kept */
    assert_memory_equal(key, f->s->scope_key, 32);
    free(path);
}

static unsigned files_like(const char *dir, const char *pattern)
{
    char command[512], line[32] = "";
    (void)snprintf(command, sizeof command, "ls -d '%s'/%s 2>/dev/null | wc -l", dir, pattern);
    FILE *p = popen(command, "r");
    assert_non_null(p);
    assert_non_null(fgets(line, sizeof line, p));
    (void)pclose(p);
    return (unsigned)atoi(line);
}

/* Overwrites a part of the closed file; size 0 cuts it off there. */
static void damage(const char *path, long offset, size_t size)
{
    char junk[8192];
    memset(junk, 0x5a, sizeof junk);
    assert_true(size <= sizeof junk);
    if (size == 0) {
        assert_int_equal(truncate(path, offset), 0);
        return;
    }
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    assert_int_equal(fseek(file, offset, SEEK_SET), 0);
    assert_int_equal(fwrite(junk, 1, size, file), size);
    (void)fclose(file);
}

static void test_damaged_file_is_moved_aside(void **state)
{
    struct fixture *f = *state;
    static const struct {
        long offset;
        size_t size;
    } cases[] = {{0, 100}, {100, 4000}, {8192, 8192}, {3 * 4096, 0}, {5000, 0}};
    char *path = mem_printf("%s/state.db", (char *)f->place);
    uint8_t key[32];
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        struct state_ref refs[200];
        for (unsigned r = 0; r < 200; ++r)
            refs[r] = (struct state_ref){digest_n("layer", r), r, OCI_LAYER};
        put_link(f, &busybox, digest_n("m", 1), OCI_MANIFEST, refs, 200);
        memcpy(key, f->s->scope_key, 32);
        close_store(f);
        damage(path, cases[i].offset, cases[i].size);
        reopen(f);
        assert_memory_not_equal(key, f->s->scope_key, 32);
        assert_false(get_manifest(f, &busybox, digest_n("m", 1)));
        assert_int_equal(files_like(f->place, "state.db.corrupt-*"), i + 1);
        (void)usleep(2000); /* the name has milliseconds */
    }
    free(path);
}

static void test_no_permission(void **state)
{
    struct fixture *f = *state;
    struct state *s = NULL;
    struct err err;
    char *file = mem_printf("%s/a-file", (char *)f->place),
         *below = mem_printf("%s/a-file/x", (char *)f->place);
    assert_int_equal(fs_write_file(file, "x", 1, 0600, &err), 0);
    assert_true(sqlite_state_open(below, &s, &err) < 0);
    assert_int_equal(err.code, ERR_IO);
    assert_non_null(strstr(err.msg, file));
    free(file);
    free(below);
}

/* ---- a disk that fails; in a child ---- */

#define CHECK(what)                                                                                          \
    do {                                                                                                     \
        if (!(what)) {                                                                                       \
            (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what);                                 \
            return 1;                                                                                        \
        }                                                                                                    \
    } while (0)

/* Fills the disk by puts until one is refused; then there is room again. */
static int fill_disk(const char *dir, enum err_code expected, bool by_limit)
{
    struct state *s = NULL;
    struct err err;
    struct answer a = {0};
    struct loop *loop = loop_new(0);
    loop_set_current(loop);
    CHECK(sqlite_state_open(dir, &s, &err) == 0);
    struct state_tag tag = {digest_n("first", 1), 1};
    s->ops->tag_put(s, &busybox, "first", &tag);
    begin(&a, loop);
    s->ops->tag_get(s, loop, &busybox, "first", on_tag, &a);
    CHECK(scratch_wait(loop, &a.done) && a.found);
    if (by_limit) {
        struct rlimit limit = {4 << 20, RLIM_INFINITY};
        (void)signal(SIGXFSZ, SIG_IGN);
        CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    }
    size_t len = 100000;
    char *text = mem_zalloc(len);
    unsigned n = 0;
    for (bool failed = false; !failed; ++n) {
        CHECK(n < 1000);
        struct digest d = digest_n("fat", n);
        begin(&a, loop);
        s->ops->injection_put(s, loop, &d, text, len, STATE_FOR_GOOD, on_done, &a);
        CHECK(scratch_wait(loop, &a.done));
        failed = a.err.code != ERR_NONE;
    }
    CHECK(a.err.code == expected);
    CHECK(n > 5);
    begin(&a, loop);
    s->ops->check(s, loop, on_done, &a);
    CHECK(scratch_wait(loop, &a.done));
    /* What is there can be read, and what was acknowledged is there. */
    struct digest last = digest_n("fat", n - 2);
    begin(&a, loop);
    s->ops->tag_get(s, loop, &busybox, "first", on_tag, &a);
    CHECK(scratch_wait(loop, &a.done) && a.found);
    begin(&a, loop);
    s->ops->injection_get(s, loop, &last, on_text, &a);
    CHECK(scratch_wait(loop, &a.done) && a.found && a.len == len);
    CHECK(atomic_load(&s->errors) > 0);
    if (by_limit) {
        struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
        CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    } else {
        char *ballast = mem_printf("%s/ballast", dir);
        CHECK(unlink(ballast) == 0);
        free(ballast);
    }
    begin(&a, loop);
    s->ops->injection_put(s, loop, &last, "small", 5, STATE_FOR_GOOD, on_done, &a);
    CHECK(scratch_wait(loop, &a.done) && a.err.code == ERR_NONE);
    s->ops->close(s);
    loop_free(loop);
    free(a.text);
    free(text);
    return 0;
}

static int full_disk(const char *dir)
{
    char *ballast = mem_printf("%s/ballast", dir);
    char *bytes = mem_zalloc(2 << 20);
    CHECK(fs_write_file(ballast, bytes, 2 << 20, 0600, NULL) == 0);
    free(bytes);
    free(ballast);
    log_start(2, LOG_LEVEL_OFF, LOG_FORMAT_LOGFMT);
    return fill_disk(dir, ERR_NO_SPACE, false);
}

static int failing_disk(const char *dir)
{
    log_start(2, LOG_LEVEL_OFF, LOG_FORMAT_LOGFMT);
    return fill_disk(dir, ERR_IO, true);
}

static void test_full_disk(void **state)
{
    (void)state;
    char *dir = scratch_new();
    int rc = scratch_child(dir, 6 << 20, full_disk);
    scratch_free(dir);
    if (rc == -1)
        skip(); /* no file system of our own here */
    assert_int_equal(rc, 0);
}

static void test_failing_disk(void **state)
{
    (void)state;
    char *dir = scratch_new();
    int rc = scratch_child(dir, 0, failing_disk);
    scratch_free(dir);
    if (rc == -1)
        skip(); /* no threads in children here */
    assert_int_equal(rc, 0);
}

/* ---- kill -9 ---- */

#define KILLS     40
#define IN_FLIGHT 24

static struct {
    struct state *s;
    struct loop *loop;
    int pipe;
    uint32_t next;
} writer;

struct put {
    uint32_t number;
};

static void put_next(void);
static void on_put(void *arg, const struct err *err)
{
    struct put *put = arg;
    if (!err && write(writer.pipe, &put->number, sizeof put->number) != (ssize_t)sizeof put->number)
        _exit(3);
    free(put);
    put_next();
}

static void put_next(void)
{
    struct put *put = mem_new(struct put);
    uint32_t n = put->number = writer.next++;
    struct state_variant v = {"docker.io/x",    digest_n("s", n), digest_n("i", n),
                              digest_n("t", n), OCI_MANIFEST,     NULL};
    struct state_manifest m = {digest_n("m", n), OCI_MANIFEST, n};
    struct state_ref refs[3] = {
        {digest_n("l", n), n, OCI_LAYER}, {digest_n("l", n + 1), n, NULL}, {digest_n("c", n), n, OCI_CONFIG}};
    struct digest d = digest_n("inj", n);
    if (n % 3 == 0)
        writer.s->ops->variant_put(writer.s, writer.loop, &v, on_put, put);
    else if (n % 3 == 1)
        writer.s->ops->link_put(writer.s, writer.loop, &busybox, &m, refs, 3, on_put, put);
    else
        writer.s->ops->injection_put(writer.s, writer.loop, &d, "text", 4, STATE_FOR_GOOD, on_put, put);
}

static void writer_child(const char *dir, uint32_t first, int fd)
{
    struct err err;
    writer.loop = loop_new(0);
    writer.pipe = fd;
    writer.next = first;
    if (sqlite_state_open(dir, &writer.s, &err) < 0) {
        (void)fprintf(stderr, "%s\n", err.msg);
        _exit(2);
    }
    for (int i = 0; i < IN_FLIGHT; ++i)
        put_next();
    for (;;)
        loop_run_once(writer.loop, 1000);
}

static bool is_there(struct fixture *f, uint32_t n)
{
    if (n % 3 == 0)
        return get_variant(f, "docker.io/x", digest_n("s", n), digest_n("i", n));
    if (n % 3 == 1)
        return get_manifest(f, &busybox, digest_n("m", n)) && get_blob(f, &busybox, digest_n("l", n)) &&
               get_blob(f, &busybox, digest_n("c", n));
    return get_injection(f, digest_n("inj", n));
}

static void test_kill_9(void **state)
{
    struct fixture *f = *state;
    uint32_t *acked = NULL, count = 0, first = 0, killed_busy = 0;
    unsigned seed = (unsigned)clock_mono_us();
    print_message("seed %u\n", seed);
    close_store(f);
    for (int kill_number = 0; kill_number < KILLS; ++kill_number) {
        int fd[2];
        assert_int_equal(pipe(fd), 0);
        (void)fflush(NULL);
        pid_t pid = fork();
        if (pid == 0) {
            (void)close(fd[0]);
            writer_child(f->place, first, fd[1]);
        }
        (void)close(fd[1]);
        uint32_t n, before = count, stop = (uint32_t)rand_r(&seed) % 400;
        ssize_t got;
        bool killed = false;
        /* After so many answers, at some moment of what follows; then all that it said before it died. */
        while ((got = read(fd[0], &n, sizeof n)) == (ssize_t)sizeof n) {
            acked = mem_realloc(acked, (count + 1) * sizeof *acked);
            acked[count++] = n;
            first = n >= first ? n + IN_FLIGHT + 1 : first;
            if (!killed && count - before > stop) {
                (void)usleep((unsigned)rand_r(&seed) % 2000);
                assert_int_equal(kill(pid, SIGKILL), 0);
                killed = true;
            }
        }
        (void)close(fd[0]);
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(killed && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        killed_busy += count > before;
        if (kill_number % 10 == 9 || kill_number == 0) {
            reopen(f);
            for (uint32_t i = 0; i < count; ++i)
                if (!is_there(f, acked[i]))
                    fail_msg("put %u was acknowledged and is gone after kill %d (seed %u)", acked[i],
                             kill_number, seed);
            close_store(f);
        }
    }
    assert_int_equal(killed_busy, KILLS);
    assert_true(count > 1000);
    assert_int_equal(files_like(f->place, "state.db.corrupt-*"), 0);
    free(acked);
}

int main(void)
{
    log_start(2, LOG_LEVEL_OFF, LOG_FORMAT_LOGFMT);
#define T(name) cmocka_unit_test_setup_teardown(name, setup, fixture_free)
    const struct CMUnitTest tests[] = {
        T(test_overload),
        T(test_second_is_refused),
        T(test_newer_schema_is_refused),
        T(test_damaged_file_is_moved_aside),
        T(test_no_permission),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_failing_disk),
        T(test_kill_9),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}