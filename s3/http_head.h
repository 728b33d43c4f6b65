// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3_HTTP_HEAD_H
#define RAC_S3_HTTP_HEAD_H
/* The head of an answer and the framing of its body (RFC 9112). Pure, bounded, strict: what is not in the
 * grammar is an error, since guessing where a body ends gives one object's bytes to another. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/str.h"

#define HTTP_HEAD_MAX    ((size_t)64 << 10)
#define HTTP_HEADERS_MAX 128

struct http_header {
    struct slice name, value; /* value: without white space around it */
};

struct http_head {
    char *text; /* what the slices point into; owned */
    int status; /* 100 to 999 */
    bool keep_alive, chunked, has_length;
    uint64_t length; /* Content-Length, with has_length */
    struct http_header headers[HTTP_HEADERS_MAX];
    size_t headers_len;
};

/* Length of the head at the start of p, its empty line included; 0 if it is not complete yet. */
size_t http_head_end(const char *p, size_t len);
/* Parses a complete head of that length. ERR_IO for a malformed one. *ret is freed first. */
int http_head_parse(struct http_head *ret, const char *p, size_t len, struct err *err);
void http_head_free(struct http_head *h);
/* The first header of that name; {NULL, 0} if there is none. Borrowed. */
struct slice http_head_get(const struct http_head *h, const char *name);

struct http_range {
    bool known_range; /* false: bytes * / total */
    uint64_t first, last, total;
};
/* Content-Range: "bytes 0-9/100" or "bytes * /100" (without the space); a total that is not told is false. */
bool http_range_parse(struct slice value, struct http_range *ret);

/* Seconds of a Retry-After (seconds or a date, seen from now_ms), at most 3600; 0 if there is none. */
uint32_t http_retry_after(struct slice value, int64_t now_ms);
/* An HTTP date (IMF-fixdate, RFC 9110 section 5.6.7) as milliseconds since 1970; false on anything else. */
bool http_date_parse(struct slice value, int64_t *ret_ms);

struct http_chunked {
    enum {
        HTTP_CHUNK_SIZE,
        HTTP_CHUNK_EXTENSION,
        HTTP_CHUNK_SIZE_LF,
        HTTP_CHUNK_DATA,
        HTTP_CHUNK_DATA_CR,
        HTTP_CHUNK_DATA_LF,
        HTTP_CHUNK_TRAILER,
        HTTP_CHUNK_TRAILER_LF,
        HTTP_CHUNK_DONE,
    } state;
    uint64_t left;
    unsigned digits, line; /* of the size; characters of an extension or a trailer, then of all */
    bool line_empty;
};
/* Reads on: consumes some of p, hands out at most one run of data (may be empty). Returns bytes consumed,
 * less than len only if data came or at the end (state HTTP_CHUNK_DONE). -1 with ERR_IO. A zeroed struct is
 * the start. */
ptrdiff_t http_chunked_next(struct http_chunked *c, const char *p, size_t len, struct slice *ret_data,
                            struct err *err);
#endif
