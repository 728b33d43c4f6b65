// SPDX-License-Identifier: Apache-2.0
/* s3_put, s3_delete, s3_delete_many, and the headers of whatever is written. */
#include "common/mem.h"
#include "s3/s3_call.h"
#include "s3/s3_delete.h"

static void add_meta(struct s3_request *q, const struct s3_meta *meta)
{
    size_t bytes = 0;
    for (size_t i = 0; i < meta->len; ++i) {
        const struct s3_meta_entry *e = &meta->entries[i];
        bytes += strlen(e->name) + strlen(e->value);
        /* Both are signed as they are sent, and no proxy on the way may have a reason to change them. */
        if (!*e->name || e->name[strspn(e->name, "abcdefghijklmnopqrstuvwxyz0123456789-_.")])
            q->bad = "a name of metadata with other characters than a-z 0-9 - _ .";
        s3_request_header_take(q, mem_printf("x-amz-meta-%s", e->name), mem_strdup(e->value));
    }
    if (bytes > S3_META_MAX)
        q->bad = "more metadata than an object may have (2,048 bytes)";
}

bool s3_request_write_headers(struct s3 *s3, struct s3_request *q, const struct s3_put_options *options,
                              const char *nonce)
{
    const struct s3_config *c = &s3->config;
    const struct s3_meta *meta = options ? options->meta : NULL;
    const char *type = options ? options->content_type : NULL;
    if (!type && meta)
        type = meta->content_type;
    if (!type || *type)
        s3_request_header(q, "content-type", type ? type : "application/octet-stream");
    if (meta)
        add_meta(q, meta);
    if (nonce)
        s3_request_header(q, "x-amz-meta-" S3_NONCE_NAME, nonce);
    if (c->sse)
        s3_request_header(q, "x-amz-server-side-encryption", c->sse);
    if (c->sse_kms_key_id)
        s3_request_header(q, "x-amz-server-side-encryption-aws-kms-key-id", c->sse_kms_key_id);
    if (c->storage_class)
        s3_request_header(q, "x-amz-storage-class", c->storage_class);
    s3_request_payer(s3, q);
    cleanup_buf struct buf tags = {0};
    s3_tags_add(s3->tags, q->key, &tags);
    if (!tags.len)
        return false;
    s3_request_header_take(q, mem_strdup("x-amz-tagging"), buf_take(&tags));
    return true;
}

int s3_nonce_check(struct s3 *s3, const char *bucket, const char *key, const char *nonce, char *ret_etag,
                   struct err *err)
{
    struct s3_object o;
    cleanup_s3_meta struct s3_meta meta = {0};
    struct err mine = {0};
    /* Asked for by a call that may be cancelled itself: its result is known soon, and worth that. */
    if (s3_head_all(s3, bucket, key, NULL, NULL, &o, &meta, &mine) < 0) {
        if (mine.code == ERR_NOT_FOUND)
            return 0;
        if (err)
            *err = mine;
        return -1;
    }
    const char *found = s3_meta_get(&meta, S3_NONCE_NAME);
    if (!found || strcmp(found, nonce) != 0)
        return 0;
    if (ret_etag)
        memcpy(ret_etag, o.etag, sizeof o.etag);
    return 1;
}

int s3_put(struct s3 *s3, const char *bucket, const char *key, const struct iovec *iov, int iov_len,
           const struct s3_put_options *options, struct cancel *cancel, char *ret_etag, struct err *err)
{
    bool exclusive = options && options->if_none_match;
    char nonce[S3_NONCE_LEN + 1];
    struct err mine = {0};
    struct retry retry = retry_new(s3->config.tries_max);
    cleanup_s3_request struct s3_request q = {.method = "PUT",
                                              .bucket = bucket,
                                              .key = key,
                                              .body = iov,
                                              .body_len = iov_len,
                                              .expects_body = true,
                                              .cancel = cancel};
    cleanup_s3_reply struct s3_reply reply;
    if (exclusive)
        s3_nonce_make(nonce);
    (void)s3_request_write_headers(s3, &q, options, exclusive ? nonce : NULL);
    if (exclusive)
        s3_request_header(&q, "if-none-match", "*");
    if (s3_call(s3, &q, &retry, &reply, &mine) == 0) {
        if (ret_etag)
            s3_etag_copy(http_head_get(&reply.http.head, "etag"), ret_etag);
        return 0;
    }
    if (exclusive && mine.code == ERR_STALE) {
        mine.code = ERR_EXISTS;
        /* It may be our own: a try whose answer was lost. */
        int ours = reply.maybe_done ? s3_nonce_check(s3, bucket, key, nonce, ret_etag, &mine) : 0;
        if (ours == 1)
            return 0;
    }
    if (err)
        *err = mine;
    return -1;
}

int s3_delete(struct s3 *s3, const char *bucket, const char *key, struct cancel *cancel, struct err *err)
{
    struct retry retry = retry_new(s3->config.tries_max);
    cleanup_s3_request struct s3_request q = {
        .method = "DELETE", .bucket = bucket, .key = key, .cancel = cancel};
    cleanup_s3_reply struct s3_reply reply;
    struct err mine = {0};
    s3_request_payer(s3, &q);
    if (s3_call(s3, &q, &retry, &reply, &mine) == 0 || strcmp(reply.problem.code, "NoSuchKey") == 0)
        return 0;
    if (err)
        *err = mine;
    return -1;
}
