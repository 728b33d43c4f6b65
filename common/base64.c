// SPDX-License-Identifier: Apache-2.0
#include "common/base64.h"

static int value_of(char c, enum base64_form form)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (form == BASE64_URL)
        return c == '-' ? 62 : c == '_' ? 63 : -1;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Without padding: at most two of the last four characters. */
static struct slice digits_of(struct slice text, enum base64_form form)
{
    if (form != BASE64_URL && text.len && text.len % 4 == 0)
        for (int i = 0; i < 2 && text.p[text.len - 1] == '='; ++i)
            --text.len;
    return text;
}

static int check_length(struct slice text, struct slice digits, enum base64_form form, struct err *err)
{
    if (digits.len % 4 == 1 || (form == BASE64_STRICT && text.len % 4))
        return err_set(err, ERR_INVALID, "base64 is cut short");
    return 0;
}

static ssize_t decode(struct slice digits, enum base64_form form, unsigned char *out, struct err *err)
{
    unsigned bits = 0, have = 0;
    ssize_t n = 0;
    for (size_t i = 0; i < digits.len; ++i) {
        int v = value_of(digits.p[i], form);
        if (v < 0)
            return err_set(err, ERR_INVALID, "character %zu of the base64 is none", i + 1);
        bits = (bits << 6 | (unsigned)v) & 0xfff;
        have += 6;
        if (have < 8)
            continue;
        have -= 8;
        out[n++] = (unsigned char)(bits >> have);
    }
    if (form == BASE64_STRICT && bits & ((1U << have) - 1))
        return err_set(err, ERR_INVALID, "the base64 has bits behind its end");
    return n;
}

ssize_t base64_decode(struct slice text, enum base64_form form, void *out, struct err *err)
{
    struct slice digits = digits_of(text, form);
    if (check_length(text, digits, form, err) < 0)
        return -1;
    return decode(digits, form, out, err);
}

int base64_decode_buf(struct slice text, enum base64_form form, struct buf *out, struct err *err)
{
    struct slice digits = digits_of(text, form);
    if (check_length(text, digits, form, err) < 0)
        return -1;
    if (!buf_reserve(out, digits.len / 4 * 3 + digits.len % 4 * 3 / 4))
        return err_set(err, ERR_SIZE_INVALID, "decodes to more than %zu bytes", out->max);
    ssize_t n = decode(digits, form, (unsigned char *)out->p + out->len, err);
    if (n < 0)
        return -1;
    out->len += (size_t)n;
    out->p[out->len] = '\0';
    return 0;
}
