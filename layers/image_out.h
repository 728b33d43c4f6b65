// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_LAYERS_IMAGE_OUT_H
#define RAC_LAYERS_IMAGE_OUT_H
/* Where an image is written to: the files of an OCI layout, in a folder or in an archive. For image.c.
 * Blocks. */
#include <stddef.h>

#include "common/cleanup.h"
#include "common/digest.h"
#include "common/err.h"
#include "layers/injection.h"

struct image_out;

struct image_out *image_out_new(const char *path, struct err *err);
void image_out_free(struct image_out *o); /* an archive that was not finished is removed; NULL is fine */
int image_out_put(struct image_out *o, const char *name, const void *bytes, size_t len, struct err *err);
int image_out_put_blob(struct image_out *o, const struct digest *digest, const void *bytes, size_t len,
                       struct err *err);
/* Checked against what the injection declares. Twice the same is once. */
int image_out_put_layer(struct image_out *o, const struct injection_layer *layer, struct err *err);
int image_out_finish(struct image_out *o, struct err *err);

static inline void cleanup_image_out_fn(struct image_out **o)
{
    image_out_free(*o);
}
#define cleanup_image_out RAC_CLEANUP(cleanup_image_out_fn)
#endif
