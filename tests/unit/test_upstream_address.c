// SPDX-License-Identifier: Apache-2.0
/* Which addresses are public, one a line, and which hosts belong together. */
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/un.h>

#include <cmocka.h>

#include "proxy/upstream/address.h"

static const struct {
    const char *text;
    bool is_public;
} addresses[] = {
    /* IPv4: both ends of each special range, and what lies beside it. */
    {"0.0.0.0", false},
    {"0.255.255.255", false},
    {"1.0.0.0", true},
    {"1.1.1.1", true},
    {"9.255.255.255", true},
    {"10.0.0.0", false},
    {"10.255.255.255", false},
    {"11.0.0.0", true},
    {"100.63.255.255", true},
    {"100.64.0.0", false},
    {"100.127.255.255", false},
    {"100.128.0.0", true},
    {"126.255.255.255", true},
    {"127.0.0.1", false},
    {"127.255.255.255", false},
    {"128.0.0.0", true},
    {"169.253.255.255", true},
    {"169.254.0.0", false},
    {"169.254.169.254", false},
    {"169.254.255.255", false},
    {"169.255.0.0", true},
    {"172.15.255.255", true},
    {"172.16.0.0", false},
    {"172.31.255.255", false},
    {"172.32.0.0", true},
    {"192.0.0.0", false},
    {"192.0.0.170", false},
    {"192.0.1.0", true},
    {"192.0.2.1", false},
    {"192.0.3.0", true},
    {"192.88.98.255", true},
    {"192.88.99.1", false},
    {"192.88.100.0", true},
    {"192.167.255.255", true},
    {"192.168.0.0", false},
    {"192.168.255.255", false},
    {"192.169.0.0", true},
    {"198.17.255.255", true},
    {"198.18.0.0", false},
    {"198.19.255.255", false},
    {"198.20.0.0", true},
    {"198.51.99.255", true},
    {"198.51.100.7", false},
    {"198.51.101.0", true},
    {"203.0.112.255", true},
    {"203.0.113.7", false},
    {"203.0.114.0", true},
    {"223.255.255.255", true},
    {"224.0.0.1", false},
    {"239.255.255.255", false},
    {"240.0.0.1", false},
    {"255.255.255.255", false},
    /* IPv6 */
    {"::", false},
    {"::1", false},
    {"100::1", false},
    {"1fff:ffff::1", false},
    {"2000::1", true},
    {"2001:200::1", true},
    {"2001:1ff:ffff::1", false},
    {"2001:2::1", false},
    {"2001:10::1", false},
    {"2001:20::1", false},
    {"2001:db7:ffff::1", true},
    {"2001:db8::1", false},
    {"2001:db8:ffff::1", false},
    {"2001:db9::1", true},
    {"2606:4700::6810:84e5", true},
    {"2a00:1450:4001:81b::200e", true},
    {"3ffe:ffff::1", true},
    {"3fff::1", false},
    {"3fff:fff::1", false},
    {"3fff:1000::1", true},
    {"4000::1", false},
    {"5f00::1", false},
    {"fc00::1", false},
    {"fd00:ec2::254", false},
    {"fdff:ffff::1", false},
    {"fe80::1", false},
    {"febf::1", false},
    {"fec0::1", false},
    {"ff02::1", false},
    {"ff0e::1", false},
    /* IPv4 inside of IPv6: as the address inside. */
    {"::ffff:127.0.0.1", false},
    {"::ffff:10.1.2.3", false},
    {"::ffff:169.254.169.254", false},
    {"::ffff:192.168.1.1", false},
    {"::ffff:100.64.0.1", false},
    {"::ffff:0.0.0.0", false},
    {"::ffff:8.8.8.8", true},
    {"::ffff:0:127.0.0.1", false},
    {"::ffff:0:8.8.8.8", true},
    {"::127.0.0.1", false},
    {"::10.0.0.1", false},
    {"::169.254.169.254", false},
    {"::8.8.8.8", true},
    {"64:ff9b::127.0.0.1", false},
    {"64:ff9b::169.254.169.254", false},
    {"64:ff9b::10.0.0.1", false},
    {"64:ff9b::8.8.8.8", true},
    {"64:ff9b:1::8.8.8.8", false},
    {"64:ff9b:1:ffff::1", false},
    {"2002:7f00:1::", false},
    {"2002:a9fe:a9fe::1", false},
    {"2002:c0a8:101::1", false},
    {"2002:a00:1::1", false},
    {"2002:808:808::1", true},
    {"2001:0:808:808:0:0:f7f7:f7f7", true},  /* Teredo: server 8.8.8.8, client 8.8.8.8 */
    {"2001:0:808:808:0:0:80ff:fffe", false}, /* client 127.0.0.1 */
    {"2001:0:808:808:0:0:5601:5601", false}, /* client 169.254.169.254 */
    {"2001:0:a00:1:0:0:f7f7:f7f7", false},   /* server 10.0.0.1 */
};

