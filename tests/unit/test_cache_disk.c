// SPDX-License-Identifier: Apache-2.0
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <malloc.h>
#include <sys/resource.h>

#include "common/fs.h"
#include "common/log.h"
#include "proxy/cache/disk.h"
#include "proxy/cache/disk_table.h"
#include "tests/unit/scratch.h"

/* ---- asking, and waiting for the answer ---- */

struct answer {
    struct loop *loop;
    volatile bool done;
    struct err err;
    struct blob *blob;
    struct blob_partial *partial;
    char *bytes;
    size_t len;
};

static void end(struct answer *a, const struct err *err)
{
    assert_false(a->done);
    if (err)
        a->err = *err;
    a->done = true;
}
static void on_blob(void *arg, struct blob *b, const struct err *err)
{
    ((struct answer *)arg)->blob = b;
    end(arg, err);
}
static void on_partial(void *arg, struct blob_partial *p, const struct err *err)
{
    ((struct answer *)arg)->partial = p;
    end(arg, err);
}
static void on_done(void *arg, const struct err *err)
{
    end(arg, err);
}
static void on_bytes(void *arg, char *bytes, size_t len, const struct err *err)
{
    struct answer *a = arg;
    a->bytes = bytes;
    a->len = len;
    end(a, err);
}

struct fixture {
    char *dir;
    struct loop *loop;
    struct jobs *jobs;
    struct blob_store *s;
    struct disk_options options;
};

static void reopen(struct fixture *f)
{
    struct err err;
    if (f->s)
        f->s->ops->close(f->s);
    f->s = NULL;
    f->options.dir = f->dir;
    if (disk_store_open(&f->options, f->jobs, &f->s, &err) < 0)
        fail_msg("%s", err.msg);
}

static int setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    f->dir = scratch_new();
    f->loop = loop_new(0);
    f->jobs = jobs_new(3);
    f->options.open_blobs = 8;
    f->options.limit_bytes = (uint64_t)1 << 30;
    reopen(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    if (f->s)
        f->s->ops->close(f->s);
    jobs_free(f->jobs);
    loop_free(f->loop);
    scratch_free(f->dir);
    free(f);
    return 0;
}

static void wait_for(struct fixture *f, struct answer *a)
{
    if (!scratch_wait(f->loop, &a->done))
        fail_msg("no answer");
}

/* The n-th blob of the tests: its bytes follow from n, its size too if none is given. */
static struct digest make_bytes(unsigned n, size_t len, char *p)
{
    unsigned seed = n * 2654435761u + 1;
    for (size_t i = 0; i < len; ++i)
        p[i] = (char)(rand_r(&seed) >> 8);
    return digest_of(p, len);
}

static struct digest put_n(struct fixture *f, unsigned n, size_t len, struct err *ret_err)
{
    char *p = mem_alloc(len);
    struct digest d = make_bytes(n, len, p);
    struct answer a = {0};
    f->s->ops->put(f->s, f->loop, &d, p, len, on_done, &a);
    memset(p, 0, len); /* the bytes were copied */
    assert_false(a.done);
    wait_for(f, &a);
    if (ret_err)
        *ret_err = a.err;
    else
        assert_string_equal(a.err.msg, "");
    free(p);
    return d;
}

/* A reference, or NULL if it is not there. */
static struct blob *get(struct fixture *f, struct digest d)
{
    struct answer a = {0};
    f->s->ops->get(f->s, f->loop, &d, on_blob, &a);
    assert_false(a.done);
    wait_for(f, &a);
    assert_string_equal(a.err.msg, "");
    if (a.blob)
        assert_string_equal(a.blob->digest.s, d.s);
    return a.blob;
}

static bool has(struct fixture *f, struct digest d)
{
    struct blob *b = get(f, d);
    blob_unref(b);
    return b != NULL;
}

static struct blob_partial *partial_open(struct fixture *f, struct digest d)
{
    struct answer a = {0};
    f->s->ops->partial_open(f->s, f->loop, &d, on_partial, &a);
    wait_for(f, &a);
    assert_string_equal(a.err.msg, "");
    assert_non_null(a.partial);
    assert_string_equal(a.partial->digest.s, d.s);
    return a.partial;
}

