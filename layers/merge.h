// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_LAYERS_MERGE_H
#define RAC_LAYERS_MERGE_H
/*
 * Several injections -> one, with the layers of all: as when one layer is packed for each platform. They may
 * differ in their layers only. Blocks; one thread.
 */
#include <stddef.h>

#include "common/digest.h"
#include "common/err.h"

struct merge_result {
    size_t layers;
    struct digest injection; /* of layer.json */
};

/* Writes layer.json into `out_dir`, which is made if need be, and beside it the layers that are in files,
 * checked, as layer-linux-amd64.tar.gz, or layer-<n>.tar.gz if they are for every platform; other locations
 * stay as they are. The same files in the same order give the same bytes. ERR_INVALID (they differ; two
 * layers of one name), ERR_IO, ERR_DIGEST_INVALID, ERR_SIZE_INVALID. layer.json comes last. */
int merge_injections(const char *const *paths, size_t count, const char *out_dir, struct merge_result *ret,
                     struct err *err);
#endif
