// SPDX-License-Identifier: Apache-2.0
#include "common/str.h"

#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

#include "common/mem.h"

bool slice_starts_with(struct slice s, const char *prefix)
{
    size_t n = strlen(prefix);
    return n == 0 || (s.len >= n && memcmp(s.p, prefix, n) == 0);
}

bool slice_ends_with(struct slice s, const char *suffix)
{
    size_t n = strlen(suffix);
    return n == 0 || (s.len >= n && memcmp(s.p + s.len - n, suffix, n) == 0);
}

bool slice_ieq_str(struct slice a, const char *s)
{
    return a.len == strlen(s) && (a.len == 0 || strncasecmp(a.p, s, a.len) == 0);
}

struct slice slice_trim(struct slice s)
{
    while (s.len && (s.p[0] == ' ' || s.p[0] == '\t'))
        ++s.p, --s.len;
    while (s.len && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t'))
        --s.len;
    return s;
}

struct slice slice_cut(struct slice *rest, char sep)
{
    struct slice all = *rest;
    const char *at = all.len ? memchr(all.p, sep, all.len) : NULL;
    if (!at) {
        *rest = (struct slice){NULL, 0};
        return all;
    }
    size_t n = (size_t)(at - all.p);
    *rest = (struct slice){at + 1, all.len - n - 1};
    return (struct slice){all.p, n};
}

bool slice_to_u64(struct slice s, uint64_t max, uint64_t *ret_value)
{
    uint64_t v = 0;
    if (s.len == 0)
        return false;
    for (size_t i = 0; i < s.len; ++i) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        uint64_t d = (uint64_t)(s.p[i] - '0');
        if (v > (UINT64_MAX - d) / 10)
            return false;
        v = v * 10 + d;
    }
    if (v > max)
        return false;
    *ret_value = v;
    return true;
}

void buf_free(struct buf *b)
{
    free(b->p);
    b->p = NULL;
    b->len = b->cap = 0;
}

void buf_reset(struct buf *b)
{
    b->len = 0;
    b->overflow = false;
    if (b->p)
        b->p[0] = '\0';
}

bool buf_reserve(struct buf *b, size_t more)
{
    size_t max = b->max ? b->max : (size_t)64 << 20;
    if (b->overflow || more > max || b->len > max - more) {
        b->overflow = true;
        return false;
    }
    size_t need = b->len + more + 1;
    if (need > b->cap) {
        size_t cap = b->cap ? b->cap : 64;
        while (cap < need)
            cap *= 2;
        if (cap - 1 > max) /* what fits in cap fits in max */
            cap = max + 1;
        b->p = mem_realloc(b->p, cap);
        b->cap = cap;
    }
    return true;
}

bool buf_add(struct buf *b, const void *p, size_t len)
{
    if ((b->overflow || len >= b->cap - b->len) && !buf_reserve(b, len))
        return false;
    if (len)
        memcpy(b->p + b->len, p, len);
    b->len += len;
    b->p[b->len] = '\0';
    return true;
}

bool buf_add_str(struct buf *b, const char *s)
{
    return buf_add(b, s, strlen(s));
}

bool buf_add_slice(struct buf *b, struct slice s)
{
    return buf_add(b, s.p, s.len);
}

bool buf_add_u64(struct buf *b, uint64_t value)
{
    char digits[20], *p = digits + sizeof digits;
    do {
        *--p = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    return buf_add(b, p, (size_t)(digits + sizeof digits - p));
}

bool buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    size_t room = b->overflow ? 0 : b->cap - b->len;
    va_start(ap, fmt);
    int n = vsnprintf(room ? b->p + b->len : NULL, room, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < room) {
        b->len += (size_t)n;
        return true;
    }
    if (room)
        b->p[b->len] = '\0'; /* nothing of it is taken yet */
    if (n < 0 || !buf_reserve(b, (size_t)n))
        return false;
    va_start(ap, fmt);
    (void)vsnprintf(b->p + b->len, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
    return true;
}

char *buf_take(struct buf *b)
{
    char *p = b->p ? b->p : mem_strdup("");
    b->p = NULL;
    b->len = b->cap = 0;
    return p;
}

const char *buf_str(const struct buf *b)
{
    return b->p ? b->p : "";
}

/* Length of the valid UTF-8 sequence at p (Unicode 15, table 3-7), 0 if there is none. */
static size_t utf8_len(const unsigned char *p, size_t left)
{
    if (p[0] < 0x80)
        return 1;
    if (p[0] >= 0xc2 && p[0] <= 0xdf)
        return left >= 2 && (p[1] & 0xc0) == 0x80 ? 2 : 0;
    if (p[0] >= 0xe0 && p[0] <= 0xef) {
        unsigned lo = p[0] == 0xe0 ? 0xa0 : 0x80, hi = p[0] == 0xed ? 0x9f : 0xbf;
        return left >= 3 && p[1] >= lo && p[1] <= hi && (p[2] & 0xc0) == 0x80 ? 3 : 0;
    }
    if (p[0] >= 0xf0 && p[0] <= 0xf4) {
        unsigned lo = p[0] == 0xf0 ? 0x90 : 0x80, hi = p[0] == 0xf4 ? 0x8f : 0xbf;
        return left >= 4 && p[1] >= lo && p[1] <= hi && (p[2] & 0xc0) == 0x80 && (p[3] & 0xc0) == 0x80 ? 4
                                                                                                       : 0;
    }
    return 0;
}

/* How many bytes from p on stand for themselves in a JSON string. */
static size_t plain_len(const char *p, size_t left)
{
    size_t n = 0;
    for (; n < left; ++n) {
        unsigned char c = (unsigned char)p[n];
        if (c < 0x20 || c >= 0x7f || c == '"' || c == '\\')
            break;
    }
    return n;
}

bool buf_add_json_str(struct buf *b, struct slice s)
{
    (void)buf_add(b, "\"", 1);
    for (size_t i = 0; i < s.len;) {
        size_t n = plain_len(s.p + i, s.len - i);
        if (n) {
            (void)buf_add(b, s.p + i, n);
            i += n;
            continue;
        }
        unsigned char c = (unsigned char)s.p[i];
        n = utf8_len((const unsigned char *)s.p + i, s.len - i);
        if (n == 0) {
            (void)buf_add_str(b, "\xef\xbf\xbd");
            ++i;
            continue;
        }
        if (c == '"' || c == '\\')
            (void)buf_printf(b, "\\%c", c);
        else if (c == '\n')
            (void)buf_add_str(b, "\\n");
        else if (c == '\r')
            (void)buf_add_str(b, "\\r");
        else if (c == '\t')
            (void)buf_add_str(b, "\\t");
        else if (c < 0x20 || c == 0x7f)
            (void)buf_printf(b, "\\u%04x", c);
        else
            (void)buf_add(b, s.p + i, n);
        i += n;
    }
    return buf_add(b, "\"", 1);
}

bool buf_add_url_escaped(struct buf *b, struct slice s)
{
    bool ok = true;
    for (size_t i = 0; i < s.len; ++i) {
        unsigned char c = (unsigned char)s.p[i];
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            (c && strchr("-._~", c)))
            ok = buf_add(b, &s.p[i], 1);
        else
            ok = buf_printf(b, "%%%02X", c);
    }
    return ok && !b->overflow;
}

