// SPDX-License-Identifier: Apache-2.0
/* Damage, missing rights, a full disk, kill -9. */
#include "disk_rig.h"

#include <signal.h>
#include <stdatomic.h>

/* ---- damage ---- */

static void overwrite(const char *path, const void *p, size_t len)
{
    int fd = open(path, O_WRONLY | O_TRUNC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, p, len), (ssize_t)len);
    (void)close(fd);
}

static void test_damaged_blobs(void **state)
{
    struct fixture *f = *state;
    char bytes[64];
    struct digest flipped = put_n(f, 1, 64, NULL), emptied = put_n(f, 2, 64, NULL),
                  told = put_n(f, 3, 64, NULL);
    struct digest shorter = make_bytes(4, 64, bytes);
    (void)put_n(f, 4, 64, NULL);
    char *path = blob_path(f, flipped);
    overwrite(path, "wrong", 5);
    struct answer a = {0};
    f->s->ops->read(f->s, f->loop, &flipped, 1000, on_bytes, &a);
    wait_for(f, &a);
    assert_null(a.bytes); /* as not there */
    assert_int_equal(a.err.code, ERR_NONE);
    assert_int_equal(access(path, F_OK), -1);
    assert_false(has(f, flipped));
    free(path);

    path = blob_path(f, emptied);
    overwrite(path, "", 0);
    assert_false(has(f, emptied));
    free(path);

    assert_true(has(f, told));
    f->s->ops->quarantine(f->s, &told, "the reader said so");
    assert_null(f->s->ops->try(f->s, &told)); /* at once */
    EVENTUALLY(atomic_load(&f->s->quarantined) == 3);
    assert_false(has(f, told));

    path = blob_path(f, shorter); /* found by the fill that has it anew */
    overwrite(path, bytes, 60);
    struct blob_partial *p = partial_open(f, shorter);
    partial_write(p, bytes, 0, 64);
    struct blob *b = publish(f, p, NULL);
    assert_true(blob_equals(b, bytes, 64));
    blob_unref(b);
    free(path);
    assert_int_equal(atomic_load(&f->s->quarantined), 4);
    assert_int_equal(files_in(f, "quarantine"), 4);
    EVENTUALLY(atomic_load(&f->s->blobs) == 1);
    (void)put_n(f, 3, 64, NULL); /* and it may come again */
    assert_true(has(f, told));
}

static void test_scrub(void **state)
{
    struct fixture *f = *state;
    struct digest d[20];
    for (unsigned i = 0; i < 20; ++i)
        d[i] = put_n(f, i, 1000 + i, NULL);
    char *path = blob_path(f, d[7]);
    int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, "x", 1, 500), 1);
    (void)close(fd);
    struct disk_scrub sum = {0};
    struct err err;
    assert_int_equal(disk_store_scrub(f->dir, NULL, NULL, &sum, &err), 0);
    assert_int_equal(sum.blobs, 20);
    assert_int_equal(sum.damaged, 1);
    assert_int_equal(sum.bytes, 20 * 1000 + 190);
    assert_int_equal(access(path, F_OK), -1);
    assert_false(has(f, d[7]));
    assert_true(has(f, d[8]));
    assert_int_equal(disk_store_scrub(f->dir, NULL, NULL, &sum, &err), 0);
    assert_int_equal(sum.damaged, 0);
    free(path);
    path = mem_printf("%s/nowhere", f->dir);
    assert_true(disk_store_scrub(path, NULL, NULL, &sum, &err) < 0);
    assert_non_null(strstr(err.msg, path));
    free(path);
}

static void test_check(void **state)
{
    struct fixture *f = *state;
    struct answer a = {0}, b = {0};
    f->s->ops->check(f->s, f->loop, on_done, &a);
    wait_for(f, &a);
    assert_int_equal(a.err.code, ERR_NONE);
    assert_int_equal(files_in(f, "partial"), 0);
    char *path = mem_printf("%s/partial", f->dir);
    assert_int_equal(rmdir(path), 0);
    f->s->ops->check(f->s, f->loop, on_done, &b);
    wait_for(f, &b);
    assert_int_equal(b.err.code, ERR_IO);
    assert_non_null(strstr(b.err.msg, path));
    free(path);
}

