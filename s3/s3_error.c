// SPDX-License-Identifier: Apache-2.0
#include "s3/s3_error.h"

#include <errno.h>
#include <stdio.h>

#include "common/cleanup.h"
#include "s3/s3.h"
#include "s3/xml.h"

static const struct {
    const char *code;
    enum err_code err;
    enum s3_remedy remedy;
    const char *hint; /* what a user can do; NULL: nothing but what the code says */
} by_code[] = {
    {"NoSuchKey", ERR_NOT_FOUND, S3_REMEDY_NONE, NULL},
    {"NoSuchBucket", ERR_NOT_FOUND, S3_REMEDY_NONE, NULL},
    {"NoSuchUpload", ERR_NOT_FOUND, S3_REMEDY_NONE, NULL},
    {"PreconditionFailed", ERR_STALE, S3_REMEDY_NONE, NULL},
    {"ConditionalRequestConflict", ERR_OVERLOADED, S3_REMEDY_RETRY, NULL},
    {"OperationAborted", ERR_OVERLOADED, S3_REMEDY_RETRY, NULL},
    {"SlowDown", ERR_OVERLOADED, S3_REMEDY_RETRY, NULL},
    {"SlowDownRead", ERR_OVERLOADED, S3_REMEDY_RETRY, NULL},
    {"SlowDownWrite", ERR_OVERLOADED, S3_REMEDY_RETRY, NULL},
    {"ServiceUnavailable", ERR_OVERLOADED, S3_REMEDY_RETRY, NULL},
    {"Throttling", ERR_OVERLOADED, S3_REMEDY_RETRY, NULL},
    {"ThrottlingException", ERR_OVERLOADED, S3_REMEDY_RETRY, NULL},
    {"RequestThrottled", ERR_OVERLOADED, S3_REMEDY_RETRY, NULL},
    {"RequestLimitExceeded", ERR_OVERLOADED, S3_REMEDY_RETRY, NULL},
    {"BandwidthLimitExceeded", ERR_OVERLOADED, S3_REMEDY_RETRY, NULL},
    {"InternalError", ERR_IO, S3_REMEDY_RETRY, NULL},
    {"RequestTimeout", ERR_TIMEOUT, S3_REMEDY_RETRY, NULL},
    /* Our body was damaged or cut on its way. */
    {"IncompleteBody", ERR_IO, S3_REMEDY_RETRY, NULL},
    {"BadDigest", ERR_IO, S3_REMEDY_RETRY, NULL},
    {"XAmzContentSHA256Mismatch", ERR_IO, S3_REMEDY_RETRY, NULL},
    {"XAmzContentChecksumMismatch", ERR_IO, S3_REMEDY_RETRY, NULL},
    {"PermanentRedirect", ERR_UPSTREAM, S3_REMEDY_REGION, NULL},
    {"TemporaryRedirect", ERR_UPSTREAM, S3_REMEDY_REGION, NULL},
    {"Redirect", ERR_UPSTREAM, S3_REMEDY_REGION, NULL},
    {"AuthorizationHeaderMalformed", ERR_INVALID, S3_REMEDY_REGION, NULL},
    {"IllegalLocationConstraintException", ERR_INVALID, S3_REMEDY_REGION, NULL},
    {"ExpiredToken", ERR_DENIED, S3_REMEDY_CREDENTIALS, "AWS_SESSION_TOKEN and its keys have expired"},
    {"ExpiredTokenException", ERR_DENIED, S3_REMEDY_CREDENTIALS, NULL},
    {"TokenRefreshRequired", ERR_DENIED, S3_REMEDY_CREDENTIALS, NULL},
    {"InvalidToken", ERR_DENIED, S3_REMEDY_CREDENTIALS, NULL},
    {"InvalidAccessKeyId", ERR_DENIED, S3_REMEDY_CREDENTIALS,
     "this server does not know AWS_ACCESS_KEY_ID: is AWS_ENDPOINT_URL the one it is for?"},
    {"RequestTimeTooSkewed", ERR_DENIED, S3_REMEDY_CLOCK, "the clock here is wrong"},
    {"AccessDenied", ERR_DENIED, S3_REMEDY_NONE,
     "the keys are known, and may not do this: s3:ListBucket, s3:GetObject, s3:PutObject, s3:DeleteObject"},
    {"SignatureDoesNotMatch", ERR_DENIED, S3_REMEDY_NONE,
     "AWS_SECRET_ACCESS_KEY is not the one of that AWS_ACCESS_KEY_ID"},
    {"QuotaExceeded", ERR_UPSTREAM, S3_REMEDY_NONE, NULL},
};

static const struct {
    int from, to; /* statuses, both included; the first row that fits */
    enum err_code err;
    enum s3_remedy remedy;
} by_status[] = {
    {300, 399, ERR_UPSTREAM, S3_REMEDY_REGION},    {400, 400, ERR_INVALID, S3_REMEDY_NONE},
    {401, 401, ERR_DENIED, S3_REMEDY_NONE},        {403, 403, ERR_DENIED, S3_REMEDY_NONE},
    {404, 404, ERR_NOT_FOUND, S3_REMEDY_NONE},     {405, 405, ERR_INVALID, S3_REMEDY_NONE},
    {408, 408, ERR_TIMEOUT, S3_REMEDY_RETRY},      {411, 411, ERR_INVALID, S3_REMEDY_NONE},
    {412, 412, ERR_STALE, S3_REMEDY_NONE},         {413, 414, ERR_INVALID, S3_REMEDY_NONE},
    {416, 416, ERR_RANGE_INVALID, S3_REMEDY_NONE}, {429, 429, ERR_OVERLOADED, S3_REMEDY_RETRY},
    {501, 501, ERR_INVALID, S3_REMEDY_NONE},       {503, 503, ERR_OVERLOADED, S3_REMEDY_RETRY},
    {504, 504, ERR_TIMEOUT, S3_REMEDY_RETRY},      {507, 507, ERR_UPSTREAM, S3_REMEDY_NONE},
    {500, 599, ERR_IO, S3_REMEDY_RETRY},
};

