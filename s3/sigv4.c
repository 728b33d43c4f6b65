// SPDX-License-Identifier: Apache-2.0
/*
 * canonical request  = method \n path \n query \n headers \n \n names \n payload hash
 * string to sign     = AWS4-HMAC-SHA256 \n time \n day/region/service/aws4_request \n hash(canonical request)
 * key                = HMAC(HMAC(HMAC(HMAC("AWS4" secret, day), region), service), "aws4_request")
 */
#include "s3/sigv4.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <sys/uio.h>
#include <time.h>

#include "common/cleanup.h"
#include "s3/s3_url.h"

#define HASH_BYTES 32

static void to_hex(const unsigned char *p, char ret[SIGV4_HASH_MAX + 1])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < HASH_BYTES; ++i) {
        ret[2 * i] = digits[p[i] >> 4];
        ret[2 * i + 1] = digits[p[i] & 15];
    }
    ret[2 * HASH_BYTES] = '\0';
}

void sigv4_hash(const struct iovec *iov, int iov_len, char ret[SIGV4_HASH_MAX + 1])
{
    unsigned char hash[HASH_BYTES];
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1;
    for (int i = 0; ok && i < iov_len; ++i)
        ok = EVP_DigestUpdate(ctx, iov[i].iov_base, iov[i].iov_len) == 1;
    ok = ok && EVP_DigestFinal_ex(ctx, hash, NULL) == 1;
    assert(ok);
    EVP_MD_CTX_free(ctx);
    to_hex(hash, ret);
}

static void hmac(const void *key, size_t key_len, struct slice text, unsigned char ret[HASH_BYTES])
{
    unsigned len = HASH_BYTES;
    const unsigned char *done =
        HMAC(EVP_sha256(), key, (int)key_len, (const unsigned char *)text.p, text.len, ret, &len);
    assert(done && len == HASH_BYTES);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct sigv4_pair *)a)->name, ((const struct sigv4_pair *)b)->name);
}

/* Names and values are ordered as they are sent, escaped: '%' comes before all that stays as it is. */
static int compare_query(const void *a, const void *b)
{
    const struct sigv4_pair *x = a, *y = b;
    cleanup_buf struct buf p = {0}, q = {0};
    (void)(s3_url_add_escaped(&p, x->name, false) && buf_add(&p, "", 1) &&
           s3_url_add_escaped(&p, x->value, false));
    (void)(s3_url_add_escaped(&q, y->name, false) && buf_add(&q, "", 1) &&
           s3_url_add_escaped(&q, y->value, false));
    size_t len = p.len < q.len ? p.len : q.len;
    int order = len ? memcmp(p.p, q.p, len) : 0;
    return order ? order : (p.len > q.len) - (p.len < q.len);
}

void sigv4_add_query(struct buf *b, const struct sigv4_pair *query, size_t len)
{
    struct sigv4_pair sorted[SIGV4_QUERY_MAX];
    assert(len <= SIGV4_QUERY_MAX);
    for (size_t i = 0; i < len; ++i)
        sorted[i] = query[i];
    qsort(sorted, len, sizeof sorted[0], compare_query);
    for (size_t i = 0; i < len; ++i) {
        (void)buf_add_str(b, i ? "&" : "");
        (void)s3_url_add_escaped(b, sorted[i].name, false);
        (void)buf_add_str(b, "=");
        (void)s3_url_add_escaped(b, sorted[i].value, false);
    }
}

/* A value as it is signed: no white space at its ends, runs of spaces as one. */
static void add_value(struct buf *b, const char *value)
{
    struct slice s = slice_trim(slice_of(value));
    for (size_t i = 0; i < s.len; ++i) {
        if (s.p[i] != ' ' || s.p[i - 1] != ' ')
            (void)buf_add(b, s.p + i, 1);
    }
}

struct signing {
    char time[20]; /* 20150830T123600Z */
    struct sigv4_pair headers[SIGV4_HEADERS_MAX];
    size_t headers_len;
    struct buf names; /* a;b;c */
};

static void add_header(struct signing *s, const char *name, const char *value)
{
    s->headers[s->headers_len++] = (struct sigv4_pair){name, value};
}

static void canonical_request(struct signing *s, const struct sigv4_request *q, struct buf *b)
{
    (void)buf_printf(b, "%s\n%s\n", q->method, q->path);
    sigv4_add_query(b, q->query, q->query_len);
    (void)buf_add_str(b, "\n");
    qsort(s->headers, s->headers_len, sizeof s->headers[0], compare_names);
    for (size_t i = 0; i < s->headers_len; ++i) {
        (void)buf_printf(b, "%s:", s->headers[i].name);
        add_value(b, s->headers[i].value);
        (void)buf_add_str(b, "\n");
        (void)buf_printf(&s->names, "%s%s", i ? ";" : "", s->headers[i].name);
    }
    (void)buf_printf(b, "\n%s\n%s", buf_str(&s->names), q->payload);
}

