// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_HTTP_HEAD_H
#define RAC_HTTP_HEAD_H
/*
 * The head of an HTTP/1 request, read strictly (RFC 9112 sections 2.2, 3, 5 and 6; RFC 9110 sections 5.5, 7.2
 * and 10.1.1). Where two parsers in a row read one head differently, a request can be smuggled past the
 * first: so what is doubtful is refused here, and never guessed.
 *
 * Pure functions: bytes in, verdict out, any thread. A verdict is 0, or the status to refuse the request
 * with, and then *ret_message says why (static).
 */
#include <stdbool.h>
#include <stddef.h>

#include "common/str.h"

enum {
    HEAD_FIELDS_MAX = 100,
};

struct head_field {
    struct slice name, value; /* the name as it was sent; the value without white space around it */
};

struct head {
    struct slice method, target, host; /* host: empty where there is none, which only HTTP/1.0 may */
    bool is_http_1_0;
    bool keep_alive; /* the client's wish and its version's default */
    bool expects_continue;
    bool has_length, is_chunked; /* never both */
    uint64_t content_length;     /* 0 without has_length */
    /* Those that concern the message and not its transport: all but Host, Content-Length, Transfer-Encoding,
     * Expect and Upgrade. */
    unsigned field_count;
    struct head_field fields[HEAD_FIELDS_MAX];
};

/* Where the search for the end of a head goes on when more bytes are there; zeroed = at the beginning. */
struct head_scan {
    size_t line, at; /* offsets: of the line's first byte, of the first byte that was not looked at */
};

/* Looks for the empty line that ends the head. 0 and *ret_len = 0: it is not there yet. A line that ends in a
 * bare LF, and a head of more than max_bytes, are refused as soon as they are seen. */
int head_find_end(struct slice bytes, size_t max_bytes, struct head_scan *scan, size_t *ret_len,
                  const char **ret_message);

/* `bytes` is exactly one head, as head_find_end() found it. *ret is filled as far as the head could be read,
 * also where it is refused; its slices point into `bytes`. */
int head_parse(struct slice bytes, struct head *ret, const char **ret_message);

/* The request target, query included, of either version of HTTP: it must begin with '/' and hold visible
 * ASCII only; its path (what stands before '?') may hold no malformed percent escape and none that stands for
 * a control character. */
int head_check_target(struct slice target, const char **ret_message);
#endif
