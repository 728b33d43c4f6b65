// SPDX-License-Identifier: Apache-2.0
/* Times a minute and address, and what a token's text may be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proxy/tokens/grant.h"
#include "proxy/tokens/rate.h"

static struct net_address address(const char *text)
{
    struct net_address a;
    assert_true(net_parse_address(slice_of(text), &a));
    return a;
}

static void test_a_limit_is_for_one_address(void **state)
{
    (void)state;
    struct rate *r = rate_new(3, NULL, NULL);
    struct net_address one = address("192.0.2.1"), other = address("192.0.2.2");
    for (int i = 0; i < 3; ++i)
        assert_int_equal(rate_take(r, &one), 0);
    unsigned wait_s = rate_take(r, &one);
    assert_true(wait_s > 50 && wait_s <= 60);
    assert_int_equal(rate_take(r, &other), 0);
    rate_free(r);
}

static void test_ipv6_counts_by_its_network(void **state)
{
    (void)state;
    struct rate *r = rate_new(2, NULL, NULL);
    struct net_address a = address("2001:db8:0:1::1"), b = address("2001:db8:0:1:ffff::2");
    struct net_address neighbour = address("2001:db8:0:2::1"), mapped = address("::ffff:192.0.2.1");
    struct net_address other = address("192.0.2.9");
    assert_int_equal(rate_take(r, &a), 0);
    assert_int_equal(rate_take(r, &b), 0);
    assert_true(rate_take(r, &a) > 0);
    assert_int_equal(rate_take(r, &neighbour), 0);
    assert_int_equal(rate_take(r, &mapped), 0);
    assert_int_equal(rate_take(r, &mapped), 0);
    assert_true(rate_take(r, &mapped) > 0);
    assert_int_equal(rate_take(r, &other), 0); /* IPv4 is no network of its own */
    rate_free(r);
}

static void test_no_limit(void **state)
{
    (void)state;
    struct rate *r = rate_new(0, NULL, NULL);
    struct net_address one = address("192.0.2.1");
    for (int i = 0; i < 1000; ++i)
        assert_int_equal(rate_take(r, &one), 0);
    rate_free(r);
}

static void test_the_table_is_bounded(void **state)
{
    (void)state;
    struct rate *r = rate_new(1, NULL, NULL);
    struct net_address first = address("192.0.2.1"), a = address("10.0.0.0");
    assert_int_equal(rate_take(r, &first), 0);
    assert_true(rate_take(r, &first) > 0);
    for (unsigned i = 0; i < RATE_ADDRESSES; ++i) {
        a.b[13] = (uint8_t)(i >> 16);
        a.b[14] = (uint8_t)(i >> 8);
        a.b[15] = (uint8_t)i;
        assert_int_equal(rate_take(r, &a), 0);
    }
    assert_int_equal(rate_take(r, &first), 0); /* forgotten: its minute had begun first */
    rate_free(r);
}

static void test_what_a_token_is(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "0",
                                      "0123456789abcdef0123456789abcde",
                                      "0123456789abcdef0123456789abcdef0",
                                      "0123456789ABCDEF0123456789abcdef",
                                      "0123456789abcdeg0123456789abcdef",
                                      "0123456789abcdef/123456789abcdef",
                                      " 123456789abcdef0123456789abcdef"};
    uint8_t bits[GRANT_BITS], key[STATE_TOKEN_KEY];
    static const uint8_t expected[] = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i)
        assert_false(grant_check(slice_of(bad[i]), bits));
    assert_true(grant_check(slice_of("0123456789abcdef0123456789abcdef"), bits));
    assert_memory_equal(bits, expected, 8);
    assert_memory_equal(bits + 8, expected, 8);
    grant_key(slice_of("abc"), key); /* FIPS 180-4's example */
    static const uint8_t abc[] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea};
    assert_memory_equal(key, abc, sizeof abc);
    char one[TOKEN_CHARS + 1], other[TOKEN_CHARS + 1];
    struct err err;
    assert_int_equal(grant_random(one, &err), 0);
    assert_int_equal(grant_random(other, &err), 0);
    assert_true(grant_check(slice_of(one), bits) && grant_check(slice_of(other), bits));
    assert_string_not_equal(one, other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_limit_is_for_one_address), cmocka_unit_test(test_ipv6_counts_by_its_network),
        cmocka_unit_test(test_no_limit), cmocka_unit_test(test_the_table_is_bounded),
        cmocka_unit_test(test_what_a_token_is)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