static void signature(const struct signing *s, const struct sigv4_key *key, struct slice to_sign,
                      char ret[SIGV4_HASH_MAX + 1])
{
    unsigned char k[HASH_BYTES];
    cleanup_buf struct buf secret = {0};
    (void)buf_printf(&secret, "AWS4%s", key->secret_access_key);
    hmac(secret.p, secret.len, (struct slice){s->time, 8}, k);
    hmac(k, sizeof k, slice_of(key->region), k);
    hmac(k, sizeof k, slice_of(key->service), k);
    hmac(k, sizeof k, SLICE_LIT("aws4_request"), k);
    hmac(k, sizeof k, to_sign, k);
    to_hex(k, ret);
    OPENSSL_cleanse(secret.p, secret.len);
}

static void set_time(struct signing *s, int64_t now_ms)
{
    time_t seconds = (time_t)(now_ms / 1000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    (void)strftime(s->time, sizeof s->time, "%Y%m%dT%H%M%SZ", &tm);
}

/* The signature of a request whose headers are in `s`; its names are left in s->names. */
static void sign(struct signing *s, const struct sigv4_request *q, const struct sigv4_key *key,
                 char ret[SIGV4_HASH_MAX + 1])
{
    cleanup_buf struct buf request = {0}, to_sign = {0};
    char hash[SIGV4_HASH_MAX + 1];
    canonical_request(s, q, &request);
    sigv4_hash(&(struct iovec){request.p, request.len}, 1, hash);
    (void)buf_printf(&to_sign, "AWS4-HMAC-SHA256\n%s\n%.8s/%s/%s/aws4_request\n%s", s->time, s->time,
                     key->region, key->service, hash);
    signature(s, key, (struct slice){to_sign.p, to_sign.len}, ret);
}

static bool has_token(const struct sigv4_key *key)
{
    return key->session_token && *key->session_token;
}

int sigv4_add_headers(struct buf *b, const struct sigv4_request *q, const struct sigv4_key *key,
                      int64_t now_ms, struct err *err)
{
    struct signing s = {0};
    char signed_hex[SIGV4_HASH_MAX + 1];
    if (q->headers_len + 4 > SIGV4_HEADERS_MAX || q->query_len > SIGV4_QUERY_MAX)
        return err_set(err, ERR_INVALID, "too much to sign");
    set_time(&s, now_ms);
    for (size_t i = 0; i < q->headers_len; ++i)
        add_header(&s, q->headers[i].name, q->headers[i].value);
    add_header(&s, "host", q->host);
    add_header(&s, "x-amz-date", s.time);
    if (q->payload_header)
        add_header(&s, "x-amz-content-sha256", q->payload);
    if (has_token(key))
        add_header(&s, "x-amz-security-token", key->session_token);
    sign(&s, q, key, signed_hex);

    (void)buf_printf(b, "x-amz-date: %s\r\n", s.time);
    if (q->payload_header)
        (void)buf_printf(b, "x-amz-content-sha256: %s\r\n", q->payload);
    if (has_token(key))
        (void)buf_printf(b, "x-amz-security-token: %s\r\n", key->session_token);
    (void)buf_printf(b,
                     "authorization: AWS4-HMAC-SHA256 Credential=%s/%.8s/%s/%s/aws4_request, "
                     "SignedHeaders=%s, Signature=%s\r\n",
                     key->access_key_id, s.time, key->region, key->service, buf_str(&s.names), signed_hex);
    buf_free(&s.names);
    return 0;
}

int sigv4_add_presigned(struct buf *b, const struct sigv4_request *request, const struct sigv4_key *key,
                        int64_t now_ms, unsigned seconds, struct err *err)
{
    struct signing s = {0};
    struct sigv4_request q = *request;
    struct sigv4_pair query[SIGV4_QUERY_MAX];
    char signed_hex[SIGV4_HASH_MAX + 1], seconds_text[12];
    cleanup_buf struct buf credential = {0};
    if (q.query_len + 6 > SIGV4_QUERY_MAX || q.headers_len)
        return err_set(err, ERR_INVALID, "too much to sign");
    set_time(&s, now_ms);
    (void)snprintf(seconds_text, sizeof seconds_text, "%u", seconds);
    (void)buf_printf(&credential, "%s/%.8s/%s/%s/aws4_request", key->access_key_id, s.time, key->region,
                     key->service);
    for (size_t i = 0; i < q.query_len; ++i)
        query[i] = q.query[i];
    query[q.query_len++] = (struct sigv4_pair){"X-Amz-Algorithm", "AWS4-HMAC-SHA256"};
    query[q.query_len++] = (struct sigv4_pair){"X-Amz-Credential", buf_str(&credential)};
    query[q.query_len++] = (struct sigv4_pair){"X-Amz-Date", s.time};
    query[q.query_len++] = (struct sigv4_pair){"X-Amz-Expires", seconds_text};
    if (has_token(key))
        query[q.query_len++] = (struct sigv4_pair){"X-Amz-Security-Token", key->session_token};
    query[q.query_len++] = (struct sigv4_pair){"X-Amz-SignedHeaders", "host"};
    q.query = query;
    q.payload = SIGV4_UNSIGNED;
    add_header(&s, "host", q.host);
    sign(&s, &q, key, signed_hex);
    sigv4_add_query(b, q.query, q.query_len);
    (void)buf_printf(b, "&X-Amz-Signature=%s", signed_hex);
    buf_free(&s.names);
    return 0;
}
