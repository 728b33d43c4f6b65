// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_TESTS_PATIENCE_H
#define RAC_TESTS_PATIENCE_H
/*
 * How long a test waits for what must come. RAC_TEST_PATIENCE (1) says how many times longer than usual:
 * test.sh sets it where valgrind or ThreadSanitizer makes all programs slow. Not for what a test measures,
 * and not for the limits of the code under test where the test is about them.
 */
#include <stdint.h>
#include <stdlib.h>

#include "common/clock.h"

static inline uint64_t patience_ms(uint64_t ms)
{
    const char *text = getenv("RAC_TEST_PATIENCE");
    uint64_t times = text ? strtoull(text, NULL, 10) : 1;
    return ms * (times ? times : 1);
}

/* When to give up on what usually comes within `ms`, by clock_mono_ms(). */
static inline uint64_t patience_end_ms(uint64_t ms)
{
    return clock_mono_ms() + patience_ms(ms);
}
#endif
