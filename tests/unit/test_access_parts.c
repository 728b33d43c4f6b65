// SPDX-License-Identifier: Apache-2.0
/* What identifying is made of: headers, hashes, keys, buckets, what is remembered, the table of accounts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "proxy/access/credentials.h"
#include "proxy/access/password.h"
#include "proxy/access/remembered.h"
#include "proxy/access/throttle.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])
#define HASH     "$2b$04$rigrigrigrigrigrigrigu"
#define SECOND   UINT64_C(1000000)

/* ---- headers ---- */

static void headers(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        enum credentials_kind kind;
        const char *name, *secret;
    } rows[] = {
        {"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", CREDENTIALS_BASIC, "Aladdin", "open sesame"}, /* RFC 7617 */
        {"BASIC QWxhZGRpbjpvcGVuIHNlc2FtZQ==", CREDENTIALS_BASIC, "Aladdin", "open sesame"},
        {"Basic   YTpiOmM=  ", CREDENTIALS_BASIC, "a", "b:c"},
        {"Basic YTo=", CREDENTIALS_BASIC, "a", ""},
        {"Basic Og==", CREDENTIALS_NONE, NULL, NULL},
        {"Basic OmI=", CREDENTIALS_BAD, NULL, NULL},     /* ":b" */
        {"Basic YQ==", CREDENTIALS_BAD, NULL, NULL},     /* "a": no colon */
        {"Basic YTpi=", CREDENTIALS_BAD, NULL, NULL},    /* a padding too many */
        {"Basic YTo", CREDENTIALS_BAD, NULL, NULL},      /* none */
        {"Basic YTp=", CREDENTIALS_BAD, NULL, NULL},     /* bits that would be thrown away */
        {"Basic YT==bA==", CREDENTIALS_BAD, NULL, NULL}, /* padding inside */
        {"Basic YT pi", CREDENTIALS_BAD, NULL, NULL},
        {"Basic YTp-", CREDENTIALS_BAD, NULL, NULL}, /* the other alphabet */
        {"Basic ====", CREDENTIALS_BAD, NULL, NULL},
        {"Basic", CREDENTIALS_BAD, NULL, NULL},
        {"Basic ", CREDENTIALS_BAD, NULL, NULL},
        {"", CREDENTIALS_BAD, NULL, NULL},
        {"Bearer abc", CREDENTIALS_BEARER, NULL, "abc"},
        {"bearer abc", CREDENTIALS_BEARER, NULL, "abc"},
        {"Bearer a b", CREDENTIALS_BAD, NULL, NULL},
        {"Bearer", CREDENTIALS_BAD, NULL, NULL},
        {"Bearerabc", CREDENTIALS_BAD, NULL, NULL},
        {"Digest a=b", CREDENTIALS_BAD, NULL, NULL},
        {"Bearer \x80", CREDENTIALS_BAD, NULL, NULL},
    };
    for (size_t i = 0; i < COUNT(rows); ++i) {
        char room[CREDENTIALS_MAX];
        struct credentials c = credentials_parse(slice_of(rows[i].header), room);
        if (c.kind != rows[i].kind)
            fail_msg("'%s': %d", rows[i].header, (int)c.kind);
        if (rows[i].name)
            assert_true(slice_eq_str(c.name, rows[i].name));
        if (rows[i].secret)
            assert_true(slice_eq_str(c.secret, rows[i].secret));
    }
}

static void long_headers(void **state)
{
    (void)state;
    char header[CREDENTIALS_MAX + 2], room[CREDENTIALS_MAX];
    memset(header, 'a', sizeof header);
    memcpy(header, "Bearer ", 7);
    struct credentials c = credentials_parse((struct slice){header, CREDENTIALS_MAX}, room);
    assert_int_equal(c.kind, CREDENTIALS_BEARER);
    assert_int_equal(c.secret.len, CREDENTIALS_MAX - 7);
    c = credentials_parse((struct slice){header, CREDENTIALS_MAX + 1}, room);
    assert_int_equal(c.kind, CREDENTIALS_BAD);
}

/* ---- passwords and keys ---- */

static void passwords(void **state)
{
    (void)state;
    char hash[PASSWORD_HASH_MAX], again[PASSWORD_HASH_MAX];
    struct err err;
    assert_int_equal(password_hash(SLICE_LIT("open sesame"), hash, &err), 0);
    assert_int_equal(password_check_hash(hash, &err), 0);
    assert_true(password_matches(SLICE_LIT("open sesame"), hash));
    assert_false(password_matches(SLICE_LIT("open sesamf"), hash));
    assert_false(password_matches(SLICE_LIT("open sesam"), hash));
    assert_false(password_matches(SLICE_LIT("open sesame\0"), hash));
    assert_false(password_matches(SLICE_LIT(""), hash));
    assert_int_equal(password_hash(SLICE_LIT("open sesame"), again, &err), 0);
    assert_string_not_equal(hash, again); /* salted */
    /* Published test vectors of bcrypt. */
    assert_true(
        password_matches(SLICE_LIT("U*U"), "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"));
    assert_true(
        password_matches(SLICE_LIT("U*U*"), "$2a$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK"));
}

