// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_INJECT_INJECTED_LAYERS_H
#define RAC_INJECT_INJECTED_LAYERS_H
/*
 * The bytes of injected layers: fetched from where they are, checked against all three of gzipDigest,
 * gzipSize and tarDigest, and stored, before the first manifest that names them is served. Done once per
 * process for each layer (bytes in the store are checked again then: the tar digest is not what the store
 * goes by), again if the store lost them.
 */
#include "layers/injection.h"
#include "proxy/cache/env.h"
#include "proxy/cache/flight.h"

struct injected_layers;
struct injected_layers *injected_layers_new(const struct cache_env *env, uint64_t max_tar_bytes);
void injected_layers_free(struct injected_layers *l);

/* All layers of the injection. Answers at once (but never from inside) if they were verified before. err
 * names the layer, what was expected and found, or why it cannot be had. Any worker's loop. */
typedef void injected_layers_fn(void *arg, const struct err *err);
void injected_layers_ensure(struct injected_layers *l, struct loop *loop, struct injection *injection,
                            injected_layers_fn *fn, void *arg);
/* One layer, for who finds its blob missing. False: it is no layer of an injection that was ever ensured
 * here; fn does not come. */
bool injected_layers_restore(struct injected_layers *l, struct loop *loop, const struct digest *gzip_digest,
                             injected_layers_fn *fn, void *arg);
#endif
