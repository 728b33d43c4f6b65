// SPDX-License-Identifier: Apache-2.0
/* s3_head and s3_get. */
#include <assert.h>
#include <ctype.h>

#include "common/mem.h"
#include "s3/s3_call.h"

#define META_PREFIX "x-amz-meta-"
#define PAST_END_LOOKS                                                                                       \
    3 /* GET and HEAD that disagree about the size: the object changes faster than we look */

static char *quoted(const char *etag)
{
    return mem_printf("\"%s\"", etag);
}

static void add_if_match(struct s3_request *q, const char *etag)
{
    if (etag && *etag)
        s3_request_header_take(q, mem_strdup("if-match"), quoted(etag));
}

static void read_meta(const struct http_head *h, struct s3_meta *ret)
{
    *ret = (struct s3_meta){0};
    for (size_t i = 0; i < h->headers_len; ++i) {
        const struct http_header *one = &h->headers[i];
        size_t prefix = sizeof META_PREFIX - 1;
        if (one->name.len <= prefix || !slice_ieq_str((struct slice){one->name.p, prefix}, META_PREFIX))
            continue;
        cleanup_free char *name = mem_dup(one->name.p + prefix, one->name.len - prefix);
        cleanup_free char *value = mem_dup(one->value.p, one->value.len);
        for (char *p = name; *p; ++p)
            *p = (char)tolower((unsigned char)*p);
        s3_meta_set(ret, name, value);
    }
    struct slice type = http_head_get(h, "content-type");
    if (type.p)
        ret->content_type = mem_dup(type.p, type.len);
}

int s3_head_all(struct s3 *s3, const char *bucket, const char *key, const char *if_match,
                struct cancel *cancel, struct s3_object *ret_object, struct s3_meta *ret_meta,
                struct err *err)
{
    struct retry retry = retry_new(s3->config.tries_max);
    cleanup_s3_request struct s3_request q = {
        .method = "HEAD", .bucket = bucket, .key = key, .cancel = cancel};
    cleanup_s3_reply struct s3_reply reply;
    add_if_match(&q, if_match);
    s3_request_payer(s3, &q);
    if (s3_call(s3, &q, &retry, &reply, err) < 0)
        return -1;
    s3_reply_object(&reply, ret_object);
    if (ret_meta)
        read_meta(&reply.http.head, ret_meta);
    return 0;
}

int s3_head(struct s3 *s3, const char *bucket, const char *key, struct cancel *cancel,
            struct s3_object *ret_object, struct s3_meta *ret_meta, struct err *err)
{
    if (s3_head_all(s3, bucket, key, NULL, cancel, ret_object, ret_meta, err) < 0)
        return -1;
    if (ret_meta)
        s3_meta_remove(ret_meta, S3_NONCE_NAME);
    return 0;
}

/* A read of [offset, offset + len), and how far it is. */
struct reading {
    struct s3 *s3;
    const char *bucket, *key;
    uint64_t offset;
    size_t len, done;
    struct cancel *cancel;
    char *buf;
    struct s3_object info;        /* as the first answer said */
    char pinned[S3_ETAG_MAX + 1]; /* the version that is read; "" until one is known */
    struct retry retry;
};

/* Is the answer what was asked for? Only then are its bytes where they belong. Sets *ret_want to how many it
 * must have brought. */
static int check_answer(struct reading *r, const struct s3_reply *reply, size_t *ret_want, struct err *err)
{
    const struct http_head *h = &reply->http.head;
    struct http_range range;
    uint64_t first = r->offset + r->done;
    size_t left = r->len - r->done;
    if (h->status == 200 && first == 0 && h->has_length) {
        *ret_want = h->length < left ? (size_t)h->length : left; /* the server ignores ranges */
    } else {
        if (h->status != 206 || !http_range_parse(http_head_get(h, "content-range"), &range) ||
            !range.known_range)
            return err_set(err, ERR_IO, "the server answered %d without the range that was asked for",
                           h->status);
        uint64_t want = range.total - first < left ? range.total - first : left;
        if (range.first != first || range.last - range.first + 1 != want ||
            (h->has_length && h->length != want))
            return err_set(err, ERR_IO, "the server answered with another range than was asked for");
        *ret_want = (size_t)want;
    }
    struct s3_object now;
    s3_reply_object(reply, &now);
    /* If-Match is for the server to keep; a cache in between may not. */
    if (r->pinned[0] && now.etag[0] && strcmp(r->pinned, now.etag) != 0)
        return err_set(err, ERR_STALE, "the object changed while it was read");
    if (r->done && now.size != r->info.size)
        return err_set(err, ERR_STALE, "the object changed its size while it was read");
    return 0;
}

