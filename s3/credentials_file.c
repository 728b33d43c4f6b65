// SPDX-License-Identifier: Apache-2.0
#include "s3/credentials_file.h"

#include <errno.h>
#include <fcntl.h>

#include "common/cleanup.h"
#include "common/str.h"

int credentials_read_file(const char *path, size_t max, char **ret, size_t *ret_len, struct err *err)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return 0;
    if (fd < 0)
        return err_set_errno(err, ERR_IO, errno, "%s", path);
    cleanup_buf struct buf b = {.max = max};
    char chunk[4096];
    ssize_t n;
    while ((n = read(fd, chunk, sizeof chunk)) != 0) {
        if (n < 0 && errno != EINTR)
            return err_set_errno(err, ERR_IO, errno, "%s", path);
        if (n > 0 && !buf_add(&b, chunk, (size_t)n))
            return err_set(err, ERR_IO, "%s: longer than %zu bytes", path, max);
    }
    *ret_len = b.len;
    *ret = buf_take(&b);
    return 1;
}
