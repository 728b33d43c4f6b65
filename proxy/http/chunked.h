// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_HTTP_CHUNKED_H
#define RAC_HTTP_CHUNKED_H
/*
 * The chunked coding of a request's body, taken apart as it comes (RFC 9112 section 7.1). Strict: lines end
 * in CR LF, sizes are hexadecimal digits and nothing else. Extensions and trailers are read past, as the
 * standard asks, but within CHUNKED_EXTRAS_MAX for the whole body: they cost the sender as much as us, and
 * nothing is made of them.
 *
 * Pure: no memory of its own beyond the struct, any thread.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/str.h"

enum {
    CHUNKED_EXTRAS_MAX = 8192, /* bytes of extensions and trailers */
};

enum chunked_state {
    CHUNKED_SIZE,      /* at the first digit */
    CHUNKED_DIGITS,    /* behind one */
    CHUNKED_EXTENSION, /* behind ';' */
    CHUNKED_SIZE_LF,
    CHUNKED_DATA,
    CHUNKED_DATA_CR,
    CHUNKED_DATA_LF,
    CHUNKED_TRAILER, /* at the beginning of a line of the trailers */
    CHUNKED_FIELD,   /* inside one */
    CHUNKED_FIELD_LF,
    CHUNKED_LAST_LF,
    CHUNKED_DONE,
};

/* Zeroed = at the beginning. */
struct chunked {
    enum chunked_state state;
    uint64_t left; /* bytes of this chunk */
    uint32_t extras;
};

/* Reads on: takes from the front of *in until it has bytes of the body (*ret_data, inside *in), or *in is
 * empty, or state is CHUNKED_DONE; what stands behind the body stays in *in. -1 if this is not chunked
 * coding: the connection cannot be read any further. */
int chunked_next(struct chunked *c, struct slice *in, struct slice *ret_data);
#endif