static void partial_write(struct blob_partial *p, const char *bytes, size_t from, size_t to)
{
    assert_int_equal(pwrite(p->fd, bytes + from, to - from, (off_t)from), (ssize_t)(to - from));
    hasher_update(p->hash, bytes + from, to - from);
}

static struct blob *publish(struct fixture *f, struct blob_partial *p, struct err *ret_err)
{
    struct answer a = {0};
    f->s->ops->partial_publish(f->s, f->loop, p, on_blob, &a);
    wait_for(f, &a);
    if (ret_err)
        *ret_err = a.err;
    else
        assert_string_equal(a.err.msg, "");
    return a.blob;
}

static bool blob_equals(struct blob *b, const char *bytes, size_t len)
{
    char *back = mem_alloc(len + 1);
    bool same =
        b->size == len && fs_pread_all(b->fd, back, len + 1, 0) == (ssize_t)len && !memcmp(back, bytes, len);
    free(back);
    return same;
}

static char *blob_path(struct fixture *f, struct digest d)
{
    return mem_printf("%s/blobs/%.6s/%.2s/%s", f->dir, d.s, digest_hex(&d), digest_hex(&d));
}

static unsigned files_in(struct fixture *f, const char *folder)
{
    char *path = mem_printf("%s/%s", f->dir, folder);
    unsigned n = 0;
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir)) != NULL;)
        n += e->d_name[0] != '.';
    (void)closedir(dir);
    free(path);
    return n;
}

/* Quarantine, touches and closes have no callback. */
#define EVENTUALLY(what)                                                                                     \
    do {                                                                                                     \
        uint64_t end_ms_ = clock_mono_ms() + 20000;                                                          \
        while (!(what) && clock_mono_ms() < end_ms_)                                                         \
            (void)usleep(2000);                                                                              \
        assert_true(what);                                                                                   \
    } while (0)

static void set_age(struct fixture *f, struct digest d, int64_t age_s)
{
    char *path = blob_path(f, d);
    struct timespec ts = {.tv_sec = (time_t)(clock_wall_ms() / 1000 - age_s)};
    assert_int_equal(utimensat(AT_FDCWD, path, (struct timespec[]){ts, ts}, 0), 0);
    free(path);
}

static int64_t age_of(struct fixture *f, struct digest d)
{
    char *path = blob_path(f, d);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    free(path);
    return clock_wall_ms() / 1000 - (int64_t)st.st_mtime;
}

/* ---- in and out ---- */

