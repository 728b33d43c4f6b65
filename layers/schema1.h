// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_LAYERS_SCHEMA1_H
#define RAC_LAYERS_SCHEMA1_H
/*
 * Signed Docker schema 1 manifests (application/vnd.docker.distribution.manifest.v1+prettyjws): a JSON object
 * that was signed as it stands, with a member `signatures` put in front of its closing brace after. Their
 * digest is that of what was signed, the payload: the first `formatLength` bytes, then `formatTail`, as each
 * signature's protected header says (libtrust, "JSON signature"; distribution's manifest-v2-1.md). Pure; any
 * thread.
 */
#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"
#include "common/str.h"

/* Is it worth a look? False for everything that has no signatures; cheap. */
bool schema1_may_be_signed(const void *bytes, size_t len);
/* The payload into *ret, which is empty before and stays so on an error. ERR_MANIFEST_INVALID: no
 * signatures, protected headers that are malformed or do not agree, a length outside of the bytes, or a
 * payload that is no JSON object. Signatures are not verified: the digest is what counts. */
int schema1_payload(const void *bytes, size_t len, struct buf *ret, struct err *err);
#endif
