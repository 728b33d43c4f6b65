// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3_RETRY_H
#define RAC_S3_RETRY_H
/* How often one call is tried and how long it pauses between: exponential from 100 ms to 10 s, each pause
 * drawn evenly from its upper half, so that a thousand containers that failed together do not come back
 * together. Whether a try may be repeated at all is the caller's to know. */
#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "s3/cancel.h"

#define RETRY_BASE_MS      100
#define RETRY_MAX_MS       10000
#define RETRY_ASKED_MAX_MS 30000 /* of a server's Retry-After */

struct retry {
    unsigned max, used; /* tries */
};

static inline struct retry retry_new(unsigned max)
{
    return (struct retry){.max = max, .used = 1};
}
/* May it be tried once more? Then it has paused: at least retry_after_s if that is not 0, not at all with
 * at_once. False without tries left, and if it was cancelled meanwhile: *err is ERR_CANCELLED then, and else
 * untouched. */
bool retry_again(struct retry *r, bool at_once, uint32_t retry_after_s, struct cancel *cancel,
                 struct err *err);
/* The pause before try number `used` + 1, for a draw in [0, 1). Pure. */
uint32_t retry_pause_ms(unsigned used, uint32_t retry_after_s, double draw);
#endif
