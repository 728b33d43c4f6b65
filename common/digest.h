// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_COMMON_DIGEST_H
#define RAC_COMMON_DIGEST_H
/*
 * Content digests: `sha256:` + 64 or `sha512:` + 128 lower-case hex digits, nothing else
 * (OCI image spec, descriptor.md#digests; we accept only the two registered algorithms).
 * A struct digest is plain data and always well-formed, or empty (s[0] == '\0').
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "common/str.h"

#define DIGEST_STR_MAX (7 + 128)

struct digest {
    char s[DIGEST_STR_MAX + 1]; /* NUL-terminated "sha256:<hex>" */
};

/* ERR_DIGEST_INVALID with the text (cut) and what is expected. */
int digest_parse(struct slice text, struct digest *ret, struct err *err);
bool digest_is_set(const struct digest *d);
bool digest_eq(const struct digest *a, const struct digest *b);
const char *digest_hex(const struct digest *d);        /* behind the colon; borrowed */
struct slice digest_algorithm(const struct digest *d); /* "sha256"; borrowed */
/* SHA-256 of bytes in memory. */
struct digest digest_of(const void *p, size_t len);

/* Incremental hashing. Not thread-safe; may move between threads. */
struct hasher;
struct hasher *hasher_new(struct slice algorithm); /* "sha256" or "sha512", asserted */
void hasher_free(struct hasher *h);                /* NULL is fine */
void hasher_update(struct hasher *h, const void *p, size_t len);
/* The digest of all bytes so far; the hasher can go on after it. */
struct digest hasher_digest(const struct hasher *h);
uint64_t hasher_bytes(const struct hasher *h); /* hashed so far */

static inline void cleanup_hasher_fn(struct hasher **h)
{
    hasher_free(*h);
}
#define cleanup_hasher RAC_CLEANUP(cleanup_hasher_fn)
#endif
