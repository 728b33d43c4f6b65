// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_LAYERS_TAR_SCAN_H
#define RAC_LAYERS_TAR_SCAN_H
/*
 * Walks a tar as it streams by and says whether it is sound: headers with right checksums and sizes, content
 * that is all there, two zero blocks at the end and only zeros behind (POSIX pax, "ustar Interchange
 * Format"). Keeps no content but one pax header. What is read as a size is what Go's archive/tar reads, since
 * clients unpack with that.
 *
 *     HEADER -> CONTENT -> HEADER ... -> END      PAX is CONTENT that is kept; SPARSE is a GNU header's
 * continuation
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/str.h"

#define TAR_BLOCK        512
#define TAR_SCAN_PAX_MAX ((size_t)1 << 20)

enum tar_scan_state {
    TAR_SCAN_HEADER,
    TAR_SCAN_SPARSE,
    TAR_SCAN_CONTENT,
    TAR_SCAN_PAX,
    TAR_SCAN_END,
};

struct tar_scan {
    enum tar_scan_state state;
    uint64_t offset; /* bytes taken so far, for messages */
    uint64_t left;   /* CONTENT, PAX: bytes of it to come, without padding */
    uint64_t padding;
    unsigned zero_blocks;
    bool pax_has_size; /* the next header's size stands in a pax header before it */
    uint64_t pax_size;
    unsigned char block[TAR_BLOCK];
    size_t fill;
    struct buf pax;
};

void tar_scan_init(struct tar_scan *ts);
void tar_scan_free(struct tar_scan *ts); /* its members */
/* ERR_INVALID with the offset of what is wrong; after that the scan must not go on. */
int tar_scan_update(struct tar_scan *ts, const void *bytes, size_t len, struct err *err);
int tar_scan_finish(const struct tar_scan *ts, struct err *err);
#endif
