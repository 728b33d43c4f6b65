// SPDX-License-Identifier: Apache-2.0
/* Where parts begin, what memory and spill promise, and the table of names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/mem.h"
#include "fuse-layer/s3fs/inode.h"
#include "fuse-layer/s3fs/listing.h"
#include "fuse-layer/s3fs/memory.h"
#include "fuse-layer/s3fs/part.h"
#include "fuse-layer/s3fs/posix.h"
#include "fuse-layer/s3fs/spill.h"

#define MIB ((uint64_t)1 << 20)

static void parts_follow_each_other(void **state)
{
    (void)state;
    assert_int_equal(part_offset(0), 0);
    for (size_t i = 0; i < PARTS_MAX; ++i) {
        assert_true(part_size(i) <= S3_PUT_MAX);
        assert_int_equal(part_at(part_offset(i)), i);
        assert_int_equal(part_at(part_offset(i) + part_size(i) - 1), i);
        if (i + 1 < PARTS_MAX)
            assert_int_equal(part_offset(i) + part_size(i), part_offset(i + 1));
    }
    uint64_t end = part_offset(PARTS_MAX - 1) + part_size(PARTS_MAX - 1);
    assert_true(end >= S3_OBJECT_SIZE_MAX);
    assert_int_equal(part_at(end), PARTS_MAX);
    assert_int_equal(part_at(UINT64_MAX), PARTS_MAX);
}

static void memory_is_bounded(void **state)
{
    (void)state;
    struct memory *m = memory_new(32 * MIB);
    void *blocks[4];
    for (int i = 0; i < 4; ++i) {
        blocks[i] = memory_try(m, MEMORY_BLOCK);
        assert_non_null(blocks[i]);
        memset(blocks[i], i, MEMORY_BLOCK);
    }
    assert_null(memory_try(m, 1));
    uint64_t begin = clock_mono_ms();
    assert_null(memory_take(m, MEMORY_BLOCK, 50));
    assert_true(clock_mono_ms() - begin >= 49);
    for (int i = 0; i < 4; ++i)
        memory_give(m, blocks[i], MEMORY_BLOCK);
    assert_int_equal(memory_used(m), 0);
    /* Blocks that are kept are not in the way of other sizes. */
    void *large = memory_try(m, 31 * MIB);
    assert_non_null(large);
    memory_give(m, large, 31 * MIB);
    memory_give(m, NULL, 5);
    memory_free(m);
}

struct waiter {
    struct memory *m;
    void *got;
};

static void *take(void *arg)
{
    struct waiter *w = arg;
    w->got = memory_take(w->m, MEMORY_BLOCK, 10000);
    return NULL;
}

static void memory_waits_for_what_is_given_back(void **state)
{
    (void)state;
    struct waiter w = {.m = memory_new(MEMORY_MIN)};
    void *all = memory_try(w.m, MEMORY_MIN);
    assert_non_null(all);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, take, &w), 0);
    usleep(20000);
    memory_give(w.m, all, MEMORY_MIN);
    pthread_join(thread, NULL);
    assert_non_null(w.got);
    memory_give(w.m, w.got, MEMORY_BLOCK);
    memory_free(w.m);
}

static void spill_is_bounded_and_sparse(void **state)
{
    (void)state;
    struct err err = {0};
    struct spill *s = spill_new("/tmp", 10, 10);
    struct spill_file *f, *g;
    assert_int_equal(spill_open(s, &f, &err), 0);
    assert_int_equal(spill_open(s, &g, &err), 0);
    assert_int_equal(spill_write(f, "12345678", 8, 100 * MIB, 8, &err), 0);
    assert_int_equal(spill_write(f, "ABC", 3, 100 * MIB + 1, 0, &err), 0); /* again: nothing new */
    assert_int_equal(spill_write(g, "123", 3, 0, 3, &err), -1);
    assert_int_equal(err.code, ERR_NO_SPACE);
    assert_non_null(strstr(err.msg, "RAC_CACHE_SIZE"));
    char back[10];
    assert_int_equal(spill_read(f, back, 10, 100 * MIB - 1, &err), 0);
    assert_memory_equal(back, "\0001ABC5678\0", 10);
    char *map = spill_map(f, 100 * MIB, 65536, &err);
    assert_non_null(map);
    assert_memory_equal(map, "1ABC5678\0", 9);
    spill_unmap(map, 65536);
    spill_drop(f, 100 * MIB, MIB, 8);
    assert_int_equal(spill_read(f, back, 10, 100 * MIB - 1, &err), 0);
    assert_memory_equal(back, "\0\0\0\0\0\0\0\0\0\0", 10);
    assert_int_equal(spill_write(g, "1234567890", 10, 0, 10, &err), 0);
    spill_close(f);
    spill_close(g);
    spill_close(NULL);
    spill_free(s); /* asserts that nothing is counted any more */
}

