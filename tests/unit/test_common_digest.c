// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <openssl/crypto.h>

#include "common/digest.h"

#define ABC256 "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define ABC512                                                                                               \
    "sha512:"                                                                                                \
    "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d44" \
    "2"                                                                                                      \
    "3643ce80e2a9ac94fa54ca49f"
#define EMPTY256 "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static void test_parse(void **state)
{
    (void)state;
    static const char *const good[] = {ABC256, ABC512, EMPTY256};
    for (size_t i = 0; i < 3; ++i) {
        struct digest d;
        assert_int_equal(digest_parse(slice_of(good[i]), &d, NULL), 0);
        assert_string_equal(d.s, good[i]);
        assert_string_equal(digest_hex(&d), good[i] + 7);
        assert_true(slice_eq(digest_algorithm(&d), (struct slice){good[i], 6}));
    }
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "sha256",
        "sha256:",
        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015a",   /* 63 */
        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad0", /* 65 */
        "sha256:BA7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",  /* upper case */
        "sha256:ga7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "sha256:/a7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "SHA256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "sha512:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", /* too short for it */
        "sha384:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        " sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015a\n",
        "sha256:../../../../../../../../../../../../../../../../../../etc/passwd",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
        struct err err;
        struct digest d = {"kept"};
        if (digest_parse(slice_of(bad[i]), &d, &err) >= 0)
            fail_msg("'%s' is taken for a digest", bad[i]);
        assert_int_equal(err.code, ERR_DIGEST_INVALID);
        assert_string_equal(d.s, "kept");
    }
    char with_nul[72];
    memcpy(with_nul, ABC256, 72);
    with_nul[20] = '\0';
    struct digest d;
    assert_true(digest_parse((struct slice){with_nul, 71}, &d, NULL) < 0);
    char huge[5000];
    memset(huge, 'a', sizeof huge);
    struct err err;
    assert_true(digest_parse((struct slice){huge, sizeof huge}, &d, &err) < 0);
    assert_true(strlen(err.msg) < 250); /* cut */
    assert_true(digest_parse((struct slice){NULL, 0}, &d, &err) < 0);
}

static void test_compute(void **state)
{
    (void)state;
    struct digest d = digest_of("abc", 3), empty = {""};
    assert_string_equal(d.s, ABC256);
    assert_string_equal(digest_of(NULL, 0).s, EMPTY256);
    assert_true(digest_is_set(&d));
    assert_false(digest_is_set(&empty));
    assert_false(digest_eq(&d, &empty));
    struct digest copy = d;
    assert_true(digest_eq(&d, &copy));
}

static void test_hasher(void **state)
{
    (void)state;
    cleanup_hasher struct hasher *a = hasher_new(SLICE_LIT("sha256")), *b = hasher_new(SLICE_LIT("sha512"));
    assert_string_equal(hasher_digest(a).s, EMPTY256);
    hasher_update(a, "a", 1);
    (void)hasher_digest(a); /* it goes on after that */
    hasher_update(a, "", 0);
    hasher_update(a, "bc", 2);
    assert_string_equal(hasher_digest(a).s, ABC256);
    assert_string_equal(hasher_digest(a).s, ABC256);
    assert_int_equal(hasher_bytes(a), 3);
    hasher_update(b, "abc", 3);
    assert_string_equal(hasher_digest(b).s, ABC512);
    hasher_free(NULL);
}

/* All of OpenSSL allocates as we do: what it does on its way to the first digest does not look for NULL. */
static void test_memory_of_openssl(void **state)
{
    (void)state;
    CRYPTO_malloc_fn allocate = NULL;
    CRYPTO_realloc_fn reallocate = NULL;
    CRYPTO_free_fn release = NULL;
    CRYPTO_get_mem_functions(&allocate, &reallocate, &release);
    assert_false(allocate == CRYPTO_malloc || reallocate == CRYPTO_realloc || release == CRYPTO_free);
    char *p = OPENSSL_malloc(3);
    assert_non_null(p);
    assert_non_null(p = OPENSSL_realloc(p, 70000));
    p[69999] = 1;
    assert_null(OPENSSL_realloc(p, 0)); /* frees it, as OpenSSL's own does */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_parse), cmocka_unit_test(test_refused),
                                       cmocka_unit_test(test_compute), cmocka_unit_test(test_hasher),
                                       cmocka_unit_test(test_memory_of_openssl)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
