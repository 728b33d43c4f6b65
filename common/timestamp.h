// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_COMMON_TIMESTAMP_H
#define RAC_COMMON_TIMESTAMP_H
/* Points in time as text: RFC 3339. In memory they are milliseconds since 1970, UTC. Pure. */
#include <stdint.h>

#include "common/err.h"
#include "common/str.h"

#define TIMESTAMP_MAX 48

/* "2026-11-22T15:42:42.123Z" into `out`; returns out. */
char *timestamp_format(int64_t ms, char out[TIMESTAMP_MAX]);
/* RFC 3339 section 5.6, years 1970 to 9999; a space may stand for the '+' of an offset, which it is in a
 * query. A leap second is the second after it. False on anything else. */
bool timestamp_parse(struct slice text, int64_t *ret_ms);
#endif
