// SPDX-License-Identifier: Apache-2.0
/*
 * Uploads nobody knows of. When the answer to "create a multipart upload" is lost, the upload may exist, and
 * only its id, which was in the answer, could abort it. So the server is asked what it holds for the key. The
 * ones that are neither known to us nor older than our request are ours, if they are not more than the
 * answers lost; if they are more, somebody else writes the same key, and they are left alone.
 */
#include <utlist.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "s3/s3_time.h"
#include "s3/s3_upload.h"
#include "s3/s3_url.h"
#include "s3/xml.h"

#define CLOCK_TOLERANCE_MS 5000 /* between the server's clock and ours */
#define PENDING_MAX        1000

void s3_pending_free(struct s3_pending *p, size_t len)
{
    for (size_t i = 0; i < len; ++i) {
        free(p[i].key);
        free(p[i].id);
    }
    free(p);
}

/* One <Upload>: 1 if it is of that key, or of any with key NULL. */
static int read_upload(struct xml *x, const char *key, struct s3_pending *ret, struct err *err)
{
    unsigned depth = x->depth;
    int rc;
    while ((rc = xml_next_child(x, depth, err)) == 1) {
        bool is_key = xml_is(x, "Key"), is_id = xml_is(x, "UploadId"), is_time = xml_is(x, "Initiated");
        cleanup_free char *text = NULL;
        if (xml_read_text(x, &text, err) < 0)
            return -1;
        if (is_key && !ret->key && s3_url_unescape(text, true))
            ret->key = steal_ptr(&text);
        else if (is_time)
            (void)s3_time_parse(slice_of(text), &ret->initiated_ms);
        else if (is_id && !ret->id)
            ret->id = steal_ptr(&text);
    }
    if (rc < 0)
        return -1;
    return ret->id && *ret->id && ret->key && (!key || strcmp(ret->key, key) == 0);
}

int s3_pending_parse(struct slice doc, const char *key, struct s3_pending **ret, size_t *ret_len,
                     struct err *err)
{
    cleanup_xml struct xml x;
    struct s3_pending *list = NULL;
    size_t len = 0;
    int rc;
    xml_init(&x, doc);
    if (xml_next(&x, err) != XML_START || !xml_is(&x, "ListMultipartUploadsResult"))
        return err_set(err, ERR_IO, "the server's answer is no list of uploads");
    while ((rc = xml_next_child(&x, 1, err)) == 1) {
        struct s3_pending one = {0};
        if (!xml_is(&x, "Upload"))
            rc = xml_skip(&x, err);
        else if ((rc = read_upload(&x, key, &one, err)) == 1 && len < PENDING_MAX) {
            list = mem_realloc(list, (len + 1) * sizeof *list);
            list[len++] = one;
            continue;
        }
        free(one.key);
        free(one.id);
        if (rc < 0)
            break;
    }
    if (rc < 0) {
        s3_pending_free(list, len);
        return -1;
    }
    *ret = list;
    *ret_len = len;
    return 0;
}

/* key NULL: all that begin with the prefix. */
static int ask_pending(struct s3 *s3, const char *bucket, const char *prefix, const char *key,
                       struct cancel *cancel, struct s3_pending **ret, size_t *ret_len, struct err *err)
{
    struct retry retry = retry_new(s3->config.tries_max);
    cleanup_s3_request struct s3_request q = {.method = "GET", .bucket = bucket, .cancel = cancel};
    cleanup_s3_reply struct s3_reply reply;
    s3_request_query(&q, "uploads", "");
    s3_request_query(&q, "encoding-type", "url");
    s3_request_query(&q, "prefix", prefix);
    s3_request_payer(s3, &q);
    if (s3_call(s3, &q, &retry, &reply, err) < 0)
        return -1;
    return s3_pending_parse(s3_reply_text(&reply), key, ret, ret_len, err);
}

int s3_uploads_list(struct s3 *s3, const char *bucket, const char *prefix, struct cancel *cancel,
                    struct s3_pending **ret, size_t *ret_len, struct err *err)
{
    return ask_pending(s3, bucket, prefix, NULL, cancel, ret, ret_len, err);
}

static bool known(struct s3 *s3, const char *id)
{
    const struct s3_upload *u;
    pthread_mutex_lock(&s3->lock);
    DL_FOREACH (s3->uploads, u) {
        if (u->id && strcmp(u->id, id) == 0)
            break;
    }
    pthread_mutex_unlock(&s3->lock);
    return u != NULL;
}

void s3_orphans_abort(struct s3 *s3, const char *bucket, const char *key, unsigned lost, int64_t started_ms)
{
    struct s3_pending *list = NULL;
    size_t len = 0, ours = 0;
    struct err err = {0};
    int64_t since = started_ms + atomic_load(&s3->clock_ahead_ms) - CLOCK_TOLERANCE_MS;
    if (ask_pending(s3, bucket, key, key, NULL, &list, &len, &err) < 0) {
        log_warn("an upload may be left at the server: it cannot be looked for", F_S("bucket", bucket),
                 F_S("key", key), F_ERR(&err));
        return;
    }
    for (size_t i = 0; i < len; ++i) {
        if (list[i].initiated_ms >= since && !known(s3, list[i].id)) {
            struct s3_pending swap = list[ours];
            list[ours++] = list[i];
            list[i] = swap;
        }
    }
    if (ours > lost)
        log_warn("an upload may be left at the server: others write the same object", F_S("bucket", bucket),
                 F_S("key", key), F_U("uploads", ours));
    for (size_t i = 0; ours <= lost && i < ours; ++i)
        (void)s3_upload_drop(s3, bucket, key, list[i].id, NULL, NULL);
    s3_pending_free(list, len);
}