static void test_put_get(void **state)
{
    struct fixture *f = *state;
    char bytes[5000];
    struct digest d = make_bytes(1, sizeof bytes, bytes);
    assert_null(f->s->ops->try(f->s, &d));
    assert_false(has(f, d));
    (void)put_n(f, 1, sizeof bytes, NULL);
    (void)put_n(f, 1, sizeof bytes, NULL); /* once more is fine */
    struct blob *b = get(f, d);
    assert_non_null(b);
    assert_true(blob_equals(b, bytes, sizeof bytes));
    assert_true(write(b->fd, "x", 1) < 0);
    assert_int_equal(fcntl(b->fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    struct blob *same = f->s->ops->try(f->s, &d);
    assert_ptr_equal(same, b);
    blob_unref(same);
    blob_unref(b);
    EVENTUALLY(atomic_load(&f->s->blobs) == 1);
    assert_int_equal(atomic_load(&f->s->bytes), sizeof bytes);
    assert_int_equal(files_in(f, "partial"), 0);
    reopen(f);
    assert_null(f->s->ops->try(f->s, &d));
    assert_true(has(f, d));
    EVENTUALLY(atomic_load(&f->s->bytes) == sizeof bytes);
    char *path = blob_path(f, d);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07137, 0); /* at most 0640 */
    free(path);
}

/* In a container the process id is the same each time, and so are the names that the next process makes. */
static void test_names_left_by_a_kill(void **state)
{
    struct fixture *f = *state;
    static const char *const kinds[] = {"put", "check"};
    for (int i = 0; i < 8; ++i) {
        char path[PATH_MAX];
        (void)snprintf(path, sizeof path, "%s/partial/%s.%d-%d", f->options.dir, kinds[i % 2], (int)getpid(),
                       i / 2);
        assert_int_equal(fs_write_file(path, "half", 4, 0640, NULL), 0);
    }
    reopen(f);
    assert_int_equal(files_in(f, "partial"), 0);
    for (unsigned i = 0; i < 4; ++i)
        assert_true(has(f, put_n(f, i, 100, NULL)));
}

static void test_empty_blob(void **state)
{
    struct fixture *f = *state;
    struct digest d = put_n(f, 0, 0, NULL);
    struct blob *b = get(f, d);
    assert_non_null(b);
    assert_int_equal(b->size, 0);
    blob_unref(b);
    assert_int_equal(atomic_load(&f->s->quarantined), 0);
}

static void test_read(void **state)
{
    struct fixture *f = *state;
    char bytes[3000];
    struct digest d = make_bytes(1, sizeof bytes, bytes), absent = digest_of("absent", 6);
    (void)put_n(f, 1, sizeof bytes, NULL);
    for (int open = 0; open < 2; ++open) {
        struct answer a = {0}, small = {0};
        f->s->ops->read(f->s, f->loop, &d, sizeof bytes, on_bytes, &a);
        wait_for(f, &a);
        assert_int_equal(a.len, sizeof bytes);
        assert_memory_equal(a.bytes, bytes, sizeof bytes);
        free(a.bytes);
        f->s->ops->read(f->s, f->loop, &d, sizeof bytes - 1, on_bytes, &small);
        wait_for(f, &small);
        assert_int_equal(small.err.code, ERR_SIZE_INVALID);
        assert_null(small.bytes);
        assert_true(has(f, d)); /* in the second round it comes from the table */
    }
    struct answer a = {0};
    f->s->ops->read(f->s, f->loop, &absent, 100, on_bytes, &a);
    wait_for(f, &a);
    assert_null(a.bytes);
    assert_int_equal(a.err.code, ERR_NONE);
}

static void test_sha512(void **state)
{
    struct fixture *f = *state;
    char bytes[300];
    (void)make_bytes(1, sizeof bytes, bytes);
    struct hasher *h = hasher_new(SLICE_LIT("sha512"));
    hasher_update(h, bytes, sizeof bytes);
    struct digest d = hasher_digest(h);
    hasher_free(h);
    struct answer a = {0};
    f->s->ops->put(f->s, f->loop, &d, bytes, sizeof bytes, on_done, &a);
    wait_for(f, &a);
    assert_int_equal(a.err.code, ERR_NONE);
    reopen(f);
    struct blob *b = get(f, d);
    assert_non_null(b);
    assert_true(blob_equals(b, bytes, sizeof bytes));
    blob_unref(b);
    char *path = blob_path(f, d);
    assert_non_null(strstr(path, "/blobs/sha512/"));
    assert_int_equal(access(path, R_OK), 0);
    free(path);
    EVENTUALLY(atomic_load(&f->s->blobs) == 1);
}

/* ---- partials ---- */

static void test_partial(void **state)
{
    struct fixture *f = *state;
    size_t len = 3 << 20; /* more than one read of the hashing */
    char *bytes = mem_alloc(len);
    struct digest d = make_bytes(7, len, bytes);
    struct blob_partial *p = partial_open(f, d);
    assert_int_equal(p->have, 0);
    partial_write(p, bytes, 0, len / 2);
    f->s->ops->partial_close(f->s, p, true);
    assert_false(has(f, d));
    p = partial_open(f, d); /* right behind the close: waits for it */
    assert_int_equal(p->have, len / 2);
    partial_write(p, bytes, len / 2, len - 10);
    f->s->ops->partial_close(f->s, p, true);
    reopen(f); /* survives a restart */
    p = partial_open(f, d);
    assert_int_equal(p->have, len - 10);
    assert_int_equal(fcntl(p->fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    partial_write(p, bytes, len - 10, len);
    struct blob *b = publish(f, p, NULL);
    assert_non_null(b);
    assert_true(blob_equals(b, bytes, len));
    struct blob *same = f->s->ops->try(f->s, &d);
    assert_ptr_equal(b, same);
    blob_unref(same);
    blob_unref(b);
    assert_int_equal(files_in(f, "partial"), 0);
    EVENTUALLY(atomic_load(&f->s->bytes) == len);
    free(bytes);
}

static void test_partial_discarded(void **state)
{
    struct fixture *f = *state;
    struct digest d = digest_of("hello", 5);
    for (int i = 0; i < 50; ++i) { /* close and open chase each other */
        struct blob_partial *p = partial_open(f, d);
        assert_int_equal(p->have, 0);
        partial_write(p, "hello", 0, 3);
        f->s->ops->partial_close(f->s, p, false);
    }
    struct blob_partial *p = partial_open(f, d);
    f->s->ops->partial_close(f->s, p, true); /* nothing in it: nothing to keep */
    EVENTUALLY(files_in(f, "partial") == 0);
}

/* Readers of a fill hold a descriptor of the partial of their own: the same file before and after. */
static void test_publish_keeps_the_file(void **state)
{
    struct fixture *f = *state;
    struct digest d = digest_of("hello", 5);
    struct blob_partial *p = partial_open(f, d);
    partial_write(p, "hello", 0, 5);
    int fd = dup(p->fd);
    struct blob *b = publish(f, p, NULL);
    struct stat x, y;
    assert_int_equal(fstat(fd, &x), 0);
    assert_int_equal(fstat(b->fd, &y), 0);
    assert_int_equal(x.st_ino, y.st_ino);
    assert_int_equal(x.st_nlink, 1);
    (void)close(fd);
    blob_unref(b);
}

static void test_publish_what_is_there(void **state)
{
    struct fixture *f = *state;
    char bytes[100];
    struct digest d = make_bytes(3, sizeof bytes, bytes);
    (void)put_n(f, 3, sizeof bytes, NULL);
    struct blob *old = get(f, d);
    struct blob_partial *p = partial_open(f, d);
    partial_write(p, bytes, 0, sizeof bytes);
    struct blob *b = publish(f, p, NULL);
    assert_ptr_equal(b, old); /* the old one stays */
    blob_unref(b);
    blob_unref(old);
    EVENTUALLY(atomic_load(&f->s->bytes) == sizeof bytes); /* once the folder was counted */
    EVENTUALLY(atomic_load(&f->s->blobs) == 1);
    assert_int_equal(files_in(f, "partial"), 0);
    assert_int_equal(atomic_load(&f->s->quarantined), 0);
}

/* A write that got lost between the hash and the file. */
static void test_publish_of_a_short_file(void **state)
{
    struct fixture *f = *state;
    struct digest d = digest_of("hello", 5);
    struct blob_partial *p = partial_open(f, d);
    partial_write(p, "hello", 0, 5);
    assert_int_equal(ftruncate(p->fd, 4), 0);
    struct err err;
    assert_null(publish(f, p, &err));
    assert_int_equal(err.code, ERR_IO);
    assert_false(has(f, d));
    assert_int_equal(files_in(f, "partial"), 0);
}

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

/* ---- open blobs ---- */

static unsigned open_descriptors(void)
{
    unsigned n = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir))
        ++n;
    (void)closedir(dir);
    return n;
}

static void test_descriptors_are_bounded(void **state)
{
    struct fixture *f = *state;
    struct digest d[40];
    struct blob *held[20];
    for (unsigned i = 0; i < 40; ++i)
        d[i] = put_n(f, i, 100, NULL);
    unsigned before = open_descriptors();
    for (unsigned i = 0; i < 40; ++i)
        assert_true(has(f, d[i]));
    assert_int_equal(open_descriptors(), before + 8);
    for (unsigned i = 0; i < 20; ++i)
        held[i] = get(f, d[i]);
    for (unsigned i = 0; i < 20; ++i) { /* those that are read stay known */
        struct blob *b = f->s->ops->try(f->s, &d[i]);
        assert_ptr_equal(b, held[i]);
        blob_unref(b);
    }
    for (unsigned i = 0; i < 20; ++i)
        blob_unref(held[i]);
    for (unsigned i = 20; i < 40; ++i)
        assert_true(has(f, d[i]));
    assert_true(open_descriptors() <= before + 8);
}

static void test_no_descriptors_left(void **state)
{
    struct fixture *f = *state;
    struct digest d[6];
    for (unsigned i = 0; i < 6; ++i) {
        d[i] = put_n(f, i, 100, NULL);
        if (i < 5)
            assert_true(has(f, d[i])); /* idle ones in the table */
    }
    int fd[512];
    unsigned n = 0;
    struct rlimit old, few = {64, 0};
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    few.rlim_max = old.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    while (n < 512 && (fd[n] = dup(0)) >= 0)
        ++n;
    assert_true(n < 512);
    bool first = has(f, d[5]); /* the idle ones are closed for it */
    struct blob *held[6];
    for (unsigned i = 0; i < 5; ++i)
        held[i] = get(f, d[i]);
    while (n < 512 && (fd[n] = dup(0)) >= 0)
        ++n;
    f->s->ops->quarantine(f->s, &d[5], "so that it has to be opened");
    EVENTUALLY(atomic_load(&f->s->quarantined) == 1);
    struct digest e = digest_of("e", 1);
    struct answer a = {0};
    while (n < 512 && (fd[n] = dup(0)) >= 0)
        ++n;
    f->s->ops->partial_open(f->s, f->loop, &e, on_partial, &a);
    wait_for(f, &a);
    while (n)
        (void)close(fd[--n]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_true(first);
    assert_int_equal(a.err.code, ERR_OVERLOADED);
    assert_non_null(strstr(a.err.msg, "too many files open"));
    for (unsigned i = 0; i < 5; ++i) {
        assert_non_null(held[i]);
        blob_unref(held[i]);
    }
    struct blob_partial *p = partial_open(f, e); /* and the failure left nothing behind */
    f->s->ops->partial_close(f->s, p, false);
}

static void test_use_is_noted(void **state)
{
    struct fixture *f = *state;
    struct digest old = put_n(f, 1, 10, NULL), recent = put_n(f, 2, 10, NULL), future = put_n(f, 3, 10, NULL);
    set_age(f, old, 700);
    set_age(f, recent, 300);
    set_age(f, future, -100000);
    assert_true(has(f, old) && has(f, recent) && has(f, future));
    assert_in_range(age_of(f, old), 0, 20);
    assert_in_range(age_of(f, recent), 300, 320); /* at most every ten minutes */
    assert_in_range(age_of(f, future) + 20, 0, 60);
}

static struct blob *fake_blob(unsigned n)
{
    char text[16];
    struct blob *b = mem_new(struct blob);
    *b = (struct blob){
        .refs = 1, .fd = -1, .digest = digest_of(text, (size_t)snprintf(text, sizeof text, "%u", n))};
    return b;
}

static void test_table(void **state)
{
    (void)state;
    struct disk_table *t = disk_table_new(3);
    struct blob *b[6];
    struct digest d[6];
    bool touch;
    for (unsigned i = 0; i < 6; ++i) {
        b[i] = fake_blob(i);
        d[i] = b[i]->digest;
        assert_ptr_equal(disk_table_add(t, b[i], 1000), b[i]);
        if (i < 4)
            blob_unref(b[i]); /* 4 and 5 are being read */
        if (i == 2) {         /* 0 is used again: 1 is the oldest */
            struct blob *again = disk_table_get(t, &d[0], 1599, &touch);
            assert_ptr_equal(again, b[0]);
            assert_false(touch);
            blob_unref(again);
        }
    }
    struct blob *one = disk_table_get(t, &d[3], 1600, &touch);
    assert_ptr_equal(one, b[3]);
    assert_true(touch);
    blob_unref(one);
    one = disk_table_get(t, &d[3], 1601, &touch);
    assert_false(touch);
    blob_unref(one);
    assert_null(disk_table_get(t, &d[0], 1600, &touch));
    assert_null(disk_table_get(t, &d[1], 1600, &touch));
    assert_int_equal(disk_table_count(t), 3);
    assert_true(disk_table_busy(t, &d[4]));
    assert_false(disk_table_busy(t, &d[3]));
    assert_false(disk_table_busy(t, &d[0]));
    assert_false(disk_table_drop_idle(t, &d[4]));
    assert_true(disk_table_drop_idle(t, &d[3]));
    assert_true(disk_table_drop_idle(t, &d[3]));
    struct blob *twin = fake_blob(4);
    struct blob *winner = disk_table_add(t, twin, 1000); /* twin is freed */
    assert_ptr_equal(winner, b[4]);
    blob_unref(winner);
    disk_table_drop(t, &d[4]);
    assert_int_equal(b[4]->refs, 1); /* the reader's */
    blob_unref(b[4]);
    disk_table_trim(t, 10);
    assert_int_equal(disk_table_count(t), 1);
    blob_unref(b[5]);
    disk_table_trim(t, 10);
    assert_int_equal(disk_table_count(t), 0);
    disk_table_free(t);
}

/* ---- room ---- */

/* Served by the janitor, and so behind all that it was doing: with 0 bytes, a way to wait for that. */
static void make_room(struct fixture *f, uint64_t bytes, enum err_code expected)
{
    struct answer a = {0};
    f->s->ops->make_room(f->s, f->loop, bytes, on_done, &a);
    wait_for(f, &a);
    assert_int_equal(a.err.code, expected);
}

static void test_eviction_by_age(void **state)
{
    struct fixture *f = *state;
    struct digest d[100];
    for (unsigned i = 0; i < 100; ++i) {
        d[i] = put_n(f, i, 10000, NULL);
        set_age(f, d[i], 1000 + 100 * i); /* 99 is the oldest */
    }
    f->s->ops->pin(f->s, &d[99], true);
    f->s->ops->pin(f->s, &d[99], true);
    f->s->ops->pin(f->s, &d[99], false); /* counted */
    struct blob *read = f->s->ops->try(f->s, &d[98]);
    if (!read)
        read = get(f, d[98]);
    set_age(f, d[98], 1000 + 9800);
    set_age(f, d[97], -50000); /* from the future: as if it was just used */
    EVENTUALLY(atomic_load(&f->s->blobs) == 100);
    atomic_store(&f->s->limit, 500000);
    (void)put_n(f, 1000, 10000, NULL); /* the 101st wakes the janitor: down to 475,000 bytes */
    /* Had it come by before the put, that one is on top of the 475,000. */
    EVENTUALLY(atomic_load(&f->s->bytes) <= 485000);
    make_room(f, 0, ERR_NONE);
    uint64_t left = atomic_load(&f->s->blobs);
    assert_in_range(atomic_load(&f->s->bytes), 465000, 485000);
    assert_int_equal(atomic_load(&f->s->bytes), left * 10000);
    assert_int_equal(atomic_load(&f->s->evicted_blobs), 101 - left);
    assert_true(has(f, d[99]) && has(f, d[97]));
    assert_false(has(f, d[96]));
    for (unsigned i = 0; i < 40; ++i)
        assert_true(has(f, d[i]));
    for (unsigned i = 50; i < 97; ++i)
        assert_false(has(f, d[i]));
    char bytes[10000];
    (void)make_bytes(98, sizeof bytes, bytes);
    assert_true(blob_equals(read, bytes, sizeof bytes));
    blob_unref(read);
    assert_true(has(f, d[98]));
    f->s->ops->pin(f->s, &d[99], false);
    reopen(f);
    EVENTUALLY(atomic_load(&f->s->blobs) == left);
}

static void test_make_room(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 10; ++i)
        (void)put_n(f, i, 1000, NULL);
    make_room(f, 2500, ERR_NONE);
    EVENTUALLY(atomic_load(&f->s->blobs) == 7);
    make_room(f, 0, ERR_NONE);
    make_room(f, 7001, ERR_NO_SPACE);
    assert_int_equal(atomic_load(&f->s->bytes), 0);
    make_room(f, UINT64_MAX, ERR_NO_SPACE);
    struct answer a[5] = {0};
    for (unsigned i = 0; i < 4; ++i)
        (void)put_n(f, i, 1000, NULL);
    for (unsigned i = 0; i < 5; ++i)
        f->s->ops->make_room(f->s, f->loop, 1000, on_done, &a[i]);
    unsigned served = 0;
    for (unsigned i = 0; i < 5; ++i) {
        wait_for(f, &a[i]);
        served += a[i].err.code == ERR_NONE;
    }
    assert_int_equal(served, 4);
}

static void test_partials_count(void **state)
{
    struct fixture *f = *state;
    struct digest d = digest_of("big", 3);
    for (unsigned i = 0; i < 10; ++i)
        set_age(f, put_n(f, i, 10000, NULL), 100 + i);
    struct blob_partial *p = partial_open(f, d);
    assert_int_equal(ftruncate(p->fd, 60000), 0);
    f->s->ops->partial_close(f->s, p, true);
    reopen(f);
    EVENTUALLY(atomic_load(&f->s->blobs) == 10);
    atomic_store(&f->s->limit, 100000);
    (void)put_n(f, 11, 10000,
                NULL); /* 60,000 of them are the partial's: so 35,000 stay, or 40,000 as above */
    EVENTUALLY(atomic_load(&f->s->bytes) <= 40000);
    assert_int_equal(files_in(f, "partial"), 1);
}

static void test_old_partials_go(void **state)
{
    struct fixture *f = *state;
    struct digest old = digest_of("old", 3), young = digest_of("young", 5);
    char *names[] = {mem_printf("%s/partial/%s", f->dir, digest_hex(&old)),
                     mem_printf("%s/partial/%s", f->dir, digest_hex(&young)),
                     mem_printf("%s/partial/put.1-2", f->dir)};
    for (int i = 0; i < 3; ++i) {
        assert_int_equal(fs_write_file(names[i], "x", 1, 0640, NULL), 0);
        struct timespec ts = {.tv_sec = (time_t)(clock_wall_ms() / 1000 - (i == 1 ? 23 : 25) * 3600)};
        assert_int_equal(utimensat(AT_FDCWD, names[i], (struct timespec[]){ts, ts}, 0), 0);
    }
    reopen(f);
    EVENTUALLY(files_in(f, "partial") == 1);
    assert_int_equal(access(names[1], F_OK), 0);
    struct blob_partial *p = partial_open(f, young);
    assert_int_equal(p->have, 1);
    f->s->ops->partial_close(f->s, p, false);
    for (int i = 0; i < 3; ++i)
        free(names[i]);
}

/* Twenty thousand small files, made without the store's syncs. */
static void make_tiny(struct fixture *f, unsigned count)
{
    char text[32];
    for (unsigned i = 0; i < 256; ++i) {
        char *folder = mem_printf("%s/blobs/sha256/%02x", f->dir, i);
        assert_int_equal(fs_mkdirs(folder, 0750, NULL), 0);
        free(folder);
    }
    for (unsigned i = 0; i < count; ++i) {
        struct digest d = digest_of(text, (size_t)snprintf(text, sizeof text, "tiny-%u", i));
        char *path = blob_path(f, d);
        int fd = open(path, O_WRONLY | O_CREAT, 0640);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, "0123456789", 10), 10);
        (void)close(fd);
        free(path);
    }
}

