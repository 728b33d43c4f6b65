// SPDX-License-Identifier: Apache-2.0
/* What S3 answers with: XML, listings, results, errors and what they become. The small values that are no
 * documents are in test_s3_values.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>
#include <errno.h>

#include "common/mem.h"
#include "s3/s3_copy.h"
#include "s3/s3_delete.h"
#include "s3/s3_list.h"
#include "s3/s3_upload.h"
#include "s3/xml.h"

#define BAD "refused"

/* Expected: events, "(name", "'text'", ")"; BAD at the end of what is refused. */
static const struct {
    const char *xml, *want;
} documents[] = {
    {"<a/>", "(a)"},
    {"<a></a>", "(a)"},
    {"<a>x</a>", "(a'x')"},
    {"<?xml version=\"1.0\"?>\n<a xmlns=\"u>r/l\"><b>1</b><c/></a>\n", "(a(b'1')(c))"},
    {"\xef\xbb\xbf<a/>", "(a)"},
    {"<s3:a xmlns:s3='x'></s3:a>", "(a)"},
    {"<a>&lt;&gt;&amp;&quot;&apos;</a>", "(a'<>&\"'')"},
    {"<a>&#65;&#x42;&#xe9;&#x20AC;&#x1F600;</a>", "(a'AB\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80')"},
    {"<a>x<!-- no -->y<![CDATA[<&]]>z</a>", "(a'xy<&z')"},
    {"<a b='1' c=\"'\"/>", "(a)"},
    {"<a ><b ></b ></a >", "(a(b))"},
    {"<a><?pi ?></a><!-- end -->", "(a)"},
    {"", BAD},
    {"text", BAD},
    {"<a>", "(a" BAD},
    {"<a></b>", "(a" BAD},
    {"<a/><b/>", "(a)" BAD},
    {"<a/>x", "(a)" BAD},
    {"</a>", BAD},
    {"<a", BAD},
    {"<a b='>", BAD},
    {"<>", BAD},
    {"< a/>", BAD},
    {"<a><b<c/></a>", "(a" BAD},
    {"<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>", BAD},
    {"<a>&b;</a>", "(a" BAD},
    {"<a>&amp</a>", "(a" BAD},
    {"<a>& </a>", "(a" BAD},
    {"<a>&#0x41;</a>", "(a" BAD},
    {"<a>&#x110000;</a>", "(a" BAD},
    {"<a>&#xd800;</a>", "(a" BAD},
    {"<a>&#;</a>", "(a" BAD},
    {"<a><![CDATA[x</a>", "(a" BAD},
    {"<a><![CDATA[]]</a>", "(a" BAD},
    {"<a><!-- x</a>", "(a" BAD},
};

static void describe(struct slice doc, struct buf *got)
{
    cleanup_xml struct xml x;
    xml_init(&x, doc);
    for (;;) {
        struct err err = {0};
        switch (xml_next(&x, &err)) {
        case XML_START:
            (void)buf_printf(got, "(%.*s", (int)x.name.len, x.name.p);
            break;
        case XML_TEXT:
            (void)buf_printf(got, "'%s'", buf_str(&x.text));
            break;
        case XML_END:
            (void)buf_add_str(got, ")");
            break;
        case XML_ERROR:
            assert_int_equal(err.code, ERR_IO);
            (void)buf_add_str(got, BAD);
            return;
        case XML_END_OF_DOCUMENT:
            return;
        }
    }
}

static void test_xml(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof documents / sizeof documents[0]; ++i) {
        cleanup_buf struct buf got = {0};
        describe(slice_of(documents[i].xml), &got);
        if (strcmp(buf_str(&got), documents[i].want) != 0)
            fail_msg("<%s>: gave <%s>, wanted <%s>", documents[i].xml, buf_str(&got), documents[i].want);
        /* Every cut of it, ending where the sanitizer sees it. */
        for (size_t n = 0; n < strlen(documents[i].xml); ++n) {
            cleanup_free char *copy = mem_alloc(n);
            memcpy(copy, documents[i].xml, n);
            buf_reset(&got);
            describe((struct slice){copy, n}, &got);
        }
    }
}

