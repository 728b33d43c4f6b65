// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_LAYERS_CONFIG_IMPL_H
#define RAC_LAYERS_CONFIG_IMPL_H
/* For config*.c and inject.c only. */
#include <jansson.h>

#include "common/digest.h"
#include "layers/config.h"
#include "layers/injection.h"

/* Borrowed and shared by threads: read it, or deep-copy it and change the copy. */
const json_t *config_tree(const struct config *c);

/* The config as `inj` makes it, with the layers that apply to its platform; to be json_decref'd.
 * `source_label`: the value of rac.source. ERR_INVALID if that is not UTF-8. */
json_t *config_rewrite(const struct config *c, const struct injection *inj, const char *source_label,
                       struct err *err);
#endif