/* Bytes that are allocated; a sanitizer has an allocator, and so a count, of its own. */
extern size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));
static size_t allocated(void)
{
    return __sanitizer_get_current_allocated_bytes ? __sanitizer_get_current_allocated_bytes()
                                                   : mallinfo2().uordblks;
}

static void test_many(void **state)
{
    struct fixture *f = *state;
    const char *wanted = getenv("RAC_TEST_BLOBS"); /* more by hand, for the figures */
    unsigned count = wanted ? (unsigned)atoi(wanted) : 20000;
    make_tiny(f, count);
    f->options.limit_bytes = (uint64_t)count * 5;
    size_t before = allocated(), most = 0;
    uint64_t begin = clock_mono_ms(), small = f->options.limit_bytes / 100 * 95, left;
    reopen(f);
    while (clock_mono_ms() - begin < 60000) {
        size_t now = allocated();
        most = now > most ? now : most;
        if (atomic_load(&f->s->evicted_blobs) > 0 && atomic_load(&f->s->bytes) <= small)
            break;
        (void)usleep(200);
    }
    make_room(f, 0, ERR_NONE);
    left = atomic_load(&f->s->blobs);
    most = most > before ? most - before : 0;
    print_message("%u blobs counted and half of them evicted in %u ms; %zu KiB more memory\n", count,
                  (unsigned)(clock_mono_ms() - begin), most / 1024);
    assert_true(most < 256 * 1024);
    assert_in_range(left, count * 47 / 100, count * 475 / 1000);
    assert_int_equal(atomic_load(&f->s->bytes), left * 10);
    f->options.limit_bytes = (uint64_t)1 << 30;
    reopen(f);
    EVENTUALLY(atomic_load(&f->s->blobs) == left);
}

