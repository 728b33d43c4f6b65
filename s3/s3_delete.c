// SPDX-License-Identifier: Apache-2.0
#include "s3/s3_delete.h"

#include <assert.h>
#include <openssl/evp.h>

#include "common/log.h"
#include "common/mem.h"
#include "s3/xml.h"

/* Valid UTF-8 is the caller's wish, not ours to check: a server that minds says MalformedXML. */
bool s3_add_xml_text(struct buf *b, const char *s)
{
    for (; *s; ++s) {
        unsigned char c = (unsigned char)*s;
        bool ok;
        if (c < ' ' || c == 0x7f)
            return false; /* also those that XML has, TAB, LF and CR: parsers turn them into spaces or LF */
        if (c == '&')
            ok = buf_add_str(b, "&amp;");
        else if (c == '<')
            ok = buf_add_str(b, "&lt;");
        else if (c == '>')
            ok = buf_add_str(b, "&gt;");
        else
            ok = buf_add(b, s, 1);
        if (!ok)
            return false;
    }
    return true;
}

/* One <Error>: 1 if it is one, 0 if it is none that matters. */
static int read_error(struct xml *x, struct err *err)
{
    unsigned depth = x->depth;
    cleanup_free char *key = NULL, *code = NULL, *message = NULL;
    int rc;
    while ((rc = xml_next_child(x, depth, err)) == 1) {
        char **at = xml_is(x, "Key")       ? &key
                    : xml_is(x, "Code")    ? &code
                    : xml_is(x, "Message") ? &message
                                           : NULL;
        cleanup_free char *text = NULL;
        if (xml_read_text(x, &text, err) < 0)
            return -1;
        if (at && !*at)
            *at = steal_ptr(&text);
    }
    if (rc < 0)
        return -1;
    if (code && (strcmp(code, "NoSuchKey") == 0 || strcmp(code, "NoSuchVersion") == 0))
        return 0;
    bool denied = code && strcmp(code, "AccessDenied") == 0;
    (void)err_set(err, denied ? ERR_DENIED : ERR_IO, "deleting %.200s: %.60s: %.200s", key ? key : "?",
                  code ? code : "?", message ? message : "");
    return 1;
}

int s3_delete_result_parse(struct slice doc, struct err *err)
{
    cleanup_xml struct xml x;
    int failed = 0, rc;
    xml_init(&x, doc);
    if (xml_next(&x, err) != XML_START || !xml_is(&x, "DeleteResult"))
        return err_set(err, ERR_IO, "the server's answer is no result of a deletion");
    while ((rc = xml_next_child(&x, 1, err)) == 1) {
        struct err one = {0};
        int is_failure = 0;
        if (!xml_is(&x, "Error"))
            rc = xml_skip(&x, err);
        else
            rc = is_failure = read_error(&x, &one);
        if (rc < 0)
            break;
        if (is_failure && failed++ == 0 && err)
            *err = one;
    }
    return rc < 0 ? err_set(err, ERR_IO, "the server's result of a deletion is malformed") : failed;
}

/* Old servers want an MD5 of the list, and new ones take it. */
static void add_md5(struct s3_request *q, struct slice body)
{
    unsigned char md5[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    char text[64];
    int ok = EVP_Digest(body.p, body.len, md5, &len, EVP_md5(), NULL);
    assert(ok == 1 && len == 16);
    (void)EVP_EncodeBlock((unsigned char *)text, md5, (int)len);
    s3_request_header_take(q, mem_strdup("content-md5"), mem_strdup(text));
}

static int delete_listed(struct s3 *s3, const char *bucket, struct slice list, struct cancel *cancel,
                         struct err *err)
{
    struct retry retry = retry_new(s3->config.tries_max);
    struct iovec body = {(void *)(uintptr_t)list.p, list.len};
    cleanup_s3_request struct s3_request q = {.method = "POST",
                                              .bucket = bucket,
                                              .body = &body,
                                              .body_len = 1,
                                              .expects_body = true,
                                              .error_in_200 = true,
                                              .cancel = cancel};
    cleanup_s3_reply struct s3_reply reply;
    s3_request_query(&q, "delete", "");
    s3_request_header(&q, "content-type", "application/xml");
    add_md5(&q, list);
    s3_request_payer(s3, &q);
    if (s3_call(s3, &q, &retry, &reply, err) < 0)
        return -1;
    return s3_delete_result_parse(s3_reply_text(&reply), err);
}

int s3_delete_many(struct s3 *s3, const char *bucket, const char *const *keys, size_t len,
                   struct cancel *cancel, struct err *err)
{
    cleanup_buf struct buf list = {0};
    struct err first = {0}, mine = {0};
    int failed = 0, listed = 0;
    assert(len > 0 && len <= S3_DELETE_MAX);
    (void)buf_add_str(&list, "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Quiet>true</Quiet>");
    for (size_t i = 0; i < len; ++i) {
        size_t before = list.len;
        (void)buf_add_str(&list, "<Object><Key>");
        if (s3_add_xml_text(&list, keys[i])) {
            (void)buf_add_str(&list, "</Key></Object>");
            ++listed;
            continue;
        }
        list.len = before;
        if (s3_delete(s3, bucket, keys[i], cancel, &mine) < 0 && failed++ == 0)
            first = mine;
    }
    (void)buf_add_str(&list, "</Delete>");
    if (listed) {
        mine = (struct err){0};
        int rc = delete_listed(s3, bucket, (struct slice){list.p, list.len}, cancel, &mine);
        if (rc != 0 && failed == 0)
            first = mine;
        if (rc < 0) {
            if (err)
                *err = first;
            return -1;
        }
        failed += rc;
    }
    if (failed) {
        log_error("S3 objects not deleted", F_S("bucket", bucket), F_U("objects", (uint64_t)failed),
                  F_ERR(&first));
        if (err)
            *err = first;
    }
    return failed;
}
