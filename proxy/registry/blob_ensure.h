// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_REGISTRY_BLOB_ENSURE_H
#define RAC_REGISTRY_BLOB_ENSURE_H
/* A blob of an image's repository into the store, for who is about to put it on top of another image. */
#include "proxy/registry/registry.h"

/* name: "docker.io/library/busybox", with "#<account>" behind it for that account's credentials. The caller
 * has seen to it that the repository refers to the blob. As struct layer_sources' image_blob: arg is the
 * struct registry; fn comes on `loop`, never from inside. */
void blob_ensure(void *registry, struct loop *loop, const char *name, const struct digest *digest,
                 uint64_t size, layer_fetch_fn *fn, void *fn_arg);
#endif
