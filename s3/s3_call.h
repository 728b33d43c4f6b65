// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3_S3_CALL_H
#define RAC_S3_S3_CALL_H
/* One request to S3 until it has its answer: found, signed, sent, tried again. Private to s3*.c. */
#include <pthread.h>

#include "s3/credentials.h"
#include "s3/http.h"
#include "s3/retry.h"
#include "s3/s3.h"
#include "s3/s3_error.h"
#include "s3/s3_place.h"
#include "s3/s3_tags.h"
#include "s3/sigv4.h"

#define S3_HEADERS_MAX 28 /* with the signature's own within SIGV4_HEADERS_MAX */
#define S3_QUERY_MAX   8
#define S3_LONG_ANSWER_MS                                                                                    \
    300000 /* for copies and completions, which the server works on before it answers                        \
            */

struct s3 {
    struct s3_config config;
    struct http *http;
    struct credentials_chain *credentials; /* NULL: anonymous */
    struct s3_places *places;
    struct s3_tags *tags;
    _Atomic int64_t clock_ahead_ms;   /* the server's, of ours */
    _Atomic uint64_t trouble_told_ms; /* monotonic: when it was last said that a request is tried again */
    pthread_mutex_t lock;
    struct s3_upload *uploads; /* the live ones; guarded by lock */
};

struct s3_request {
    const char *method;
    const char *bucket, *key; /* key NULL: the bucket */
    struct sigv4_pair query[S3_QUERY_MAX];
    size_t query_len;
    struct sigv4_pair
        headers[S3_HEADERS_MAX]; /* names in lower case; values belong to the caller or to `own` */
    size_t headers_len;
    char *own[2 * S3_HEADERS_MAX]; /* strings made for this request */
    size_t own_len;
    const char *bad; /* why it cannot be sent; NULL: it can */
    const struct iovec *body;
    int body_len;
    bool expects_body; /* PUT and POST: a Content-Length even if it is 0 */
    void *into;        /* of a 2xx's body */
    size_t into_cap;
    bool error_in_200; /* success is said before the work is done: the body decides */
    bool may_break;    /* a body that breaks off is a success with reply->broken */
    bool unbroken;     /* once it is sent, cancel waits for the answer */
    uint32_t answer_timeout_ms;
    struct cancel *cancel;
};

struct s3_reply {
    struct http_answer http;
    struct s3_problem problem; /* of the last try that was refused; status 0: none was */
    bool broken;               /* with may_break: only http.into_len bytes came */
    bool maybe_done; /* an earlier try, or this one, may have been carried out: it got no answer, or a 5xx */
    unsigned lost;   /* how many got no answer of the server itself */
};

void s3_request_query(struct s3_request *q, const char *name, const char *value);
void s3_request_header(struct s3_request *q, const char *name, const char *value);
/* With strings made for it, which the request takes over. */
void s3_request_header_take(struct s3_request *q, char *name, char *value);
void s3_request_free(struct s3_request *q);
#define cleanup_s3_request RAC_CLEANUP(s3_request_free)

/* 0 with a 2xx; -1 with *err, which begins with "METHOD s3://bucket/key", logged (see s3.h). *ret is zeroed
 * first, and freed by s3_reply_free in every case. retry is counted on, so that calls can share one. */
int s3_call(struct s3 *s3, struct s3_request *q, struct retry *retry, struct s3_reply *ret, struct err *err);
void s3_reply_free(struct s3_reply *r);
#define cleanup_s3_reply RAC_CLEANUP(s3_reply_free)

/* For a success that made no sense: logs and words *err as s3_call does. Returns -1. */
int s3_read_failed(const char *bucket, const char *key, struct err *err);
/* x-amz-request-payer, where that is asked for. */
void s3_request_payer(struct s3 *s3, struct s3_request *q);
void s3_meta_remove(struct s3_meta *meta, const char *name);

static inline struct slice s3_reply_text(const struct s3_reply *r)
{
    return (struct slice){r->http.text.p, r->http.text.len};
}
/* ETag, size (Content-Length, or Content-Range's total) and time of an answer. */
void s3_reply_object(const struct s3_reply *r, struct s3_object *ret);
/* Without quotes; "" if it is weak or too long. */
void s3_etag_copy(struct slice value, char ret[S3_ETAG_MAX + 1]);

/* Headers for what is written: metadata, content type, encryption, storage class, tags. nonce: NULL for none.
 */
#define S3_NONCE_NAME "rac-upload" /* user metadata by which we know our own object again */
#define S3_NONCE_LEN  32
bool s3_request_write_headers(struct s3 *s3, struct s3_request *q, const struct s3_put_options *options,
                              const char *nonce);
void s3_nonce_make(char ret[S3_NONCE_LEN + 1]);
/* 1 if the object is the one that was written with this nonce (ret_etag is set then), 0 if it is another or
 * none, -1 if it cannot be told. */
int s3_nonce_check(struct s3 *s3, const char *bucket, const char *key, const char *nonce, char *ret_etag,
                   struct err *err);
/* s3_head with the nonce in the metadata, for s3_nonce_check. */
int s3_head_all(struct s3 *s3, const char *bucket, const char *key, const char *if_match,
                struct cancel *cancel, struct s3_object *ret_object, struct s3_meta *ret_meta,
                struct err *err);
#endif