static void test_xml_limits(void **state)
{
    (void)state;
    for (unsigned depth = XML_DEPTH_MAX; depth <= XML_DEPTH_MAX + 1; ++depth) {
        cleanup_buf struct buf doc = {0}, got = {0};
        for (unsigned i = 0; i < depth; ++i)
            (void)buf_add_str(&doc, "<a>");
        for (unsigned i = 0; i < depth; ++i)
            (void)buf_add_str(&doc, "</a>");
        describe((struct slice){doc.p, doc.len}, &got);
        assert_int_equal(strstr(buf_str(&got), BAD) != NULL, depth > XML_DEPTH_MAX);
    }
    for (size_t len = XML_TEXT_MAX; len <= XML_TEXT_MAX + 1; ++len) {
        cleanup_buf struct buf doc = {0}, got = {0};
        cleanup_free char *text = mem_zalloc(len + 1);
        memset(text, 'x', len);
        (void)buf_printf(&doc, "<a>%s</a>", text);
        describe((struct slice){doc.p, doc.len}, &got);
        assert_int_equal(strstr(buf_str(&got), BAD) != NULL, len > XML_TEXT_MAX);
    }
}

#define CONTENTS(key, size)                                                                                  \
    "<Contents><Key>" key "</Key><LastModified>2009-10-12T17:50:30.123Z</LastModified>"                      \
    "<ETag>&quot;fba9dede5f27731c9771645a39863328&quot;</ETag><Size>" size "</Size>"                         \
    "<Owner><ID>x</ID><DisplayName>Key</DisplayName></Owner><StorageClass>STANDARD</StorageClass></"         \
    "Contents>"
#define LISTING(what)                                                                                        \
    "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">" what "</ListBucketResult>"

static void test_list(void **state)
{
    (void)state;
    cleanup_s3_page struct s3_page p = {0};
    assert_int_equal(
        s3_list_parse(
            SLICE_LIT(LISTING("<Name>b</Name><Prefix>q/</Prefix><IsTruncated>true</IsTruncated>" CONTENTS(
                "a+b%2B%26.txt", "434234") CONTENTS("nul%00", "1")
                                  CONTENTS("z", "0") "<CommonPrefixes><Prefix>photos%2F"
                                                     "</Prefix></CommonPrefixes><EncodingType>url</"
                                                     "EncodingType><NextContinuationToken>1/+=&amp;"
                                                     "</NextContinuationToken>")),
            &p, NULL),
        0);
    assert_int_equal(p.objects_len, 2);
    assert_string_equal(p.objects[0].key, "a b+&.txt");
    assert_true(p.objects[0].size == 434234 && p.objects[0].mtime_ms == 1255369830123);
    assert_string_equal(p.objects[0].etag, "fba9dede5f27731c9771645a39863328");
    assert_string_equal(p.objects[1].key, "z");
    assert_int_equal(p.prefixes_len, 1);
    assert_string_equal(p.prefixes[0], "photos/");
    assert_string_equal(p.next, "1/+=&");
}

static void test_list_plain(void **state)
{
    (void)state;
    cleanup_s3_page struct s3_page p = {0};
    assert_int_equal(s3_list_parse(SLICE_LIT(LISTING("<IsTruncated>false</IsTruncated>" CONTENTS(
                                       "a+%2B", "1") "<NextContinuationToken>x</NextContinuationToken>")),
                                   &p, NULL),
                     0);
    assert_int_equal(p.objects_len, 1);
    assert_string_equal(p.objects[0].key, "a+%2B");
    assert_null(p.next);
}

static void test_list_bad(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "<html>",
        "<Error><Code>NoSuchBucket</Code></Error>",
        LISTING("<IsTruncated>true</IsTruncated>"),
        LISTING("<IsTruncated>true</IsTruncated><NextContinuationToken/>"),
        LISTING(CONTENTS("a", "-1")),
        LISTING(CONTENTS("a", "")),
        LISTING(CONTENTS("a", "18446744073709551616")),
        "<ListBucketResult>" CONTENTS("a", "1"),
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
        struct s3_page p = {0};
        struct err err = {0};
        if (s3_list_parse(slice_of(bad[i]), &p, &err) == 0)
            fail_msg("<%s>: taken", bad[i]);
        assert_int_equal(err.code, ERR_IO);
    }
}

