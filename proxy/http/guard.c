// SPDX-License-Identifier: Apache-2.0
#include "proxy/http/guard.h"

#include <strings.h>

static int refuse(int status, const char *message, const char **ret_message)
{
    *ret_message = message;
    return status;
}

/* The value of a header line ("name: value", no line end) if it has that name, else p == NULL. */
static struct slice value_of(struct slice line, const char *name, size_t name_len)
{
    if (line.len <= name_len || line.p[name_len] != ':' || strncasecmp(line.p, name, name_len) != 0)
        return (struct slice){NULL, 0};
    return slice_trim((struct slice){line.p + name_len + 1, line.len - name_len - 1});
}
#define VALUE_OF(line, name) value_of((line), (name), sizeof(name) - 1)

static int check_framing(struct slice line, bool is_http_1_0, struct guard_head *head,
                         const char **ret_message)
{
    struct slice v;
    switch (line.p[0] | 0x20) {
    case 'h':
        if (VALUE_OF(line, "host").p) {
            if (head->has_host)
                return refuse(400, "the request has two Host headers", ret_message);
            head->has_host = true;
        }
        break;
    case 'c':
        if ((v = VALUE_OF(line, "content-length")).p) {
            uint64_t ignored;
            if (head->has_length)
                return refuse(400, "the request has two Content-Length headers", ret_message);
            if (!slice_to_u64(v, INT64_MAX, &ignored))
                return refuse(400, "Content-Length is not a number", ret_message);
            head->has_length = true;
        }
        break;
    case 't':
        if ((v = VALUE_OF(line, "transfer-encoding")).p) {
            if (head->chunked)
                return refuse(400, "the request has two Transfer-Encoding headers", ret_message);
            if (is_http_1_0)
                return refuse(400, "Transfer-Encoding in an HTTP/1.0 request", ret_message);
            if (!slice_ieq_str(v, "chunked"))
                return refuse(400, "the only Transfer-Encoding here is chunked", ret_message);
            head->chunked = true;
        }
        break;
    case 'e':
        if ((v = VALUE_OF(line, "expect")).p && !slice_ieq_str(v, "100-continue"))
            return refuse(417, "the only expectation here is 100-continue", ret_message);
        break;
    default:
        break;
    }
    if (head->has_length && head->chunked)
        return refuse(400, "the request has both Content-Length and Transfer-Encoding", ret_message);
    return 0;
}

int guard_check_head(struct slice bytes, size_t max_bytes, bool is_http_1_0, struct guard_head *ret,
                     const char **ret_message)
{
    struct guard_head head = {0};
    const char *line = bytes.p, *end = bytes.p + bytes.len;
    /* Parsers skip one empty line before a request (RFC 9112 section 2.2). */
    if (bytes.len >= 2 && line[0] == '\r' && line[1] == '\n')
        line += 2;
    for (bool is_first = true;; is_first = false) {
        const char *lf = line < end ? memchr(line, '\n', (size_t)(end - line)) : NULL;
        if (!lf)
            return refuse(400, "the head has no end", ret_message);
        head.len = (size_t)(lf + 1 - bytes.p);
        if (head.len > max_bytes)
            return refuse(431, "the head of the request is too large", ret_message);
        if (lf == line || lf[-1] != '\r')
            return refuse(400, "a line of the head ends without carriage return", ret_message);
        struct slice l = {line, (size_t)(lf - 1 - line)};
        if (l.len == 0)
            break;
        if (!is_first) {
            if (l.p[0] == ' ' || l.p[0] == '\t')
                return refuse(400, "a header line is folded", ret_message);
            int status = check_framing(l, is_http_1_0, &head, ret_message);
            if (status)
                return status;
        }
        line = lf + 1;
    }
    if (!head.has_host && !is_http_1_0)
        return refuse(400, "the request has no Host header", ret_message);
    *ret = head;
    return 0;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int guard_check_target(struct slice target, const char **ret_message)
{
    if (target.len == 0 || target.p[0] != '/')
        return refuse(400, "the request target does not begin with '/'", ret_message);
    bool in_path = true;
    for (size_t i = 0; i < target.len; ++i) {
        unsigned char c = (unsigned char)target.p[i];
        if (c <= ' ' || c >= 0x7f)
            return refuse(400, "the request target holds a byte that is not visible ASCII", ret_message);
        if (c == '?')
            in_path = false;
        if (c != '%' || !in_path)
            continue;
        int high = i + 2 < target.len ? hex_digit(target.p[i + 1]) : -1;
        int low = high >= 0 ? hex_digit(target.p[i + 2]) : -1;
        if (low < 0)
            return refuse(400, "the path holds a malformed percent escape", ret_message);
        if (high < 2 || (high == 7 && low == 15))
            return refuse(400, "the path holds an escaped control character", ret_message);
    }
    return 0;
}
