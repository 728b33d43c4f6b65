// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_INJECT_LAYER_FETCH_H
#define RAC_INJECT_LAYER_FETCH_H
/* One injected layer into the store: from the store itself (checked again), a file, the text of the
 * injection, or https. */
#include "layers/injection.h"
#include "proxy/cache/env.h"

typedef void layer_fetch_fn(void *arg, const struct err *err);
/* `layer` lives as long as `injection`, of which a reference is taken. Never calls back from inside. */
void layer_fetch(const struct cache_env *env, struct loop *loop, struct injection *injection,
                 const struct injection_layer *layer, uint64_t max_tar_bytes, layer_fetch_fn *fn, void *arg);
#endif
