// SPDX-License-Identifier: Apache-2.0
#include "s3/s3_time.h"

#include <time.h>

/* `n` digits at text[at]. */
static bool number(struct slice text, size_t at, size_t n, int max, int *ret)
{
    uint64_t value;
    if (at + n > text.len || !slice_to_u64((struct slice){text.p + at, n}, (uint64_t)max, &value))
        return false;
    *ret = (int)value;
    return true;
}

bool s3_time_parse(struct slice text, int64_t *ret_ms)
{
    struct tm tm = {0};
    static const char shape[] = "0000-00-00T00:00:00";
    if (text.len < sizeof shape)
        return false;
    for (size_t i = 0; i < sizeof shape - 1; ++i) {
        if (shape[i] != '0' && shape[i] != text.p[i])
            return false;
    }
    if (!number(text, 0, 4, 9999, &tm.tm_year) || !number(text, 5, 2, 12, &tm.tm_mon) ||
        !number(text, 8, 2, 31, &tm.tm_mday) || !number(text, 11, 2, 23, &tm.tm_hour) ||
        !number(text, 14, 2, 59, &tm.tm_min) || !number(text, 17, 2, 60, &tm.tm_sec) || !tm.tm_mon ||
        !tm.tm_mday)
        return false;
    int ms = 0, scale = 100;
    size_t i = sizeof shape - 1;
    if (text.p[i] == '.') {
        for (++i; i < text.len && text.p[i] >= '0' && text.p[i] <= '9'; ++i, scale /= 10)
            ms += (text.p[i] - '0') * scale;
    }
    struct slice zone = {text.p + i, text.len - i};
    if (!slice_eq_str(zone, "Z") && !slice_eq_str(zone, "+00:00"))
        return false;
    tm.tm_year -= 1900;
    --tm.tm_mon;
    *ret_ms = (int64_t)timegm(&tm) * 1000 + ms;
    return true;
}
