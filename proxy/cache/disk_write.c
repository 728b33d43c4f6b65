// SPDX-License-Identifier: Apache-2.0
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/fs.h"
#include "common/mem.h"
#include "proxy/cache/disk_impl.h"

char *disk_temp_path(struct disk *d, const char *kind)
{
    return mem_printf("%s/partial/%s.%d-%" PRIu64, d->dir, kind, (int)getpid(),
                      atomic_fetch_add(&d->temp_number, 1));
}

void disk_temp_sweep(const char *dir)
{
    cleanup_free char *path = mem_printf("%s/partial", dir);
    DIR *folder = opendir(path);
    if (!folder)
        return;
    struct dirent *e;
    while ((e = readdir(folder)) != NULL)
        if (strncmp(e->d_name, DISK_TEMP_PUT ".", sizeof DISK_TEMP_PUT) == 0 ||
            strncmp(e->d_name, DISK_TEMP_CHECK ".", sizeof DISK_TEMP_CHECK) == 0)
            (void)unlinkat(dirfd(folder), e->d_name, 0);
    (void)closedir(folder);
}

/* ---- commit ---- */

/* Renames to the final name, making its folder if this is the first blob there. */
static int rename_to_blob(struct disk *d, const char *from, const char *to, const char *folder,
                          bool *ret_there, struct err *err)
{
    int rc = fs_rename_new(from, to, ret_there, err);
    /* Another may have made it since: so try again even if it is there by now. */
    if (rc == 0 || err->code != ERR_NOT_FOUND)
        return rc;
    cleanup_free char *above = mem_printf("%s/blobs/%.6s", d->dir, strstr(to, "/blobs/") + 7);
    if (fs_mkdirs(folder, 0750, err) < 0 || fs_sync_dir(above, err) < 0)
        return -1;
    return fs_rename_new(from, to, ret_there, err);
}

int disk_commit(struct disk *d, int fd, const char *from, const struct digest *digest, uint64_t size,
                struct err *err)
{
    cleanup_free char *to = disk_blob_path(d->dir, digest);
    cleanup_free char *folder = mem_strndup(to, (size_t)(strrchr(to, '/') - to));
    struct stat st;
    if (fdatasync(fd) < 0)
        return err_set_errno(err, ERR_IO, errno, "%s: cannot sync", from);
    /* One that is there stays, unless it cannot be the same: its size tells. */
    if (stat(to, &st) == 0 && (uint64_t)st.st_size != size)
        disk_quarantine_now(d, digest, "another size than the blob that was just verified");
    bool there = false, begun = disk_count_begin(d);
    int rc = rename_to_blob(d, from, to, folder, &there, err);
    bool made = rc == 0 && !there;
    disk_count_end(d, begun, digest, made ? (int64_t)size : 0, made ? 1 : 0);
    if (rc < 0)
        return -1;
    return fs_sync_dir(folder, err);
}

/* ---- put ---- */

static int write_and_commit(struct disk *d, const char *temp, const struct disk_op *op, struct err *err)
{
    cleanup_close int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    if (fd < 0)
        return err_set_errno(err, ERR_IO, errno, "%s: cannot make the file", temp);
    if (fs_write_all(fd, op->bytes, op->len, temp, err) < 0)
        return -1;
    return disk_commit(d, fd, temp, &op->digest, op->len, err);
}

static bool is_there(struct disk *d, const struct digest *digest, uint64_t size)
{
    cleanup_free char *path = disk_blob_path(d->dir, digest);
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == size;
}

static void run_put(struct disk_op *op)
{
    cleanup_hasher struct hasher *h = hasher_new(digest_algorithm(&op->digest));
    hasher_update(h, op->bytes, op->len);
    struct digest found = hasher_digest(h);
    assert(digest_eq(&found, &op->digest));
    if (is_there(op->disk, &op->digest, op->len))
        return;
    cleanup_free char *temp = disk_temp_path(op->disk, DISK_TEMP_PUT);
    if (write_and_commit(op->disk, temp, op, &op->err) < 0) {
        (void)unlink(temp);
        op->failed = true;
    }
    disk_room_ask(op->disk);
}

static void answer_done(void *arg)
{
    struct disk_op *op = arg;
    op->fn.done(op->arg, op->failed ? &op->err : NULL);
    disk_op_free(op);
}

void disk_put(struct blob_store *s, struct loop *loop, const struct digest *digest, const void *p, size_t len,
              blob_done_fn *fn, void *arg)
{
    struct disk_op *op = disk_op_new((struct disk *)s, loop, digest, run_put, answer_done, arg);
    op->fn.done = fn;
    op->bytes = mem_dup(p, len);
    op->len = len;
    op->behind =
        true; /* documents, which are in memory: a pull of many platforms makes hundreds, two syncs each */
    disk_op_submit(op);
}

/* ---- check ---- */

int disk_probe(struct disk *d, struct err *err)
{
    static const char text[] = "rac";
    char back[sizeof text] = "";
    cleanup_free char *temp = disk_temp_path(d, DISK_TEMP_CHECK);
    cleanup_close int fd = open(temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    if (fd < 0)
        return err_set_errno(err, ERR_IO, errno, "%s/partial: cannot make a file", d->dir);
    (void)unlink(temp);
    if (fs_write_all(fd, text, sizeof text, temp, err) < 0)
        return -1;
    ssize_t n = fs_pread_all(fd, back, sizeof back, 0);
    if (n < 0)
        return err_set_errno(err, ERR_IO, errno, "%s/partial: cannot read", d->dir);
    if (n != (ssize_t)sizeof back || memcmp(text, back, sizeof text) != 0)
        return err_set(err, ERR_IO, "%s/partial: does not give back what was written to it", d->dir);
    return 0;
}

static void run_check(struct disk_op *op)
{
    op->failed = disk_probe(op->disk, &op->err) < 0;
}

void disk_check(struct blob_store *s, struct loop *loop, blob_done_fn *fn, void *arg)
{
    struct disk_op *op = disk_op_new((struct disk *)s, loop, NULL, run_check, answer_done, arg);
    op->fn.done = fn;
    disk_op_submit(op);
}
