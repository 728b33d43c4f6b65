// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>

#include "common/cleanup.h"
#include "proxy/registry/range.h"

#define MAX UINT64_MAX

static const struct {
    const char *header; /* NULL: none */
    uint64_t size;
    const char *want; /* "whole", "416", or the ranges: "0-4,7-9" */
} cases[] = {
    {NULL, 10, "whole"},
    {"", 10, "whole"},
    {"bytes=", 10, "whole"},
    {"bytes", 10, "whole"},
    {"bytes=0-4", 10, "0-4"},
    {"bytes=0-0", 10, "0-0"},
    {"bytes=9-9", 10, "9-9"},
    {"bytes=0-9", 10, "0-9"},
    {"bytes=0-", 10, "0-9"},
    {"bytes=5-", 10, "5-9"},
    {"bytes=9-", 10, "9-9"},
    {"bytes=10-", 10, "416"},
    {"bytes=10-20", 10, "416"},
    {"bytes=5-20", 10, "5-9"},
    {"bytes=0-18446744073709551615", 10, "0-9"},
    {"bytes=0-18446744073709551616", 10, "whole"},
    {"bytes=18446744073709551615-", 10, "416"},
    {"bytes=18446744073709551615-18446744073709551615", MAX, "416"},
    {"bytes=18446744073709551614-", MAX, "18446744073709551614-18446744073709551614"},
    {"bytes=0-", MAX, "0-18446744073709551614"},
    {"bytes=-1", 10, "9-9"},
    {"bytes=-10", 10, "0-9"},
    {"bytes=-11", 10, "0-9"},
    {"bytes=-18446744073709551615", 10, "0-9"},
    {"bytes=-0", 10, "416"},
    {"bytes=-", 10, "whole"},
    {"bytes=--1", 10, "whole"},
    {"bytes=-1-", 10, "whole"},
    {"bytes=4-2", 10, "whole"},
    {"bytes=a-2", 10, "whole"},
    {"bytes=1-b", 10, "whole"},
    {"bytes=+1-2", 10, "whole"},
    {"bytes=1-+2", 10, "whole"},
    {"bytes=1 -2", 10, "whole"},
    {"bytes=1- 2", 10, "whole"},
    {"bytes=0x1-2", 10, "whole"},
    {"bytes=1.0-2", 10, "whole"},
    {"bytes=1", 10, "whole"},
    {"bytes=1-2-3", 10, "whole"},
    {"bytes 1-2", 10, "whole"},
    {"bytes =1-2", 10, "whole"},
    {" bytes=1-2", 10, "whole"},
    {"BYTES=1-2", 10, "1-2"},
    {"Bytes=1-2", 10, "1-2"},
    {"items=1-2", 10, "whole"},
    {"byte=1-2", 10, "whole"},
    {"bytes=01-02", 10, "1-2"},
    {"bytes= 1-2", 10, "1-2"},
    {"bytes=1-2 ", 10, "1-2"},
    {"bytes=1-2\t,\t5-6", 10, "1-2,5-6"},
    {"bytes=1-2,5-6", 10, "1-2,5-6"},
    {"bytes=5-6,1-2", 10, "1-2,5-6"},
    {"bytes=1-2,3-4", 10, "1-4"},
    {"bytes=1-5,3-4", 10, "1-5"},
    {"bytes=3-4,1-5", 10, "1-5"},
    {"bytes=1-2,2-3,3-4", 10, "1-4"},
    {"bytes=0-0,2-2,4-4,6-6", 10, "0-0,2-2,4-4,6-6"},
    {"bytes=0-1,-1", 10, "0-1,9-9"},
    {"bytes=0-,0-,0-", 10, "0-9"},
    {"bytes=0-1,20-30", 10, "0-1"},
    {"bytes=20-30,0-1", 10, "0-1"},
    {"bytes=20-30,40-50", 10, "416"},
    {"bytes=0-1,", 10, "whole"},
    {"bytes=,0-1", 10, "whole"},
    {"bytes=0-1,,2-3", 10, "whole"},
    {"bytes=0-1,x", 10, "whole"},
    {"bytes=0-1,4-2", 10, "whole"},
    {"bytes=0-0", 0, "416"},
    {"bytes=0-", 0, "416"},
    {"bytes=-5", 0, "416"},
    {"bytes=0-18446744073709551614,1-18446744073709551614", MAX, "0-18446744073709551614"},
    {"bytes=0-0,2-2,4-4,6-6,8-8,10-10,12-12,14-14,16-16,18-18,20-20,22-22,24-24,26-26,28-28,30-30,32-32,34-"
     "34,"
     "36-36,38-38,40-40,42-42,44-44,46-46,48-48,50-50,52-52,54-54,56-56,58-58,60-60,62-62",
     100,
     "0-0,2-2,4-4,6-6,8-8,10-10,12-12,14-14,16-16,18-18,20-20,22-22,24-24,26-26,28-28,30-30,32-32,34-34,36-"
     "36,"
     "38-38,40-40,42-42,44-44,46-46,48-48,50-50,52-52,54-54,56-56,58-58,60-60,62-62"},
    {"bytes=0-0,2-2,4-4,6-6,8-8,10-10,12-12,14-14,16-16,18-18,20-20,22-22,24-24,26-26,28-28,30-30,32-32,34-"
     "34,"
     "36-36,38-38,40-40,42-42,44-44,46-46,48-48,50-50,52-52,54-54,56-56,58-58,60-60,62-62,64-64",
     100, "whole"},
};

static void table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        struct range r[RANGES_MAX];
        size_t n;
        cleanup_buf struct buf got = {0};
        enum range_verdict v = range_parse(slice_of(cases[i].header), cases[i].size, r, &n);
        assert_int_equal(n > 0, v == RANGE_SOME);
        if (v != RANGE_SOME)
            (void)buf_add_str(&got, v == RANGE_WHOLE ? "whole" : "416");
        for (size_t j = 0; j < n; ++j)
            (void)buf_printf(&got, "%s%" PRIu64 "-%" PRIu64, j ? "," : "", r[j].first, r[j].last);
        if (strcmp(buf_str(&got), cases[i].want) != 0)
            fail_msg("%s of %" PRIu64 ": %s instead of %s", cases[i].header, cases[i].size, buf_str(&got),
                     cases[i].want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(table)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
