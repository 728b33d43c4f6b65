// SPDX-License-Identifier: Apache-2.0
/* The small values that S3 is spoken to with, pure functions all: entity tags, checksums, times, tags of
 * objects, pauses between tries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/mem.h"
#include "s3/cancel.h"
#include "s3/retry.h"
#include "s3/s3_call.h"
#include "s3/s3_crc32c.h"
#include "s3/s3_tags.h"
#include "s3/s3_time.h"

static void test_etags(void **state)
{
    (void)state;
    static const struct {
        const char *header, *want;
    } etags[] = {
        {"\"abc-12\"", "abc-12"},
        {"abc", "abc"},
        {" \"a\" ", "a"},
        {"W/\"abc\"", ""},
        {"\"a b\"", ""},
        {"\"\"", ""},
        {"", ""},
        {"\"a\"b\"", ""},
        {"\"", ""},
    };
    char etag[S3_ETAG_MAX + 1];
    for (size_t i = 0; i < sizeof etags / sizeof etags[0]; ++i) {
        s3_etag_copy(slice_of(etags[i].header), etag);
        assert_string_equal(etag, etags[i].want);
    }
    char longest[S3_ETAG_MAX + 2];
    memset(longest, 'e', sizeof longest);
    s3_etag_copy((struct slice){longest, S3_ETAG_MAX}, etag);
    assert_int_equal(strlen(etag), S3_ETAG_MAX);
    s3_etag_copy((struct slice){longest, S3_ETAG_MAX + 1}, etag);
    assert_string_equal(etag, "");
}

static void test_crc32c(void **state)
{
    (void)state;
    /* RFC 3720, appendix B.4, and the check value of the catalogue of CRCs. */
    unsigned char bytes[32];
    assert_int_equal(s3_crc32c(0, "123456789", 9), 0xe3069283);
    memset(bytes, 0, sizeof bytes);
    assert_int_equal(s3_crc32c(0, bytes, 32), 0x8a9136aa);
    memset(bytes, 0xff, sizeof bytes);
    assert_int_equal(s3_crc32c(0, bytes, 32), 0x62a8ab43);
    for (unsigned i = 0; i < 32; ++i)
        bytes[i] = (unsigned char)i;
    assert_int_equal(s3_crc32c(0, bytes, 32), 0x46dd794e);
    char text[9], big[1000];
    s3_crc32c_text(0xe3069283, text);
    assert_string_equal(text, "4waSgw==");
    for (size_t i = 0; i < sizeof big; ++i)
        big[i] = (char)(i * 31);
    for (size_t n = 0; n < sizeof big; n += 7) {
        assert_int_equal(s3_crc32c(0, big, n), s3_crc32c_portable(0, big, n));
        assert_int_equal(s3_crc32c(s3_crc32c(0, big, n), big + n, sizeof big - n),
                         s3_crc32c(0, big, sizeof big));
    }
}

static void test_times(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms; /* -1: refused */
    } times[] = {
        {"2009-10-12T17:50:30.000Z", 1255369830000},
        {"2009-10-12T17:50:30Z", 1255369830000},
        {"2009-10-12T17:50:30.5Z", 1255369830500},
        {"2009-10-12T17:50:30.123456789Z", 1255369830123},
        {"2009-10-12T17:50:30+00:00", 1255369830000},
        {"2009-10-12T17:50:30", -1},
        {"2009-10-12T17:50:30+01:00", -1},
        {"2009-13-12T17:50:30Z", -1},
        {"2009-00-12T17:50:30Z", -1},
        {"2009-10-12 17:50:30Z", -1},
        {"", -1},
        {"x009-10-12T17:50:30Z", -1},
    };
    for (size_t i = 0; i < sizeof times / sizeof times[0]; ++i) {
        int64_t ms = -1;
        assert_int_equal(s3_time_parse(slice_of(times[i].text), &ms), times[i].ms >= 0);
        assert_true(ms == times[i].ms);
    }
}

