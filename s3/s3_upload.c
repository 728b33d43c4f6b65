// SPDX-License-Identifier: Apache-2.0
#include "s3/s3_upload.h"

#include <assert.h>
#include <stdio.h>
#include <utlist.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "s3/s3_copy.h"
#include "s3/s3_crc32c.h"
#include "s3/s3_delete.h"
#include "s3/xml.h"

/* Creating an upload is quick, and its answer must not be missed: only it tells what to abort. So it is not
 * interrupted, and this is how long it may take instead. */
#define BEGIN_TIMEOUT_MS 15000

static int read_id(struct slice doc, char **ret, struct err *err)
{
    cleanup_xml struct xml x;
    enum xml_event event;
    xml_init(&x, doc);
    while ((event = xml_next(&x, err)) > XML_END_OF_DOCUMENT) {
        if (event != XML_START || !xml_is(&x, "UploadId"))
            continue;
        if (xml_read_text(&x, ret, err) < 0)
            return -1;
        if (**ret && strlen(*ret) <= S3_UPLOAD_ID_MAX)
            return 0;
        free(*ret);
        *ret = NULL;
        break;
    }
    return err_set(err, ERR_IO, "the server began an upload without an UploadId");
}

static int ask_begin(struct s3_upload *u, const struct s3_put_options *options, struct cancel *cancel,
                     unsigned *ret_lost, struct err *err)
{
    struct s3 *s3 = u->s3;
    struct retry retry = retry_new(s3->config.tries_max);
    cleanup_s3_request struct s3_request q = {.method = "POST",
                                              .bucket = u->bucket,
                                              .key = u->key,
                                              .expects_body = true,
                                              .error_in_200 = true,
                                              .answer_timeout_ms = BEGIN_TIMEOUT_MS,
                                              .unbroken = true,
                                              .cancel = cancel};
    cleanup_s3_reply struct s3_reply reply;
    s3_request_query(&q, "uploads", "");
    (void)s3_request_write_headers(s3, &q, options, u->nonce);
    if (s3->config.checksums)
        s3_request_header(&q, "x-amz-checksum-algorithm", "CRC32C");
    int rc = s3_call(s3, &q, &retry, &reply, err);
    *ret_lost = reply.lost;
    if (rc == 0 && read_id(s3_reply_text(&reply), &u->id, err) < 0) {
        ++*ret_lost;
        rc = s3_read_failed(u->bucket, u->key, err);
    }
    return rc;
}

static struct s3_upload *upload_new(struct s3 *s3, const char *bucket, const char *key)
{
    struct s3_upload *u = mem_new(struct s3_upload);
    u->s3 = s3;
    u->bucket = mem_strdup(bucket);
    u->key = mem_strdup(key);
    pthread_mutex_init(&u->lock, NULL);
    pthread_mutex_lock(&s3->lock);
    DL_APPEND(s3->uploads, u);
    pthread_mutex_unlock(&s3->lock);
    return u;
}

int s3_upload_begin(struct s3 *s3, const char *bucket, const char *key, const struct s3_put_options *options,
                    struct cancel *cancel, struct s3_upload **ret_upload, struct err *err)
{
    struct s3_upload *u = upload_new(s3, bucket, key);
    int64_t started_ms = clock_wall_ms();
    unsigned lost = 0;
    u->if_none_match = options && options->if_none_match;
    s3_nonce_make(u->nonce);
    int rc = ask_begin(u, options, cancel, &lost, err);
    if (lost)
        s3_orphans_abort(s3, bucket, key, lost, started_ms);
    if (rc == 0 && cancel_fired(cancel)) {
        (void)s3_upload_abort(u, NULL, NULL);
        rc = err_set(err, ERR_CANCELLED, "cancelled");
    }
    if (rc < 0) {
        s3_upload_free(u);
        return -1;
    }
    *ret_upload = u;
    return 0;
}

void s3_upload_free(struct s3_upload *u)
{
    if (!u)
        return;
    pthread_mutex_lock(&u->s3->lock);
    DL_DELETE(u->s3->uploads, u);
    pthread_mutex_unlock(&u->s3->lock);
    pthread_mutex_destroy(&u->lock);
    free(u->bucket);
    free(u->key);
    free(u->id);
    free(u->parts);
    free(u);
}

