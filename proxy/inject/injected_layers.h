// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_INJECT_INJECTED_LAYERS_H
#define RAC_INJECT_INJECTED_LAYERS_H
/*
 * The bytes of injected layers: fetched from where they are, checked against all three of gzipDigest,
 * gzipSize and tarDigest, and stored, before the first manifest that names them is served. Done once per
 * process for each layer (bytes in the store are checked again then: the tar digest is not what the store
 * goes by), again if the store lost them.
 *
 * Layers of the configuration are pinned in the store, and the way to them is kept. Of those that came with a
 * container token it is only remembered that they passed (bounded); who finds them missing gets them by the
 * recorded injection (variants_restore).
 */
#include "layers/injection.h"
#include "proxy/cache/env.h"
#include "proxy/cache/flight.h"
#include "proxy/inject/layer_fetch.h"

struct injected_layers;
/* sources: borrowed; outlives it. */
struct injected_layers *injected_layers_new(const struct cache_env *env, const struct layer_sources *sources,
                                            uint64_t max_tar_bytes);
void injected_layers_free(struct injected_layers *l);

/* All layers of the injection. Answers at once (but never from inside) if they were verified before. err
 * names the layer, what was expected and found, or why it cannot be had. Any worker's loop. */
typedef void injected_layers_fn(void *arg, const struct err *err);
void injected_layers_ensure(struct injected_layers *l, struct loop *loop, struct injection *injection,
                            injected_layers_fn *fn, void *arg);
/* The same for who is not believed: a stored blob does not count unless the layer's location has its bytes,
 * so that nobody gets at a blob by naming its digest. What was proven is remembered for some minutes. No
 * layer may unpack to more than max_tar_bytes. */
void injected_layers_prove(struct injected_layers *l, struct loop *loop, struct injection *injection,
                           uint64_t max_tar_bytes, injected_layers_fn *fn, void *arg);
/* The injection is the configuration's: its layers are pinned, and known, as long as the process lives. */
void injected_layers_keep(struct injected_layers *l, struct injection *injection);
/* One layer, for who finds its blob missing. False: it is no layer that is kept; fn does not come. */
bool injected_layers_restore(struct injected_layers *l, struct loop *loop, const struct digest *gzip_digest,
                             injected_layers_fn *fn, void *arg);
#endif
