// SPDX-License-Identifier: Apache-2.0
#include "proxy/cache/s3_gc.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "proxy/cache/s3_impl.h"

struct gc {
    struct s3 *s3;
    struct s3_blobs_url url;
    char *below; /* "prefix/blobs/" */
    int64_t before_ms;
    bool dry_run;
    s3_gc_progress_fn *progress;
    void *arg;
    struct s3_gc *sums;
};

bool s3_gc_is_blob(const char *prefix, const char *key)
{
    size_t len = strlen(prefix);
    struct digest digest;
    char algorithm[8], folder[3], hex[DIGEST_STR_MAX + 1], text[2 * DIGEST_STR_MAX];
    int end = -1;
    if (len && (strncmp(key, prefix, len) != 0 || key[len] != '/'))
        return false;
    key += len ? len + 1 : 0;
    if (strlen(key) > DIGEST_STR_MAX + 16 ||
        sscanf(key, "blobs/%7[a-z0-9]/%2[0-9a-f]/%135[0-9a-f]%n", algorithm, folder, hex, &end) != 3 ||
        end < 0 || key[end] || strncmp(folder, hex, 2) != 0)
        return false;
    (void)snprintf(text, sizeof text, "%s:%s", algorithm, hex);
    return digest_parse(slice_of(text), &digest, NULL) == 0;
}

/* What the server does not date, or in a way that we cannot read, is not known to be old. */
static bool is_old(const struct gc *g, int64_t time_ms)
{
    return time_ms > 0 && time_ms < g->before_ms;
}

/* Those of a page that are old, in one request. */
static int delete_old(struct gc *g, const struct s3_page *page, struct err *err)
{
    const char *keys[S3_LIST_MAX];
    size_t len = 0;
    for (size_t i = 0; i < page->objects_len && len < S3_LIST_MAX; ++i) {
        const struct s3_object *o = &page->objects[i];
        if (!s3_gc_is_blob(g->url.prefix, o->key)) {
            ++g->sums->others;
            continue;
        }
        ++g->sums->blobs;
        g->sums->bytes += o->size;
        if (!is_old(g, o->mtime_ms))
            continue;
        ++g->sums->old;
        g->sums->old_bytes += o->size;
        keys[len++] = o->key;
    }
    if (len == 0 || g->dry_run)
        return 0;
    int left = s3_delete_many(g->s3, g->url.bucket, keys, len, NULL, err);
    if (left < 0)
        return -1;
    if (left > 0)
        log_warn("objects could not be deleted", F_S("bucket", g->url.bucket), F_U("objects", (unsigned)left),
                 F_ERR(err));
    g->sums->failed += (unsigned)left;
    return 0;
}

static int delete_objects(struct gc *g, struct err *err)
{
    cleanup_free char *after = NULL;
    do {
        cleanup_s3_page struct s3_page page = {0};
        if (s3_list(g->s3, g->url.bucket, g->below, NULL, after, S3_LIST_MAX, NULL, &page, err) < 0 ||
            delete_old(g, &page, err) < 0)
            return -1;
        free(after);
        after = page.next;
        page.next = NULL;
        g->progress(g->sums, g->arg);
    } while (after);
    return 0;
}

/* The server lists up to 1,000: as long as some of a full list go, there may be more. */
static int abort_uploads(struct gc *g, struct err *err)
{
    size_t len, aborted;
    do {
        struct s3_pending *p;
        aborted = 0;
        if (s3_uploads_list(g->s3, g->url.bucket, g->below, NULL, &p, &len, err) < 0)
            return -1;
        for (size_t i = 0; i < len; ++i) {
            if (!is_old(g, p[i].initiated_ms) || !s3_gc_is_blob(g->url.prefix, p[i].key))
                continue;
            ++g->sums->uploads;
            if (g->dry_run)
                continue;
            if (s3_upload_drop(g->s3, g->url.bucket, p[i].key, p[i].id, NULL, err) < 0)
                ++g->sums->failed;
            else
                ++aborted;
        }
        s3_pending_free(p, len);
    } while (len >= S3_LIST_MAX && aborted);
    return 0;
}

int s3_blobs_gc(const char *url, uint64_t older_than_ms, bool dry_run, s3_gc_progress_fn *progress, void *arg,
                struct s3_gc *ret, struct err *err)
{
    struct gc g = {.dry_run = dry_run, .progress = progress, .arg = arg, .sums = ret};
    cleanup_s3_config struct s3_config config = {0};
    *ret = (struct s3_gc){0};
    g.before_ms = clock_wall_ms() - (int64_t)older_than_ms;
    if (s3_blobs_url_parse(url, &g.url, err) < 0)
        return -1;
    int rc = s3_blobs_config(&g.url, &config, err);
    if (rc == 0) {
        g.s3 = s3_new(&config, err);
        rc = g.s3 ? 0 : -1;
    }
    g.below = mem_printf("%s%sblobs/", g.url.prefix, *g.url.prefix ? "/" : "");
    if (rc == 0)
        rc = delete_objects(&g, err);
    if (rc == 0)
        rc = abort_uploads(&g, err);
    s3_free(g.s3);
    free(g.below);
    s3_blobs_url_free(&g.url);
    return rc;
}
