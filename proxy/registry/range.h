// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_REGISTRY_RANGE_H
#define RAC_REGISTRY_RANGE_H
/* Range headers (RFC 9110 section 14). Pure. */
#include <stdbool.h>
#include <stdint.h>

#include "common/str.h"

#define RANGES_MAX 32

struct range {
    uint64_t first, last; /* both included; first <= last < size */
};

enum range_verdict {
    RANGE_WHOLE,         /* no Range, or one to be ignored: malformed, another unit, more than RANGES_MAX */
    RANGE_SOME,          /* 206 */
    RANGE_UNSATISFIABLE, /* 416 */
};

/* header.p NULL = none. Parts that lie outside are left out; adjoining and overlapping parts are joined, so
 * that the answer is never larger than the blob. */
enum range_verdict range_parse(struct slice header, uint64_t size, struct range ret[RANGES_MAX],
                               size_t *ret_count);
#endif