static void spill_goes_on_in_memory_without_a_folder(void **state)
{
    (void)state;
    struct err err = {0};
    struct spill *s = spill_new("/no/such/folder", 8 * MIB, MIB);
    struct spill_file *f;
    assert_int_equal(spill_open(s, &f, &err), 0);
    assert_int_equal(spill_write(f, "x", 1, 0, MIB, &err), 0);
    assert_int_equal(spill_write(f, "x", 1, MIB, 1, &err), -1); /* of memory there is less than of disk */
    assert_int_equal(err.code, ERR_NO_SPACE);
    spill_close(f);
    spill_free(s);
}

static const struct inode_attr folder_attr = {.kind = INODE_FOLDER}, bucket_attr = {.kind = INODE_BUCKET};

static struct inode_attr file_attr(const char *etag)
{
    struct inode_attr a = {.kind = INODE_FILE, .size = 1};
    strcpy(a.etag, etag);
    return a;
}

static void names_and_numbers(void **state)
{
    (void)state;
    struct inodes t;
    struct inode_path path;
    inodes_init(&t);
    struct inode *bucket = inode_look(&t, t.root, "bucket", &bucket_attr, 1);
    struct inode *folder = inode_look(&t, bucket, "a b", &folder_attr, 1);
    struct inode_attr attr = file_attr("1");
    struct inode *file = inode_look(&t, folder, "f", &attr, 1);
    assert_ptr_equal(inode_look(&t, folder, "f", &attr, 1), file);
    assert_int_equal(file->lookups, 2);
    assert_ptr_equal(inode_by_id(&t, file->id), file);
    assert_true(inode_path(file, &path));
    assert_string_equal(path.bucket, "bucket");
    assert_string_equal(path.key, "a b/f");
    assert_true(inode_path(folder, &path));
    assert_string_equal(path.key, "a b/");
    assert_true(inode_path(bucket, &path));
    assert_string_equal(path.key, "");

    struct inode *other = inode_look(&t, bucket, "other", &folder_attr, 1);
    inode_move(&t, folder, other, "moved");
    assert_true(inode_path(file, &path));
    assert_string_equal(path.key, "other/moved/f");
    assert_null(inode_child(bucket, "a b"));

    /* A child keeps its parents, whatever the kernel forgets. */
    inode_forget(&t, folder, 1);
    inode_forget(&t, other, 1);
    assert_true(inode_path(file, &path));
    inode_forget(&t, file, 2);
    assert_null(inode_child(bucket, "other"));
    assert_int_equal(t.len, 2);
    inodes_destroy(&t);
}

static void keys_have_1024_bytes(void **state)
{
    (void)state;
    struct inodes t;
    struct inode_path path;
    char name[S3_KEY_MAX + 2];
    inodes_init(&t);
    struct inode *bucket = inode_look(&t, t.root, "bucket", &bucket_attr, 1);
    memset(name, 'n', sizeof name);
    name[S3_KEY_MAX] = '\0';
    assert_true(inode_child_path(bucket, name, false, &path));
    assert_int_equal(strlen(path.key), S3_KEY_MAX);
    assert_false(inode_child_path(bucket, name, true, &path)); /* no room for the '/' */
    name[S3_KEY_MAX] = 'n';
    name[S3_KEY_MAX + 1] = '\0';
    assert_false(inode_child_path(bucket, name, false, &path));
    inodes_destroy(&t);
}

static void a_new_version_is_a_new_inode_for_who_has_the_old_one_open(void **state)
{
    (void)state;
    struct inodes t;
    inodes_init(&t);
    struct inode *bucket = inode_look(&t, t.root, "bucket", &bucket_attr, 1);
    struct inode_attr old = file_attr("old"), new = file_attr("new");
    struct inode *file = inode_look(&t, bucket, "f", &old, 1);
    assert_ptr_equal(inode_look(&t, bucket, "f", &new, 2), file); /* nobody reads it */
    ++file->readers;
    inode_pin(file);
    assert_ptr_equal(inode_look(&t, bucket, "f", &old, 1), file); /* older news */
    assert_string_equal(file->attr.etag, "new");
    struct inode *next = inode_look(&t, bucket, "f", &old, 3);
    assert_ptr_not_equal(next, file);
    assert_true(file->detached);
    assert_ptr_equal(inode_child(bucket, "f"), next);
    inode_forget(&t, file, 3);
    assert_non_null(inode_by_id(&t, file->id)); /* pinned */
    uint64_t id = file->id;
    inode_unpin(&t, file);
    assert_null(inode_by_id(&t, id));
    /* A folder in the place of a file, and the other way round. */
    struct inode *folder = inode_look(&t, bucket, "f", &folder_attr, 4);
    assert_ptr_not_equal(folder, next);
    assert_ptr_not_equal(inode_look(&t, bucket, "f", &new, 5), folder);
    inodes_destroy(&t);
}

