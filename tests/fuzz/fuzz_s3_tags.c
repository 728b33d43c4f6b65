// SPDX-License-Identifier: Apache-2.0
/* FUSION_TAGS, and what becomes of it for a key. */
#include <assert.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "s3/s3_tags.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_free char *text = mem_dup(data, size);
    struct s3_tags *t = NULL;
    if (s3_tags_parse(text, &t, NULL) < 0)
        return 0;
    cleanup_buf struct buf b = {0};
    s3_tags_add(t, "dir/name", &b);
    /* It is a header's value. */
    for (size_t i = 0; i < b.len; ++i)
        assert((unsigned char)b.p[i] > ' ' && (unsigned char)b.p[i] < 0x7f);
    s3_tags_free(t);
    return 0;
}
