// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3FS_PART_H
#define RAC_S3FS_PART_H
/*
 * A file as parts of an upload. Where parts begin depends on nothing but their number, so that one can be
 * sent before anybody knows how long the file becomes: 1,000 parts of 8 MiB, 1,000 of 16 MiB, and so on;
 * 10,000 parts hold 8 TiB, more than an object may.
 *
 * What is local of a part is one range of bytes, [lo, hi), in memory or in the spill. The rest of the part is
 * what the stored object has there, and zeros behind that object's end.
 *
 *      |--- base ---|=== local ===|--- base ---|000 zeros 000|
 *      0            lo            hi           end of base    part_size
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fuse-layer/s3fs/memory.h"
#include "fuse-layer/s3fs/pool.h"

#define PART_FIRST_SIZE ((uint64_t)8 << 20)
#define PART_TIER_LEN   1000
#define PARTS_MAX       10000

struct writer;

struct part {
    struct pool_job job; /* while it is being sent */
    struct writer *writer;
    size_t index;
    char *mem; /* local bytes at their offset in the part; NULL: they are in the spill */
    size_t mem_cap;
    void *map; /* of the spill, while it is being sent */
    uint64_t send_len;
    uint64_t lo, hi;
    uint64_t spilled; /* of the spill's account */
    bool dirty;       /* local bytes that the base has not */
    bool sending;
    bool sent; /* the running upload has it */
    bool lost; /* sent, and no longer here */
};

static inline uint64_t part_size(size_t index)
{
    return PART_FIRST_SIZE << (index / PART_TIER_LEN);
}

/* Where the part begins in the file. */
static inline uint64_t part_offset(size_t index)
{
    size_t tier = index / PART_TIER_LEN;
    return PART_TIER_LEN * PART_FIRST_SIZE * (((uint64_t)1 << tier) - 1) +
           index % PART_TIER_LEN * part_size(index);
}

/* The part that the byte is in; PARTS_MAX for one behind all of them. */
static inline size_t part_at(uint64_t offset)
{
    for (size_t tier = 0; tier < PARTS_MAX / PART_TIER_LEN; ++tier) {
        uint64_t begin = part_offset(tier * PART_TIER_LEN), size = PART_FIRST_SIZE << tier;
        if (offset < begin + PART_TIER_LEN * size)
            return tier * PART_TIER_LEN + (size_t)((offset - begin) / size);
    }
    return PARTS_MAX;
}
#endif