void s3_upload_keep_part(struct s3_upload *u, unsigned number, const struct s3_part *part)
{
    pthread_mutex_lock(&u->lock);
    if (number > u->parts_len) {
        size_t len = u->parts_len ? u->parts_len : 16;
        while (len < number)
            len *= 2;
        u->parts = mem_realloc(u->parts, len * sizeof *u->parts);
        memset(u->parts + u->parts_len, 0, (len - u->parts_len) * sizeof *u->parts);
        u->parts_len = len;
    }
    u->parts[number - 1] = *part;
    pthread_mutex_unlock(&u->lock);
}

/* An upload that is gone is no missing file. */
static int part_failed(const struct s3_upload *u, struct err *mine, struct err *err)
{
    if (mine->code == ERR_NOT_FOUND) {
        mine->code = ERR_IO;
        log_error("S3 upload is gone: somebody aborted it, or a lifecycle rule did", F_S("bucket", u->bucket),
                  F_S("key", u->key), F_ERR(mine));
    }
    if (err)
        *err = *mine;
    return -1;
}

int s3_upload_part(struct s3_upload *u, unsigned number, const struct iovec *iov, int iov_len,
                   struct cancel *cancel, struct err *err)
{
    char number_text[12];
    struct s3_part part = {.etag = ""};
    struct err mine = {0};
    struct retry retry = retry_new(u->s3->config.tries_max);
    cleanup_s3_request struct s3_request q = {.method = "PUT",
                                              .bucket = u->bucket,
                                              .key = u->key,
                                              .body = iov,
                                              .body_len = iov_len,
                                              .expects_body = true,
                                              .cancel = cancel};
    cleanup_s3_reply struct s3_reply reply;
    assert(number >= 1 && number <= S3_PARTS_MAX);
    (void)snprintf(number_text, sizeof number_text, "%u", number);
    s3_request_query(&q, "partNumber", number_text);
    s3_request_query(&q, "uploadId", u->id);
    if (u->s3->config.checksums) {
        uint32_t crc = 0;
        for (int i = 0; i < iov_len; ++i)
            crc = s3_crc32c(crc, iov[i].iov_base, iov[i].iov_len);
        s3_crc32c_text(crc, part.crc);
        s3_request_header(&q, "x-amz-checksum-crc32c", part.crc);
    }
    s3_request_payer(u->s3, &q);
    if (s3_call(u->s3, &q, &retry, &reply, &mine) < 0)
        return part_failed(u, &mine, err);
    s3_etag_copy(http_head_get(&reply.http.head, "etag"), part.etag);
    if (!part.etag[0])
        return err_set(err, ERR_IO, "PUT s3://%s/%.200s: the server gave part %u no ETag", u->bucket, u->key,
                       number);
    for (int i = 0; i < iov_len; ++i)
        part.size += iov[i].iov_len;
    s3_upload_keep_part(u, number, &part);
    return 0;
}

