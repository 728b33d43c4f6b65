// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_INJECT_VARIANT_H
#define RAC_INJECT_VARIANT_H
/*
 * Rewritten manifests: made once, found again, made again.
 *
 * A variant is what layers/inject makes of (canonical name, source manifest, injection). It is found in
 * memory, else in the state, else made: source manifest and config through the cache, layers present and
 * verified, then the pure function; for an index the children first, concurrently. Before a variant's digest
 * is announced, the pair it came from is durable, so that it can be made again whenever its bytes are gone.
 */
#include "layers/injection.h"
#include "proxy/cache/document.h"
#include "proxy/cache/links.h"
#include "proxy/inject/injected_layers.h"

struct variants;
struct variants *variants_new(const struct cache_env *env, struct documents *documents, struct links *links,
                              struct injected_layers *layers);
void variants_free(struct variants *v);

/* What an injection is for: the configuration's stays in the state for good, a container token's some time
 * longer than the last token with it (state_passing_until). Each is made and remembered by itself. */
enum variant_use { VARIANT_CONFIGURED, VARIANT_OF_TOKEN };

/* From memory only: a document reference, the rewritten manifest or, where there is nothing to rewrite, the
 * source. NULL: ask variants_get. */
struct document *variants_try(struct variants *v, const struct repo *repo, const struct digest *source,
                              const struct injection *injection, enum variant_use use);
/* Did the store take it? If not (pulls do not wait for a store that fails), it is tried again when it is
 * asked for some seconds later, or by variants_get. */
bool variants_durable(struct variants *v, const struct repo *repo, const struct digest *source,
                      const struct injection *injection, enum variant_use use);
/* The result is a struct document reference. On a worker's loop; the answer never comes from inside. */
void variants_get(struct variants *v, struct loop *loop, struct repo *repo, const struct digest *source,
                  struct injection *injection, enum variant_use use, flight_fn *fn, void *arg);
/* A digest that may be one we announced under this name, or belong to one: its manifest or config, from
 * memory, store, or made again from the recorded pair. Neither document nor error: it is an injected layer,
 * and back in the store. ERR_NOT_FOUND: not ours. */
void variants_restore(struct variants *v, struct loop *loop, struct repo *repo, const struct digest *target,
                      flight_fn *fn, void *arg);
#endif
