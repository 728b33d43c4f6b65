// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_LAYERS_LAYER_SINK_H
#define RAC_LAYERS_LAYER_SINK_H
/*
 * Tar bytes in; out comes a gzip file, a zstd file too if asked, and the digests of all three. Streams:
 * memory is that of the compressors. The same bytes in give the same bytes out: one thread, fixed levels, a
 * gzip header without name and time. Files appear under their names by layer_sink_finish, whole or not at
 * all. Blocks; one thread at a time.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/digest.h"
#include "common/err.h"

struct layer_sink;

struct layer_sums {
    struct digest tar_digest, gzip_digest, zstd_digest; /* zstd: unset if not asked for */
    uint64_t tar_size, gzip_size, zstd_size;            /* bytes */
};

/* Writes `dir`/layer.tar.gz, and layer.tar.zst if `zstd`. NULL with ERR_IO. */
struct layer_sink *layer_sink_new(const char *dir, bool zstd, struct err *err);
void layer_sink_free(struct layer_sink *s); /* removes what was not finished; NULL is fine */
int layer_sink_write(struct layer_sink *s, const void *bytes, size_t len, struct err *err);
int layer_sink_finish(struct layer_sink *s, struct layer_sums *ret, struct err *err);

static inline void cleanup_layer_sink_fn(struct layer_sink **s)
{
    layer_sink_free(*s);
}
#define cleanup_layer_sink RAC_CLEANUP(cleanup_layer_sink_fn)
#endif
