// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_HTTP_GUARD_H
#define RAC_HTTP_GUARD_H
/*
 * What a request must not look like, checked on the bytes of its head before any room sees it (RFC 9112
 * sections 2.2, 3.2, 5.2, 6.1, 6.3; RFC 9110 section 10.1.1). h2o is lenient here, and where two parsers in a
 * row read one head differently, a request can be smuggled past the first. Pure functions: bytes in, verdict
 * out, any thread.
 */
#include <stdbool.h>
#include <stddef.h>

#include "common/str.h"

struct guard_head {
    size_t len;    /* of the head, its empty line included */
    bool has_host; /* an HTTP/1.0 request may have none */
    bool has_length;
    bool chunked;
};

/* `bytes` begins with a head that h2o has parsed; a body and further requests may follow. 0 if it is fine
 * (*ret is set), else the status to refuse it with, and *ret_message says why (static). */
int guard_check_head(struct slice bytes, size_t max_bytes, bool is_http_1_0, struct guard_head *ret,
                     const char **ret_message);

/* The request target, query included: 0, or 400 and why. It must begin with '/' and hold visible ASCII only;
 * its path (what stands before '?') may hold no malformed percent escape and none that stands for a control
 * character. */
int guard_check_target(struct slice target, const char **ret_message);
#endif
