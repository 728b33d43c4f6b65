// SPDX-License-Identifier: Apache-2.0
#include "proxy/registry/blob_body.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "common/mem.h"
#include "proxy/http/response.h"
#include "proxy/registry/range.h"
#include "proxy/registry/reply.h"

#define COPY_MAX                                                                                             \
    ((size_t)64 << 10) /* per reader, only while a full disk makes a fill stream through memory */

/* The answer is a row of parts: text of ours (multipart heads), then a piece of the blob. */
struct part {
    struct slice text;
    uint64_t offset, len;
};

struct blob_body {
    struct request *r;
    struct digest digest;
    uint64_t size; /* of the blob */
    /* one of these */
    struct blob *blob;
    struct document *doc;
    struct fill_reader *reader;

    struct blob_store *store;
    struct part *part;
    size_t part_count, at;
    bool text_sent;
    uint64_t sent; /* of the current part's piece */
    bool pulling;  /* the stream waits for bytes of the fill */
    char *copy;
};

static void dispose(void *arg)
{
    struct blob_body *b = arg;
    if (b->reader)
        fill_leave(b->reader);
    blob_unref(b->blob);
    document_unref(b->doc);
    free(b->copy);
}

static struct blob_body *body_new(struct request *r, const struct digest *digest, uint64_t size)
{
    struct blob_body *b = request_alloc(r, sizeof *b);
    b->r = r;
    b->digest = *digest;
    b->size = size;
    request_on_dispose(r, dispose, b);
    return b;
}

/* ---- the stream ---- */

static void on_short(void *arg)
{
    struct blob_body *b = arg;
    if (b->store)
        b->store->ops->quarantine(b->store, &b->digest, "cannot be read, or is shorter than its size");
}

/* Some bytes of the piece, or a wait for them. */
static void send_from_fill(struct blob_body *b, uint64_t offset, uint64_t left)
{
    int fd;
    enum fill_state state = fill_reader_state(b->reader);
    /* Complete, and shorter than what was promised: nothing more will come. */
    if (state == FILL_FAILED || state == FILL_MISLED || state == FILL_BUSY ||
        (state == FILL_COMPLETE && offset >= fill_reader_size(b->reader))) {
        response_abort(b->r);
        return;
    }
    if (fill_reader_in_memory(b->reader) && !b->copy)
        b->copy = mem_alloc(COPY_MAX);
    uint64_t n = fill_reader_next(b->reader, offset, &fd, b->copy, b->copy ? COPY_MAX : 0);
    if (n == 0) {
        b->pulling = true;
        fill_reader_wait(b->reader, offset);
        return;
    }
    if (n > left)
        n = left;
    b->sent += n;
    if (fd < 0)
        response_write(b->r, b->copy, (size_t)n);
    else
        response_write_file(b->r, fd, offset, n, NULL, NULL);
}

static void pull(struct request *r, void *arg)
{
    struct blob_body *b = arg;
    while (b->at < b->part_count) {
        const struct part *p = &b->part[b->at];
        if (!b->text_sent) {
            b->text_sent = true;
            if (p->text.len) {
                response_write(r, p->text.p, p->text.len);
                return;
            }
        }
        if (b->sent < p->len) {
            uint64_t offset = p->offset + b->sent, left = p->len - b->sent;
            if (b->reader) {
                send_from_fill(b, offset, left);
                return;
            }
            b->sent = p->len;
            if (b->doc)
                response_write(r, b->doc->bytes + offset, (size_t)left);
            else
                response_write_file(r, b->blob->fd, offset, left, on_short, b);
            return;
        }
        ++b->at;
        b->sent = 0;
        b->text_sent = false;
    }
    response_end(r);
}

/* ---- headers and parts ---- */

static char *etag_of(struct request *r, const struct digest *digest)
{
    char *etag = request_alloc(r, DIGEST_STR_MAX + 3);
    const struct slice quote = SLICE_LIT("\"");
    (void)str_join(etag, DIGEST_STR_MAX + 3, (const struct slice[]){quote, slice_of(digest->s), quote}, 3);
    return etag;
}

static void common_headers(struct request *r, const struct digest *digest, const char *etag)
{
    reply_common_headers(r);
    response_header(r, "Docker-Content-Digest", slice_of(digest->s));
    response_header_ref(r, "ETag", slice_of(etag));
    response_header_ref(r, "Accept-Ranges", SLICE_LIT("bytes"));
    response_header_ref(r, "Cache-Control", SLICE_LIT("max-age=31536000, immutable"));
}

