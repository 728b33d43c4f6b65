// SPDX-License-Identifier: Apache-2.0
/* s3_list, s3_bucket_check and s3_list_buckets: answers in XML. */
#include <assert.h>
#include <stdio.h>

#include "common/mem.h"
#include "s3/s3_list.h"
#include "s3/s3_time.h"
#include "s3/s3_url.h"
#include "s3/xml.h"

#define ENTRIES_MAX (10 * S3_LIST_MAX) /* of one page, whatever the server thinks of max-keys */

/* What is known of a page before it is complete. */
struct listing {
    struct s3_page page;
    bool escaped, truncated; /* EncodingType, IsTruncated */
};

/* Unescapes where the listing is escaped; false if the key cannot be a C string: then it is left out. */
static bool readable_key(char *key, bool escaped)
{
    return *key && (!escaped || s3_url_unescape(key, true));
}

static int read_object(struct xml *x, struct s3_object *o, struct err *err)
{
    unsigned depth = x->depth;
    int rc;
    while ((rc = xml_next_child(x, depth, err)) == 1) {
        struct slice name = x->name;
        cleanup_free char *text = NULL;
        uint64_t size;
        if (xml_read_text(x, &text, err) < 0)
            return -1;
        if (slice_eq_str(name, "Key")) {
            free(o->key);
            o->key = steal_ptr(&text);
        } else if (slice_eq_str(name, "Size")) {
            if (!slice_to_u64(slice_of(text), INT64_MAX, &size))
                return err_set(err, ERR_IO, "the server's listing has a size that is no number");
            o->size = size;
        } else if (slice_eq_str(name, "LastModified")) {
            (void)s3_time_parse(slice_of(text), &o->mtime_ms);
        } else if (slice_eq_str(name, "ETag")) {
            s3_etag_copy(slice_of(text), o->etag);
        }
    }
    return rc;
}

static int check_room(const struct s3_page *p, struct err *err)
{
    if (p->objects_len + p->prefixes_len < ENTRIES_MAX)
        return 0;
    return err_set(err, ERR_IO, "the server's listing has more than %d entries", ENTRIES_MAX);
}

/* Grown by doubling: pages of a thousand come often. */
static void *room_for_one(void *array, size_t len, size_t size)
{
    bool full = len == 0 || (len >= 16 && (len & (len - 1)) == 0);
    return full ? mem_realloc(array, (len ? len * 2 : 16) * size) : array;
}

static int add_object(struct xml *x, struct s3_page *p, struct err *err)
{
    struct s3_object o = {0};
    if (check_room(p, err) < 0 || read_object(x, &o, err) < 0) {
        s3_object_free(&o);
        return -1;
    }
    p->objects = room_for_one(p->objects, p->objects_len, sizeof *p->objects);
    p->objects[p->objects_len++] = o;
    return 0;
}

static int add_prefix(struct xml *x, struct s3_page *p, struct err *err)
{
    unsigned depth = x->depth;
    int rc;
    while ((rc = xml_next_child(x, depth, err)) == 1) {
        bool is_prefix = xml_is(x, "Prefix");
        cleanup_free char *text = NULL;
        if (xml_read_text(x, &text, err) < 0 || check_room(p, err) < 0)
            return -1;
        if (!is_prefix)
            continue;
        p->prefixes = room_for_one(p->prefixes, p->prefixes_len, sizeof *p->prefixes);
        p->prefixes[p->prefixes_len++] = steal_ptr(&text);
    }
    return rc;
}

static int read_member(struct xml *x, struct listing *l, struct err *err)
{
    if (xml_is(x, "Contents"))
        return add_object(x, &l->page, err);
    if (xml_is(x, "CommonPrefixes"))
        return add_prefix(x, &l->page, err);
    struct slice name = x->name;
    cleanup_free char *text = NULL;
    if (xml_read_text(x, &text, err) < 0)
        return -1;
    if (slice_eq_str(name, "IsTruncated")) {
        l->truncated = strcmp(text, "true") == 0;
    } else if (slice_eq_str(name, "EncodingType")) {
        l->escaped = strcmp(text, "url") == 0;
    } else if (slice_eq_str(name, "NextContinuationToken")) {
        free(l->page.next);
        l->page.next = steal_ptr(&text);
    }
    return 0;
}

/* EncodingType may stand behind the keys it is about: so all are unescaped at the end. */
static void unescape(struct listing *l)
{
    struct s3_page *p = &l->page;
    size_t n = 0;
    for (size_t i = 0; i < p->objects_len; ++i) {
        if (p->objects[i].key && readable_key(p->objects[i].key, l->escaped))
            p->objects[n++] = p->objects[i];
        else
            s3_object_free(&p->objects[i]);
    }
    p->objects_len = n;
    n = 0;
    for (size_t i = 0; i < p->prefixes_len; ++i) {
        if (readable_key(p->prefixes[i], l->escaped))
            p->prefixes[n++] = p->prefixes[i];
        else
            free(p->prefixes[i]);
    }
    p->prefixes_len = n;
}

