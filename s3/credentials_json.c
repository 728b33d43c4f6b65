// SPDX-License-Identifier: Apache-2.0
#include "s3/credentials_json.h"

#include "common/cleanup.h"

#define DEPTH_MAX 16

static void advance(struct slice *s, size_t n)
{
    s->p += n;
    s->len -= n;
}

static void skip_space(struct slice *s)
{
    while (s->len && (*s->p == ' ' || *s->p == '\t' || *s->p == '\r' || *s->p == '\n'))
        advance(s, 1);
}

static bool skip_char(struct slice *s, char c)
{
    skip_space(s);
    if (!s->len || *s->p != c)
        return false;
    advance(s, 1);
    return true;
}

/* Four hex digits; -1 if they are not. */
static int32_t hex4(struct slice s)
{
    int32_t value = 0;
    if (s.len < 4)
        return -1;
    for (int i = 0; i < 4; ++i) {
        char c = s.p[i], low = (char)(c | 0x20);
        int digit = c >= '0' && c <= '9' ? c - '0' : low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
        if (digit < 0)
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

static bool add_utf8(struct buf *b, int32_t c)
{
    char out[3] = {(char)c};
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : 3;
    if (n == 2) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
    } else if (n == 3) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3f));
        out[2] = (char)(0x80 | (c & 0x3f));
    }
    return buf_add(b, out, n);
}

/* Behind a backslash. Surrogates are refused: no credential has characters beyond the basic plane. */
static bool read_escape(struct slice *s, struct buf *b)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (!s->len)
        return false;
    char c = *s->p;
    advance(s, 1);
    if (c == 'u') {
        int32_t value = hex4(*s);
        if (value <= 0 || (value >= 0xd800 && value <= 0xdfff))
            return false;
        advance(s, 4);
        return add_utf8(b, value);
    }
    const char *at = c ? strchr(from, c) : NULL;
    return at && buf_add(b, &to[at - from], 1);
}

/* A string with its quotes, unescaped into b. */
static bool read_string(struct slice *s, struct buf *b)
{
    buf_reset(b);
    if (!skip_char(s, '"'))
        return false;
    while (s->len) {
        char c = *s->p;
        advance(s, 1);
        if (c == '"')
            return true;
        if ((unsigned char)c < ' ' || !(c == '\\' ? read_escape(s, b) : buf_add(b, &c, 1)))
            return false;
    }
    return false;
}

static bool skip_value(struct slice *s, struct buf *scratch, unsigned depth);

static bool skip_members(struct slice *s, struct buf *scratch, bool object, unsigned depth)
{
    char end = object ? '}' : ']';
    advance(s, 1);
    if (skip_char(s, end))
        return true;
    do {
        if (object && (!read_string(s, scratch) || !skip_char(s, ':')))
            return false;
        if (!skip_value(s, scratch, depth + 1))
            return false;
    } while (skip_char(s, ','));
    return skip_char(s, end);
}

static bool skip_value(struct slice *s, struct buf *scratch, unsigned depth)
{
    skip_space(s);
    if (!s->len || depth > DEPTH_MAX)
        return false;
    if (*s->p == '"')
        return read_string(s, scratch);
    if (*s->p == '{' || *s->p == '[')
        return skip_members(s, scratch, *s->p == '{', depth);
    size_t n = 0;
    while (n < s->len && s->p[n] && strchr("+-.0123456789eEtrufalsn", s->p[n]))
        ++n;
    advance(s, n);
    return n > 0;
}

char *credentials_json_string(struct slice doc, const char *name)
{
    cleanup_buf struct buf member = {.max = 64 << 10}, value = {.max = 64 << 10};
    if (!skip_char(&doc, '{'))
        return NULL;
    do {
        if (!read_string(&doc, &member) || !skip_char(&doc, ':'))
            return NULL;
        skip_space(&doc);
        if (slice_eq_str((struct slice){member.p, member.len}, name)) {
            bool good = doc.len && *doc.p == '"' && read_string(&doc, &value);
            return good ? buf_take(&value) : NULL;
        }
        if (!skip_value(&doc, &value, 0))
            return NULL;
    } while (skip_char(&doc, ','));
    return NULL;
}