static void test_no_permission(void **state)
{
    struct fixture *f = *state;
    struct blob_store *s = NULL;
    struct err err;
    char *file = mem_printf("%s/a-file", f->dir), *below = mem_printf("%s/a-file/x", f->dir);
    assert_int_equal(fs_write_file(file, "x", 1, 0600, &err), 0);
    struct disk_options o = {.dir = below};
    assert_true(disk_store_open(&o, f->jobs, &s, &err) < 0);
    assert_int_equal(err.code, ERR_IO);
    assert_non_null(strstr(err.msg, file));
    assert_non_null(strstr(err.msg, "--data"));
    free(file);
    free(below);
}

/* ---- a full disk; in a child ---- */

#define CHECK(what)                                                                                          \
    do {                                                                                                     \
        if (!(what)) {                                                                                       \
            (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what);                                 \
            return 1;                                                                                        \
        }                                                                                                    \
    } while (0)

static int full_disk(const char *dir)
{
    struct fixture f = {.dir = mem_strdup(dir), .loop = loop_new(0), .jobs = jobs_new(2)};
    f.options = (struct disk_options){.dir = dir, .limit_percent = 100};
    struct err err = {0};
    size_t len = 3 << 20;
    char *bytes = mem_alloc(len), *ballast = mem_printf("%s/ballast", dir);
    struct digest d = make_bytes(500, len, bytes), last = d;
    reopen(&f);
    CHECK(atomic_load(&f.s->limit) > (7 << 20));
    /* Not ours, so that eviction cannot help at first. */
    CHECK(fs_write_file(ballast, bytes, len, 0600, NULL) == 0 &&
          fs_write_file(ballast, bytes, len, 0600, NULL) == 0);
    struct blob_partial *p = partial_open(&f, d);
    CHECK(pwrite(p->fd, bytes, len, 0) == (ssize_t)len);
    hasher_update(p->hash, bytes, len);
    unsigned n = 0;
    for (; err.code == ERR_NONE; ++n) {
        last = n ? last : d;
        struct digest now = put_n(&f, n, 200000, &err);
        CHECK(n < 100);
        f.s->ops->pin(f.s, &now, true);
        if (err.code == ERR_NONE)
            last = now;
    }
    CHECK(err.code == ERR_NO_SPACE);
    CHECK(has(&f, last)); /* what is there is served */
    struct answer a = {0};
    f.s->ops->make_room(f.s, f.loop, 100000, on_done, &a);
    CHECK(scratch_wait(f.loop, &a.done) && a.err.code == ERR_NO_SPACE); /* all is pinned */
    for (unsigned i = 0; i < n; ++i) {
        char *bytes_i = mem_alloc(200000);
        struct digest x = make_bytes(i, 200000, bytes_i);
        f.s->ops->pin(f.s, &x, false);
        free(bytes_i);
    }
    a = (struct answer){0};
    f.s->ops->make_room(f.s, f.loop, 400000, on_done, &a);
    CHECK(scratch_wait(f.loop, &a.done) && a.err.code == ERR_NONE);
    struct blob *b = publish(&f, p, &err);
    CHECK(b && blob_equals(b, bytes, len));
    blob_unref(b);
    f.s->ops->close(f.s);
    /* A start on a full disk works, too. It is full of what is not ours. */
    int fd = open(ballast, O_WRONLY | O_APPEND);
    while (write(fd, bytes, 4096) > 0)
        ;
    (void)close(fd);
    f.s = NULL;
    reopen(&f);
    /* The janitor sees by itself that the file system is short of room: soon there is some. */
    uint64_t end_ms = patience_end_ms(20000);
    do
        (void)put_n(&f, 1000, 100000, &err);
    while (err.code == ERR_NO_SPACE && clock_mono_ms() < end_ms);
    CHECK(err.code == ERR_NONE);
    CHECK(atomic_load(&f.s->evicted_blobs) > 0);
    f.s->ops->close(f.s);
    jobs_free(f.jobs);
    loop_free(f.loop);
    free(f.dir);
    free(bytes);
    free(ballast);
    return 0;
}

