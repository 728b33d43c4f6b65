// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3_SIGV4_H
#define RAC_S3_SIGV4_H
/* AWS Signature Version 4, as a header or in a URL. Pure: the time is given. */
#include <stdint.h>

#include "common/err.h"
#include "common/str.h"

#define SIGV4_UNSIGNED    "UNSIGNED-PAYLOAD"
#define SIGV4_HASH_MAX    64 /* hex digits of a SHA-256; "UNSIGNED-PAYLOAD" is shorter */
#define SIGV4_HEADERS_MAX 32
#define SIGV4_QUERY_MAX   16

struct sigv4_pair {
    const char *name, *value;
};

struct sigv4_request {
    const char *method;
    const char *host;               /* as the Host header has it */
    const char *path;               /* as it is sent: escaped once, begins with '/' */
    const struct sigv4_pair *query; /* not escaped, any order */
    size_t query_len;
    const struct sigv4_pair *headers; /* further ones to be signed, names in lower case, any order */
    size_t headers_len;
    const char *payload; /* hex SHA-256 of the body, or SIGV4_UNSIGNED */
    bool payload_header; /* x-amz-content-sha256 is sent, as S3 wants it */
};

struct sigv4_key {
    const char *access_key_id, *secret_access_key, *session_token; /* token: NULL or "": none */
    const char *region, *service;
};

/* Appends the canonical query (sorted by name, then value, escaped): what belongs behind '?'. */
void sigv4_add_query(struct buf *b, const struct sigv4_pair *query, size_t len);
/* Appends the headers that carry the signature, and what it covers beyond request->headers: x-amz-date,
 * x-amz-security-token, x-amz-content-sha256, authorization; each line ended by CR LF. ERR_INVALID if there
 * is more to sign than the limits above. */
int sigv4_add_headers(struct buf *b, const struct sigv4_request *request, const struct sigv4_key *key,
                      int64_t now_ms, struct err *err);
/* Appends the query of a URL that carries its own signature and is good for `seconds`: what belongs behind
 * '?'. The host is all that is signed beside it: request->headers must be empty, payload is not looked at. */
int sigv4_add_presigned(struct buf *b, const struct sigv4_request *request, const struct sigv4_key *key,
                        int64_t now_ms, unsigned seconds, struct err *err);
/* Hex SHA-256 of slices. */
struct iovec;
void sigv4_hash(const struct iovec *iov, int iov_len, char ret[SIGV4_HASH_MAX + 1]);
#endif
