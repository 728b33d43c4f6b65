// SPDX-License-Identifier: Apache-2.0
#include "layers/out_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "common/mem.h"

struct out_file {
    char *path, *temporary; /* temporary: NULL once it has its name */
    int fd;
};

struct out_file *out_file_new(const char *path, struct err *err)
{
    cleanup_out_file struct out_file *f = mem_new(struct out_file);
    f->path = mem_strdup(path);
    f->temporary = mem_printf("%s.XXXXXX", path);
    f->fd = mkostemp(f->temporary, O_CLOEXEC);
    if (f->fd < 0) {
        (void)err_set_errno(err, ERR_IO, errno, "cannot write %s", path);
        free(steal_ptr(&f->temporary));
        return NULL;
    }
    /* mkostemp makes it 0600; an ordinary file of this user is meant. */
    mode_t mask = umask(0);
    (void)umask(mask);
    (void)fchmod(f->fd, 0666 & ~mask);
    return steal_ptr(&f);
}

void out_file_free(struct out_file *f)
{
    if (!f)
        return;
    if (f->fd >= 0)
        (void)close(f->fd);
    if (f->temporary)
        (void)unlink(f->temporary);
    free(f->temporary);
    free(f->path);
    free(f);
}

int out_file_write(struct out_file *f, const void *bytes, size_t len, struct err *err)
{
    const char *p = bytes;
    while (len) {
        ssize_t n = write(f->fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(err, ERR_IO, errno, "cannot write %s", f->path);
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

int out_file_finish(struct out_file *f, struct err *err)
{
    int fd = steal_fd(&f->fd);
    if (close(fd) < 0 || rename(f->temporary, f->path) < 0)
        return err_set_errno(err, ERR_IO, errno, "cannot write %s", f->path);
    free(steal_ptr(&f->temporary));
    return 0;
}

int out_file_put(const char *path, const void *bytes, size_t len, struct err *err)
{
    cleanup_out_file struct out_file *f = out_file_new(path, err);
    return f && out_file_write(f, bytes, len, err) == 0 ? out_file_finish(f, err) : -1;
}

int in_file_read(const char *path, size_t max, struct buf *ret, struct err *err)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set_errno(err, ERR_IO, errno, "cannot open %s", path);
    char chunk[16384];
    ret->max = max;
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(err, ERR_IO, errno, "cannot read %s", path);
        if (n == 0)
            return 0;
        if (!buf_add(ret, chunk, (size_t)n))
            return err_set(err, ERR_SIZE_INVALID, "%s has more than %zu bytes, the limit for it", path, max);
    }
}

int make_folders(const char *path, struct err *err)
{
    cleanup_free char *p = mem_strdup(path);
    for (char *slash = p + 1; *p; ++slash) {
        bool last = *slash == '\0';
        if (*slash != '/' && !last)
            continue;
        *slash = '\0';
        if (mkdir(p, 0777) < 0 && errno != EEXIST)
            return err_set_errno(err, ERR_IO, errno, "cannot make folder %s", p);
        if (last)
            return 0;
        *slash = '/';
    }
    return err_set(err, ERR_INVALID, "a folder's name is empty");
}
