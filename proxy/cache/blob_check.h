// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_CACHE_BLOB_CHECK_H
#define RAC_CACHE_BLOB_CHECK_H
/*
 * Reads a stored blob again: are its bytes what its digest says? For a blob whose length is not the one that
 * a manifest or an upstream names: either the file was damaged, or whoever named the length was wrong, and
 * only the bytes can tell.
 */
#include "common/jobs.h"
#include "proxy/cache/blob_store.h"

/* sound: they are. The reference is the callback's, on `loop`. */
typedef void blob_check_fn(void *arg, struct blob *blob, bool sound);
/* Takes over the reference. Reads on a thread of `jobs`; the answer always comes, never from inside the call.
 */
void blob_check(struct jobs *jobs, struct loop *loop, struct blob *blob, blob_check_fn *fn, void *arg);
#endif
