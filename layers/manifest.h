// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_LAYERS_MANIFEST_H
#define RAC_LAYERS_MANIFEST_H
/*
 * A manifest or an index, as it came from an upstream: parsed once, checked, and then only read. The exact
 * bytes stay with the caller, who serves those; this object is for those who must know what they mean.
 *
 * What is refused (ERR_MANIFEST_INVALID, ERR_DIGEST_INVALID for a digest, ERR_SIZE_INVALID past a limit):
 * what is not JSON by common/json.h's rules; case variants of member names that clients know (Go clients
 * match names without case, so they would read something else than we do); `manifests` beside `layers`,
 * `config` or `fsLayers`, even empty; a body whose shape is not that of its type; sizes that are no whole
 * number or negative; malformed digests; more than MANIFEST_DESCRIPTORS_MAX descriptors. Whatever else it
 * holds, known or not, is no error.
 *
 * Immutable after manifest_parse, so any number of threads may read one.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/digest.h"
#include "common/err.h"
#include "layers/media_type.h"
#include "layers/platform.h"

#define MANIFEST_BYTES_MAX       ((size_t)4 << 20)
#define MANIFEST_DESCRIPTORS_MAX 10000
#define MANIFEST_SIZE_MAX        (1LL << 53) /* of a descriptor; JSON readers round what is larger */
#define MANIFEST_MEDIA_TYPE_MAX  256         /* with the NUL */

struct manifest;

struct descriptor {
    struct digest digest;
    uint64_t size;                            /* bytes; 0 in schema 1, which does not say */
    char media_type[MANIFEST_MEDIA_TYPE_MAX]; /* "" if not said */
    struct platform platform;                 /* if has_platform; as written, not normalised */
    bool has_platform;
    bool is_attestation;   /* unknown/unknown with vnd.docker.reference.digest */
    struct digest attests; /* if is_attestation: the image that it speaks about */
    bool has_urls;         /* a foreign layer: its bytes may be elsewhere only */
};

/* `content_type`: the upstream's header, NULL if it sent none; it types a body that has no mediaType of its
 * own. To be manifest_free'd; NULL with *err set. */
struct manifest *manifest_parse(const void *bytes, size_t len, const char *content_type, struct err *err);
void manifest_free(struct manifest *m); /* NULL is fine */

enum media_kind manifest_kind(const struct manifest *m);
/* What to serve as Content-Type: the body's mediaType, else the upstream's Content-Type if that is a manifest
 * type, else what its shape says. Borrowed. */
const char *manifest_media_type(const struct manifest *m);
bool manifest_is_index(const struct manifest *m);

/* An image: the config, then the layers; an index: its children; schema 1: the layers, newest first; an
 * artifact of another type: its config, layers and blobs, as far as it has them. */
size_t manifest_count(const struct manifest *m);
const struct descriptor *manifest_at(const struct manifest *m, size_t i); /* borrowed; i < count */

/* May it be rewritten, as far as the manifest alone can tell: an image whose config and layers are of image
 * types. Else *ret_reason is a word for rac_injection_skipped_total: "schema1", "artifact", "index",
 * "number". Static. */
bool manifest_rewritable(const struct manifest *m, const char **ret_reason);

static inline void cleanup_manifest_fn(struct manifest **m)
{
    manifest_free(*m);
}
#define cleanup_manifest RAC_CLEANUP(cleanup_manifest_fn)
#endif
