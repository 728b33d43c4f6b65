// SPDX-License-Identifier: Apache-2.0
#include "layers/layout_blobs.h"

#include <errno.h>
#include <fcntl.h>

#include "common/mem.h"
#include "layers/layer_source.h"
#include "layers/manifest.h"
#include "layers/out_file.h"

static char *blob_path(const char *dir, const struct digest *digest)
{
    struct slice algorithm = digest_algorithm(digest);
    return mem_printf("%s/blobs/%.*s/%s", dir, (int)algorithm.len, algorithm.p, digest_hex(digest));
}

static struct out_file *blob_new(const char *dir, const struct digest *digest, struct err *err)
{
    cleanup_free char *path = blob_path(dir, digest), *folder = mem_strdup(path);
    *strrchr(folder, '/') = '\0';
    return make_folders(folder, err) < 0 ? NULL : out_file_new(path, err);
}

bool layout_blob_exists(const char *dir, const struct digest *digest)
{
    cleanup_free char *path = blob_path(dir, digest);
    return access(path, R_OK) == 0;
}

static int check(const struct hasher *h, const struct digest *digest, struct err *err)
{
    struct digest found = hasher_digest(h);
    return digest_eq(&found, digest)
               ? 0
               : err_set(err, ERR_DIGEST_INVALID, "blob %s of the layout is damaged: its digest is %s",
                         digest->s, found.s);
}

int layout_blob_read(const char *dir, const struct digest *digest, struct buf *ret, struct err *err)
{
    cleanup_free char *path = blob_path(dir, digest);
    if (in_file_read(path, MANIFEST_BYTES_MAX, ret, err) < 0)
        return -1;
    cleanup_hasher struct hasher *h = hasher_new(digest_algorithm(digest));
    hasher_update(h, buf_str(ret), ret->len);
    return check(h, digest, err);
}

int layout_blob_write(const char *dir, const struct digest *digest, const void *bytes, size_t len,
                      struct err *err)
{
    cleanup_out_file struct out_file *f = blob_new(dir, digest, err);
    return f && out_file_write(f, bytes, len, err) == 0 ? out_file_finish(f, err) : -1;
}

int layout_blob_copy(const char *from, const char *to, const struct digest *digest, struct err *err)
{
    if (layout_blob_exists(to, digest))
        return 0;
    cleanup_free char *path = blob_path(from, digest);
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set_errno(err, ERR_IO, errno, "cannot open %s", path);
    cleanup_out_file struct out_file *f = blob_new(to, digest, err);
    if (!f)
        return -1;
    cleanup_hasher struct hasher *h = hasher_new(digest_algorithm(digest));
    const size_t cap = 262144;
    cleanup_free char *chunk = mem_alloc(cap);
    for (;;) {
        ssize_t n = read(fd, chunk, cap);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(err, ERR_IO, errno, "cannot read %s", path);
        if (n == 0)
            break;
        hasher_update(h, chunk, (size_t)n);
        if (out_file_write(f, chunk, (size_t)n, err) < 0)
            return -1;
    }
    return check(h, digest, err) < 0 ? -1 : out_file_finish(f, err);
}

static int add_bytes(void *arg, const void *bytes, size_t len, struct err *err)
{
    return out_file_write(arg, bytes, len, err);
}

int layout_blob_add_layer(const char *dir, const struct injection_layer *layer, struct err *err)
{
    if (layout_blob_exists(dir, &layer->gzip_digest))
        return layer_source_read(layer, NULL, NULL, err);
    cleanup_out_file struct out_file *f = blob_new(dir, &layer->gzip_digest, err);
    return f && layer_source_read(layer, add_bytes, f, err) == 0 ? out_file_finish(f, err) : -1;
}
