// SPDX-License-Identifier: Apache-2.0
#include "layers/verify.h"

#include <assert.h>
#include <inttypes.h>
#include <zlib.h>

#include "common/mem.h"
#include "layers/tar_scan.h"

struct layer_verifier {
    struct digest gzip_digest, tar_digest; /* as declared */
    uint64_t gzip_size, max_tar_bytes;
    struct hasher *gzip_hasher, *tar_hasher;
    uint64_t gzip_bytes, tar_bytes;
    z_stream z;
    bool in_member; /* inside a gzip member; several may follow each other (RFC 1952 section 2.2) */
    bool any_member;
    struct tar_scan scan;
    /* Told at the end, if the digests have nothing to say: code ERR_NONE = all is well. */
    struct err gzip_fault, tar_fault;
    unsigned char out[65536];
};

struct layer_verifier *layer_verifier_new(const struct injection_layer *expected, uint64_t max_tar_bytes)
{
    struct layer_verifier *v = mem_new(struct layer_verifier);
    v->gzip_digest = expected->gzip_digest;
    v->tar_digest = expected->tar_digest;
    v->gzip_size = expected->gzip_size;
    v->max_tar_bytes = max_tar_bytes;
    v->gzip_hasher = hasher_new(digest_algorithm(&v->gzip_digest));
    v->tar_hasher = hasher_new(digest_algorithm(&v->tar_digest));
    tar_scan_init(&v->scan);
    int rc = inflateInit2(&v->z, 15 + 16);
    if (rc == Z_MEM_ERROR)
        mem_none();
    assert(rc == Z_OK);
    return v;
}

void layer_verifier_free(struct layer_verifier *v)
{
    if (!v)
        return;
    (void)inflateEnd(&v->z);
    hasher_free(v->gzip_hasher);
    hasher_free(v->tar_hasher);
    tar_scan_free(&v->scan);
    free(v);
}

static int take_tar(struct layer_verifier *v, size_t len, struct err *err)
{
    v->tar_bytes += len;
    if (v->tar_bytes > v->max_tar_bytes)
        return err_set(err, ERR_SIZE_INVALID, "layer %s unpacks to more than the limit of %" PRIu64 " bytes",
                       v->gzip_digest.s, v->max_tar_bytes);
    hasher_update(v->tar_hasher, v->out, len);
    if (v->tar_fault.code == ERR_NONE)
        (void)tar_scan_update(&v->scan, v->out, len, &v->tar_fault);
    return 0;
}

/* Inflates what is in z.next_in. 0 also where the stream turns out bad: gzip_fault has it then. */
static int take_gzip(struct layer_verifier *v, struct err *err)
{
    /* Input is gone, but output may be waiting in zlib: only an output buffer left unfilled says that it is
     * not. */
    bool more = true;
    while (v->gzip_fault.code == ERR_NONE && (v->z.avail_in || (more && v->in_member))) {
        if (!v->in_member) {
            if (v->any_member && inflateReset(&v->z) != Z_OK)
                abort();
            v->in_member = v->any_member = true;
        }
        v->z.next_out = v->out;
        v->z.avail_out = sizeof v->out;
        int rc = inflate(&v->z, Z_NO_FLUSH);
        if (rc == Z_MEM_ERROR) /* says nothing of the layer */
            mem_none();
        more = v->z.avail_out == 0;
        if (take_tar(v, sizeof v->out - v->z.avail_out, err) < 0)
            return -1;
        if (rc == Z_STREAM_END)
            v->in_member = false;
        else if (rc != Z_OK && rc != Z_BUF_ERROR)
            (void)err_set(&v->gzip_fault, ERR_INVALID, "layer %s is not whole gzip: %s, near byte %" PRIu64,
                          v->gzip_digest.s, v->z.msg ? v->z.msg : "damaged", v->gzip_bytes - v->z.avail_in);
    }
    return 0;
}

int layer_verifier_update(struct layer_verifier *v, const void *bytes, size_t len, struct err *err)
{
    if (len > v->gzip_size - v->gzip_bytes)
        return err_set(err, ERR_SIZE_INVALID, "layer %s: gzipSize %" PRIu64 " expected, found more",
                       v->gzip_digest.s, v->gzip_size);
    const unsigned char *p = bytes;
    while (len) {
        size_t n = len < (size_t)1 << 30 ? len : (size_t)1 << 30; /* avail_in has 32 bits */
        hasher_update(v->gzip_hasher, p, n);
        v->gzip_bytes += n;
        v->z.next_in = (Bytef *)p;
        v->z.avail_in = (uInt)n;
        if (take_gzip(v, err) < 0)
            return -1;
        p += n;
        len -= n;
    }
    return 0;
}

int layer_verifier_finish(struct layer_verifier *v, struct err *err)
{
    if (v->gzip_bytes != v->gzip_size)
        return err_set(err, ERR_DIGEST_INVALID, "layer %s: gzipSize %" PRIu64 " expected, found %" PRIu64,
                       v->gzip_digest.s, v->gzip_size, v->gzip_bytes);
    struct digest found = hasher_digest(v->gzip_hasher);
    if (!digest_eq(&found, &v->gzip_digest))
        return err_set(err, ERR_DIGEST_INVALID, "gzipDigest %s expected, found %s", v->gzip_digest.s,
                       found.s);
    if (v->gzip_fault.code == ERR_NONE && (v->in_member || !v->any_member))
        (void)err_set(&v->gzip_fault, ERR_INVALID, "layer %s is not whole gzip: cut short", v->gzip_digest.s);
    if (v->gzip_fault.code != ERR_NONE) {
        if (err)
            *err = v->gzip_fault;
        return -1;
    }
    found = hasher_digest(v->tar_hasher);
    if (!digest_eq(&found, &v->tar_digest))
        return err_set(err, ERR_DIGEST_INVALID, "layer %s: tarDigest %s expected, found %s", v->gzip_digest.s,
                       v->tar_digest.s, found.s);
    if (v->tar_fault.code == ERR_NONE)
        (void)tar_scan_finish(&v->scan, &v->tar_fault);
    if (v->tar_fault.code != ERR_NONE) {
        if (err)
            *err = v->tar_fault;
        return err_wrap(err, "layer %s", v->gzip_digest.s);
    }
    return 0;
}

uint64_t layer_verifier_tar_bytes(const struct layer_verifier *v)
{
    return v->tar_bytes;
}
