// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3_S3_TIME_H
#define RAC_S3_S3_TIME_H
/* "2009-10-12T17:50:30.000Z" (also without the fraction, also with +00:00) as milliseconds since 1970; false
 * on anything else. Pure. */
#include <stdbool.h>
#include <stdint.h>

#include "common/str.h"

bool s3_time_parse(struct slice text, int64_t *ret_ms);
#endif