/* Parts for several ranges (RFC 9110 section 14.6); returns the length of the whole body. */
static uint64_t multipart(struct blob_body *b, const struct range *range, size_t n, const char *boundary)
{
    uint64_t total = 0;
    b->part = request_alloc(b->r, (n + 1) * sizeof *b->part);
    b->part_count = n + 1;
    for (size_t i = 0; i <= n; ++i) {
        char *text = request_alloc(b->r, 256);
        int len;
        if (i < n) {
            len = snprintf(text, 256,
                           "%s--%s\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes %" PRIu64
                           "-%" PRIu64 "/%" PRIu64 "\r\n\r\n",
                           i ? "\r\n" : "", boundary, range[i].first, range[i].last, b->size);
            b->part[i].offset = range[i].first;
            b->part[i].len = range[i].last - range[i].first + 1;
        } else {
            len = snprintf(text, 256, "\r\n--%s--\r\n", boundary);
        }
        b->part[i].text = (struct slice){text, (size_t)len};
        total += (uint64_t)len + b->part[i].len;
    }
    return total;
}

static void single(struct blob_body *b, uint64_t offset, uint64_t len)
{
    b->part = request_alloc(b->r, sizeof *b->part);
    b->part_count = 1;
    *b->part = (struct part){.offset = offset, .len = len};
}

static void unsatisfiable(struct blob_body *b)
{
    char text[64];
    struct err err;
    (void)snprintf(text, sizeof text, "bytes */%" PRIu64, b->size);
    response_header(b->r, "Content-Range", slice_of(text));
    (void)err_set(&err, ERR_RANGE_INVALID, "the range lies outside of %s, which has %" PRIu64 " bytes",
                  b->digest.s, b->size);
    reply_err(b->r, &err);
}

/* Answers from b's source. The request, and b with it, may be gone after. */
static void answer(struct blob_body *b)
{
    struct request *r = b->r;
    struct range range[RANGES_MAX];
    size_t n = 0;
    char text[128];
    const char *etag = etag_of(r, &b->digest);
    if (reply_not_modified(r, etag)) {
        common_headers(r, &b->digest, etag);
        response_send_ref(r, 304, NULL, 0);
        return;
    }
    struct slice header = request_header(r, "range"), if_range = request_header(r, "if-range");
    if (if_range.p && !slice_eq_str(if_range, etag))
        header.p = NULL;
    enum range_verdict verdict = range_parse(header, b->size, range, &n);
    if (verdict == RANGE_UNSATISFIABLE) {
        unsatisfiable(b);
        return;
    }
    if (n > 1 && b->reader) /* while it comes in: the whole is a fair answer too (RFC 9110 section 14.2) */
        verdict = RANGE_WHOLE;
    common_headers(r, &b->digest, etag);
    uint64_t length = b->size;
    int status = verdict == RANGE_SOME ? 206 : 200;
    if (verdict == RANGE_SOME && n > 1) {
        length = multipart(b, range, n, request_id(r));
        (void)snprintf(text, sizeof text, "multipart/byteranges; boundary=%s", request_id(r));
        response_header(r, "Content-Type", slice_of(text));
    } else {
        response_header_ref(r, "Content-Type", SLICE_LIT("application/octet-stream"));
        if (verdict == RANGE_SOME) {
            (void)snprintf(text, sizeof text, "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, range[0].first,
                           range[0].last, b->size);
            response_header(r, "Content-Range", slice_of(text));
            length = range[0].last - range[0].first + 1;
            single(b, range[0].first, length);
        } else {
            single(b, 0, length);
        }
    }
    if (b->doc && b->part_count == 1)
        response_send_ref(r, status, b->doc->bytes + b->part[0].offset, (size_t)length);
    else
        response_begin(r, status, length, (struct response_stream){pull, b});
}

void blob_body_from_store(struct request *r, struct blob_store *store, struct blob *blob)
{
    struct blob_body *b = body_new(r, &blob->digest, blob->size);
    b->blob = blob;
    b->store = store;
    answer(b);
}

void blob_body_from_memory(struct request *r, struct document *doc)
{
    struct blob_body *b = body_new(r, &doc->digest, doc->len);
    b->doc = doc;
    answer(b);
}

struct blob_body *blob_body_from_fill(struct request *r, const struct digest *digest,
                                      struct fill_reader *reader)
{
    struct blob_body *b = body_new(r, digest, fill_reader_size(reader));
    b->reader = reader;
    answer(b);
    return b;
}

void blob_body_fill_changed(struct blob_body *b)
{
    if (!b->pulling)
        return;
    b->pulling = false;
    pull(b->r, b);
}

void blob_body_head_only(struct request *r, const struct digest *digest, uint64_t size)
{
    struct blob_body *b = body_new(r, digest, size);
    const char *etag = etag_of(r, digest);
    common_headers(r, digest, etag);
    response_header_ref(r, "Content-Type", SLICE_LIT("application/octet-stream"));
    response_begin(r, 200, b->size, (struct response_stream){pull, b});
}

void blob_body_elsewhere(struct request *r, const struct digest *digest, const char *url)
{
    reply_common_headers(r);
    response_header(r, "Docker-Content-Digest", slice_of(digest->s));
    response_header(r, "Location", slice_of(url));
    response_header_ref(r, "Cache-Control", SLICE_LIT("no-store"));
    response_send_ref(r, 307, NULL, 0);
}
