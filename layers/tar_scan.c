// SPDX-License-Identifier: Apache-2.0
#include "layers/tar_scan.h"

#include <inttypes.h>

/* Offsets of ustar's fields. */
enum {
    AT_SIZE = 124,
    AT_CHECKSUM = 148,
    AT_TYPE = 156,
    AT_GNU_EXTENDED = 482,       /* old GNU sparse: more map blocks follow */
    AT_GNU_EXTENDED_AGAIN = 504, /* the same flag in such a block */
};

void tar_scan_init(struct tar_scan *ts)
{
    memset(ts, 0, sizeof *ts);
    ts->pax.max = TAR_SCAN_PAX_MAX;
}

void tar_scan_free(struct tar_scan *ts)
{
    buf_free(&ts->pax);
}

static int fault(const struct tar_scan *ts, const char *what, struct err *err)
{
    return err_set(err, ERR_INVALID, "tar: %s, at byte %" PRIu64, what, ts->offset);
}

/* A numeric field: octal digits between spaces and NULs, or base 256 with the top bit set (GNU, star). */
static bool parse_number(const unsigned char *p, size_t len, uint64_t *ret)
{
    uint64_t v = 0;
    if (p[0] & 0x80) {
        if (p[0] != 0x80)
            return false; /* negative, or past 88 bits */
        for (size_t i = 1; i < len; ++i) {
            if (v >> 55)
                return false;
            v = v << 8 | p[i];
        }
        *ret = v;
        return true;
    }
    size_t i = 0;
    while (i < len && (p[i] == ' ' || p[i] == '\0'))
        ++i;
    for (; i < len && p[i] >= '0' && p[i] <= '7'; ++i)
        v = v << 3 | (uint64_t)(p[i] - '0');
    for (; i < len; ++i)
        if (p[i] != ' ' && p[i] != '\0')
            return false;
    *ret = v;
    return true;
}

static bool checksum_ok(const unsigned char *block)
{
    uint64_t want;
    uint64_t sum = 0;
    int64_t signed_sum = 0; /* some old writers */
    if (!parse_number(block + AT_CHECKSUM, 8, &want))
        return false;
    for (size_t i = 0; i < TAR_BLOCK; ++i) {
        unsigned char c = i >= AT_CHECKSUM && i < AT_CHECKSUM + 8 ? ' ' : block[i];
        sum += c;
        signed_sum += (signed char)c;
    }
    return want == sum || (int64_t)want == signed_sum;
}

/* "LEN key=value\n" records; we want `size`. */
static int parse_pax(struct tar_scan *ts, struct err *err)
{
    struct slice rest = {buf_str(&ts->pax), ts->pax.len};
    while (rest.len) {
        struct slice tail = rest;
        uint64_t len;
        struct slice number = slice_cut(&tail, ' ');
        if (!tail.p || !slice_to_u64(number, rest.len, &len) || len <= number.len + 2 ||
            rest.p[len - 1] != '\n')
            return fault(ts, "malformed pax record", err);
        struct slice value = {tail.p, (size_t)len - number.len - 2};
        struct slice key = slice_cut(&value, '=');
        if (!value.p)
            return fault(ts, "pax record without '='", err);
        if (slice_eq_str(key, "size")) {
            ts->pax_has_size = value.len > 0;
            if (value.len && !slice_to_u64(value, INT64_MAX, &ts->pax_size))
                return fault(ts, "malformed size in a pax record", err);
        }
        rest.p += len;
        rest.len -= (size_t)len;
    }
    buf_reset(&ts->pax);
    return 0;
}

/* Links, devices, folders and pipes have no content, whatever their size says. */
static bool is_header_only(unsigned char type)
{
    return type >= '1' && type <= '6';
}

static int take_header(struct tar_scan *ts, struct err *err)
{
    static const unsigned char zeros[TAR_BLOCK];
    if (memcmp(ts->block, zeros, TAR_BLOCK) == 0) {
        if (++ts->zero_blocks == 2)
            ts->state = TAR_SCAN_END;
        return 0;
    }
    if (ts->zero_blocks)
        return fault(ts, "a lone zero block between entries", err);
    uint64_t size;
    if (!checksum_ok(ts->block))
        return fault(ts, "header with a wrong checksum", err);
    if (!parse_number(ts->block + AT_SIZE, 12, &size) || size > INT64_MAX)
        return fault(ts, "header with a malformed size", err);
    unsigned char type = ts->block[AT_TYPE];
    bool is_pax = type == 'x';
    bool is_meta = is_pax || type == 'g' || type == 'L' || type == 'K';
    if (!is_meta) {
        if (ts->pax_has_size)
            size = ts->pax_size;
        ts->pax_has_size = false;
        if (is_header_only(type))
            size = 0;
    }
    if (is_pax && size > TAR_SCAN_PAX_MAX)
        return fault(ts, "pax header of more than 1 MiB", err);
    ts->left = size;
    ts->padding = (TAR_BLOCK - size % TAR_BLOCK) % TAR_BLOCK;
    if (type == 'S' && ts->block[AT_GNU_EXTENDED])
        ts->state = TAR_SCAN_SPARSE;
    else if (size)
        ts->state = is_pax ? TAR_SCAN_PAX : TAR_SCAN_CONTENT;
    return 0;
}

static int take_block(struct tar_scan *ts, struct err *err)
{
    ts->fill = 0;
    if (ts->state == TAR_SCAN_HEADER)
        return take_header(ts, err);
    if (!ts->block[AT_GNU_EXTENDED_AGAIN])
        ts->state = ts->left ? TAR_SCAN_CONTENT : TAR_SCAN_HEADER;
    return 0;
}

/* Takes content, then its padding. Returns how much of `len` that was. */
static size_t take_content(struct tar_scan *ts, const unsigned char *p, size_t len)
{
    if (ts->left) {
        size_t n = len < ts->left ? len : (size_t)ts->left;
        if (ts->state == TAR_SCAN_PAX)
            (void)buf_add(&ts->pax, p, n);
        ts->left -= n;
        return n;
    }
    size_t n = len < ts->padding ? len : (size_t)ts->padding;
    ts->padding -= n;
    return n;
}

int tar_scan_update(struct tar_scan *ts, const void *bytes, size_t len, struct err *err)
{
    const unsigned char *p = bytes;
    while (len) {
        size_t n;
        if (ts->state == TAR_SCAN_END) {
            for (n = 0; n < len; ++n)
                if (p[n])
                    return fault(ts, "something behind the end", err);
        } else if (ts->state == TAR_SCAN_CONTENT || ts->state == TAR_SCAN_PAX) {
            n = take_content(ts, p, len);
            if (!ts->left && !ts->padding) {
                bool pax = ts->state == TAR_SCAN_PAX;
                ts->state = TAR_SCAN_HEADER;
                if (pax && parse_pax(ts, err) < 0)
                    return -1;
            }
        } else {
            n = TAR_BLOCK - ts->fill < len ? TAR_BLOCK - ts->fill : len;
            memcpy(ts->block + ts->fill, p, n);
            ts->fill += n;
            if (ts->fill == TAR_BLOCK && take_block(ts, err) < 0)
                return -1;
        }
        p += n;
        len -= n;
        ts->offset += n;
    }
    return 0;
}

int tar_scan_finish(const struct tar_scan *ts, struct err *err)
{
    if (ts->state == TAR_SCAN_END)
        return 0;
    if (ts->state == TAR_SCAN_HEADER && ts->fill == 0)
        return fault(ts, "the two zero blocks at the end are missing", err);
    return fault(ts, "cut short", err);
}