int s3_upload_copy_part(struct s3_upload *u, unsigned number, const char *source_bucket,
                        const char *source_key, uint64_t offset, uint64_t len, const char *if_match,
                        struct cancel *cancel, struct err *err)
{
    char number_text[12];
    struct s3_part part = {.etag = ""};
    struct err mine = {0};
    struct retry retry = retry_new(u->s3->config.tries_max);
    cleanup_s3_request struct s3_request q = {.method = "PUT",
                                              .bucket = u->bucket,
                                              .key = u->key,
                                              .expects_body = true,
                                              .error_in_200 = true,
                                              .answer_timeout_ms = S3_LONG_ANSWER_MS,
                                              .cancel = cancel};
    cleanup_s3_reply struct s3_reply reply;
    assert(number >= 1 && number <= S3_PARTS_MAX && len > 0 && len <= S3_PUT_MAX);
    (void)snprintf(number_text, sizeof number_text, "%u", number);
    s3_request_query(&q, "partNumber", number_text);
    s3_request_query(&q, "uploadId", u->id);
    s3_request_source(u->s3, &q, source_bucket, source_key, if_match);
    s3_request_header_take(
        &q, mem_strdup("x-amz-copy-source-range"),
        mem_printf("bytes=%llu-%llu", (unsigned long long)offset, (unsigned long long)(offset + len - 1)));
    s3_request_payer(u->s3, &q);
    if (s3_call(u->s3, &q, &retry, &reply, &mine) < 0) {
        /* NoSuchKey is the source's, and an ordinary thing. */
        if (strcmp(reply.problem.code, "NoSuchKey") != 0)
            return part_failed(u, &mine, err);
        if (err)
            *err = mine;
        return -1;
    }
    if (s3_copy_result_parse(s3_reply_text(&reply), part.etag, part.crc, err) < 0)
        return s3_read_failed(u->bucket, u->key, err);
    if (!part.etag[0])
        return err_set(err, ERR_IO, "PUT s3://%s/%.200s: the server gave part %u no ETag", u->bucket, u->key,
                       number);
    part.size = len;
    s3_upload_keep_part(u, number, &part);
    return 0;
}

/* ---- one that was begun before ---- */

static int ask_parts(struct s3_upload *u, unsigned after, struct cancel *cancel, unsigned *ret_next,
                     struct err *err)
{
    char after_text[12];
    struct retry retry = retry_new(u->s3->config.tries_max);
    cleanup_s3_request struct s3_request q = {
        .method = "GET", .bucket = u->bucket, .key = u->key, .cancel = cancel};
    cleanup_s3_reply struct s3_reply reply;
    (void)snprintf(after_text, sizeof after_text, "%u", after);
    s3_request_query(&q, "part-number-marker", after_text);
    s3_request_query(&q, "uploadId", u->id);
    s3_request_payer(u->s3, &q);
    if (s3_call(u->s3, &q, &retry, &reply, err) < 0)
        return -1;
    if (s3_parts_parse(s3_reply_text(&reply), u, ret_next, err) < 0)
        return s3_read_failed(u->bucket, u->key, err);
    return 0;
}

int s3_upload_resume(struct s3 *s3, const char *bucket, const char *key, const char *id,
                     struct cancel *cancel, struct s3_upload **ret_upload, struct err *err)
{
    struct s3_upload *u = upload_new(s3, bucket, key);
    unsigned after = 0, next = 0;
    int rc;
    u->id = mem_strdup(id);
    while ((rc = ask_parts(u, after, cancel, &next, err)) == 0 && next > after)
        after = next;
    if (rc < 0) {
        s3_upload_free(u);
        return -1;
    }
    *ret_upload = u;
    return 0;
}

const char *s3_upload_id(const struct s3_upload *u)
{
    return u->id;
}

bool s3_upload_has_part(struct s3_upload *u, unsigned number, uint64_t size)
{
    pthread_mutex_lock(&u->lock);
    bool has = number >= 1 && number <= u->parts_len && u->parts[number - 1].etag[0] &&
               u->parts[number - 1].size == size;
    pthread_mutex_unlock(&u->lock);
    return has;
}

static void add_parts(struct s3_upload *u, struct buf *b)
{
    pthread_mutex_lock(&u->lock);
    for (size_t i = 0; i < u->parts_len; ++i) {
        const struct s3_part *p = &u->parts[i];
        if (!p->etag[0])
            continue;
        (void)buf_printf(b, "<Part><PartNumber>%zu</PartNumber><ETag>&quot;", i + 1);
        (void)s3_add_xml_text(b, p->etag);
        (void)buf_add_str(b, "&quot;</ETag>");
        if (p->crc[0])
            (void)buf_printf(b, "<ChecksumCRC32C>%s</ChecksumCRC32C>", p->crc);
        (void)buf_add_str(b, "</Part>");
    }
    pthread_mutex_unlock(&u->lock);
}

