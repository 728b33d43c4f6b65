// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3_S3_UPLOAD_H
#define RAC_S3_S3_UPLOAD_H
/* The inside of an upload. Private to s3*.c, their tests and fuzzers. */
#include "s3/s3_call.h"

#define S3_UPLOAD_ID_MAX 1024

struct s3_part {
    uint64_t size;              /* bytes; known of parts that were found at the server */
    char etag[S3_ETAG_MAX + 1]; /* "": no such part */
    char crc[9];                /* base64; "": none */
};

struct s3_upload {
    struct s3 *s3;
    char *bucket, *key, *id;
    bool if_none_match;
    char nonce[S3_NONCE_LEN + 1];
    struct s3_upload *prev, *next; /* in s3->uploads */
    pthread_mutex_t lock;          /* of what follows: parts come from several threads */
    struct s3_part *parts;         /* [number - 1] */
    size_t parts_len;
};

/* ListMultipartUploads: those whose key is exactly `key`, or all with key NULL. Pure. */
int s3_pending_parse(struct slice doc, const char *key, struct s3_pending **ret, size_t *ret_len,
                     struct err *err);
/* ListParts, one page of it: into `u`, as if they had been sent by us. *ret_next: where the following page
 * begins, 0 if this was the last. Pure. */
int s3_parts_parse(struct slice doc, struct s3_upload *u, unsigned *ret_next, struct err *err);
void s3_upload_keep_part(struct s3_upload *u, unsigned number, const struct s3_part *part);
/* After `lost` answers to the creation of an upload, begun at started_ms by our clock: aborts what they left
 * behind. What is not surely ours is left alone, with a warning. */
void s3_orphans_abort(struct s3 *s3, const char *bucket, const char *key, unsigned lost, int64_t started_ms);
#endif
