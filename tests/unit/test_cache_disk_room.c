// SPDX-License-Identifier: Apache-2.0
/* What is evicted, and when; what is counted. */
#include "disk_rig.h"

#include <malloc.h>
#include <stdatomic.h>

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

/* What was being read, or pinned, when too little could go: it goes soon after that is over, unasked. */
static void test_eviction_that_failed_is_tried_again(void **state)
{
    struct fixture *f = *state;
    struct digest d[10];
    for (unsigned i = 0; i < 10; ++i) {
        d[i] = put_n(f, i, 10000, NULL);
        if (i)
            f->s->ops->pin(f->s, &d[i], true);
    }
    atomic_store(&f->s->limit, 50000);
    make_room(f, 60000, ERR_NO_SPACE);
    assert_int_equal(atomic_load(&f->s->bytes), 90000);
    for (unsigned i = 1; i < 10; ++i)
        f->s->ops->pin(f->s, &d[i], false);
    EVENTUALLY(atomic_load(&f->s->bytes) <= 50000);
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

int main(void)
{
    log_start(2, LOG_LEVEL_OFF, LOG_FORMAT_LOGFMT);
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_eviction_by_age), T(test_make_room),       T(test_eviction_that_failed_is_tried_again),
        T(test_partials_count),  T(test_old_partials_go), T(test_many),
        T(test_count_is_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
