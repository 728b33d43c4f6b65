// SPDX-License-Identifier: Apache-2.0
/* Blobs in and out, partials, open blobs, many threads. */
#include "disk_rig.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>

#include "proxy/cache/disk_table.h"

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

struct remover {
    char *path;
    atomic_bool over;
};

static void *remove_again_and_again(void *arg)
{
    struct remover *r = arg;
    while (!atomic_load(&r->over))
        (void)unlink(r->path);
    return NULL;
}

/* A store that is far too full evicts what was published a moment ago: its readers have it all the same. */
static void test_gone_right_after_it_was_published(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 20; ++i) {
        char bytes[1000];
        struct digest d = make_bytes(i, sizeof bytes, bytes);
        struct remover r = {.path = blob_path(f, d)};
        pthread_t thread;
        struct blob_partial *p = partial_open(f, d);
        partial_write(p, bytes, 0, sizeof bytes);
        assert_int_equal(pthread_create(&thread, NULL, remove_again_and_again, &r), 0);
        struct blob *b = publish(f, p, NULL);
        atomic_store(&r.over, true);
        pthread_join(thread, NULL);
        assert_non_null(b);
        assert_true(blob_equals(b, bytes, sizeof bytes));
        assert_true(write(b->fd, "x", 1) < 0);
        blob_unref(b);
        free(r.path);
    }
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
        T(test_gone_right_after_it_was_published),
        T(test_partial_discarded),
        T(test_publish_keeps_the_file),
        T(test_publish_what_is_there),
        T(test_publish_of_a_short_file),
        T(test_descriptors_are_bounded),
        T(test_no_descriptors_left),
        T(test_use_is_noted),
        cmocka_unit_test(test_table),
        T(test_threads),
        T(test_first_blobs_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
