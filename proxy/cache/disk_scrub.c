// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fs.h"
#include "common/mem.h"
#include "proxy/cache/disk_impl.h"

#define CHUNK       ((size_t)1 << 20)
#define PROGRESS_MS 500

struct scrub {
    const char *dir;
    struct disk_scrub sum;
    void (*progress)(const struct disk_scrub *, void *arg);
    void *arg;
    uint64_t told_ms;
    char *chunk;
};

static void tell(struct scrub *s)
{
    uint64_t now = clock_mono_ms();
    if (!s->progress || now - s->told_ms < PROGRESS_MS)
        return;
    s->told_ms = now;
    s->progress(&s->sum, s->arg);
}

/* What is wrong with the blob, or NULL. */
static const char *fault_of(struct scrub *s, int fd, const struct digest *digest)
{
    cleanup_hasher struct hasher *h = hasher_new(digest_algorithm(digest));
    uint64_t at = 0;
    for (;;) {
        ssize_t n = fs_pread_all(fd, s->chunk, CHUNK, at);
        if (n < 0)
            return "cannot be read";
        hasher_update(h, s->chunk, (size_t)n);
        at += (uint64_t)n;
        s->sum.bytes += (uint64_t)n;
        tell(s);
        if ((size_t)n < CHUNK)
            break;
    }
    struct digest found = hasher_digest(h);
    return digest_eq(&found, digest) ? NULL : "its bytes have another digest";
}

static int scrub_one(void *arg, int folder_fd, const char *name, const struct digest *digest,
                     const struct stat *st)
{
    struct scrub *s = arg;
    (void)st;
    cleanup_close int fd = openat(folder_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT)
        return 0; /* evicted meanwhile by the proxy that runs */
    const char *fault = fd < 0 ? "cannot be opened" : fault_of(s, fd, digest);
    ++s->sum.blobs;
    if (fd >= 0) /* a scrub is to leave the page cache to those who are served from it */
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    if (fault && disk_quarantine_file(s->dir, digest, fault) >= 0)
        ++s->sum.damaged;
    tell(s);
    return 0;
}

int disk_store_scrub(const char *dir, void (*progress)(const struct disk_scrub *, void *arg), void *arg,
                     struct disk_scrub *ret, struct err *err)
{
    cleanup_free char *chunk = mem_alloc(CHUNK);
    cleanup_free char *blobs = mem_printf("%s/blobs", dir);
    cleanup_free char *quarantine = mem_printf("%s/quarantine", dir);
    struct scrub s = {
        .dir = dir, .progress = progress, .arg = arg, .told_ms = clock_mono_ms(), .chunk = chunk};
    if (access(blobs, R_OK | X_OK) < 0)
        return err_set_errno(err, ERR_IO, errno, "%s: no blob store there", blobs);
    if (fs_mkdirs(quarantine, 0750, err) < 0)
        return -1;
    for (unsigned i = 0; i < DISK_FOLDERS; ++i)
        (void)disk_walk_folder(dir, i, scrub_one, &s);
    *ret = s.sum;
    return 0;
}
