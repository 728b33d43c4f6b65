// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_LAYERS_VERIFY_H
#define RAC_LAYERS_VERIFY_H
/*
 * Checks a gzip tar layer against what an injection declares, while its bytes come in. A declared digest is
 * never believed: a wrong one breaks every client at run time. Memory is bounded (some 100 KiB), whatever
 * comes; bytes are not kept. One thread at a time; may move between threads. A job for common/jobs where
 * layers are large.
 *
 * Checked: gzipSize, gzipDigest, tarDigest; that the gzip stream is whole and nothing follows it; that the
 * tar has sound headers, ends with two zero blocks and only zeros follow.
 */
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "layers/injection.h"

struct layer_verifier;

/* `expected` is copied. `max_tar_bytes`: most bytes the tar may unpack to. */
struct layer_verifier *layer_verifier_new(const struct injection_layer *expected, uint64_t max_tar_bytes);
void layer_verifier_free(struct layer_verifier *v); /* NULL is fine */
/* Fails as soon as going on makes no sense: more bytes than gzipSize, or than max_tar_bytes when unpacked
 * (ERR_SIZE_INVALID). Other faults wait for the end, where the digests say best what is wrong. */
int layer_verifier_update(struct layer_verifier *v, const void *bytes, size_t len, struct err *err);
/* ERR_DIGEST_INVALID saying which of gzipSize, gzipDigest and tarDigest was expected and found; ERR_INVALID
 * for a gzip or tar that is not whole. */
int layer_verifier_finish(struct layer_verifier *v, struct err *err);
uint64_t layer_verifier_tar_bytes(const struct layer_verifier *v); /* unpacked so far */

static inline void cleanup_layer_verifier_fn(struct layer_verifier **v)
{
    layer_verifier_free(*v);
}
#define cleanup_layer_verifier RAC_CLEANUP(cleanup_layer_verifier_fn)
#endif
