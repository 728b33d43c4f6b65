// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_COMMON_STR_H
#define RAC_COMMON_STR_H
/*
 * slice: bytes that belong to somebody else, not NUL-terminated. buf: bytes that grow, up to a limit given at
 * birth, always NUL-terminated behind the last byte.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct slice {
    const char *p;
    size_t len;
};

#define SLICE_LIT(s) ((struct slice){(s), sizeof(s) - 1})

static inline struct slice slice_of(const char *s)
{
    return (struct slice){s, s ? strlen(s) : 0};
}
static inline bool slice_eq(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}
static inline bool slice_eq_str(struct slice a, const char *s)
{
    return slice_eq(a, slice_of(s));
}
bool slice_starts_with(struct slice s, const char *prefix);
bool slice_ends_with(struct slice s, const char *suffix);
bool slice_ieq_str(struct slice a, const char *s); /* ASCII case ignored */
struct slice slice_trim(struct slice s);           /* spaces and tabs at both ends */
/* Cuts *rest at the first `sep`: returns what stands before it, *rest becomes what stands behind; without a
 * `sep` returns all of it and *rest becomes {NULL, 0}. */
struct slice slice_cut(struct slice *rest, char sep);
/* Decimal digits only, no sign, no space; false on anything else, on an empty slice and past `max`. */
bool slice_to_u64(struct slice s, uint64_t max, uint64_t *ret_value);

struct buf {
    char *p; /* NULL only while empty */
    size_t len, cap;
    size_t max;    /* most bytes it may hold; 0 = 64 MiB */
    bool overflow; /* an append did not fit: nothing of it was taken; checked once at the end */
};

#define cleanup_buf RAC_CLEANUP(buf_free)
void buf_free(struct buf *b);
void buf_reset(struct buf *b); /* keeps the memory */
/* Makes room for `more` bytes at once, where it is known that they will come. */
bool buf_reserve(struct buf *b, size_t more);
bool buf_add(struct buf *b, const void *p, size_t len);
bool buf_add_str(struct buf *b, const char *s);
bool buf_add_slice(struct buf *b, struct slice s);
bool buf_add_u64(struct buf *b, uint64_t value); /* in decimal digits */
bool buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The bytes as a malloc'd NUL-terminated string; the buf is empty after. Never NULL. */
char *buf_take(struct buf *b);
const char *buf_str(const struct buf *b); /* "" while empty */
/* Appends as a JSON string with its quotes; bytes that are not UTF-8 become U+FFFD. */
bool buf_add_json_str(struct buf *b, struct slice s);
/* Appends percent-encoded, all but unreserved characters (RFC 3986 section 2.3). */
bool buf_add_url_escaped(struct buf *b, struct slice s);

/* The pieces one behind the other into `out`, NUL-terminated, as far as they fit; returns their length there.
 */
size_t str_join(char *out, size_t cap, const struct slice *piece, size_t count);
/* Shell-like match of a whole string: `*` matches any run of characters, '/' too; nothing else is special. */
bool str_glob_match(const char *pattern, const char *s);
/* "10 GiB", "512MiB", "1048576", "80%": ret_percent is set for the last form. Units: B, KiB, MiB, GiB, TiB,
 * and kB, MB, GB, TB. */
bool str_parse_size(const char *s, uint64_t *ret_bytes, bool *ret_percent);
/* "500ms", "10s", "5m", "24h", "7d", a bare number is seconds. */
bool str_parse_duration(const char *s, uint64_t *ret_ms);
/* "1.5 GiB" into `out` (at least 16 bytes); returns out. */
char *str_format_size(uint64_t bytes, char *out, size_t cap);
#endif