/* One request for what is left. 1: go on; 0: complete; -1. */
static int read_step(struct reading *r, struct err *err)
{
    uint64_t first = r->offset + r->done;
    cleanup_s3_request struct s3_request q = {.method = "GET",
                                              .bucket = r->bucket,
                                              .key = r->key,
                                              .into = r->buf + r->done,
                                              .into_cap = r->len - r->done,
                                              .may_break = true,
                                              .cancel = r->cancel};
    cleanup_s3_reply struct s3_reply reply;
    s3_request_header_take(&q, mem_strdup("range"),
                           mem_printf("bytes=%llu-%llu", (unsigned long long)first,
                                      (unsigned long long)(r->offset + r->len - 1)));
    add_if_match(&q, r->pinned);
    s3_request_payer(r->s3, &q);
    if (s3_call(r->s3, &q, &r->retry, &reply, err) < 0)
        return -1;
    size_t want = 0;
    struct err mine = {0};
    int rc = check_answer(r, &reply, &want, &mine);
    if (rc == 0) {
        if (!r->done)
            s3_reply_object(&reply, &r->info);
        if (!r->pinned[0])
            memcpy(r->pinned, r->info.etag, sizeof r->pinned);
        size_t got = reply.http.into_len < want ? reply.http.into_len : want;
        r->done += got;
        if (got == want)
            return 0;
        (void)err_set(&mine, ERR_IO, "the connection broke after %zu of %zu bytes", got, want);
        /* Without a way to tell versions apart, what comes next may be of another one: from the start again.
         */
        if (!r->pinned[0])
            r->done = 0;
    }
    if (mine.code != ERR_STALE && retry_again(&r->retry, false, 0, r->cancel, &mine))
        return 1;
    if (err)
        *err = mine;
    return s3_read_failed(r->bucket, r->key, err);
}

/* Behind the end: which end, and of which version? */
static int look_past_end(struct reading *r, struct err *err)
{
    struct s3_object o;
    if (s3_head_all(r->s3, r->bucket, r->key, r->pinned, r->cancel, &o, NULL, err) < 0)
        return -1;
    if (o.size > r->offset + r->done)
        return 1;
    r->info = o;
    return 0;
}

int s3_get(struct s3 *s3, const char *bucket, const char *key, uint64_t offset, size_t len,
           const char *if_match, struct cancel *cancel, void *buf, size_t *ret_len,
           struct s3_object *ret_info, struct err *err)
{
    assert(len > 0);
    struct err mine = {0};
    struct reading r = {
        .s3 = s3, .bucket = bucket, .key = key, .offset = offset, .len = len, .cancel = cancel};
    r.buf = buf;
    r.retry = retry_new(s3->config.tries_max);
    if (if_match && strlen(if_match) <= S3_ETAG_MAX)
        memcpy(r.pinned, if_match, strlen(if_match) + 1);
    int rc, past_end = 0;
    do {
        rc = read_step(&r, &mine);
        if (rc < 0 && mine.code == ERR_RANGE_INVALID && ++past_end <= PAST_END_LOOKS)
            rc = look_past_end(&r, &mine);
    } while (rc > 0);
    if (rc < 0) {
        if (err)
            *err = mine;
        return -1;
    }
    *ret_len = r.done;
    if (ret_info)
        *ret_info = r.info;
    return 0;
}