/* Blobs come and go while the count at start runs: it is exact in the end. */
static void test_count_is_exact(void **state)
{
    struct fixture *f = *state;
    make_tiny(f, 3000);
    reopen(f);
    uint64_t expected = 3000;
    char text[32];
    for (unsigned i = 0; i < 40; ++i) {
        (void)put_n(f, i, 10, NULL);
        struct digest d = digest_of(text, (size_t)snprintf(text, sizeof text, "tiny-%u", i * 50));
        f->s->ops->quarantine(f->s, &d, "test");
    }
    EVENTUALLY(atomic_load(&f->s->quarantined) == 40);
    EVENTUALLY(atomic_load(&f->s->blobs) == expected);
    (void)usleep(50000);
    assert_int_equal(atomic_load(&f->s->blobs), expected);
    assert_int_equal(atomic_load(&f->s->bytes), expected * 10);
}

/* ---- many threads ---- */

struct worker {
    struct blob_store *s;
    unsigned index;
    int wrong;
};

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct fixture f = {.loop = loop_new(w->index), .s = w->s};
    char bytes[2000];
    unsigned seed = w->index;
    for (unsigned i = 0; i < 150; ++i) {
        unsigned n = (unsigned)rand_r(&seed) % 12;
        struct digest d = make_bytes(n, sizeof bytes, bytes);
        struct blob *b = get(&f, d);
        w->wrong += b && !blob_equals(b, bytes, sizeof bytes);
        if (!b)
            (void)put_n(&f, n, sizeof bytes, NULL);
        else if (rand_r(&seed) % 8 == 0)
            w->s->ops->quarantine(w->s, &d, "test");
        blob_unref(b);
        if (i % 16 == 0) {
            struct answer a = {0};
            w->s->ops->make_room(w->s, f.loop, 3000, on_done, &a);
            wait_for(&f, &a);
        }
    }
    loop_free(f.loop);
    return NULL;
}

