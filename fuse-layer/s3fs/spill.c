// SPDX-License-Identifier: Apache-2.0
#include "fuse-layer/s3fs/spill.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/mem.h"

struct spill {
    pthread_mutex_t lock;
    char *dir;
    uint64_t limit, memory, used; /* memory: the limit where there is no disk */
};

struct spill_file {
    struct spill *spill;
    int fd;
    uint64_t used, size;
};

struct spill *spill_new(const char *dir, uint64_t limit_bytes, uint64_t memory_bytes)
{
    struct spill *s = mem_new(struct spill);
    pthread_mutex_init(&s->lock, NULL);
    s->dir = mem_strdup(dir);
    s->limit = limit_bytes;
    s->memory = memory_bytes;
    return s;
}

void spill_free(struct spill *s)
{
    if (!s)
        return;
    assert(s->used == 0);
    pthread_mutex_destroy(&s->lock);
    free(s->dir);
    free(s);
}

static int account(struct spill *s, uint64_t grow, struct err *err)
{
    pthread_mutex_lock(&s->lock);
    bool ok = s->used + grow <= s->limit;
    if (ok)
        s->used += grow;
    pthread_mutex_unlock(&s->lock);
    if (ok)
        return 0;
    return err_set(err, ERR_NO_SPACE,
                   "files that are written out of order need more than RAC_CACHE_SIZE (%llu MiB) in %s",
                   (unsigned long long)(s->limit >> 20), s->dir);
}

static void unaccount(struct spill *s, uint64_t shrink)
{
    pthread_mutex_lock(&s->lock);
    assert(s->used >= shrink);
    s->used -= shrink;
    pthread_mutex_unlock(&s->lock);
}

/* A nameless file; where the file system has none of those (overlay of old kernels), one that loses its name
 * at once. */
static int open_nameless(const char *dir, bool *ret_in_memory)
{
    *ret_in_memory = false;
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 ||
        (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT && errno != EROFS && errno != EACCES))
        return fd;
    cleanup_free char *name = mem_printf("%s/.rac-fuse-XXXXXX", dir);
    fd = mkostemp(name, O_CLOEXEC);
    if (fd >= 0) {
        (void)unlink(name);
        return fd;
    }
    *ret_in_memory = true;
    return memfd_create("rac-fuse-spill", MFD_CLOEXEC);
}

static void limit_to_memory(struct spill *s)
{
    pthread_mutex_lock(&s->lock);
    bool first = s->limit > s->memory;
    if (first)
        s->limit = s->memory;
    pthread_mutex_unlock(&s->lock);
    if (first)
        log_warn("RAC_CACHE_DIR cannot be written to: memory holds what is written out of order, and no more "
                 "than RAC_MEMORY",
                 F_S("folder", s->dir));
}

int spill_open(struct spill *s, struct spill_file **ret, struct err *err)
{
    bool in_memory;
    int fd = open_nameless(s->dir, &in_memory);
    if (fd < 0)
        return err_set_errno(err, ERR_IO, errno, "no file can be made in RAC_CACHE_DIR, %s", s->dir);
    if (in_memory)
        limit_to_memory(s);
    struct spill_file *f = mem_new(struct spill_file);
    f->spill = s;
    f->fd = fd;
    *ret = f;
    return 0;
}

void spill_close(struct spill_file *f)
{
    if (!f)
        return;
    unaccount(f->spill, f->used);
    (void)close(f->fd);
    free(f);
}

int spill_write(struct spill_file *f, const void *p, size_t len, uint64_t offset, uint64_t grow,
                struct err *err)
{
    if (account(f->spill, grow, err) < 0)
        return -1;
    f->used += grow;
    size_t done = 0;
    while (done < len) {
        ssize_t n = pwrite(f->fd, (const char *)p + done, len - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            f->used -= grow;
            unaccount(f->spill, grow);
            return err_set_errno(err, ERR_IO, n < 0 ? errno : ENOSPC, "%s", f->spill->dir);
        }
        done += (size_t)n;
    }
    if (f->size < offset + len)
        f->size = offset + len;
    return 0;
}

int spill_read(struct spill_file *f, void *p, size_t len, uint64_t offset, struct err *err)
{
    size_t done = 0;
    while (done < len) {
        ssize_t n = pread(f->fd, (char *)p + done, len - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(err, ERR_IO, errno, "%s", f->spill->dir);
        if (n == 0) {
            memset((char *)p + done, 0, len - done);
            break;
        }
        done += (size_t)n;
    }
    return 0;
}

void *spill_map(struct spill_file *f, uint64_t offset, size_t len, struct err *err)
{
    /* A page behind the end of the file cannot be touched. */
    if (f->size < offset + len) {
        if (ftruncate(f->fd, (off_t)(offset + len)) < 0) {
            err_set_errno(err, ERR_IO, errno, "%s", f->spill->dir);
            return NULL;
        }
        f->size = offset + len;
    }
    void *p = mmap(NULL, len, PROT_READ, MAP_SHARED, f->fd, (off_t)offset);
    if (p == MAP_FAILED) {
        err_set_errno(err, ERR_IO, errno, "%s", f->spill->dir);
        return NULL;
    }
    return p;
}

void spill_unmap(void *p, size_t len)
{
    if (p)
        (void)munmap(p, len);
}

void spill_drop(struct spill_file *f, uint64_t offset, uint64_t len, uint64_t shrink)
{
    (void)fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)len);
    assert(f->used >= shrink);
    f->used -= shrink;
    unaccount(f->spill, shrink);
}
