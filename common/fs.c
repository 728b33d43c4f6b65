// SPDX-License-Identifier: Apache-2.0
#include "common/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/mem.h"

static int make_dir(const char *path, mode_t mode, struct err *err)
{
    struct stat st;
    if (mkdir(path, mode) == 0)
        return 0;
    int why = errno;
    /* A read-only file system says EROFS for a folder that is there, too: look before believing it. */
    if (stat(path, &st) == 0)
        return S_ISDIR(st.st_mode) ? 0 : err_set(err, ERR_IO, "%s: is not a folder", path);
    return err_set_errno(err, ERR_IO, why, "%s: cannot make the folder", path);
}

int fs_mkdirs(const char *path, mode_t mode, struct err *err)
{
    cleanup_free char *copy = mem_strdup(path);
    for (char *p = copy + 1; *copy && *p; ++p) {
        if (*p != '/' || p[-1] == '/')
            continue;
        *p = '\0';
        if (make_dir(copy, mode, err) < 0)
            return -1;
        *p = '/';
    }
    return make_dir(copy, mode, err);
}

int fs_sync_dir(const char *path, struct err *err)
{
    cleanup_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_set_errno(err, ERR_IO, errno, "%s: cannot open the folder", path);
    if (fsync(fd) < 0 && errno != EINVAL) /* EINVAL: this file system has no such thing */
        return err_set_errno(err, ERR_IO, errno, "%s: cannot sync the folder", path);
    return 0;
}

int fs_write_all(int fd, const void *p, size_t len, const char *path, struct err *err)
{
    const char *at = p;
    while (len) {
        ssize_t n = write(fd, at, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(err, ERR_IO, errno, "%s: cannot write", path);
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

ssize_t fs_pread_all(int fd, void *p, size_t len, uint64_t offset)
{
    size_t have = 0;
    while (have < len) {
        ssize_t n = pread(fd, (char *)p + have, len - have, (off_t)(offset + have));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        have += (size_t)n;
    }
    return (ssize_t)have;
}

/* The folder a path is in; malloc'd. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return mem_strdup(".");
    return slash == path ? mem_strdup("/") : mem_strndup(path, (size_t)(slash - path));
}

static int write_beside(const char *beside, const char *path, const void *p, size_t len, mode_t mode,
                        struct err *err)
{
    cleanup_close int fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0)
        return err_set_errno(err, ERR_IO, errno, "%s: cannot make the file", beside);
    if (fs_write_all(fd, p, len, beside, err) < 0)
        return -1;
    if (fdatasync(fd) < 0)
        return err_set_errno(err, ERR_IO, errno, "%s: cannot sync", beside);
    if (rename(beside, path) < 0)
        return err_set_errno(err, ERR_IO, errno, "%s: cannot rename to it", path);
    return 0;
}

int fs_write_file(const char *path, const void *p, size_t len, mode_t mode, struct err *err)
{
    static _Atomic unsigned counter;
    cleanup_free char *beside = mem_printf("%s.%d-%u", path, (int)getpid(), atomic_fetch_add(&counter, 1));
    if (write_beside(beside, path, p, len, mode, err) < 0) {
        (void)unlink(beside);
        return -1;
    }
    cleanup_free char *folder = folder_of(path);
    return fs_sync_dir(folder, err);
}

int fs_read_file(const char *path, size_t max_bytes, struct buf *ret, struct err *err)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set_errno(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "%s: cannot open", path);
    char chunk[16384];
    size_t have = 0;
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(err, ERR_IO, errno, "%s: cannot read", path);
        if (n == 0)
            return 0;
        have += (size_t)n;
        if (have > max_bytes || !buf_add(ret, chunk, (size_t)n))
            return err_set(err, ERR_SIZE_INVALID, "%s: over the limit of %zu bytes", path, max_bytes);
    }
}

int fs_rename_new(const char *from, const char *to, bool *ret_there, struct err *err)
{
    int rc = renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE);
    if (rc < 0 && (errno == EINVAL || errno == ENOSYS)) {
        /* A file system without that flag. Looking first leaves a gap in which another may publish the same
         * name: then its bytes are replaced by the same bytes, which is why rename and never link: two names
         * of one inode would let the writer of one change the other. */
        if (access(to, F_OK) == 0) {
            errno = EEXIST;
        } else {
            rc = rename(from, to);
        }
    }
    if (rc < 0 && errno != EEXIST)
        return err_set_errno(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "%s: cannot rename to it",
                             to);
    *ret_there = rc < 0;
    if (rc < 0)
        (void)unlink(from);
    return 0;
}

int fs_lock(const char *path, const char *what, int *ret_fd, struct err *err)
{
    cleanup_close int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0)
        return err_set_errno(err, ERR_IO, errno, "%s: cannot open the lock file", path);
    char pid[24] = "";
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK)
            return err_set_errno(err, ERR_IO, errno, "%s: cannot lock", path);
        ssize_t n = pread(fd, pid, sizeof pid - 1, 0);
        pid[n > 0 ? strspn(pid, "0123456789") : 0] = '\0';
        return err_set(err, ERR_OVERLOADED,
                       "%s is in use by another process (pid %s): stop it, or use another folder", what,
                       *pid ? pid : "unknown");
    }
    int len = snprintf(pid, sizeof pid, "%d\n", (int)getpid());
    /* The pid is for people; the lock holds without it, even on a full disk. */
    ssize_t written = ftruncate(fd, 0) == 0 ? pwrite(fd, pid, (size_t)len, 0) : -1;
    (void)written;
    *ret_fd = steal_fd(&fd);
    return 0;
}

int fs_space(const char *path, uint64_t *ret_total, uint64_t *ret_free, struct err *err)
{
    struct statvfs vfs;
    if (statvfs(path, &vfs) < 0)
        return err_set_errno(err, ERR_IO, errno, "%s: cannot ask for the free space", path);
    *ret_total = (uint64_t)vfs.f_blocks * vfs.f_frsize;
    *ret_free = (uint64_t)vfs.f_bavail * vfs.f_frsize;
    return 0;
}