static void long_passwords(void **state)
{
    (void)state;
    /* Of an empty password, which we do not make but others do: no other is it, by being refused. */
    static const char empty[] = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.7uG0VCzI2bS7j6ymqJi9CdcdxiRTWNy";
    assert_true(password_matches(SLICE_LIT(""), empty));
    assert_false(password_matches(SLICE_LIT("\0"), empty));
    assert_false(password_matches(SLICE_LIT("\0x"), empty));
    char hash[PASSWORD_HASH_MAX], text[PASSWORD_MAX + 1];
    struct err err;
    memset(text, 'x', sizeof text);
    assert_int_equal(password_hash((struct slice){text, PASSWORD_MAX + 1}, hash, &err), -1);
    assert_int_equal(password_hash((struct slice){text, PASSWORD_MAX}, hash, &err), 0);
    assert_true(password_matches((struct slice){text, PASSWORD_MAX}, hash));
    assert_false(password_matches((struct slice){text, PASSWORD_MAX + 1}, hash));
    assert_false(password_matches((struct slice){text, PASSWORD_MAX + 1}, empty));
}

static void keys(void **state)
{
    (void)state;
    char key[KEY_TEXT_MAX], hex[KEY_HEX_MAX], other[KEY_TEXT_MAX], other_hex[KEY_HEX_MAX];
    uint8_t digest[32];
    struct err err;
    assert_int_equal(key_make(key, hex, &err), 0);
    assert_int_equal(key_make(other, other_hex, &err), 0);
    assert_int_equal(strlen(key), KEY_TEXT_MAX - 1);
    assert_int_equal(strlen(hex), KEY_HEX_MAX - 1);
    assert_true(key_is_one(slice_of(key)));
    assert_false(key_is_one(slice_of(hex)));
    assert_string_not_equal(key, other);
    key_digest(slice_of(key), digest);
    char shown[KEY_HEX_MAX];
    for (size_t i = 0; i < sizeof digest; ++i)
        (void)snprintf(shown + 2 * i, 3, "%02x", digest[i]);
    assert_string_equal(shown, hex);
}

/* ---- buckets ---- */

static struct net_address address(const char *text)
{
    struct net_address a;
    assert_true(net_parse_address(slice_of(text), &a));
    return a;
}

static void buckets(void **state)
{
    (void)state;
    struct throttle *t = throttle_new(3, 2000, NULL);
    uint64_t key = throttle_key_name(t, SLICE_LIT("alice")), other = throttle_key_name(t, SLICE_LIT("bob"));
    uint64_t now = 100 * SECOND;
    for (int i = 0; i < 3; ++i) {
        assert_int_equal(throttle_wait_s(t, key, now), 0);
        throttle_take(t, key, now);
    }
    assert_int_equal(throttle_wait_s(t, key, now), 2);
    assert_int_equal(throttle_wait_s(t, other, now), 0);
    assert_int_equal(throttle_wait_s(t, key, now + SECOND), 1);
    assert_int_equal(throttle_wait_s(t, key, now + 2 * SECOND - 1), 1);
    assert_int_equal(throttle_wait_s(t, key, now + 2 * SECOND), 0);
    throttle_take(t, key, now + 2 * SECOND);
    assert_int_equal(throttle_wait_s(t, key, now + 2 * SECOND), 2);
    throttle_give_back(t, key);
    assert_int_equal(throttle_wait_s(t, key, now + 2 * SECOND), 0);
    assert_int_equal(throttle_wait_s(t, key, now + 3600 * SECOND), 0);
    /* A clock that went back is no time that passed, nor one to wait for. */
    throttle_take(t, key, now + 2 * SECOND);
    assert_int_equal(throttle_wait_s(t, key, now), 2);
    throttle_free(t);
}

static void ipv6_counts_by_its_network(void **state)
{
    (void)state;
    struct throttle *t = throttle_new(1, 1000, NULL);
    struct net_address a = address("2001:db8:0:1::1"), b = address("2001:db8:0:1:ffff::2"),
                       c = address("2001:db8:0:2::1"), d = address("192.0.2.1"), e = address("192.0.2.2");
    assert_true(throttle_key_address(t, &a) == throttle_key_address(t, &b));
    assert_true(throttle_key_address(t, &a) != throttle_key_address(t, &c));
    assert_true(throttle_key_address(t, &d) != throttle_key_address(t, &e));
    throttle_free(t);
}