static void test_full_disk(void **state)
{
    (void)state;
    char *dir = scratch_new();
    int rc = scratch_child(dir, 8 << 20, full_disk);
    scratch_free(dir);
    if (rc == -1)
        skip(); /* no file system of our own here */
    assert_int_equal(rc, 0);
}

/* ---- kill -9 ---- */

#define KILLS 40

/* Publishes blobs by both ways for ever, telling the number of each that was acknowledged. */
static void writer_child(const char *dir, unsigned first, int pipe_fd)
{
    struct fixture f = {.dir = mem_strdup(dir), .loop = loop_new(0), .jobs = jobs_new(3)};
    f.options.limit_bytes = (uint64_t)1 << 30;
    reopen(&f);
    for (unsigned n = first;; ++n) {
        size_t len = 1 + n * 7919 % 200000;
        char *bytes = mem_alloc(len);
        struct digest d = make_bytes(n, len, bytes);
        if (n % 2) {
            (void)put_n(&f, n, len, NULL);
        } else {
            struct blob_partial *p = partial_open(&f, d);
            for (size_t at = p->have; at < len; at += 16384)
                partial_write(p, bytes, at, at + 16384 < len ? at + 16384 : len);
            blob_unref(publish(&f, p, NULL));
        }
        if (write(pipe_fd, &n, sizeof n) != (ssize_t)sizeof n)
            _exit(3);
        free(bytes);
    }
}

static void test_kill_9(void **state)
{
    struct fixture *f = *state;
    unsigned seed = (unsigned)clock_mono_us(), next = 0, checked = 0;
    print_message("seed %u\n", seed);
    f->s->ops->close(f->s);
    f->s = NULL;
    jobs_free(f->jobs); /* no threads while we fork */
    f->jobs = NULL;
    for (int i = 0; i < KILLS; ++i) {
        int fd[2], status;
        assert_int_equal(pipe(fd), 0);
        (void)fflush(NULL);
        pid_t pid = fork();
        if (pid == 0) {
            (void)close(fd[0]);
            writer_child(f->dir, next, fd[1]);
        }
        (void)close(fd[1]);
        unsigned n, seen = 0, stop = (unsigned)rand_r(&seed) % 6;
        bool killed = false;
        while (read(fd[0], &n, sizeof n) == (ssize_t)sizeof n) {
            assert_int_equal(n, next);
            ++next; /* the one that was under way is tried again, from its partial */
            if (!killed && ++seen > stop) {
                (void)usleep((unsigned)rand_r(&seed) % 5000);
                assert_int_equal(kill(pid, SIGKILL), 0);
                killed = true;
            }
        }
        (void)close(fd[0]);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(killed && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    }
    /* Every blob that is visible is whole, and every one that was acknowledged is visible. */
    struct disk_scrub sum;
    struct err err;
    assert_int_equal(disk_store_scrub(f->dir, NULL, NULL, &sum, &err), 0);
    assert_int_equal(sum.damaged, 0);
    assert_in_range(sum.blobs, next, next + 1);
    f->jobs = jobs_new(3);
    reopen(f);
    for (unsigned n = 0; n < next; ++n, ++checked) {
        size_t len = 1 + n * 7919 % 200000;
        char *bytes = mem_alloc(len);
        struct digest d = make_bytes(n, len, bytes);
        if (!has(f, d))
            fail_msg("blob %u of %u was acknowledged and is gone (seed %u)", n, next, seed);
        free(bytes);
    }
    assert_true(checked >= KILLS);
}

int main(void)
{
    log_start(2, LOG_LEVEL_OFF, LOG_FORMAT_LOGFMT);
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_damaged_blobs),
        T(test_scrub),
        T(test_check),
        T(test_no_permission),
        cmocka_unit_test(test_full_disk),
        T(test_kill_9),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