static int ask_complete(struct s3_upload *u, struct slice list, struct cancel *cancel, struct s3_reply *reply,
                        char *ret_etag, struct err *err)
{
    struct retry retry = retry_new(u->s3->config.tries_max);
    struct iovec body = {(void *)(uintptr_t)list.p, list.len};
    char etag[S3_ETAG_MAX + 1], crc[9];
    cleanup_s3_request struct s3_request q = {.method = "POST",
                                              .bucket = u->bucket,
                                              .key = u->key,
                                              .body = &body,
                                              .body_len = 1,
                                              .expects_body = true,
                                              .error_in_200 = true,
                                              .answer_timeout_ms = S3_LONG_ANSWER_MS,
                                              .cancel = cancel};
    s3_request_query(&q, "uploadId", u->id);
    s3_request_header(&q, "content-type", "application/xml");
    if (u->if_none_match)
        s3_request_header(&q, "if-none-match", "*");
    s3_request_payer(u->s3, &q);
    if (s3_call(u->s3, &q, &retry, reply, err) < 0)
        return -1;
    if (s3_copy_result_parse(s3_reply_text(reply), etag, crc, err) < 0) {
        reply->maybe_done = true;
        return s3_read_failed(u->bucket, u->key, err);
    }
    if (ret_etag && !etag[0] && u->nonce[0] &&
        s3_nonce_check(u->s3, u->bucket, u->key, u->nonce, ret_etag, NULL) == 1)
        return 0;
    if (ret_etag)
        memcpy(ret_etag, etag, sizeof etag);
    return 0;
}

/* Servers that are not AWS may know If-None-Match for a PUT and pass it over here (Ceph's gateway 16 does). A
 * look beforehand leaves a moment where another's object is lost, instead of all the time since the open. */
static int check_new(struct s3_upload *u, struct cancel *cancel, struct err *err)
{
    struct s3_object o;
    struct err mine = {0};
    if (!u->if_none_match || !u->s3->config.endpoint)
        return 0;
    if (s3_head(u->s3, u->bucket, u->key, cancel, &o, NULL, &mine) == 0)
        return err_set(err, ERR_EXISTS, "POST s3://%s/%.200s: there is an object meanwhile", u->bucket,
                       u->key);
    if (mine.code == ERR_NOT_FOUND)
        return 0;
    if (err)
        *err = mine;
    return -1;
}

int s3_upload_complete(struct s3_upload *u, struct cancel *cancel, char *ret_etag, struct err *err)
{
    struct err mine = {0};
    if (check_new(u, cancel, err) < 0)
        return -1;
    cleanup_s3_reply struct s3_reply reply;
    cleanup_buf struct buf list = {0};
    (void)buf_add_str(&list, "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    add_parts(u, &list);
    (void)buf_add_str(&list, "</CompleteMultipartUpload>");
    if (ask_complete(u, (struct slice){list.p, list.len}, cancel, &reply, ret_etag, &mine) == 0)
        return 0;
    /* The object may be there all the same: a try whose answer was lost, then "no such upload" or "exists".
     */
    if (reply.maybe_done && u->nonce[0] &&
        s3_nonce_check(u->s3, u->bucket, u->key, u->nonce, ret_etag, NULL) == 1)
        return 0;
    if (u->if_none_match && mine.code == ERR_STALE)
        mine.code = ERR_EXISTS;
    return part_failed(u, &mine, err);
}

int s3_upload_drop(struct s3 *s3, const char *bucket, const char *key, const char *id, struct cancel *cancel,
                   struct err *err)
{
    struct retry retry = retry_new(s3->config.tries_max);
    cleanup_s3_request struct s3_request q = {
        .method = "DELETE", .bucket = bucket, .key = key, .cancel = cancel};
    cleanup_s3_reply struct s3_reply reply;
    struct err mine = {0};
    s3_request_query(&q, "uploadId", id);
    s3_request_payer(s3, &q);
    if (s3_call(s3, &q, &retry, &reply, &mine) == 0 || mine.code == ERR_NOT_FOUND)
        return 0;
    if (err)
        *err = mine;
    return -1;
}

int s3_upload_abort(struct s3_upload *u, struct cancel *cancel, struct err *err)
{
    return s3_upload_drop(u->s3, u->bucket, u->key, u->id, cancel, err);
}
