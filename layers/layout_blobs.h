// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_LAYERS_LAYOUT_BLOBS_H
#define RAC_LAYERS_LAYOUT_BLOBS_H
/* The blobs/ folder of an OCI image layout. For layout.c. Blocks. */
#include <stdbool.h>

#include "common/digest.h"
#include "common/err.h"
#include "common/str.h"
#include "layers/injection.h"

bool layout_blob_exists(const char *dir, const struct digest *digest);
/* A manifest, index or config, checked against its digest; at most 4 MiB. */
int layout_blob_read(const char *dir, const struct digest *digest, struct buf *ret, struct err *err);
int layout_blob_write(const char *dir, const struct digest *digest, const void *bytes, size_t len,
                      struct err *err);
/* Copies and checks; nothing to do if it is there. */
int layout_blob_copy(const char *from, const char *to, const struct digest *digest, struct err *err);
/* Puts an injection's layer there, checked. Checked too if it is there: that says nothing about its
 * tarDigest. */
int layout_blob_add_layer(const char *dir, const struct injection_layer *layer, struct err *err);
#endif