static void changes_outlive_older_listings_only(void **state)
{
    (void)state;
    struct inodes t;
    inodes_init(&t);
    struct inode *bucket = inode_look(&t, t.root, "bucket", &bucket_attr, 1);
    struct inode_attr attr = file_attr("1");
    uint64_t before = clock_mono_us();
    usleep(10);
    inode_note_change(bucket, "f", &attr);
    inode_note_change(bucket, "g", NULL);
    inode_drop_changes(bucket, before);
    assert_true(inode_find_change(bucket, "f")->exists);
    assert_false(inode_find_change(bucket, "g")->exists);
    inode_note_change(bucket, "f", NULL);
    assert_false(inode_find_change(bucket, "f")->exists);
    usleep(10);
    inode_drop_changes(bucket, clock_mono_us());
    assert_null(inode_find_change(bucket, "f"));
    inodes_destroy(&t);
}

static void metadata_and_back(void **state)
{
    (void)state;
    cleanup_s3_meta struct s3_meta meta = {0};
    struct inode_attr attr = {
        .kind = INODE_LINK, .mode = 0777, .uid = 5, .gid = 6, .mtime_ms = 1234567890042};
    struct inode_attr back = {.kind = INODE_FILE};
    posix_to_meta(&attr, &meta);
    assert_string_equal(s3_meta_get(&meta, "mode"), "41471");
    posix_from_meta(&meta, &back);
    assert_int_equal(back.kind, INODE_LINK);
    assert_int_equal(back.mode, 0777);
    assert_int_equal(back.uid, 5);
    assert_int_equal(back.gid, 6);
    assert_int_equal(back.mtime_ms, 1234567890042);
    /* What others left there. */
    static const char *const odd[] = {"", "rwx", "-1", "999999999999", "0755x"};
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; ++i) {
        struct inode_attr untouched = {.kind = INODE_FILE};
        s3_meta_set(&meta, "mode", odd[i]);
        posix_from_meta(&meta, &untouched);
        assert_int_equal(untouched.mode, 0);
        assert_int_equal(untouched.kind, INODE_FILE);
    }
}

static struct listing *a_listing(uint64_t started_us, size_t bytes)
{
    struct listing *l = mem_new(struct listing);
    l->refs = 1;
    l->started_us = started_us;
    l->bytes = bytes;
    return l;
}

static void old_and_large_listings_go(void **state)
{
    (void)state;
    struct inodes t;
    inodes_init(&t);
    struct inode *f[4];
    for (int i = 0; i < 4; ++i) {
        char name[] = {(char)('a' + i), '\0'};
        f[i] = inode_look(&t, t.root, name, &folder_attr, 1);
        inode_set_listing(&t, f[i], a_listing(10 * (unsigned)(i + 1), 100));
    }
    assert_int_equal(t.listings_bytes, 400);
    inodes_trim_listings(&t, 20, 1000); /* the first is too old */
    assert_null(f[0]->listing);
    inodes_trim_listings(&t, 20, 200); /* and the second too much */
    assert_null(f[1]->listing);
    assert_non_null(f[2]->listing);
    inode_set_listing(&t, f[2], a_listing(50, 70)); /* the newest by now */
    assert_int_equal(t.listings_bytes, 170);
    inodes_trim_listings(&t, 1000, 0); /* whatever it is */
    assert_null(f[3]->listing);
    assert_non_null(f[2]->listing);
    inode_forget(&t, f[2], 1);
    assert_int_equal(t.listings_bytes, 0);
    inodes_destroy(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_follow_each_other),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(memory_waits_for_what_is_given_back),
        cmocka_unit_test(spill_is_bounded_and_sparse),
        cmocka_unit_test(spill_goes_on_in_memory_without_a_folder),
        cmocka_unit_test(names_and_numbers),
        cmocka_unit_test(keys_have_1024_bytes),
        cmocka_unit_test(a_new_version_is_a_new_inode_for_who_has_the_old_one_open),
        cmocka_unit_test(changes_outlive_older_listings_only),
        cmocka_unit_test(metadata_and_back),
        cmocka_unit_test(old_and_large_listings_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
