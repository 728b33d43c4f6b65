// SPDX-License-Identifier: Apache-2.0
#include "proxy/registry/range.h"

/* 1: a range in *ret, 0: well-formed but outside, -1: malformed. */
static int parse_one(struct slice text, uint64_t size, struct range *ret)
{
    struct slice last = slice_trim(text);
    if (last.len == 0 || !memchr(last.p, '-', last.len))
        return -1;
    struct slice first = slice_cut(&last, '-');
    uint64_t a = 0, b = 0;
    if (first.len == 0) { /* the last b bytes */
        if (!slice_to_u64(last, UINT64_MAX, &b))
            return -1;
        if (b == 0 || size == 0)
            return 0;
        *ret = (struct range){b < size ? size - b : 0, size - 1};
        return 1;
    }
    if (!slice_to_u64(first, UINT64_MAX, &a))
        return -1;
    if (last.len == 0)
        b = UINT64_MAX;
    else if (!slice_to_u64(last, UINT64_MAX, &b) || b < a)
        return -1;
    if (a >= size)
        return 0;
    *ret = (struct range){a, b < size ? b : size - 1};
    return 1;
}

static size_t join(struct range *r, size_t n)
{
    for (size_t i = 1; i < n; ++i) { /* sorted by first */
        struct range x = r[i];
        size_t j = i;
        for (; j > 0 && r[j - 1].first > x.first; --j)
            r[j] = r[j - 1];
        r[j] = x;
    }
    size_t out = 0;
    for (size_t i = 1; i < n; ++i) {
        if (r[i].first <= r[out].last + 1)
            r[out].last = r[i].last > r[out].last ? r[i].last : r[out].last;
        else
            r[++out] = r[i];
    }
    return out + 1;
}

enum range_verdict range_parse(struct slice header, uint64_t size, struct range ret[RANGES_MAX],
                               size_t *ret_count)
{
    size_t n = 0;
    *ret_count = 0;
    if (!header.p || header.len < 6 || !slice_ieq_str((struct slice){header.p, 6}, "bytes="))
        return RANGE_WHOLE;
    struct slice rest = {header.p + 6, header.len - 6};
    if (rest.len == 0)
        return RANGE_WHOLE;
    for (size_t seen = 0; rest.p; ++seen) {
        struct range one;
        int rc = seen < RANGES_MAX ? parse_one(slice_cut(&rest, ','), size, &one) : -1;
        if (rc < 0)
            return RANGE_WHOLE;
        if (rc > 0)
            ret[n++] = one;
    }
    if (n == 0)
        return RANGE_UNSATISFIABLE;
    *ret_count = join(ret, n);
    return RANGE_SOME;
}
