// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_REGISTRY_BLOB_BODY_H
#define RAC_REGISTRY_BLOB_BODY_H
/*
 * Answers with the bytes of a blob: headers, conditions, ranges (one as 206, several as
 * multipart/byteranges), and the stream, from wherever the bytes are. Each takes over its source; the request
 * is answered after the call.
 */
#include "proxy/cache/document.h"
#include "proxy/cache/fill.h"
#include "proxy/http/request.h"

/* quarantine: the store to tell of a blob that turns out short. */
void blob_body_from_store(struct request *r, struct blob_store *store, struct blob *blob);
void blob_body_from_memory(struct request *r, struct document *doc);
/* The reader is READY or COMPLETE; blob_body_fill_changed must be called from its `changed`. */
struct blob_body;
struct blob_body *blob_body_from_fill(struct request *r, const struct digest *digest,
                                      struct fill_reader *reader);
void blob_body_fill_changed(struct blob_body *b);
/* It is to be had at that URL, for a while. */
void blob_body_elsewhere(struct request *r, const struct digest *digest, const char *url);
/* HEAD of a blob that is not here: what the upstream or the manifest says. */
void blob_body_head_only(struct request *r, const struct digest *digest, uint64_t size);
#endif
