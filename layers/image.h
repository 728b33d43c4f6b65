// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_LAYERS_IMAGE_H
#define RAC_LAYERS_IMAGE_H
/*
 * The layers of an injection as an image of their own (OCI image spec: image-layout.md, image-index.md,
 * manifest.md, config.md): an index with one image a platform, for Kubernetes image volumes, `COPY --from`,
 * and registries. The image holds the layers and nothing else: no entry point, no variable, no time. The same
 * injection gives the same bytes. Blocks; one thread.
 */
#include <stdbool.h>
#include <stddef.h>

#include "common/digest.h"
#include "common/err.h"
#include "layers/injection.h"

#define IMAGE_PLATFORMS_MAX 16

struct image_options {
    const char *out; /* a folder, made if need be; or, if it ends with ".tar", an archive of one */
    const char *tag; /* org.opencontainers.image.ref.name; NULL = "latest" */
    const char *const *platforms; /* for which; none = those that the layers name */
    size_t platform_count;
};

struct image_made {
    struct platform platform;
    struct digest manifest;
};

struct image_result {
    struct digest index;
    struct image_made images[IMAGE_PLATFORMS_MAX];
    size_t image_count;
};

/* An archive appears whole or not at all; in a folder index.json is the last to come, in place of what was
 * there. ERR_INVALID (no platform, a platform without a layer), ERR_IO, ERR_NO_SPACE, or a layer's: see
 * layer_source_read. */
int image_write(struct injection *inj, const struct image_options *options, struct image_result *ret,
                struct err *err);
#endif