/* More names than there is room for: the table stays, and who goes on guessing is still known. */
static void a_full_table(void **state)
{
    (void)state;
    struct throttle *t = throttle_new(20, 1000, NULL);
    uint64_t key = throttle_key_name(t, SLICE_LIT("alice")), now = 100 * SECOND;
    for (int i = 0; i < 20; ++i)
        throttle_take(t, key, now);
    for (int i = 0; i < 200000; ++i) {
        char name[16];
        int n = snprintf(name, sizeof name, "n%d", i);
        throttle_take(t, throttle_key_name(t, (struct slice){name, (size_t)n}), now);
    }
    assert_true(throttle_wait_s(t, key, now) > 0);
    throttle_free(t);
}

/* ---- what is remembered ---- */

static void remembering(void **state)
{
    (void)state;
    static const struct access_account alice = {.name = "alice"}, bob = {.name = "bob"};
    struct remembered *m = remembered_new(), *elsewhere = remembered_new();
    struct net_address here = address("192.0.2.1"), there = address("192.0.2.2");
    uint8_t a[REMEMBERED_MAC], b[REMEMBERED_MAC], c[REMEMBERED_MAC];
    uint64_t now = 100 * SECOND, end = now + REMEMBERED_MS * UINT64_C(1000);
    remembered_mac(m, SLICE_LIT("Basic a"), a);
    remembered_mac(m, SLICE_LIT("Basic b"), b);
    remembered_mac(elsewhere, SLICE_LIT("Basic a"), c);
    assert_memory_not_equal(a, b, sizeof a);
    assert_memory_not_equal(a, c, sizeof a); /* keyed */
    assert_null(remembered_find(m, a, &here, now));
    remembered_put(m, a, &here, &alice, now);
    assert_ptr_equal(remembered_find(m, a, &here, now), &alice);
    assert_ptr_equal(remembered_find(m, a, &here, end - 1), &alice);
    assert_null(remembered_find(m, a, &here, end));
    assert_null(remembered_find(m, a, &there, now));
    assert_null(remembered_find(m, b, &here, now));
    remembered_put(m, a, &here, &bob, now);
    assert_ptr_equal(remembered_find(m, a, &here, now), &bob);
    for (int i = 0; i < 100000; ++i) { /* bounded: the oldest go */
        uint8_t mac[REMEMBERED_MAC];
        memset(mac, 0, sizeof mac);
        memcpy(mac, &i, sizeof i);
        remembered_put(m, mac, &here, &alice, now + SECOND);
    }
    assert_null(remembered_find(m, a, &here, now + SECOND));
    remembered_put(m, a, &here, &alice, now);
    remembered_clear(m);
    assert_null(remembered_find(m, a, &here, now));
    remembered_free(m);
    remembered_free(elsewhere);
}

/* ---- the table ---- */

static void accounts(void **state)
{
    (void)state;
    char key[KEY_TEXT_MAX], hex[KEY_HEX_MAX];
    struct err err;
    assert_int_equal(key_make(key, hex, &err), 0);
    const char *const list[] = {hex, NULL};
    const struct access_account rows[] = {
        {.name = "alice", .password_hash = HASH "1", .roles = ACCESS_PULL},
        {.name = "robot", .keys = list, .certificate = "robot.lab", .roles = ACCESS_ADMIN},
        {.name = "carol", .password_hash = HASH "2"},
    };
    struct table *t = table_new(&(struct access_config){.accounts = rows, .account_count = COUNT(rows)});
    uint8_t digest[32];
    key_digest(slice_of(key), digest);
    assert_true(table_has_accounts(t));
    assert_string_equal(table_by_name(t, SLICE_LIT("alice"))->password_hash, HASH "1");
    assert_null(table_by_name(t, SLICE_LIT("alic")));
    assert_null(table_by_name(t, SLICE_LIT("")));
    assert_string_equal(table_by_key(t, digest)->name, "robot");
    digest[31] ^= 1;
    assert_null(table_by_key(t, digest));
    assert_int_equal(table_by_certificate(t, "robot.lab")->roles, ACCESS_ADMIN);
    assert_null(table_by_certificate(t, "robot"));
    /* One hash for a name, however often it is asked for; over all names each of them. */
    unsigned first = 0;
    for (int i = 0; i < 200; ++i) {
        char name[16];
        struct slice s = {name, (size_t)snprintf(name, sizeof name, "n%d", i)};
        assert_ptr_equal(table_decoy(t, s), table_decoy(t, s));
        first += strcmp(table_decoy(t, s), HASH "1") == 0;
    }
    assert_true(first > 20 && first < 180);
    table_unref(table_ref(t));
    table_unref(t);
    t = table_new(&(struct access_config){.accounts = &rows[1], .account_count = 1});
    assert_null(table_decoy(t, SLICE_LIT("alice")));
    table_unref(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers),
        cmocka_unit_test(long_headers),
        cmocka_unit_test(passwords),
        cmocka_unit_test(long_passwords),
        cmocka_unit_test(keys),
        cmocka_unit_test(buckets),
        cmocka_unit_test(ipv6_counts_by_its_network),
        cmocka_unit_test(a_full_table),
        cmocka_unit_test(remembering),
        cmocka_unit_test(accounts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
