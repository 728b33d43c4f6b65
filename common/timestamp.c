// SPDX-License-Identifier: Apache-2.0
#include "common/timestamp.h"

#include <stdio.h>
#include <time.h>

char *timestamp_format(int64_t ms, char out[TIMESTAMP_MAX])
{
    time_t s = (time_t)(ms / 1000);
    struct tm tm;
    char date[32];
    if (!gmtime_r(&s, &tm))
        tm = (struct tm){.tm_year = 70, .tm_mday = 1};
    (void)strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(out, TIMESTAMP_MAX, "%s.%03dZ", date, (int)(ms % 1000));
    return out;
}

/* That many digits, and what they say; -1 if they are none. */
static int digits(struct slice *s, size_t count)
{
    uint64_t value;
    if (s->len < count || !slice_to_u64((struct slice){s->p, count}, 9999, &value))
        return -1;
    s->p += count;
    s->len -= count;
    return (int)value;
}

static bool skip(struct slice *s, const char *any)
{
    if (!s->len || !*s->p || !strchr(any, *s->p))
        return false;
    ++s->p;
    --s->len;
    return true;
}

#define YEAR_9999_S INT64_C(253402300799) /* its end */

static bool is_day(int year, int month, int day)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month >= 1 && month <= 12 && day >= 1 && day <= days[month - 1] + (leap && month == 2);
}

/* "Z", "+01:00": minutes to subtract. */
static bool take_offset(struct slice *s, int *ret)
{
    *ret = 0;
    if (skip(s, "Zz"))
        return true;
    int sign = s->len && *s->p == '-' ? -1 : 1;
    if (!skip(s, "+- "))
        return false;
    int hours = digits(s, 2);
    bool colon = skip(s, ":");
    int minutes = digits(s, 2);
    *ret = sign * (hours * 60 + minutes);
    return colon && hours >= 0 && hours < 24 && minutes >= 0 && minutes < 60;
}

bool timestamp_parse(struct slice s, int64_t *ret_ms)
{
    int ms = 0, offset;
    int year = digits(&s, 4);
    bool ok = skip(&s, "-");
    int month = digits(&s, 2);
    ok = skip(&s, "-") && ok;
    int day = digits(&s, 2);
    ok = skip(&s, "Tt ") && ok;
    int hour = digits(&s, 2);
    ok = skip(&s, ":") && ok;
    int minute = digits(&s, 2);
    ok = skip(&s, ":") && ok;
    int second = digits(&s, 2);
    if (!ok || year < 1970 || !is_day(year, month, day) || hour < 0 || hour > 23 || minute < 0 ||
        minute > 59 || second < 0 || second > 60)
        return false;
    if (skip(&s, ".")) {
        int weight = 100, digit = digits(&s, 1);
        if (digit < 0)
            return false;
        for (; digit >= 0; digit = digits(&s, 1), weight /= 10)
            ms += digit * weight;
    }
    if (!take_offset(&s, &offset) || s.len)
        return false;
    struct tm tm = {.tm_year = year - 1900,
                    .tm_mon = month - 1,
                    .tm_mday = day,
                    .tm_hour = hour,
                    .tm_min = minute,
                    .tm_sec = second};
    int64_t at_s = (int64_t)timegm(&tm) - (int64_t)offset * 60;
    if (at_s < 0 || at_s > YEAR_9999_S)
        return false;
    *ret_ms = at_s * 1000 + ms;
    return true;
}