static int parse_listing(struct xml *x, struct listing *l, struct err *err)
{
    enum xml_event event = xml_next(x, err);
    int rc;
    if (event == XML_ERROR)
        return -1;
    if (event != XML_START || !xml_is(x, "ListBucketResult"))
        return err_set(err, ERR_IO, "the server's answer is no listing");
    while ((rc = xml_next_child(x, 1, err)) == 1) {
        if (read_member(x, l, err) < 0)
            return -1;
    }
    if (rc < 0)
        return -1;
    /* A page that claims to go on and does not say where would be listed for ever, or cut silently. */
    if (l->truncated && (!l->page.next || !*l->page.next))
        return err_set(err, ERR_IO, "the server's listing goes on, but does not say where");
    return 0;
}

int s3_list_parse(struct slice doc, struct s3_page *ret, struct err *err)
{
    cleanup_xml struct xml x;
    struct listing l = {0};
    xml_init(&x, doc);
    if (parse_listing(&x, &l, err) < 0) {
        s3_page_free(&l.page);
        return -1;
    }
    if (!l.truncated) {
        free(l.page.next);
        l.page.next = NULL;
    }
    unescape(&l);
    *ret = l.page;
    return 0;
}

int s3_list(struct s3 *s3, const char *bucket, const char *prefix, const char *delimiter,
            const char *continuation, unsigned max, struct cancel *cancel, struct s3_page *ret_page,
            struct err *err)
{
    char number[12];
    struct retry retry = retry_new(s3->config.tries_max);
    cleanup_s3_request struct s3_request q = {.method = "GET", .bucket = bucket, .cancel = cancel};
    assert(max > 0 && max <= S3_LIST_MAX);
    (void)snprintf(number, sizeof number, "%u", max);
    s3_request_query(&q, "list-type", "2");
    s3_request_query(&q, "encoding-type", "url"); /* XML cannot hold all bytes a key may have */
    s3_request_query(&q, "max-keys", number);
    s3_request_query(&q, "prefix", prefix);
    if (delimiter)
        s3_request_query(&q, "delimiter", delimiter);
    if (continuation)
        s3_request_query(&q, "continuation-token", continuation);
    s3_request_payer(s3, &q);
    for (;;) {
        cleanup_s3_reply struct s3_reply reply;
        struct err mine = {0};
        if (s3_call(s3, &q, &retry, &reply, err) < 0)
            return -1;
        if (s3_list_parse(s3_reply_text(&reply), ret_page, &mine) == 0)
            return 0;
        if (!retry_again(&retry, false, 0, cancel, &mine)) {
            if (err)
                *err = mine;
            return s3_read_failed(bucket, prefix, err);
        }
    }
}

int s3_bucket_check(struct s3 *s3, const char *bucket, const char *prefix, struct cancel *cancel,
                    struct err *err)
{
    cleanup_s3_page struct s3_page page = {0};
    return s3_list(s3, bucket, prefix, NULL, NULL, 1, cancel, &page, err);
}

int s3_buckets_parse(struct slice doc, char ***ret_names, size_t *ret_len, struct err *err)
{
    cleanup_xml struct xml x;
    char **names = NULL;
    size_t len = 0;
    enum xml_event event;
    bool in_bucket = false;
    xml_init(&x, doc);
    while ((event = xml_next(&x, err)) != XML_END_OF_DOCUMENT) {
        int rc = event == XML_ERROR ? -1 : 0;
        if (event == XML_START && x.depth == 1 && !xml_is(&x, "ListAllMyBucketsResult"))
            rc = err_set(err, ERR_IO, "the server's answer is no list of buckets");
        else if (event == XML_START && xml_is(&x, "Bucket"))
            in_bucket = true;
        else if (event == XML_END && xml_is(&x, "Bucket"))
            in_bucket = false;
        else if (event == XML_START && in_bucket && xml_is(&x, "Name")) {
            names = room_for_one(names, len, sizeof *names);
            rc = len < ENTRIES_MAX ? xml_read_text(&x, &names[len], err)
                                   : err_set(err, ERR_IO, "more than %d buckets", ENTRIES_MAX);
            len += rc == 0;
        }
        if (rc < 0) {
            s3_names_free(names, len);
            return -1;
        }
    }
    *ret_names = names;
    *ret_len = len;
    return 0;
}

int s3_list_buckets(struct s3 *s3, struct cancel *cancel, char ***ret_names, size_t *ret_len, struct err *err)
{
    struct retry retry = retry_new(s3->config.tries_max);
    struct s3_request q = {.method = "GET", .cancel = cancel};
    cleanup_s3_reply struct s3_reply reply;
    if (s3_call(s3, &q, &retry, &reply, err) < 0)
        return -1;
    return s3_buckets_parse(s3_reply_text(&reply), ret_names, ret_len, err);
}
