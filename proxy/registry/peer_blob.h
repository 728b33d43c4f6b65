// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_REGISTRY_PEER_BLOB_H
#define RAC_REGISTRY_PEER_BLOB_H
/*
 * GET /v1/peer/blobs/<digest>: another replica asks for a blob that it may give to who asks there
 * (cache/peers.h). It gets what is stored here, or what comes in just then, as it comes; nothing is asked of
 * an upstream for it, and it is no pull.
 */
#include "proxy/registry/registry.h"

/* digest: what stands behind PEER_PATH. False: not a replica's question; nothing was answered, and nothing is
 * to tell it from a path that does not exist. */
bool peer_blob_handle(struct registry *g, struct request *r, struct slice digest);
#endif
