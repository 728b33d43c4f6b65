// SPDX-License-Identifier: Apache-2.0
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fs.h"
#include "common/mem.h"
#include "proxy/cache/disk_impl.h"

#define EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define EMPTY_SHA512                                                                                         \
    "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931" \
    "bd47417a8"                                                                                              \
    "1a538327af927da3e"

static int64_t now_s(void)
{
    return clock_wall_ms() / 1000;
}

/* The last use of a blob is its mtime. What lies in the future (the clock was wrong once) comes back to the
 * present. */
static void touch_fd(int fd, const struct stat *st)
{
    int64_t age = now_s() - (int64_t)st->st_mtime;
    if (age >= DISK_TOUCH_S || age < -DISK_TOUCH_S)
        (void)futimens(fd, NULL);
}

static void run_touch(struct disk_op *op)
{
    (void)futimens(op->blob->fd, NULL);
}

static void touch_later(struct disk *d, struct blob *b)
{
    struct disk_op *op = disk_op_new(d, NULL, &b->digest, run_touch, disk_op_free, NULL);
    op->blob = blob_ref(b);
    disk_op_submit(op);
}

struct blob *disk_try(struct blob_store *s, const struct digest *digest)
{
    struct disk *d = (struct disk *)s;
    bool touch;
    struct blob *b = disk_table_get(d->table, digest, now_s(), &touch);
    if (b && touch)
        touch_later(d, b);
    return b;
}

static bool is_empty_digest(const struct digest *d)
{
    return strcmp(digest_hex(d), EMPTY_SHA256) == 0 || strcmp(digest_hex(d), EMPTY_SHA512) == 0;
}

/* A descriptor of the file, -1 with errno. Where there are no more descriptors, idle ones of ours make room
 * once. */
static int open_file(struct disk *d, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && disk_is_out_of_descriptors(errno)) {
        disk_table_trim(d->table, 32);
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    }
    return fd;
}

int disk_open_blob(struct disk *d, const struct digest *digest, struct blob **ret, struct err *err)
{
    cleanup_free char *path = disk_blob_path(d->dir, digest);
    cleanup_close int fd = open_file(d, path);
    struct stat st;
    *ret = NULL;
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return 0;
    if (fd < 0 && errno == EIO) {
        disk_quarantine_now(d, digest, "cannot be opened: input/output error");
        return 0;
    }
    if (fd < 0 && disk_is_out_of_descriptors(errno))
        return err_set(err, ERR_OVERLOADED, DISK_OUT_OF_DESCRIPTORS);
    if (fd < 0)
        return err_set_errno(err, ERR_IO, errno, "%s: cannot open", path);
    if (fstat(fd, &st) < 0)
        return err_set_errno(err, ERR_IO, errno, "%s: cannot stat", path);
    if (!S_ISREG(st.st_mode) || (st.st_size == 0) != is_empty_digest(digest)) {
        disk_quarantine_now(d, digest, S_ISREG(st.st_mode) ? "wrong size" : "not a file");
        return 0;
    }
    touch_fd(fd, &st);
    struct blob *b = mem_new(struct blob);
    *b = (struct blob){.refs = 1, .size = (uint64_t)st.st_size, .digest = *digest, .fd = steal_fd(&fd)};
    *ret = b;
    return 0;
}

/* ---- get ---- */

static void run_get(struct disk_op *op)
{
    struct disk *d = op->disk;
    op->failed = disk_open_blob(d, &op->digest, &op->blob, &op->err) < 0;
    if (!op->blob)
        return;
    struct blob *opened = op->blob;
    op->blob = disk_table_add(d->table, opened, now_s());
    /* Evicted between the open and the add: this reader may have it, the next is to find that it is gone. */
    struct stat st;
    if (fstat(op->blob->fd, &st) == 0 && st.st_nlink == 0)
        disk_table_drop(d->table, &op->digest);
}

static void answer_get(void *arg)
{
    struct disk_op *op = arg;
    op->fn.get(op->arg, steal_ptr(&op->blob), op->failed ? &op->err : NULL);
    disk_op_free(op);
}

void disk_get(struct blob_store *s, struct loop *loop, const struct digest *digest, blob_get_fn *fn,
              void *arg)
{
    struct disk_op *op = disk_op_new((struct disk *)s, loop, digest, run_get, answer_get, arg);
    op->fn.get = fn;
    op->blob = disk_try(s, digest);
    if (op->blob)
        disk_op_answer(op);
    else
        disk_op_submit(op);
}

/* ---- read ---- */

/* What the bytes of an open blob come to; NULL if they are not what they are to be, or cannot be read. */
static char *read_verified(const struct blob *b, const char **ret_why)
{
    cleanup_free char *bytes = mem_alloc((size_t)b->size + 1);
    ssize_t n = fs_pread_all(b->fd, bytes, (size_t)b->size, 0);
    if (n != (ssize_t)b->size) {
        *ret_why = n < 0 ? "cannot be read" : "shorter than it was";
        return NULL;
    }
    cleanup_hasher struct hasher *h = hasher_new(digest_algorithm(&b->digest));
    hasher_update(h, bytes, (size_t)b->size);
    struct digest found = hasher_digest(h);
    if (!digest_eq(&found, &b->digest)) {
        *ret_why = "its bytes have another digest";
        return NULL;
    }
    bytes[b->size] = '\0';
    return steal_ptr(&bytes);
}

static void run_read(struct disk_op *op)
{
    struct disk *d = op->disk;
    if (!op->blob && disk_open_blob(d, &op->digest, &op->blob, &op->err) < 0) {
        op->failed = true;
        return;
    }
    if (!op->blob)
        return;
    if (op->blob->size > op->room) {
        op->failed = true;
        (void)err_set(&op->err, ERR_SIZE_INVALID, "%s has %llu bytes, more than the %llu allowed here",
                      op->digest.s, (unsigned long long)op->blob->size, (unsigned long long)op->room);
        return;
    }
    const char *why = NULL;
    op->bytes = read_verified(op->blob, &why);
    op->len = (size_t)op->blob->size;
    if (!op->bytes)
        disk_quarantine_now(d, &op->digest, why);
}

static void answer_read(void *arg)
{
    struct disk_op *op = arg;
    size_t len = op->bytes ? op->len : 0;
    op->fn.bytes(op->arg, steal_ptr(&op->bytes), len, op->failed ? &op->err : NULL);
    disk_op_free(op);
}

void disk_read(struct blob_store *s, struct loop *loop, const struct digest *digest, size_t max,
               blob_bytes_fn *fn, void *arg)
{
    struct disk_op *op = disk_op_new((struct disk *)s, loop, digest, run_read, answer_read, arg);
    op->fn.bytes = fn;
    op->room = max;
    op->blob = disk_try(s, digest);
    disk_op_submit(op);
}

/* ---- quarantine ---- */

static void run_quarantine(struct disk_op *op)
{
    disk_quarantine_now(op->disk, &op->digest, op->bytes);
}

void disk_quarantine(struct blob_store *s, const struct digest *digest, const char *why)
{
    struct disk *d = (struct disk *)s;
    struct disk_op *op = disk_op_new(d, NULL, digest, run_quarantine, disk_op_free, NULL);
    op->bytes = mem_strdup(why);
    disk_table_drop(d->table, digest); /* at once: nobody gets it from memory any more */
    disk_op_submit(op);
}
