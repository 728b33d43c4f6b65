// SPDX-License-Identifier: Apache-2.0
#include "layers/image_out.h"

#include "common/mem.h"
#include "layers/layer_source.h"
#include "layers/layout_blobs.h"
#include "layers/out_file.h"
#include "layers/tar_write.h"

struct image_out {
    char *path;
    struct out_file *archive; /* NULL: a folder */
    struct digest seen[INJECTION_LAYERS_MAX];
    size_t seen_count; /* layers that are in the archive */
};

struct image_out *image_out_new(const char *path, struct err *err)
{
    cleanup_image_out struct image_out *o = mem_new(struct image_out);
    o->path = mem_strdup(path);
    if (!slice_ends_with(slice_of(path), ".tar"))
        return make_folders(path, err) < 0 ? NULL : steal_ptr(&o);
    o->archive = out_file_new(path, err);
    return o->archive ? steal_ptr(&o) : NULL;
}

void image_out_free(struct image_out *o)
{
    if (!o)
        return;
    out_file_free(o->archive);
    free(o->path);
    free(o);
}

static int put_header(struct image_out *o, const char *name, uint64_t size, struct err *err)
{
    cleanup_buf struct buf header = {0};
    const struct tar_entry entry = {.type = TAR_FILE, .path = name, .mode = 0644, .size = size};
    if (tar_write_header(&header, &entry, err) < 0)
        return -1;
    return out_file_write(o->archive, header.p, header.len, err);
}

static int put_padding(struct image_out *o, uint64_t size, struct err *err)
{
    static const char zeros[512];
    return out_file_write(o->archive, zeros, tar_write_padding(size), err);
}

int image_out_put(struct image_out *o, const char *name, const void *bytes, size_t len, struct err *err)
{
    if (!o->archive) {
        cleanup_free char *path = mem_printf("%s/%s", o->path, name);
        return out_file_put(path, bytes, len, err);
    }
    if (put_header(o, name, len, err) < 0 || out_file_write(o->archive, bytes, len, err) < 0)
        return -1;
    return put_padding(o, len, err);
}

static char *blob_name(const struct digest *digest)
{
    struct slice algorithm = digest_algorithm(digest);
    return mem_printf("blobs/%.*s/%s", (int)algorithm.len, algorithm.p, digest_hex(digest));
}

int image_out_put_blob(struct image_out *o, const struct digest *digest, const void *bytes, size_t len,
                       struct err *err)
{
    if (!o->archive)
        return layout_blob_write(o->path, digest, bytes, len, err);
    cleanup_free char *name = blob_name(digest);
    return image_out_put(o, name, bytes, len, err);
}

static bool see(struct image_out *o, const struct digest *digest)
{
    for (size_t i = 0; i < o->seen_count; ++i)
        if (digest_eq(&o->seen[i], digest))
            return true;
    if (o->seen_count < INJECTION_LAYERS_MAX)
        o->seen[o->seen_count++] = *digest;
    return false;
}

static int write_bytes(void *arg, const void *bytes, size_t len, struct err *err)
{
    return out_file_write(arg, bytes, len, err);
}

int image_out_put_layer(struct image_out *o, const struct injection_layer *layer, struct err *err)
{
    if (!o->archive)
        return layout_blob_add_layer(o->path, layer, err);
    if (see(o, &layer->gzip_digest))
        return 0;
    cleanup_free char *name = blob_name(&layer->gzip_digest);
    if (put_header(o, name, layer->gzip_size, err) < 0 ||
        layer_source_read(layer, write_bytes, o->archive, err) < 0)
        return -1;
    return put_padding(o, layer->gzip_size, err);
}

int image_out_finish(struct image_out *o, struct err *err)
{
    if (!o->archive)
        return 0;
    cleanup_buf struct buf end = {0};
    tar_write_end(&end);
    return out_file_write(o->archive, end.p, end.len, err) < 0 ? -1 : out_file_finish(o->archive, err);
}
