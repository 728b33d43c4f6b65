// SPDX-License-Identifier: Apache-2.0
#include "proxy/cache/s3_url.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "common/str.h"
#include "s3/s3_place.h"
#include "s3/s3_url.h"

static const char scheme[] = "s3://";

void s3_blobs_url_free(struct s3_blobs_url *u)
{
    free(u->bucket);
    free(u->prefix);
    free(u->endpoint);
    free(u->region);
    free(u->ca_file);
    free(u->storage_class);
    free(u->sse);
    *u = (struct s3_blobs_url){0};
}

/* What becomes a key is plain, so that it needs no escaping, here or in the rules of whoever owns the bucket.
 */
static int take_prefix(struct s3_blobs_url *u, struct slice text, struct err *err)
{
    while (text.len && text.p[text.len - 1] == '/')
        --text.len;
    if (text.len > S3_BLOBS_PREFIX_MAX)
        return err_set(err, ERR_INVALID, "the prefix is longer than %d characters", S3_BLOBS_PREFIX_MAX);
    for (size_t i = 0; i < text.len; ++i) {
        char c = text.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     strchr("-_.=/", c) != NULL;
        if (!plain || (c == '/' && (i == 0 || text.p[i - 1] == '/')))
            return err_set(err, ERR_INVALID,
                           "the prefix may have letters, digits, '-', '_', '.', '=' and single slashes");
    }
    u->prefix = mem_strndup(text.p ? text.p : "", text.len);
    return 0;
}

static int check_value(const char *name, const char *value, struct err *err)
{
    struct s3_url endpoint;
    struct err cause;
    if (strcmp(name, "endpoint") == 0) {
        if (s3_url_parse(value, &endpoint, &cause) < 0)
            return err_set(err, ERR_INVALID, "endpoint: %s", cause.msg);
        return strchr(endpoint.target, '?') ? err_set(err, ERR_INVALID, "endpoint: it has a query") : 0;
    }
    if (strcmp(name, "ca") == 0)
        return 0;
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_:";
    return strlen(value) > 63 || value[strspn(value, plain)]
               ? err_set(err, ERR_INVALID, "%s: letters, digits, '-', '_' and ':' are expected", name)
               : 0;
}

static int take_parameter(struct s3_blobs_url *u, struct slice text, struct err *err)
{
    static const struct {
        const char *name;
        size_t at;
    } names[] = {{"endpoint", offsetof(struct s3_blobs_url, endpoint)},
                 {"region", offsetof(struct s3_blobs_url, region)},
                 {"ca", offsetof(struct s3_blobs_url, ca_file)},
                 {"storage-class", offsetof(struct s3_blobs_url, storage_class)},
                 {"sse", offsetof(struct s3_blobs_url, sse)}};
    struct slice value = text, name = slice_cut(&value, '=');
    cleanup_free char *copy = mem_strndup(value.p ? value.p : "", value.len);
    if (!value.len || !s3_url_unescape(copy, false) || !*copy)
        return err_set(err, ERR_INVALID, "'%.*s' has no value, or one that is not percent-encoded",
                       name.len < 40 ? (int)name.len : 40, name.p);
    for (const char *c = copy; *c; ++c) {
        if ((unsigned char)*c <= ' ' || *c == 0x7f)
            return err_set(err, ERR_INVALID, "there is white space or a control character in it");
    }
    if (slice_eq_str(name, "path-style")) {
        u->path_style = strcmp(copy, "1") == 0;
        return u->path_style || strcmp(copy, "0") == 0
                   ? 0
                   : err_set(err, ERR_INVALID, "path-style: 0 or 1 is expected");
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; ++i) {
        char **at = (char **)((char *)u + names[i].at);
        if (!slice_eq_str(name, names[i].name))
            continue;
        if (*at)
            return err_set(err, ERR_INVALID, "%s: given twice", names[i].name);
        if (check_value(names[i].name, copy, err) < 0)
            return -1;
        *at = steal_ptr(&copy);
        return 0;
    }
    return err_set(err, ERR_INVALID,
                   "'%.*s' is none of endpoint, region, path-style, ca, storage-class and sse",
                   name.len < 40 ? (int)name.len : 40, name.p);
}

static int parse(const char *text, struct s3_blobs_url *u, struct err *err)
{
    if (strncmp(text, scheme, sizeof scheme - 1) != 0)
        return err_set(err, ERR_INVALID, "s3://BUCKET/PREFIX is expected");
    struct slice query = slice_of(text + sizeof scheme - 1), path = slice_cut(&query, '?');
    struct slice bucket = slice_cut(&path, '/');
    u->bucket = mem_strndup(bucket.p, bucket.len);
    if (!s3_bucket_valid(u->bucket))
        return err_set(err, ERR_INVALID, "'%.80s' cannot be the name of a bucket", u->bucket);
    if (take_prefix(u, path, err) < 0)
        return -1;
    while (query.p) {
        if (take_parameter(u, slice_cut(&query, '&'), err) < 0)
            return -1;
    }
    return 0;
}

int s3_blobs_url_parse(const char *text, struct s3_blobs_url *ret, struct err *err)
{
    struct s3_blobs_url u = {0};
    if (parse(text, &u, err) < 0) {
        s3_blobs_url_free(&u);
        return -1;
    }
    *ret = u;
    return 0;
}
