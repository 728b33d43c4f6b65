// SPDX-License-Identifier: Apache-2.0
/* Copies at the server. */
#include <stdio.h>

#include "common/mem.h"
#include "s3/s3_copy.h"
#include "s3/s3_url.h"
#include "s3/xml.h"

void s3_request_source(struct s3 *s3, struct s3_request *q, const char *bucket, const char *key,
                       const char *etag)
{
    cleanup_buf struct buf source = {0};
    (void)buf_add_str(&source, "/");
    (void)s3_url_add_escaped(&source, bucket, false);
    (void)buf_add_str(&source, "/");
    (void)s3_url_add_escaped(&source, key, true);
    s3_request_header_take(q, mem_strdup("x-amz-copy-source"), buf_take(&source));
    if (!etag || !*etag)
        return;
    s3_request_header_take(q, mem_strdup("x-amz-copy-source-if-match"), mem_printf("\"%s\"", etag));
    /* Ceph's gateway (16) knows the condition by this name only. */
    if (s3->config.endpoint)
        s3_request_header_take(q, mem_strdup("x-amz-copy-if-match"), mem_printf("\"%s\"", etag));
}

int s3_copy_result_parse(struct slice doc, char ret_etag[S3_ETAG_MAX + 1], char ret_crc[9], struct err *err)
{
    cleanup_xml struct xml x;
    int rc;
    bool etag_seen = false;
    ret_crc[0] = '\0';
    xml_init(&x, doc);
    if (xml_next(&x, err) != XML_START || (!xml_is(&x, "CopyObjectResult") && !xml_is(&x, "CopyPartResult") &&
                                           !xml_is(&x, "CompleteMultipartUploadResult")))
        return err_set(err, ERR_IO, "the server's answer is no result of a copy or an upload");
    while ((rc = xml_next_child(&x, 1, err)) == 1) {
        bool is_etag = xml_is(&x, "ETag"), is_crc = xml_is(&x, "ChecksumCRC32C");
        cleanup_free char *text = NULL;
        if (xml_read_text(&x, &text, err) < 0)
            return -1;
        if (is_etag) {
            s3_etag_copy(slice_of(text), ret_etag);
            etag_seen = true;
        } else if (is_crc && strlen(text) == 8 &&
                   text[strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")] ==
                       '\0') {
            memcpy(ret_crc, text, 9);
        }
    }
    if (rc == 0 && !etag_seen)
        return err_set(err, ERR_IO, "the server's result of a copy or an upload has no ETag");
    return rc;
}

/* In one request. */
static int copy_whole(struct s3 *s3, const char *source_bucket, const struct s3_object *source,
                      const char *bucket, const char *key, const struct s3_meta *meta, struct cancel *cancel,
                      char *ret_etag, struct err *err)
{
    struct retry retry = retry_new(s3->config.tries_max);
    cleanup_s3_request struct s3_request q = {.method = "PUT",
                                              .bucket = bucket,
                                              .key = key,
                                              .expects_body = true,
                                              .error_in_200 = true,
                                              .answer_timeout_ms = S3_LONG_ANSWER_MS,
                                              .cancel = cancel};
    cleanup_s3_reply struct s3_reply reply;
    char etag[S3_ETAG_MAX + 1], crc[9];
    s3_request_source(s3, &q, source_bucket, source->key, source->etag);
    s3_request_header(&q, "x-amz-metadata-directive", meta ? "REPLACE" : "COPY");
    struct s3_put_options options = {.meta = meta, .content_type = meta ? NULL : ""};
    if (s3_request_write_headers(s3, &q, &options, NULL))
        s3_request_header(&q, "x-amz-tagging-directive", "REPLACE");
    if (s3_call(s3, &q, &retry, &reply, err) < 0)
        return -1;
    if (s3_copy_result_parse(s3_reply_text(&reply), etag, crc, err) < 0)
        return s3_read_failed(bucket, key, err);
    if (ret_etag)
        memcpy(ret_etag, etag, sizeof etag);
    return 0;
}

static int copy_parts(struct s3_upload *upload, const char *source_bucket, const struct s3_object *source,
                      uint64_t part_size, struct cancel *cancel, struct err *err)
{
    unsigned number = 1;
    for (uint64_t at = 0; at < source->size; at += part_size, ++number) {
        uint64_t len = source->size - at < part_size ? source->size - at : part_size;
        if (s3_upload_copy_part(upload, number, source_bucket, source->key, at, len, source->etag, cancel,
                                err) < 0)
            return -1;
    }
    return 0;
}

static int copy_in_parts(struct s3 *s3, const char *source_bucket, const struct s3_object *source,
                         const char *bucket, const char *key, const struct s3_meta *meta,
                         struct cancel *cancel, char *ret_etag, struct err *err)
{
    struct s3_object o;
    cleanup_s3_meta struct s3_meta kept = {0};
    struct s3_upload *upload = NULL;
    uint64_t max = s3->config.copy_max_bytes, part = max / 5 > S3_PART_MIN ? max / 5 : S3_PART_MIN;
    if (part < source->size / S3_PARTS_MAX + 1)
        part = source->size / S3_PARTS_MAX + 1;
    /* A copy in parts keeps nothing of the source's metadata by itself. */
    if (!meta && s3_head(s3, source_bucket, source->key, cancel, &o, &kept, err) < 0)
        return -1;
    struct s3_put_options options = {.meta = meta ? meta : &kept};
    if (s3_upload_begin(s3, bucket, key, &options, cancel, &upload, err) < 0)
        return -1;
    int rc = copy_parts(upload, source_bucket, source, part, cancel, err);
    if (rc == 0)
        rc = s3_upload_complete(upload, cancel, ret_etag, err);
    if (rc < 0)
        (void)s3_upload_abort(upload, NULL, NULL);
    s3_upload_free(upload);
    return rc;
}

int s3_copy(struct s3 *s3, const char *source_bucket, const struct s3_object *source, const char *bucket,
            const char *key, const struct s3_meta *replace_meta, struct cancel *cancel, char *ret_etag,
            struct err *err)
{
    return (source->size > s3->config.copy_max_bytes ? copy_in_parts : copy_whole)(
        s3, source_bucket, source, bucket, key, replace_meta, cancel, ret_etag, err);
}
