// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_LAYERS_LAYER_SOURCE_H
#define RAC_LAYERS_LAYER_SOURCE_H
/*
 * The bytes of an injection's layer, from where its location says, checked on the way. For the rac-layer
 * command, which opens no socket: an https:// location is ERR_UNSUPPORTED with a hint. Blocks.
 */
#include "common/err.h"
#include "layers/injection.h"

/* Takes the next bytes of the layer; they are not verified yet. Negative with *err set stops. MUST NOT keep
 * `bytes`. */
typedef int layer_source_sink(void *arg, const void *bytes, size_t len, struct err *err);

/* `sink`: optional. 0 only if all of it was there and is what the injection declares. */
int layer_source_read(const struct injection_layer *layer, layer_source_sink *sink, void *arg,
                      struct err *err);
#endif
