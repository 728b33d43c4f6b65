// SPDX-License-Identifier: Apache-2.0
#include "layers/layer_sink.h"

#include <errno.h>
#include <zlib.h>
#include <zstd.h>

#include "common/mem.h"
#include "layers/out_file.h"

/* Fixed: other levels are other bytes. Six is a per cent larger than nine, in a quarter of the time. */
#define GZIP_LEVEL 6
#define ZSTD_LEVEL 15

struct stream {
    struct out_file *file; /* NULL = this one is not written */
    struct hasher *hasher;
    uint64_t size;
};

struct layer_sink {
    struct stream gzip, zstd;
    struct hasher *tar_hasher;
    uint64_t tar_size;
    z_stream z;
    gz_header header; /* zlib reads it when the first byte comes */
    ZSTD_CCtx *zctx;
    unsigned char out[65536];
};

static int stream_open(struct stream *st, const char *dir, const char *name, struct err *err)
{
    cleanup_free char *path = mem_printf("%s/%s", dir, name);
    st->hasher = hasher_new(SLICE_LIT("sha256"));
    st->file = out_file_new(path, err);
    return st->file ? 0 : -1;
}

static int stream_write(struct stream *st, const void *p, size_t len, struct err *err)
{
    hasher_update(st->hasher, p, len);
    st->size += len;
    return out_file_write(st->file, p, len, err);
}

struct layer_sink *layer_sink_new(const char *dir, bool zstd, struct err *err)
{
    cleanup_layer_sink struct layer_sink *s = mem_new(struct layer_sink);
    s->tar_hasher = hasher_new(SLICE_LIT("sha256"));
    s->header.os = 255; /* unknown: what packs is no part of what is packed */
    if (deflateInit2(&s->z, GZIP_LEVEL, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK ||
        deflateSetHeader(&s->z, &s->header) != Z_OK)
        abort();
    if (stream_open(&s->gzip, dir, "layer.tar.gz", err) < 0)
        return NULL;
    if (!zstd)
        return steal_ptr(&s);
    s->zctx = ZSTD_createCCtx();
    if (!s->zctx || ZSTD_isError(ZSTD_CCtx_setParameter(s->zctx, ZSTD_c_compressionLevel, ZSTD_LEVEL)) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(s->zctx, ZSTD_c_checksumFlag, 1)))
        abort();
    return stream_open(&s->zstd, dir, "layer.tar.zst", err) < 0 ? NULL : steal_ptr(&s);
}

void layer_sink_free(struct layer_sink *s)
{
    if (!s)
        return;
    out_file_free(s->gzip.file);
    out_file_free(s->zstd.file);
    hasher_free(s->gzip.hasher);
    hasher_free(s->zstd.hasher);
    hasher_free(s->tar_hasher);
    (void)deflateEnd(&s->z);
    (void)ZSTD_freeCCtx(s->zctx);
    free(s);
}

static int run_gzip(struct layer_sink *s, const void *p, size_t len, int flush, struct err *err)
{
    s->z.next_in = (Bytef *)p;
    s->z.avail_in = (uInt)len;
    do {
        s->z.next_out = s->out;
        s->z.avail_out = sizeof s->out;
        if (deflate(&s->z, flush) == Z_STREAM_ERROR)
            abort();
        if (stream_write(&s->gzip, s->out, sizeof s->out - s->z.avail_out, err) < 0)
            return -1;
    } while (s->z.avail_out == 0);
    return 0;
}

static int run_zstd(struct layer_sink *s, const void *p, size_t len, ZSTD_EndDirective end, struct err *err)
{
    ZSTD_inBuffer in = {p, len, 0};
    size_t left;
    do {
        ZSTD_outBuffer out = {s->out, sizeof s->out, 0};
        left = ZSTD_compressStream2(s->zctx, &out, &in, end);
        if (ZSTD_isError(left))
            return err_set(err, ERR_INTERNAL, "zstd: %s", ZSTD_getErrorName(left));
        if (stream_write(&s->zstd, s->out, out.pos, err) < 0)
            return -1;
    } while (in.pos < in.size || (end == ZSTD_e_end && left));
    return 0;
}

int layer_sink_write(struct layer_sink *s, const void *bytes, size_t len, struct err *err)
{
    const unsigned char *p = bytes;
    while (len) {
        size_t n = len < (size_t)1 << 20 ? len : (size_t)1 << 20; /* avail_in has 32 bits */
        hasher_update(s->tar_hasher, p, n);
        s->tar_size += n;
        if (run_gzip(s, p, n, Z_NO_FLUSH, err) < 0 ||
            (s->zctx && run_zstd(s, p, n, ZSTD_e_continue, err) < 0))
            return -1;
        p += n;
        len -= n;
    }
    return 0;
}

int layer_sink_finish(struct layer_sink *s, struct layer_sums *ret, struct err *err)
{
    struct layer_sums sums = {.tar_digest = hasher_digest(s->tar_hasher), .tar_size = s->tar_size};
    if (run_gzip(s, NULL, 0, Z_FINISH, err) < 0 || out_file_finish(s->gzip.file, err) < 0)
        return -1;
    sums.gzip_digest = hasher_digest(s->gzip.hasher);
    sums.gzip_size = s->gzip.size;
    if (s->zctx) {
        if (run_zstd(s, NULL, 0, ZSTD_e_end, err) < 0 || out_file_finish(s->zstd.file, err) < 0)
            return -1;
        sums.zstd_digest = hasher_digest(s->zstd.hasher);
        sums.zstd_size = s->zstd.size;
    }
    *ret = sums;
    return 0;
}
