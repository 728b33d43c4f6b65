// SPDX-License-Identifier: Apache-2.0
#include <zlib.h>

#include "common/base64.h"
#include "common/mem.h"
#include "layers/injection.h"
#include "layers/injection_impl.h"

/* "abc:" with nothing but a scheme's characters before the colon (RFC 3986 section 3.1). */
static bool has_scheme(struct slice s)
{
    for (size_t i = 0; i < s.len; ++i) {
        char c = s.p[i], lower = (char)(c | 0x20);
        if (c == ':')
            return i > 0;
        if (!((lower >= 'a' && lower <= 'z') ||
              (i && ((c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.'))))
            return false;
    }
    return false;
}

int injection_location_kind(struct slice location, enum layer_location *ret, struct err *err)
{
    if (slice_starts_with(location, "https://")) {
        /* A URL goes into a request as it is: printable ASCII, and a host. */
        for (size_t i = 0; i < location.len; ++i)
            if (location.p[i] <= ' ' || location.p[i] > '~')
                return err_set(err, ERR_INVALID,
                               "'location' holds a character that a URL may not: write it as %%XX");
        if (location.len == 8 || location.p[8] == '/')
            return err_set(err, ERR_INVALID, "'location' names no host");
        *ret = LAYER_HTTPS;
    } else if (slice_starts_with(location, "data:")) {
        *ret = LAYER_DATA;
    } else if (slice_starts_with(location, "gzip:")) {
        *ret = LAYER_GZIP;
    } else if (slice_starts_with(location, "image:") && location.len > 6) {
        *ret = LAYER_IMAGE;
    } else if (slice_starts_with(location, "http://")) {
        return err_set(err, ERR_INVALID, "'location' is plain http: use https://");
    } else if (location.len == 0 || has_scheme(location)) {
        return err_set(err, ERR_INVALID,
                       "'location' must be https://, data:, gzip: or a file name, not '%.*s'",
                       (int)(location.len > 60 ? 60 : location.len), location.len ? location.p : "");
    } else {
        *ret = LAYER_FILE;
    }
    return 0;
}

int injection_layer_location(const struct injection_layer *layer, enum layer_location *ret, struct err *err)
{
    return injection_location_kind(slice_of(layer->location), ret, err);
}

/* zlib's own wrapping (RFC 1950), and nothing behind it. */
static int inflate_all(const struct buf *in, struct buf *ret, struct err *err)
{
    z_stream z = {0};
    if (inflateInit(&z) != Z_OK)
        mem_none();
    z.next_in = (Bytef *)in->p;
    z.avail_in = (uInt)in->len;
    int rc;
    bool fits = true;
    do {
        unsigned char chunk[16384];
        z.next_out = chunk;
        z.avail_out = sizeof chunk;
        rc = inflate(&z, Z_NO_FLUSH);
        if (rc == Z_MEM_ERROR) /* says nothing of the text */
            mem_none();
        fits = buf_add(ret, chunk, sizeof chunk - z.avail_out);
    } while (rc == Z_OK && fits);
    size_t left = z.avail_in;
    (void)inflateEnd(&z);
    if (!fits)
        return err_set(err, ERR_SIZE_INVALID, "inflates to more than %zu bytes", ret->max);
    if (rc != Z_STREAM_END)
        return err_set(err, ERR_INVALID, "is not a whole zlib stream");
    return left ? err_set(err, ERR_INVALID, "has %zu bytes behind its zlib stream", left) : 0;
}

int injection_layer_decode(const struct injection_layer *layer, size_t max, struct buf *ret, struct err *err)
{
    enum layer_location kind = LAYER_FILE;
    if (injection_layer_location(layer, &kind, err) < 0)
        return -1;
    if (kind != LAYER_DATA && kind != LAYER_GZIP)
        return err_set(err, ERR_INVALID, "location holds no bytes");
    struct slice text = slice_of(layer->location + 5);
    buf_free(ret);
    ret->overflow = false;
    ret->max = max;
    if (kind == LAYER_DATA)
        return base64_decode_buf(text, BASE64_LOOSE, ret, err) < 0 ? err_wrap(err, "data: location") : 0;
    cleanup_buf struct buf deflated = {.max = INJECTION_BYTES_MAX};
    if (base64_decode_buf(text, BASE64_LOOSE, &deflated, err) < 0 || inflate_all(&deflated, ret, err) < 0)
        return err_wrap(err, "gzip: location");
    return 0;
}
