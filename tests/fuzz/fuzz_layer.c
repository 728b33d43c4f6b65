// SPDX-License-Identifier: Apache-2.0
/* A layer of any bytes through the verifier, and the same bytes as a tar through the scan: pieces do not
 * matter, and limits hold. */
#include <assert.h>
#include <stdint.h>

#include "layers/tar_scan.h"
#include "layers/verify.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TAR_MAX ((uint64_t)256 << 10)

static int scan(const uint8_t *data, size_t size, size_t piece)
{
    struct tar_scan ts;
    struct err err;
    int rc = 0;
    tar_scan_init(&ts);
    for (size_t i = 0; rc == 0 && i < size; i += piece)
        rc = tar_scan_update(&ts, data + i, size - i < piece ? size - i : piece, &err);
    assert(ts.pax.len <= TAR_SCAN_PAX_MAX);
    if (rc == 0)
        rc = tar_scan_finish(&ts, &err);
    tar_scan_free(&ts);
    return rc;
}

static int verify(const struct injection_layer *layer, const uint8_t *data, size_t size, size_t piece,
                  struct err *err)
{
    struct layer_verifier *v = layer_verifier_new(layer, TAR_MAX);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < size; i += piece)
        rc = layer_verifier_update(v, data + i, size - i < piece ? size - i : piece, err);
    if (rc == 0)
        rc = layer_verifier_finish(v, err);
    assert(layer_verifier_tar_bytes(v) <= TAR_MAX + 65536);
    layer_verifier_free(v);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t pieces[] = {13, 512};
    int whole = scan(data, size, size + 1);
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; ++i)
        assert(scan(data, size, pieces[i]) == whole);
    if (size == 0)
        return 0;
    struct injection_layer layer = {.location = "f",
                                    .gzip_digest = digest_of(data, size),
                                    .gzip_size = size,
                                    .tar_digest = digest_of("", 0)};
    struct err one = {0}, two = {0};
    int rc = verify(&layer, data, size, size, &one);
    assert(verify(&layer, data, size, 61, &two) == rc && one.code == two.code);
    return 0;
}