static void test_buckets(void **state)
{
    (void)state;
    char **names;
    size_t len;
    assert_int_equal(
        s3_buckets_parse(SLICE_LIT("<ListAllMyBucketsResult><Owner><ID>i</ID><Name>no</Name></Owner>"
                                   "<Buckets><Bucket><Name>one</Name><CreationDate>x</CreationDate>"
                                   "</Bucket><Bucket><Name>two</Name></Bucket></Buckets>"
                                   "</ListAllMyBucketsResult>"),
                         &names, &len, NULL),
        0);
    assert_int_equal(len, 2);
    assert_string_equal(names[0], "one");
    assert_string_equal(names[1], "two");
    s3_names_free(names, len);
    assert_int_equal(s3_buckets_parse(SLICE_LIT("<Buckets/>"), &names, &len, NULL), -1);
    assert_int_equal(
        s3_buckets_parse(SLICE_LIT("<ListAllMyBucketsResult><Bucket><Name>x"), &names, &len, NULL), -1);
}

static void test_results(void **state)
{
    (void)state;
    char etag[S3_ETAG_MAX + 1], crc[9];
    assert_int_equal(
        s3_copy_result_parse(SLICE_LIT("<CopyPartResult><ETag>\"a-1\"</ETag><ChecksumCRC32C>AAAAAA=="
                                       "</ChecksumCRC32C></CopyPartResult>"),
                             etag, crc, NULL),
        0);
    assert_string_equal(etag, "a-1");
    assert_string_equal(crc, "AAAAAA==");
    assert_int_equal(s3_copy_result_parse(SLICE_LIT("<CopyObjectResult><ETag>b</ETag></CopyObjectResult>"),
                                          etag, crc, NULL),
                     0);
    assert_string_equal(etag, "b");
    assert_string_equal(crc, "");
    assert_int_equal(s3_copy_result_parse(SLICE_LIT("<CopyObjectResult/>"), etag, crc, NULL), -1);
    assert_int_equal(s3_copy_result_parse(SLICE_LIT("<Error><Code>x</Code></Error>"), etag, crc, NULL), -1);
}

static void test_delete_result(void **state)
{
    (void)state;
    struct err err = {0};
    assert_int_equal(s3_delete_result_parse(SLICE_LIT("<DeleteResult/>"), &err), 0);
    assert_int_equal(s3_delete_result_parse(
                         SLICE_LIT("<DeleteResult><Deleted><Key>a</Key></Deleted></DeleteResult>"), &err),
                     0);
    assert_int_equal(
        s3_delete_result_parse(
            SLICE_LIT("<DeleteResult><Error><Key>a</Key><Code>AccessDenied</Code><Message>m</Message>"
                      "</Error><Error><Key>b</Key><Code>NoSuchKey</Code></Error><Error><Key>c</Key>"
                      "<Code>InternalError</Code></Error></DeleteResult>"),
            &err),
        2);
    assert_int_equal(err.code, ERR_DENIED);
    assert_non_null(strstr(err.msg, "deleting a: AccessDenied: m"));
    assert_int_equal(s3_delete_result_parse(SLICE_LIT("<DeleteResult><Error>"), &err), -1);
    assert_int_equal(s3_delete_result_parse(SLICE_LIT("<Other/>"), &err), -1);
    cleanup_buf struct buf b = {0};
    assert_true(s3_add_xml_text(&b, "a&<b>\"\xc3\xa9"));
    assert_string_equal(buf_str(&b), "a&amp;&lt;b&gt;\"\xc3\xa9");
    assert_false(s3_add_xml_text(&b, "\x01"));
    assert_false(s3_add_xml_text(&b, "a\rb"));
}

static void test_pending(void **state)
{
    (void)state;
    struct s3_pending *p;
    size_t len;
    static const char doc[] =
        "<ListMultipartUploadsResult><Bucket>b</Bucket><Upload><Key>a%20b</Key><UploadId>one</UploadId>"
        "<Initiator><ID>x</ID></Initiator><Initiated>2010-11-10T20:48:33.000Z</Initiated></Upload>"
        "<Upload><Key>a%20bc</Key><UploadId>two</UploadId></Upload><Upload><Key>a%20b</Key></Upload>"
        "</ListMultipartUploadsResult>";
    assert_int_equal(s3_pending_parse(slice_of(doc), "a b", &p, &len, NULL), 0);
    assert_int_equal(len, 1);
    assert_string_equal(p[0].id, "one");
    assert_true(p[0].initiated_ms == 1289422113000);
    s3_pending_free(p, len);
    assert_int_equal(s3_pending_parse((struct slice){doc, sizeof doc - 5}, "a b", &p, &len, NULL), -1);
}

