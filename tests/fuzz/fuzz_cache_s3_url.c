// SPDX-License-Identifier: Apache-2.0
/* --blobs as anybody may write it, and keys as a bucket may hold them. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "proxy/cache/s3_gc.h"
#include "proxy/cache/s3_url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = mem_strndup((const char *)data, size);
    struct s3_blobs_url u;
    if (s3_blobs_url_parse(text, &u, NULL) == 0) {
        size_t len = strlen(u.prefix);
        assert(*u.bucket && len <= S3_BLOBS_PREFIX_MAX);
        assert(len == 0 || (u.prefix[0] != '/' && u.prefix[len - 1] != '/'));
        s3_blobs_url_free(&u);
    }
    (void)s3_gc_is_blob("", text);
    (void)s3_gc_is_blob("cache", text);
    free(text);
    return 0;
}
