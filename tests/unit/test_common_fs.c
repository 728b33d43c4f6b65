// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <time.h>

#include "common/cleanup.h"
#include "common/fs.h"
#include "tests/unit/scratch.h"

static char *dir;

static int setup(void **state)
{
    (void)state;
    dir = scratch_new();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    scratch_free(dir);
    return 0;
}

static unsigned files(void)
{
    unsigned n = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        n += e->d_name[0] != '.';
    (void)closedir(d);
    return n;
}

static void test_mkdirs(void **state)
{
    (void)state;
    struct err err;
    struct stat st;
    cleanup_free char *path = mem_printf("%s//a/b//c/", dir), *file = mem_printf("%s/file", dir);
    cleanup_free char *below = mem_printf("%s/file/x", dir);
    assert_int_equal(fs_mkdirs(path, 0700, &err), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(fs_mkdirs(path, 0777, &err), 0); /* there already: left as it is */
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(fs_mkdirs("/", 0755, &err), 0);
    assert_int_equal(fs_write_file(file, "x", 1, 0600, &err), 0);
    assert_true(fs_mkdirs(below, 0755, &err) < 0);
    assert_int_equal(err.code, ERR_IO);
    assert_non_null(strstr(err.msg, file));
    assert_true(fs_mkdirs(file, 0755, &err) < 0);
    assert_true(fs_mkdirs("", 0755, &err) < 0);
}

static void test_write_and_read(void **state)
{
    (void)state;
    struct err err;
    struct stat st;
    cleanup_free char *path = mem_printf("%s/f", dir), *absent = mem_printf("%s/none/f", dir);
    size_t len = 100000;
    cleanup_free char *bytes = mem_alloc(len);
    memset(bytes, 'q', len);
    assert_int_equal(fs_write_file(path, "first", 5, 0600, &err), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(fs_write_file(path, bytes, len, 0600, &err), 0);
    assert_int_equal(files(), 1); /* nothing left beside it */
    cleanup_buf struct buf b = {0};
    assert_true(buf_add_str(&b, "in front:"));
    assert_int_equal(fs_read_file(path, len, &b, &err), 0);
    assert_int_equal(b.len, len + 9);
    assert_memory_equal(b.p + 9, bytes, len);
    buf_reset(&b);
    assert_true(fs_read_file(path, len - 1, &b, &err) < 0);
    assert_int_equal(err.code, ERR_SIZE_INVALID);
    assert_true(fs_read_file(absent, 10, &b, &err) < 0);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_true(fs_read_file(dir, 10, &b, &err) < 0);
    assert_int_equal(err.code, ERR_IO);
    assert_true(fs_write_file(absent, "x", 1, 0600, &err) < 0);
    assert_int_equal(err.code, ERR_IO);
    assert_non_null(strstr(err.msg, absent));
    assert_true(fs_write_file(dir, "x", 1, 0600, &err) < 0); /* a folder is not replaced */
    assert_int_equal(files(), 1);
    assert_true(fs_sync_dir(absent, &err) < 0);
    assert_int_equal(fs_sync_dir(dir, &err), 0);
}

static void test_pread_all(void **state)
{
    (void)state;
    cleanup_free char *path = mem_printf("%s/f", dir);
    char back[10];
    assert_int_equal(fs_write_file(path, "0123456789", 10, 0600, NULL), 0);
    cleanup_close int fd = open(path, O_RDONLY);
    assert_int_equal(fs_pread_all(fd, back, 4, 3), 4);
    assert_memory_equal(back, "3456", 4);
    assert_int_equal(fs_pread_all(fd, back, 10, 7), 3); /* the end of the file */
    assert_int_equal(fs_pread_all(fd, back, 10, 100), 0);
    assert_int_equal(fs_pread_all(-1, back, 10, 0), -1);
    assert_int_equal(errno, EBADF);
    struct err err;
    assert_true(fs_write_all(fd, "x", 1, "that", &err) < 0);
    assert_int_equal(strncmp(err.msg, "that: ", 6), 0);
}

static void test_rename_new(void **state)
{
    (void)state;
    struct err err;
    bool there = true;
    cleanup_free char *from = mem_printf("%s/from", dir), *to = mem_printf("%s/to", dir);
    assert_int_equal(fs_write_file(from, "1", 1, 0600, &err), 0);
    assert_int_equal(fs_rename_new(from, to, &there, &err), 0);
    assert_false(there);
    assert_int_equal(fs_write_file(from, "2", 1, 0600, &err), 0);
    assert_int_equal(fs_rename_new(from, to, &there, &err), 0);
    assert_true(there);
    assert_int_equal(files(), 1);
    cleanup_buf struct buf b = {0};
    assert_int_equal(fs_read_file(to, 10, &b, &err), 0);
    assert_string_equal(b.p, "1"); /* the old one stays */
    there = false;
    assert_true(fs_rename_new(from, to, &there, &err) < 0);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_int_equal(files(), 1);
}

static void test_lock(void **state)
{
    (void)state;
    struct err err;
    cleanup_free char *path = mem_printf("%s/lock", dir);
    int fd = -1, second = -1;
    char pid[32];
    assert_int_equal(fs_lock(path, "the folder", &fd, &err), 0);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_true(fs_lock(path, "the folder", &second, &err) < 0);
    (void)snprintf(pid, sizeof pid, "(pid %d)", (int)getpid());
    assert_non_null(strstr(err.msg, pid));
    assert_non_null(strstr(err.msg, "the folder"));
    assert_int_equal(second, -1);
    (void)close(fd);
    assert_int_equal(fs_lock(path, "the folder", &second, &err), 0);
    (void)close(second);
    cleanup_free char *absent = mem_printf("%s/none/lock", dir);
    assert_true(fs_lock(absent, "x", &fd, &err) < 0);
    assert_int_equal(err.code, ERR_IO);
}

/* The lock of a process that was killed is free, though its file is there. */
static void test_lock_of_the_killed(void **state)
{
    (void)state;
    cleanup_free char *path = mem_printf("%s/lock", dir);
    int ready[2], fd, status;
    char c;
    struct err err;
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (fs_lock(path, "x", &fd, NULL) == 0 && write(ready[1], "x", 1) == 1)
            for (;;)
                (void)pause();
        _exit(1);
    }
    assert_int_equal(read(ready[0], &c, 1), 1);
    char expected[32];
    (void)snprintf(expected, sizeof expected, "(pid %d)", (int)pid);
    assert_true(fs_lock(path, "x", &fd, &err) < 0);
    assert_non_null(strstr(err.msg, expected));
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(fs_lock(path, "x", &fd, &err), 0);
    (void)close(fd);
    (void)close(ready[0]);
    (void)close(ready[1]);
}

static void test_space(void **state)
{
    (void)state;
    uint64_t total = 0, available = 0;
    struct err err;
    assert_int_equal(fs_space(dir, &total, &available, &err), 0);
    assert_true(total > 0 && available <= total);
    assert_true(fs_space("/nonexistent/x", &total, &available, &err) < 0);
}

static int full(const char *where)
{
    struct err err;
    cleanup_free char *path = mem_printf("%s/f", where);
    cleanup_free char *bytes = mem_zalloc(2 << 20);
    cleanup_buf struct buf b = {0};
    if (fs_write_file(path, "old", 3, 0600, &err) < 0)
        return 2;
    if (fs_write_file(path, bytes, 2 << 20, 0600, &err) >= 0 || err.code != ERR_NO_SPACE)
        return 3;
    if (fs_read_file(path, 10, &b, &err) < 0 || strcmp(b.p, "old") != 0)
        return 4;
    uint64_t total, available;
    if (fs_space(where, &total, &available, &err) < 0 || total != 1 << 20 || available < total / 2)
        return 5; /* the half-written one is gone */
    return 0;
}

static void test_full_disk(void **state)
{
    (void)state;
    int rc = scratch_child(dir, 1 << 20, full);
    if (rc == -1)
        skip(); /* no file system of our own here */
    assert_int_equal(rc, 0);
}

static void test_clock(void **state)
{
    (void)state;
    uint64_t us = clock_mono_us(), ms = clock_mono_ms();
    int64_t wall = clock_wall_ms();
    (void)usleep(20000);
    assert_in_range(clock_mono_us() - us, 20000, 5000000);
    assert_in_range(clock_mono_ms() - ms, 20, 5000);
    assert_in_range(clock_wall_ms() - wall, 15, 5000);
    assert_true(ms >= us / 1000 && ms - us / 1000 < 1000);
    assert_in_range(wall / 1000 + 2 - (int64_t)time(NULL), 0, 4);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_mkdirs),     T(test_write_and_read), T(test_pread_all),
        T(test_rename_new), T(test_lock),           T(test_lock_of_the_killed),
        T(test_space),      T(test_full_disk),      cmocka_unit_test(test_clock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