static const struct {
    const char *text, *key, *want; /* want NULL: the text is refused */
} tags[] = {
    {"[.command.*|.exitcode](nextflow.io/metadata=true),[*](nextflow.io/temporary=true)",
     "work/1/.command.run", "nextflow.io%2Fmetadata=true"},
    {"[.command.*|.exitcode](nextflow.io/metadata=true),[*](nextflow.io/temporary=true)", "a/.exitcode",
     "nextflow.io%2Fmetadata=true"},
    {"[.command.*|.exitcode](nextflow.io/metadata=true),[*](nextflow.io/temporary=true)", "a.txt",
     "nextflow.io%2Ftemporary=true"},
    {"[*.bam](a=b c,d=)", "x/y.bam", "a=b%20c&d="},
    {"[*.bam](a=b)", "x/y.sam", ""},
    {"[work/*](a=b)", "work/x/y", "a=b"},
    {"[work/*](a=b)", "other/work", ""},
    {" [a] (b=c)", "a", NULL},
    {"[a](b=c) , [d](e=f)", "d", "e=f"},
    {"false", "a", ""},
    {"", "a", ""},
    {"true", "a", NULL},
    {"[a]", "a", NULL},
    {"[a](b)", "a", NULL},
    {"[a](=c)", "a", NULL},
    {"[a]()", "a", NULL},
    {"[](b=c)", "a", NULL},
    {"[a|](b=c)", "a", NULL},
    {"[a](b=c)x", "a", NULL},
    {"[a](b=c),", "a", NULL},
    {"[a(b=c)", "a", NULL},
    {"[a](b=c", "a", NULL},
    {"[a](1=,2=,3=,4=,5=,6=,7=,8=,9=,10=)", "a", "1=&2=&3=&4=&5=&6=&7=&8=&9=&10="},
    {"[a](1=,2=,3=,4=,5=,6=,7=,8=,9=,10=,11=)", "a", NULL},
};

static void test_tags(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof tags / sizeof tags[0]; ++i) {
        struct s3_tags *t = NULL;
        struct err err = {0};
        cleanup_buf struct buf b = {0};
        int rc = s3_tags_parse(tags[i].text, &t, &err);
        if ((rc == 0) != (tags[i].want != NULL))
            fail_msg("<%s>: %s", tags[i].text, rc == 0 ? "taken" : err.msg);
        if (rc < 0)
            assert_non_null(strstr(err.msg, "FUSION_TAGS"));
        s3_tags_add(t, tags[i].key, &b);
        if (rc == 0)
            assert_string_equal(buf_str(&b), tags[i].want);
        s3_tags_free(t);
    }
}

static void test_pauses(void **state)
{
    (void)state;
    assert_int_equal(retry_pause_ms(1, 0, 0), 50);
    assert_int_equal(retry_pause_ms(1, 0, 0.999), 99);
    assert_int_equal(retry_pause_ms(4, 0, 0), 400);
    assert_int_equal(retry_pause_ms(9, 0, 0), 5000);
    assert_int_equal(retry_pause_ms(60, 0, 0.5), 7500);
    assert_int_equal(retry_pause_ms(1, 2, 0), 2000);
    assert_int_equal(retry_pause_ms(1, 3600, 0), 30000);
    struct retry r = retry_new(3);
    assert_true(retry_again(&r, true, 0, NULL, NULL));
    assert_true(retry_again(&r, true, 0, NULL, NULL));
    assert_false(retry_again(&r, true, 0, NULL, NULL));
    struct cancel *c = cancel_new();
    struct err err = {0};
    r = retry_new(3);
    cancel_fire(c);
    assert_false(retry_again(&r, false, 20, c, &err));
    assert_int_equal(err.code, ERR_CANCELLED);
    cancel_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_etags), cmocka_unit_test(test_crc32c), cmocka_unit_test(test_times),
        cmocka_unit_test(test_tags),  cmocka_unit_test(test_pauses),
    };
    return cmocka_run_group_tests_name("s3 values", tests, NULL, NULL);
}
