// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3_S3_H
#define RAC_S3_S3_H
/*
 * An S3 client: one `struct s3` for a program, any call from any thread, each call blocks until it is done.
 * Waiting is bounded by the timeouts of s3_config.h and ends at once when the call's cancel fires.
 *
 * What a call promises:
 * - Retries are inside: up to tries_max, exponential with jitter, and only what is safe to send twice. A
 *   writing call whose answer was lost finds out what became of it; when it cannot, it says so (ERR_IO).
 * - The region of a bucket is learned from the server's redirects and remembered.
 * - It returns 0 or more, or -1 with *err set; ret_ parameters are written only on success. One log line
 *   per failed call, with bucket, key, status, code and request id, except where the answer is an ordinary
 *   one to ask for: a missing object (ERR_NOT_FOUND), a condition that does not hold, a cancellation.
 * - s3_errno() says what a program is told.
 *
 * `bucket` is a plain name. `key` is the object's key as bytes, NUL-terminated, up to S3_KEY_MAX, not
 * escaped. Strings in results are malloc'd and belong to the caller.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "s3/cancel.h"
#include "s3/credentials.h"
#include "s3/s3_config.h"

#define S3_KEY_MAX         1024
#define S3_ETAG_MAX        71 /* characters */
#define S3_LIST_MAX        1000
#define S3_DELETE_MAX      1000
#define S3_PARTS_MAX       10000
#define S3_PART_MIN        ((uint64_t)5 << 20) /* all but the last */
#define S3_PUT_MAX         ((uint64_t)5 << 30) /* one PUT, one part, one copied part */
#define S3_OBJECT_SIZE_MAX ((uint64_t)5 << 40)
#define S3_META_MAX        2048 /* bytes of names and values of one object */

struct s3;

struct s3_object {
    char *key; /* NULL where the caller named it: s3_head, s3_get */
    uint64_t size;
    int64_t mtime_ms;           /* since 1970 */
    char etag[S3_ETAG_MAX + 1]; /* without its quotes; "" if there is none that identifies the bytes */
};

/* User metadata: names in lower case, without "x-amz-meta-". */
struct s3_meta {
    struct s3_meta_entry {
        char *name, *value;
    } * entries;
    size_t len;
    char *content_type; /* NULL: none said */
};

struct s3_page {
    struct s3_object *objects; /* sorted by key; keys holding a NUL byte are left out */
    size_t objects_len;
    char **prefixes; /* whole, with the delimiter at their end; sorted */
    size_t prefixes_len;
    char *next; /* continuation of the following page; NULL: this was the last */
};

struct s3_put_options {
    bool if_none_match;         /* only if there is no such object: else ERR_EXISTS */
    const char *content_type;   /* NULL: application/octet-stream */
    const struct s3_meta *meta; /* NULL: none; its content_type is used if the one above is NULL */
};

/* The config is copied. ERR_INVALID for an endpoint that is no URL. Nothing is asked from the network, and no
 * CA bundle is read before the first https server is asked: one that cannot be read is ERR_INVALID then. */
struct s3 *s3_new(const struct s3_config *config, struct err *err);
void s3_free(struct s3 *s3);                  /* no call may be running; NULL is fine */
const char *s3_endpoint(const struct s3 *s3); /* as it was configured; NULL: AWS */

/* What a program is told: EACCES (403, no credentials), ENOENT, EBUSY (503, SlowDown, after all tries),
 * EEXIST, ESTALE (an If-Match that does not hold), EINVAL, EREMOTEIO (quota, or an answer nobody knows),
 * EINTR (cancelled), ETIMEDOUT, ENOSPC (a file of ours), else EIO. Positive. */
int s3_errno(const struct err *err);

/* -- reading ---------------------------------------------------------------------------------------- */
/* ret_meta may be NULL. */
int s3_head(struct s3 *s3, const char *bucket, const char *key, struct cancel *cancel,
            struct s3_object *ret_object, struct s3_meta *ret_meta, struct err *err);
/* Bytes [offset, offset + len) into buf, all of them; fewer only where the object ends, 0 past its end.
 * len > 0. A transfer that breaks goes on where it was, on the same version. if_match: an ETag, ERR_STALE if
 * the object is another by now; NULL: any. ret_info (may be NULL): size of the whole object, ETag, time.
 * After a failure the contents of buf are undefined. */
int s3_get(struct s3 *s3, const char *bucket, const char *key, uint64_t offset, size_t len,
           const char *if_match, struct cancel *cancel, void *buf, size_t *ret_len,
           struct s3_object *ret_info, struct err *err);
/* One page. prefix "" lists all; delimiter NULL or "/"; continuation NULL for the first page; max 1 to
 * S3_LIST_MAX. */
int s3_list(struct s3 *s3, const char *bucket, const char *prefix, const char *delimiter,
            const char *continuation, unsigned max, struct cancel *cancel, struct s3_page *ret_page,
            struct err *err);
/* 0 if the bucket exists and we may list it below prefix. */
int s3_bucket_check(struct s3 *s3, const char *bucket, const char *prefix, struct cancel *cancel,
                    struct err *err);
/* Names of all our buckets; a malloc'd array of malloc'd strings. */
int s3_list_buckets(struct s3 *s3, struct cancel *cancel, char ***ret_names, size_t *ret_len,
                    struct err *err);

/* -- writing ---------------------------------------------------------------------------------------- */
/* The whole object in one request, up to S3_PUT_MAX. options may be NULL, ret_etag (S3_ETAG_MAX + 1 bytes)
 * too. The memory must not change meanwhile. */
