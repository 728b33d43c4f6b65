// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_LAYERS_PACK_H
#define RAC_LAYERS_PACK_H
/*
 * Folder -> reproducible layer. The same names, modes, links, attributes and content give the same bytes on
 * every machine, whatever the folder is called, when it was made and by whom, and whichever file system it is
 * on. For that, holes are packed as the zeros that they read as (file systems disagree about where holes are;
 * gzip makes nothing of them). Streams: content is never in memory. Blocks.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "layers/layer_sink.h"

struct pack_options {
    const char *name;     /* of the layer, for layer.json and the history of images; NULL = none */
    const char *platform; /* "linux/amd64"; NULL = for all */
    const char *const *entrypoint, *const *env; /* for layer.json */
    size_t entrypoint_count, env_count;
    bool keep_owner; /* else all is uid:gid */
    uint64_t uid, gid;
    int64_t mtime; /* of all entries; seconds */
    bool devices;  /* keep device nodes; else one is an error */
    bool zstd;     /* layer.tar.zst as well */
};

struct pack_result {
    struct layer_sums sums;
    size_t entries;
    size_t sockets;          /* left out */
    struct digest injection; /* of layer.json */
};

/* Writes layer.tar.gz, layer.json (and layer.tar.zst) into `out_dir`, which is made if need be and must not
 * lie inside `dir`. On failure what was there before is still there. ERR_INVALID, ERR_IO, ERR_NO_SPACE. */
int pack_layer(const char *dir, const char *out_dir, const struct pack_options *options,
               struct pack_result *ret, struct err *err);
#endif