static void test_pending_of_all_keys(void **state)
{
    (void)state;
    struct s3_pending *p;
    size_t len;
    static const char doc[] =
        "<ListMultipartUploadsResult><Upload><Key>a%20b</Key><UploadId>one</UploadId></Upload>"
        "<Upload><Key>c</Key><UploadId>two</UploadId></Upload><Upload><UploadId>three</UploadId></Upload>"
        "</ListMultipartUploadsResult>";
    assert_int_equal(s3_pending_parse(slice_of(doc), NULL, &p, &len, NULL), 0);
    assert_int_equal(len, 2);
    assert_string_equal(p[0].key, "a b");
    assert_string_equal(p[1].key, "c");
    assert_string_equal(p[1].id, "two");
    s3_pending_free(p, len);
}

static void test_parts(void **state)
{
    (void)state;
    struct s3_upload u = {.lock = PTHREAD_MUTEX_INITIALIZER};
    unsigned next = 0;
    static const char doc[] =
        "<ListPartsResult><PartNumberMarker>0</PartNumberMarker><NextPartNumberMarker>7</"
        "NextPartNumberMarker>"
        "<IsTruncated>true</IsTruncated><Part><PartNumber>7</PartNumber><ETag>&quot;e7&quot;</ETag>"
        "<Size>5242880</Size><ChecksumCRC32C>AAAAAA==</ChecksumCRC32C></Part>"
        "<Part><PartNumber>10001</PartNumber><ETag>&quot;no&quot;</ETag><Size>1</Size></Part>"
        "<Part><PartNumber>0</PartNumber><ETag>&quot;no&quot;</ETag></Part>"
        "<Part><PartNumber>3</PartNumber><Size>9</Size></Part></ListPartsResult>";
    assert_int_equal(s3_parts_parse(slice_of(doc), &u, &next, NULL), 0);
    assert_int_equal(next, 7);
    assert_true(s3_upload_has_part(&u, 7, 5242880));
    assert_false(s3_upload_has_part(&u, 7, 5242881));
    assert_false(s3_upload_has_part(&u, 3, 9));
    assert_false(s3_upload_has_part(&u, 0, 0));
    assert_false(s3_upload_has_part(&u, 10001, 1));
    assert_string_equal(u.parts[6].etag, "e7");
    assert_string_equal(u.parts[6].crc, "AAAAAA==");
    free(u.parts);
    u = (struct s3_upload){.lock = PTHREAD_MUTEX_INITIALIZER};
    assert_int_equal(s3_parts_parse((struct slice){doc, sizeof doc - 5}, &u, &next, NULL), -1);
    free(u.parts);
    static const char last[] =
        "<ListPartsResult><NextPartNumberMarker>3</NextPartNumberMarker></ListPartsResult>";
    assert_int_equal(s3_parts_parse(slice_of(last), &u, &next, NULL), 0);
    assert_int_equal(next, 0);
}

#define ERROR(code) "<?xml version=\"1.0\"?><Error><Code>" code "</Code><Message>m</Message></Error>"