int s3_put(struct s3 *s3, const char *bucket, const char *key, const struct iovec *iov, int iov_len,
           const struct s3_put_options *options, struct cancel *cancel, char *ret_etag, struct err *err);
/* Server side, from an object to another (or to itself, with meta, to change its metadata); above S3_PUT_MAX
 * in parts. source: key, size and etag as listed; ERR_STALE if the etag (where not "") is another by now. */
int s3_copy(struct s3 *s3, const char *source_bucket, const struct s3_object *source, const char *bucket,
            const char *key, const struct s3_meta *replace_meta, struct cancel *cancel, char *ret_etag,
            struct err *err);
/* 0 also if there was no such object. */
int s3_delete(struct s3 *s3, const char *bucket, const char *key, struct cancel *cancel, struct err *err);
/* 1 to S3_DELETE_MAX keys in one request. Returns how many could not be deleted, with *err set to the first
 * one's reason if there are any; -1 if the call itself failed. */
int s3_delete_many(struct s3 *s3, const char *bucket, const char *const *keys, size_t len,
                   struct cancel *cancel, struct err *err);

/* -- multipart uploads ------------------------------------------------------------------------------ */
/*
 * begin -> part or copy_part, any numbers, in any order, from several threads -> complete -> free
 *                                                                            \-> abort -> free
 * Nothing is visible before complete. Parts carry a CRC32C. An upload object remembers the parts' ETags; a
 * number sent again replaces what it was.
 */
struct s3_upload;

/* Once it is sent, cancel waits for the answer (15 s at most): only it tells what to abort. Where an answer
 * was lost, what it may have left at the server is looked for and aborted. */
int s3_upload_begin(struct s3 *s3, const char *bucket, const char *key, const struct s3_put_options *options,
                    struct cancel *cancel, struct s3_upload **ret_upload, struct err *err);
/* One that was begun before, perhaps by another process: its parts are asked for. ERR_NOT_FOUND if the server
 * does not know it. */
int s3_upload_resume(struct s3 *s3, const char *bucket, const char *key, const char *id,
                     struct cancel *cancel, struct s3_upload **ret_upload, struct err *err);
const char *s3_upload_id(const struct s3_upload *upload); /* borrowed */
/* Whether the server has that part, of that size. */
bool s3_upload_has_part(struct s3_upload *upload, unsigned number, uint64_t size);
/* number: 1 to S3_PARTS_MAX. The memory must not change meanwhile. */
int s3_upload_part(struct s3_upload *upload, unsigned number, const struct iovec *iov, int iov_len,
                   struct cancel *cancel, struct err *err);
/* Bytes [offset, offset + len) of another object (or of the old version of this one). */
int s3_upload_copy_part(struct s3_upload *upload, unsigned number, const char *source_bucket,
                        const char *source_key, uint64_t offset, uint64_t len, const char *if_match,
                        struct cancel *cancel, struct err *err);
/* The parts that were sent, in the order of their numbers, become the object. At least one. Afterwards only
 * s3_upload_free; on failure abort comes first. ERR_EXISTS with if_none_match. */
int s3_upload_complete(struct s3_upload *upload, struct cancel *cancel, char *ret_etag, struct err *err);
/* Deletes the parts at the server. No part call may be running. Fine if the server no longer knows it. */
int s3_upload_abort(struct s3_upload *upload, struct cancel *cancel, struct err *err);
/* Says nothing to the server. NULL is fine. */
void s3_upload_free(struct s3_upload *upload);

/* Uploads that the server holds, up to 1,000 of them: below a prefix ("" is all), in no order that is
 * promised. */
struct s3_pending {
    char *key, *id;
    int64_t initiated_ms;
};
int s3_uploads_list(struct s3 *s3, const char *bucket, const char *prefix, struct cancel *cancel,
                    struct s3_pending **ret, size_t *ret_len, struct err *err);
void s3_pending_free(struct s3_pending *p, size_t len);
/* Deletes an upload's parts. Fine if the server does not know it. */
int s3_upload_drop(struct s3 *s3, const char *bucket, const char *key, const char *id, struct cancel *cancel,
                   struct err *err);

/* -- URLs for others -------------------------------------------------------------------------------- */
/* Who signs (credentials.h says how they are found): for s3_presign_get. Blocks while they are asked for. */
struct credentials *s3_credentials_get_ref(struct s3 *s3, struct cancel *cancel, struct err *err);
/* The server did not take them; what is found next may be others. */
void s3_credentials_refused(struct s3 *s3, const struct credentials *c);
/* A URL that gives the object to whoever has it, for `seconds`, at most 7 days; malloc'd. It asks nothing of
 * the network and never blocks. */
int s3_presign_get(struct s3 *s3, const struct credentials *c, const char *bucket, const char *key,
                   unsigned seconds, char **ret_url, struct err *err);

/* -- results ---------------------------------------------------------------------------------------- */
void s3_object_free(struct s3_object *object); /* what it points to; the struct is zeroed */
void s3_meta_free(struct s3_meta *meta);
const char *s3_meta_get(const struct s3_meta *meta, const char *name); /* NULL if there is none; borrowed */
void s3_meta_set(struct s3_meta *meta, const char *name, const char *value); /* copies; replaces */
void s3_page_free(struct s3_page *page);
void s3_names_free(char **names, size_t len);

#define cleanup_s3_object RAC_CLEANUP(s3_object_free)
#define cleanup_s3_meta   RAC_CLEANUP(s3_meta_free)
#define cleanup_s3_page   RAC_CLEANUP(s3_page_free)
#endif
