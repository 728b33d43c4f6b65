// SPDX-License-Identifier: Apache-2.0
/* Addresses and networks, as configurations and headers write them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "common/network.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static void addresses(void **state)
{
    (void)state;
    static const struct {
        const char *text, *shown; /* NULL: refused */
    } rows[] = {
        {"192.0.2.1", "192.0.2.1"},
        {"192.0.2.1:4711", "192.0.2.1"},
        {"2001:DB8::1", "2001:db8::1"},
        {"[2001:db8::1]:80", "2001:db8::1"},
        {"[::1]", "::1"},
        {"::ffff:10.1.2.3", "10.1.2.3"},
        {"::", "::"},
        {"", NULL},
        {"192.0.2", NULL},
        {"192.0.2.256", NULL},
        {"192.0.2.1:", NULL},
        {"192.0.2.1:65536", NULL},
        {"192.0.2.1:80:80", NULL},
        {"[192.0.2.1]", NULL},
        {"[::1", NULL},
        {"[::1]80", NULL},
        {"[::1]:x", NULL},
        {"fe80::1%eth0", NULL},
        {"unknown", NULL},
        {"_hidden", NULL},
        {" 192.0.2.1", NULL},
        {"0:0:0:0:0:0:0:0:0:0:0:0:0:0:0:0:0:0:0:0:0:0:0:0:0", NULL},
    };
    for (size_t i = 0; i < COUNT(rows); ++i) {
        struct net_address a;
        char shown[NET_TEXT_MAX];
        bool ok = net_parse_address(slice_of(rows[i].text), &a);
        if (ok != (rows[i].shown != NULL))
            fail_msg("%s", rows[i].text);
        if (ok)
            assert_string_equal(net_format(&a, shown), rows[i].shown);
    }
    struct net_address a;
    assert_false(net_parse_address((struct slice){"1.2.3.4\0", 8}, &a));
}

static void networks(void **state)
{
    (void)state;
    static const struct {
        const char *network, *address;
        bool has;
    } rows[] = {
        {"10.0.0.0/8", "10.255.0.1", true},
        {"10.0.0.0/8", "::ffff:10.0.0.1", true},
        {"10.0.0.0/8", "11.0.0.0", false},
        {"10.0.0.0/9", "10.127.255.255", true},
        {"10.0.0.0/9", "10.128.0.0", false},
        {"192.0.2.7", "192.0.2.7", true},
        {"192.0.2.7", "192.0.2.6", false},
        {"192.0.2.6/31", "192.0.2.7", true},
        {"0.0.0.0/0", "8.8.8.8", true},
        {"0.0.0.0/0", "2001:db8::1", false},
        {"::/0", "8.8.8.8", true},
        {"2001:db8::/33", "2001:db8:7fff::", true},
        {"2001:db8::/33", "2001:db8:8000::", false},
        {"::1/128", "::1", true},
        {"::1/128", "::2", false},
    };
    for (size_t i = 0; i < COUNT(rows); ++i) {
        struct net_range n;
        struct net_address a;
        struct err err;
        if (net_parse_range(rows[i].network, &n, &err) < 0)
            fail_msg("%s", err.msg);
        assert_true(net_parse_address(slice_of(rows[i].address), &a));
        if (net_range_has(&n, &a) != rows[i].has)
            fail_msg("%s in %s", rows[i].address, rows[i].network);
    }
}

static void bad_networks(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "",       "10.0.0.0/", "10.0.0.0/33",   "10.0.0.0/-1",  "10.0.0.1/8", "::1/64",
        "::/129", "lab",       "10.0.0/8",      "10.0.0.0/8/8", "/8",         "10.0.0.0/x",
        "[::]/0", "::/ 0",     "10.0.0.0:80/8", "10.0.0.0/08x"};
    for (size_t i = 0; i < COUNT(rows); ++i) {
        struct net_range n;
        struct err err;
        if (net_parse_range(rows[i], &n, &err) == 0)
            fail_msg("'%s' passed", rows[i]);
        assert_int_equal(err.code, ERR_INVALID);
    }
    struct net_range n;
    struct err err;
    assert_int_equal(net_parse_range("10.1.2.3/8", &n, &err), -1);
    assert_non_null(strstr(err.msg, "10.0.0.0/8"));
}

static void loopback(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is;
    } rows[] = {{"127.0.0.1", true},  {"127.255.255.255", true}, {"::1", true}, {"::ffff:127.0.0.1", true},
                {"128.0.0.1", false}, {"0.0.0.0", false},        {"::", false}, {"::2", false}};
    for (size_t i = 0; i < COUNT(rows); ++i) {
        struct net_address a;
        assert_true(net_parse_address(slice_of(rows[i].text), &a));
        if (net_is_loopback(&a) != rows[i].is)
            fail_msg("%s", rows[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses),
        cmocka_unit_test(networks),
        cmocka_unit_test(bad_networks),
        cmocka_unit_test(loopback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