static void test_threads(void **state)
{
    struct fixture *f = *state;
    pthread_t thread[4];
    struct worker w[4];
    for (unsigned i = 0; i < 4; ++i) {
        w[i] = (struct worker){f->s, i, 0};
        assert_int_equal(pthread_create(&thread[i], NULL, worker_main, &w[i]), 0);
    }
    for (unsigned i = 0; i < 4; ++i) {
        pthread_join(thread[i], NULL);
        assert_int_equal(w[i].wrong, 0);
    }
    uint64_t bytes = atomic_load(&f->s->bytes), blobs = atomic_load(&f->s->blobs);
    assert_int_equal(bytes, blobs * 2000);
    assert_true(blobs <= 12);
}

static int by_digest(const void *a, const void *b)
{
    unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;
    return strcmp(digest_of(&x, sizeof x).s, digest_of(&y, sizeof y).s);
}

/* Blobs come at once into a store without folders, three of a folder side by side for the three threads of
 * jobs: each makes the folder, or finds that another just did. */
static void test_first_blobs_at_once(void **state)
{
    struct fixture *f = *state;
    static struct answer a[768];
    static unsigned blob[768];
    memset(a, 0, sizeof a);
    for (unsigned n = 0, found = 0, have[256] = {0}; found < 768; ++n) {
        struct digest d = digest_of(&n, sizeof n);
        unsigned folder = 0;
        assert_int_equal(sscanf(digest_hex(&d), "%2x", &folder), 1);
        if (have[folder]++ < 3)
            blob[found++] = n;
    }
    qsort(blob, 768, sizeof blob[0], by_digest);
    for (unsigned i = 0; i < 768; ++i) {
        struct digest d = digest_of(&blob[i], sizeof blob[i]);
        f->s->ops->put(f->s, f->loop, &d, &blob[i], sizeof blob[i], on_done, &a[i]);
    }
    for (unsigned i = 0; i < 768; ++i) {
        wait_for(f, &a[i]);
        assert_string_equal(a[i].err.msg, "");
    }
    EVENTUALLY(atomic_load(&f->s->blobs) == 768);
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
    uint64_t end_ms = clock_mono_ms() + 20000;
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
        T(test_put_get),
        T(test_names_left_by_a_kill),
        T(test_empty_blob),
        T(test_read),
        T(test_sha512),
        T(test_partial),
        T(test_partial_discarded),
        T(test_publish_keeps_the_file),
        T(test_publish_what_is_there),
        T(test_publish_of_a_short_file),
        T(test_damaged_blobs),
        T(test_scrub),
        T(test_descriptors_are_bounded),
        T(test_no_descriptors_left),
        T(test_use_is_noted),
        cmocka_unit_test(test_table),
        T(test_eviction_by_age),
        T(test_make_room),
        T(test_partials_count),
        T(test_old_partials_go),
        T(test_many),
        T(test_count_is_exact),
        T(test_threads),
        T(test_first_blobs_at_once),
        T(test_check),
        T(test_no_permission),
        cmocka_unit_test(test_full_disk),
        T(test_kill_9),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