static const struct {
    int status;
    const char *body;
    int want_errno;
    enum s3_remedy remedy;
} problems[] = {
    {403, ERROR("AccessDenied"), EACCES, S3_REMEDY_NONE},
    {403, "", EACCES, S3_REMEDY_NONE},
    {401, "", EACCES, S3_REMEDY_NONE},
    {403, ERROR("SignatureDoesNotMatch"), EACCES, S3_REMEDY_NONE},
    {403, ERROR("RequestTimeTooSkewed"), EACCES, S3_REMEDY_CLOCK},
    {400, ERROR("ExpiredToken"), EACCES, S3_REMEDY_CREDENTIALS},
    {403, ERROR("InvalidAccessKeyId"), EACCES, S3_REMEDY_CREDENTIALS},
    {404, ERROR("NoSuchKey"), ENOENT, S3_REMEDY_NONE},
    {404, ERROR("NoSuchBucket"), ENOENT, S3_REMEDY_NONE},
    {404, "", ENOENT, S3_REMEDY_NONE},
    {503, ERROR("SlowDown"), EBUSY, S3_REMEDY_RETRY},
    {503, "", EBUSY, S3_REMEDY_RETRY},
    {429, "", EBUSY, S3_REMEDY_RETRY},
    {409, ERROR("OperationAborted"), EBUSY, S3_REMEDY_RETRY},
    {412, ERROR("PreconditionFailed"), ESTALE, S3_REMEDY_NONE},
    {412, "", ESTALE, S3_REMEDY_NONE},
    {400, ERROR("InvalidArgument"), EINVAL, S3_REMEDY_NONE},
    {400, ERROR("EntityTooLarge"), EINVAL, S3_REMEDY_NONE},
    {416, ERROR("InvalidRange"), EINVAL, S3_REMEDY_NONE},
    {400, ERROR("BadDigest"), EIO, S3_REMEDY_RETRY},
    {400, ERROR("RequestTimeout"), ETIMEDOUT, S3_REMEDY_RETRY},
    {504, "", ETIMEDOUT, S3_REMEDY_RETRY},
    {500, ERROR("InternalError"), EIO, S3_REMEDY_RETRY},
    {200, ERROR("InternalError"), EIO, S3_REMEDY_RETRY},
    {502, "<html>", EIO, S3_REMEDY_RETRY},
    {403, ERROR("QuotaExceeded"), EREMOTEIO, S3_REMEDY_NONE},
    {507, "", EREMOTEIO, S3_REMEDY_NONE},
    {418, "", EREMOTEIO, S3_REMEDY_NONE},
    {301, ERROR("PermanentRedirect"), EREMOTEIO, S3_REMEDY_REGION},
    {307, "", EREMOTEIO, S3_REMEDY_REGION},
    {400, ERROR("AuthorizationHeaderMalformed"), EINVAL, S3_REMEDY_REGION},
};

static void test_problems(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof problems / sizeof problems[0]; ++i) {
        struct http_head h = {.status = problems[i].status};
        struct s3_problem p;
        struct err err = {0};
        s3_problem_read(&p, &h, slice_of(problems[i].body));
        assert_int_equal(s3_problem_err(&p, &err), -1);
        if (s3_errno(&err) != problems[i].want_errno || p.remedy != problems[i].remedy)
            fail_msg("%d <%s>: %s, remedy %d", problems[i].status, problems[i].body,
                     strerrorname_np(s3_errno(&err)), p.remedy);
    }
}

static void test_problem_details(void **state)
{
    (void)state;
    static const char head[] =
        "HTTP/1.1 400 Bad\r\nx-amz-request-id: ID7\r\nx-amz-bucket-region: eu-west-1\r\n\r\n";
    struct http_head h = {0};
    struct s3_problem p;
    struct err err = {0};
    assert_int_equal(http_head_parse(&h, head, sizeof head - 1, NULL), 0);
    s3_problem_read(&p, &h, (struct slice){NULL, 0});
    assert_int_equal(p.remedy, S3_REMEDY_REGION);
    assert_string_equal(p.region, "eu-west-1");
    assert_string_equal(p.request_id, "ID7");
    /* Nothing from the server gets into a host name or, unprintable, into a log. */
    s3_problem_read(&p, &(struct http_head){.status = 400},
                    SLICE_LIT("<Error><Code>A&#10;B</Code><Region>evil.com/</Region></Error>"));
    assert_string_equal(p.region, "");
    assert_string_equal(p.code, "AB");
    (void)s3_problem_err(&p, &err);
    assert_null(strchr(err.msg, '\n'));
    http_head_free(&h);
}

static void test_other_errnos(void **state)
{
    (void)state;
    static const struct {
        enum err_code code;
        int want;
    } codes[] = {
        {ERR_UNAUTHORIZED, EACCES}, {ERR_EXISTS, EEXIST},    {ERR_CANCELLED, EINTR}, {ERR_TIMEOUT, ETIMEDOUT},
        {ERR_NO_SPACE, ENOSPC},     {ERR_OVERLOADED, EBUSY}, {ERR_IO, EIO},          {ERR_INTERNAL, EIO},
    };
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; ++i)
        assert_int_equal(s3_errno(&(struct err){.code = codes[i].code}), codes[i].want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_xml),
        cmocka_unit_test(test_xml_limits),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_list_plain),
        cmocka_unit_test(test_list_bad),
        cmocka_unit_test(test_buckets),
        cmocka_unit_test(test_results),
        cmocka_unit_test(test_delete_result),
        cmocka_unit_test(test_pending),
        cmocka_unit_test(test_pending_of_all_keys),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_problems),
        cmocka_unit_test(test_problem_details),
        cmocka_unit_test(test_other_errnos),
    };
    return cmocka_run_group_tests_name("s3 answers", tests, NULL, NULL);
}