size_t str_join(char *out, size_t cap, const struct slice *piece, size_t count)
{
    size_t at = 0;
    for (size_t i = 0; i < count; ++i) {
        size_t n = piece[i].len < cap - 1 - at ? piece[i].len : cap - 1 - at;
        if (n)
            memcpy(out + at, piece[i].p, n);
        at += n;
    }
    out[at] = '\0';
    return at;
}

bool str_glob_match(const char *pattern, const char *s)
{
    const char *star = NULL, *mark = NULL;
    while (*s) {
        if (*pattern == '*') {
            star = pattern++;
            mark = s;
        } else if (*pattern == *s) {
            ++pattern;
            ++s;
        } else if (star) {
            pattern = star + 1;
            s = ++mark;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        ++pattern;
    return *pattern == '\0';
}

static bool parse_leading_number(const char **s, double *ret)
{
    char *end;
    if (**s < '0' || **s > '9')
        return false;
    /* strtod knows hexadecimal numbers and exponents, people who write sizes do not mean them. */
    const char *digits_end = *s + strspn(*s, "0123456789.");
    *ret = strtod(*s, &end);
    if (end != digits_end)
        return false;
    *s = end;
    while (**s == ' ')
        ++*s;
    return *ret >= 0;
}

bool str_parse_size(const char *s, uint64_t *ret_bytes, bool *ret_percent)
{
    static const struct {
        const char *name;
        double factor;
    } units[] = {{"", 1},
                 {"B", 1},
                 {"KiB", 1024.0},
                 {"MiB", 1048576.0},
                 {"K", 1024.0},
                 {"M", 1048576.0},
                 {"G", 1073741824.0},
                 {"T", 1099511627776.0},
                 {"GiB", 1073741824.0},
                 {"TiB", 1099511627776.0},
                 {"kB", 1e3},
                 {"KB", 1e3},
                 {"MB", 1e6},
                 {"GB", 1e9},
                 {"TB", 1e12}};
    double v;
    if (!parse_leading_number(&s, &v))
        return false;
    *ret_percent = strcmp(s, "%") == 0;
    if (*ret_percent) {
        if (v > 100)
            return false;
        *ret_bytes = (uint64_t)v;
        return true;
    }
    for (size_t i = 0; i < sizeof units / sizeof units[0]; ++i) {
        if (strcasecmp(s, units[i].name) == 0) {
            if (v * units[i].factor > 9e18)
                return false;
            *ret_bytes = (uint64_t)(v * units[i].factor);
            return true;
        }
    }
    return false;
}

bool str_parse_duration(const char *s, uint64_t *ret_ms)
{
    static const struct {
        const char *name;
        double ms;
    } units[] = {{"", 1e3}, {"ms", 1}, {"s", 1e3}, {"m", 6e4}, {"min", 6e4}, {"h", 3.6e6}, {"d", 8.64e7}};
    double v;
    if (!parse_leading_number(&s, &v))
        return false;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; ++i) {
        if (strcmp(s, units[i].name) == 0) {
            if (v * units[i].ms > 9e15)
                return false;
            *ret_ms = (uint64_t)(v * units[i].ms);
            return true;
        }
    }
    return false;
}

char *str_format_size(uint64_t bytes, char *out, size_t cap)
{
    static const char *units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double v = (double)bytes;
    size_t u = 0;
    while (v >= 1023.5 && u + 1 < sizeof units / sizeof units[0]) {
        v /= 1024;
        ++u;
    }
    (void)snprintf(out, cap, u == 0 || v >= 100 ? "%.0f %s" : "%.1f %s", v, units[u]);
    return out;
}
