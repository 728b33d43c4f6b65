// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_LAYERS_MANIFEST_IMPL_H
#define RAC_LAYERS_MANIFEST_IMPL_H
/* For inject.c only: what a manifest is made of. */
#include <jansson.h>

#include "layers/manifest.h"

/* Borrowed and shared by threads: read it, or deep-copy it and change the copy. */
const json_t *manifest_tree(const struct manifest *m);
/* Holds a number that would not be written again as it was. */
bool manifest_has_unsafe_number(const struct manifest *m);
#endif
