// SPDX-License-Identifier: Apache-2.0
#include "proxy/cache/document_fetch.h"

#include <stdlib.h>

#include "common/mem.h"
#include "layers/manifest.h"
#include "layers/media_type.h"
#include "layers/schema1.h"

struct transfer {
    struct repo *repo;
    enum document_kind kind;
    bool by_digest;
    struct digest want; /* by digest: the one asked for; by tag: the one the upstream announces, if it does */
    char what[400];
    char content_type[256];
    struct buf body;
    bool failed; /* err says why; the rest of the body is not wanted */
    struct err err;
    document_fetch_fn *fn;
    void *arg;
};

char *document_path(const struct repo *repo, const char *what, const char *reference)
{
    return mem_printf("/v2/%s/%s/%s", repo->repository, what, reference);
}

static bool on_head(void *arg, const struct fetch_head *head)
{
    struct transfer *t = arg;
    enum err_code missing = t->kind == DOCUMENT_MANIFEST ? ERR_MANIFEST_UNKNOWN : ERR_BLOB_UNKNOWN;
    const char *upstream = t->repo->upstream->name;
    if (fetch_head_err(head, t->repo->upstream, t->what, missing, &t->err) < 0) {
        t->failed = true;
    } else if (head->status != 200) {
        t->failed = err_set(&t->err, ERR_UPSTREAM, "%s answered %d where 200 was due: %s", upstream,
                            head->status, t->what);
    } else if (head->digest_malformed) {
        t->failed = err_set(&t->err, ERR_UPSTREAM, "%s sent a malformed Docker-Content-Digest: %s", upstream,
                            t->what);
    } else if (head->content_length > (int64_t)DOCUMENT_MAX) {
        t->failed = err_set(&t->err, ERR_SIZE_INVALID, "%s: %lld bytes are over the limit of 4 MiB", t->what,
                            (long long)head->content_length);
    } else if (digest_is_set(&head->digest)) {
        bool same_algorithm = slice_eq(digest_algorithm(&head->digest), digest_algorithm(&t->want));
        if (t->by_digest && same_algorithm && !digest_eq(&head->digest, &t->want))
            t->failed = err_set(&t->err, ERR_UPSTREAM, "%s announced %s where %s was asked for", upstream,
                                head->digest.s, t->want.s);
        else if (!t->by_digest)
            t->want = head->digest;
    }
    (void)snprintf(t->content_type, sizeof t->content_type, "%s", head->content_type);
    return true;
}

static bool on_data(void *arg, const void *p, size_t len)
{
    struct transfer *t = arg;
    if (!t->failed && !buf_add(&t->body, p, len))
        t->failed = err_set(&t->err, ERR_SIZE_INVALID, "%s: more than 4 MiB", t->what);
    return true;
}

/* The media type a manifest is to be served as; refuses what is no manifest. */
static int check_manifest(struct transfer *t, char *ret_media_type, size_t cap)
{
    struct manifest *m =
        manifest_parse(t->body.p, t->body.len, t->content_type[0] ? t->content_type : NULL, &t->err);
    if (!m) {
        if (t->err.code != ERR_SIZE_INVALID)
            t->err.code = ERR_UPSTREAM;
        return err_wrap(&t->err, "%s sent a manifest that is not valid (%s)", t->repo->upstream->name,
                        t->what);
    }
    (void)snprintf(ret_media_type, cap, "%s", manifest_media_type(m));
    manifest_free(m);
    return 0;
}

static struct digest digest_as_wanted(const struct transfer *t, const struct buf *bytes)
{
    struct slice algorithm = digest_is_set(&t->want) ? digest_algorithm(&t->want) : SLICE_LIT("sha256");
    cleanup_hasher struct hasher *h = hasher_new(algorithm);
    hasher_update(h, buf_str(bytes), bytes->len);
    return hasher_digest(h);
}

/* A signed schema 1 manifest goes by the digest of its payload. */
static bool is_signed_as_wanted(const struct transfer *t, struct digest *ret)
{
    cleanup_buf struct buf payload = {0};
    if (t->kind != DOCUMENT_MANIFEST || !schema1_may_be_signed(t->body.p, t->body.len) ||
        schema1_payload(t->body.p, t->body.len, &payload, NULL) < 0)
        return false;
    *ret = digest_as_wanted(t, &payload);
    return !digest_is_set(&t->want) || digest_eq(ret, &t->want);
}

static int check(struct transfer *t, struct document_fetched *ret)
{
    ret->digest = digest_as_wanted(t, &t->body);
    if (!digest_is_set(&t->want) || !digest_eq(&ret->digest, &t->want))
        ret->is_signed = is_signed_as_wanted(t, &ret->digest);
    if (digest_is_set(&t->want) && !digest_eq(&ret->digest, &t->want))
        return err_set(&t->err, ERR_UPSTREAM, "%s sent bytes of digest %s where %s was due: %s",
                       t->repo->upstream->name, ret->digest.s, t->want.s, t->what);
    return t->kind == DOCUMENT_MANIFEST ? check_manifest(t, ret->media_type, sizeof ret->media_type) : 0;
}

static void on_done(void *arg, const struct err *err)
{
    struct transfer *t = arg;
    struct document_fetched doc = {0};
    if (!t->failed && err) {
        t->err = *err;
        (void)err_wrap(&t->err, "%s", t->what);
        t->failed = true;
    }
    if (!t->failed && check(t, &doc) < 0)
        t->failed = true;
    if (t->failed) {
        t->fn(t->arg, NULL, &t->err);
    } else {
        doc.len = t->body.len;
        doc.bytes = buf_take(&t->body);
        t->fn(t->arg, &doc, NULL);
    }
    buf_free(&t->body);
    repo_unref(t->repo);
    free(t);
}

static const struct fetch_ops ops = {.on_head = on_head, .on_data = on_data, .on_done = on_done};

void document_fetch(struct upstream_client *client, struct repo *repo, const struct digest *digest,
                    const char *tag, enum document_kind kind, document_fetch_fn *fn, void *arg)
{
    struct transfer *t = mem_new(struct transfer);
    t->repo = repo_ref(repo);
    t->kind = kind;
    t->by_digest = digest != NULL;
    if (digest)
        t->want = *digest;
    t->body.max = DOCUMENT_MAX;
    t->fn = fn;
    t->arg = arg;
    const char *reference = digest ? digest->s : tag;
    (void)snprintf(t->what, sizeof t->what, "%s %.250s%s%s", kind == DOCUMENT_MANIFEST ? "manifest" : "blob",
                   repo->canonical, digest ? "@" : ":", reference);
    cleanup_free char *path =
        document_path(repo, kind == DOCUMENT_MANIFEST ? "manifests" : "blobs", reference);
    (void)fetch_start(
        client,
        &(struct fetch_params){.upstream = repo->upstream,
                               .path = path,
                               .repository = repo->repository,
                               .accept = kind == DOCUMENT_MANIFEST ? media_type_accept_all() : "*/*"},
        &ops, t);
}