static void test_addresses(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; ++i) {
        struct sockaddr_storage sa;
        char back[64];
        if (!address_parse(slice_of(addresses[i].text), &sa))
            fail_msg("%s: not parsed", addresses[i].text);
        if (address_is_public((const struct sockaddr *)&sa) != addresses[i].is_public)
            fail_msg("%s: should be %s", addresses[i].text, addresses[i].is_public ? "public" : "refused");
        struct sockaddr_storage again;
        (void)address_format((const struct sockaddr *)&sa, back, sizeof back);
        assert_true(address_parse(slice_of(back), &again));
        assert_memory_equal(&sa, &again, sizeof sa);
    }
}

static void test_other_families(void **state)
{
    (void)state;
    struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "/run/x"};
    assert_false(address_is_public((const struct sockaddr *)&un));
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    assert_false(address_is_public(&none));
}

static void test_parse_refuses(void **state)
{
    (void)state;
    static const char *const texts[] = {"",           "1",     "1.2.3",     "1.2.3.4.5",     "256.1.1.1",
                                        "0x7f.0.0.1", "[::1]", "::1%lo",    "localhost",     "1.2.3.4 ",
                                        "1.2.3.4/8",  ":::",   "01.2.3.4x", "fe80::1%25eth0"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; ++i) {
        struct sockaddr_storage sa;
        if (address_parse(slice_of(texts[i]), &sa))
            fail_msg("'%s' was taken for an address", texts[i]);
    }
}

static const struct {
    const char *a, *b;
    bool same;
} sites[] = {
    {"registry-1.docker.io", "auth.docker.io", true},
    {"docker.io", "auth.docker.io", true},
    {"ghcr.io", "ghcr.io", true},
    {"quay.io", "cdn.quay.io", true},
    {"a.b.example.com", "c.example.com", true},
    {"registry.example.com", "example.com", true},
    {"registry.example.co.uk", "auth.example.co.uk", true},
    {"example.co.uk", "evil.co.uk", false},
    {"co.uk", "evil.co.uk", false},
    {"docker.io", "docker.com", false},
    {"docker.io", "docker.io.evil.com", false},
    {"docker.io", "notdocker.io", false},
    {"registry-1.docker.io", "evil-docker.io", false},
    {"example.com", "evil.com", false},
    {"com", "evil.com", false},
    {"localhost", "localhost", true},
    {"localhost", "registry", false},
    {"registry", "auth", false},
    {"a.localhost", "b.localhost", false},
    {"127.0.0.1", "127.0.0.1", true},
    {"127.0.0.1", "126.0.0.1", false},
    {"10.0.0.1", "11.1.0.1", false},
    {"1.2.3.4", "9.9.3.4", false},
    {"::1", "::1", true},
    {"2001:db8::1", "2001:db8::2", false},
    {"x.azurecr.io", "x.azurecr.io", true},
    {"x.azurecr.io", "evil.azurecr.io", false},
    {"1.dkr.ecr.eu-west-1.amazonaws.com", "evil.s3.amazonaws.com", false},
    {"me.github.io", "evil.github.io", false},
    {"github.io", "evil.github.io", false},
    {"notgithub.io", "x.notgithub.io", true},
    {"", "", false},
    {"", "example.com", false},
    {".example.com", "x.example.com", false},
    {"example.com.", "x.example.com", false},
    {"a..example.com", "x.example.com", false},
    {"example..com", "x.example..com", false},
    {"..", "x..", false},
};

static void test_same_site(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof sites / sizeof sites[0]; ++i) {
        struct slice a = slice_of(sites[i].a), b = slice_of(sites[i].b);
        if (address_same_site(a, b) != sites[i].same || address_same_site(b, a) != sites[i].same)
            fail_msg("%s and %s: should%s be one site", sites[i].a, sites[i].b, sites[i].same ? "" : " not");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_other_families),
        cmocka_unit_test(test_parse_refuses),
        cmocka_unit_test(test_same_site),
    };
    return cmocka_run_group_tests_name("upstream address", tests, NULL, NULL);
}
