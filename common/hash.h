// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_COMMON_HASH_H
#define RAC_COMMON_HASH_H
/*
 * uthash with a hash function that takes eight bytes at a time. Keys of the tables that every request looks
 * into are 70 to 250 bytes long, where uthash's own function costs a tenth of a small answer. For tables in
 * memory only: values differ between machines of different byte order.
 */
#include <stdint.h>
#include <string.h>

#include "common/mem.h"

static inline unsigned hash_bytes(const void *bytes, size_t len)
{
    const char *p = bytes;
    uint64_t h = len, x;
    for (; len >= sizeof x; p += sizeof x, len -= sizeof x) {
        memcpy(&x, p, sizeof x);
        h = (h ^ x) * 0x9e3779b97f4a7c15u;
        h ^= h >> 32;
    }
    x = 0;
    memcpy(&x, p, len);
    h = (h ^ x) * 0x9e3779b97f4a7c15u;
    return (unsigned)(h ^ (h >> 32));
}

/* By itself it ends the process without a word where there is no memory. */
#define uthash_malloc(size)          mem_alloc(size)
#define HASH_FUNCTION(key, len, ret) (ret) = hash_bytes((key), (len))
#include <uthash.h>
#endif