static void classify(struct s3_problem *p)
{
    p->err = ERR_UPSTREAM;
    p->remedy = S3_REMEDY_NONE;
    for (size_t i = 0; i < sizeof by_code / sizeof by_code[0]; ++i) {
        if (strcmp(p->code, by_code[i].code) == 0) {
            p->err = by_code[i].err;
            p->remedy = by_code[i].remedy;
            return;
        }
    }
    for (size_t i = 0; i < sizeof by_status / sizeof by_status[0]; ++i) {
        if (p->status >= by_status[i].from && p->status <= by_status[i].to) {
            p->err = by_status[i].err;
            p->remedy = by_status[i].remedy;
            break;
        }
    }
    /* A region that is named with a refusal, whatever its code: HEAD has no body to tell more. */
    if (p->region[0] && (p->status == 400 || p->status == 301) && !p->code[0])
        p->remedy = S3_REMEDY_REGION;
}

/* For logs and messages: what is not printable is left out. */
static void keep(char *ret, size_t cap, struct slice s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.len && n + 1 < cap; ++i) {
        if ((unsigned char)s.p[i] >= ' ' && s.p[i] != 0x7f)
            ret[n++] = s.p[i];
    }
    ret[n] = '\0';
}

static void read_body(struct s3_problem *p, struct slice body)
{
    const struct {
        const char *name;
        char *at;
        size_t cap;
    } wanted[] = {
        {"Code", p->code, sizeof p->code},
        {"Message", p->message, sizeof p->message},
        {"Region", p->region, sizeof p->region},
        {"RequestId", p->request_id, sizeof p->request_id},
    };
    cleanup_xml struct xml x;
    xml_init(&x, body);
    if (xml_next(&x, NULL) != XML_START || !xml_is(&x, "Error"))
        return;
    while (xml_next_child(&x, 1, NULL) == 1) {
        struct slice name = x.name;
        cleanup_free char *text = NULL;
        if (xml_read_text(&x, &text, NULL) < 0)
            return;
        for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; ++i) {
            if (slice_eq_str(name, wanted[i].name))
                keep(wanted[i].at, wanted[i].cap, slice_of(text));
        }
    }
}

void s3_problem_read(struct s3_problem *ret, const struct http_head *head, struct slice body)
{
    *ret = (struct s3_problem){.status = head->status};
    read_body(ret, body);
    struct slice region = http_head_get(head, "x-amz-bucket-region"),
                 id = http_head_get(head, "x-amz-request-id");
    if (region.p)
        keep(ret->region, sizeof ret->region, region);
    if (id.p)
        keep(ret->request_id, sizeof ret->request_id, id);
    /* It becomes part of a host name. */
    if (ret->region[strspn(ret->region, "abcdefghijklmnopqrstuvwxyz0123456789-_")])
        ret->region[0] = '\0';
    classify(ret);
}

bool s3_body_is_error(struct slice body)
{
    cleanup_xml struct xml x;
    xml_init(&x, body);
    return xml_next(&x, NULL) == XML_START && xml_is(&x, "Error");
}

static const char *hint_of(const struct s3_problem *p)
{
    for (size_t i = 0; i < sizeof by_code / sizeof by_code[0]; ++i) {
        if (strcmp(p->code, by_code[i].code) == 0 && by_code[i].hint)
            return by_code[i].hint;
    }
    return p->err == ERR_UPSTREAM && p->status >= 300 && p->status < 400
               ? "the bucket is in another region or at another endpoint: AWS_REGION, AWS_ENDPOINT_URL"
               : NULL;
}

int s3_problem_err(const struct s3_problem *p, struct err *err)
{
    const char *hint = hint_of(p);
    return err_set(err, p->err, "the server answered %d%s%s%s%s%s%s", p->status, p->code[0] ? " " : "",
                   p->code, p->message[0] ? ": " : "", p->message, hint ? "; " : "", hint ? hint : "");
}

int s3_errno(const struct err *err)
{
    switch (err->code) {
    case ERR_DENIED:
    case ERR_UNAUTHORIZED:
        return EACCES;
    case ERR_NOT_FOUND:
        return ENOENT;
    case ERR_OVERLOADED:
    case ERR_LIMITED:
        return EBUSY;
    case ERR_EXISTS:
        return EEXIST;
    case ERR_STALE:
        return ESTALE;
    case ERR_INVALID:
    case ERR_RANGE_INVALID:
    case ERR_SIZE_INVALID:
        return EINVAL;
    case ERR_UPSTREAM:
        return EREMOTEIO;
    case ERR_CANCELLED:
        return EINTR;
    case ERR_TIMEOUT:
        return ETIMEDOUT;
    case ERR_NO_SPACE:
        return ENOSPC;
    default:
        return EIO;
    }
}
