// SPDX-License-Identifier: Apache-2.0
#include "proxy/http/head.h"

#include <strings.h>

/* RFC 9110 section 5.6.2: what names of methods and headers are made of. */
static const bool is_token[256] = {
    ['!'] = true,         ['#'] = true,         ['$'] = true,         ['%'] = true, ['&'] = true,
    ['\''] = true,        ['*'] = true,         ['+'] = true,         ['-'] = true, ['.'] = true,
    ['^'] = true,         ['_'] = true,         ['`'] = true,         ['|'] = true, ['~'] = true,
    ['0' ... '9'] = true, ['A' ... 'Z'] = true, ['a' ... 'z'] = true,
};

static int refuse(int status, const char *message, const char **ret_message)
{
    *ret_message = message;
    return status;
}

int head_find_end(struct slice bytes, size_t max_bytes, struct head_scan *scan, size_t *ret_len,
                  const char **ret_message)
{
    *ret_len = 0;
    for (;;) {
        const char *lf = scan->at < bytes.len ? memchr(bytes.p + scan->at, '\n', bytes.len - scan->at) : NULL;
        scan->at = lf ? (size_t)(lf + 1 - bytes.p) : bytes.len;
        if (scan->at > max_bytes)
            return refuse(431, "the head of the request is too large", ret_message);
        if (!lf)
            return 0;
        size_t len = (size_t)(lf - bytes.p) - scan->line; /* of the line, its CR included */
        if (len == 0 || lf[-1] != '\r')
            return refuse(400, "a line of the head ends without carriage return", ret_message);
        scan->line = scan->at;
        if (len == 1) {
            *ret_len = scan->at;
            return 0;
        }
    }
}

/* The line at *at without its CR LF; *at moves behind it. */
static struct slice next_line(struct slice bytes, size_t *at)
{
    const char *begin = bytes.p + *at;
    const char *lf = memchr(begin, '\n', bytes.len - *at);
    *at = (size_t)(lf + 1 - bytes.p);
    return (struct slice){begin, (size_t)(lf - 1 - begin)};
}

static bool all_token(struct slice s)
{
    for (size_t i = 0; i < s.len; ++i) {
        if (!is_token[(unsigned char)s.p[i]])
            return false;
    }
    return s.len > 0;
}

static int parse_request_line(struct slice line, struct head *h, const char **ret_message)
{
    struct slice rest = line;
    h->method = slice_cut(&rest, ' ');
    if (!rest.p || !all_token(h->method)) {
        h->method = (struct slice){"", 0};
        return refuse(400, "the request line does not begin with a method", ret_message);
    }
    h->target = slice_cut(&rest, ' ');
    if (!rest.p || h->target.len == 0)
        return refuse(400, "the request line has no target, or no version", ret_message);
    if (rest.len != 8 || memcmp(rest.p, "HTTP/", 5) != 0 || rest.p[5] < '0' || rest.p[5] > '9' ||
        rest.p[6] != '.' || rest.p[7] < '0' || rest.p[7] > '9')
        return refuse(400, "the request line does not end with a version of HTTP", ret_message);
    if (rest.p[5] != '1')
        return refuse(505, "the versions of HTTP spoken here are 1.1 and 1.0", ret_message);
    h->is_http_1_0 = rest.p[7] == '0';
    h->keep_alive = !h->is_http_1_0;
    return head_check_target(h->target, ret_message);
}

/* Visible characters, spaces, tabs, and bytes past ASCII (RFC 9110 section 5.5); eight at a time where none
 * is below a space. */
static bool is_value(struct slice s)
{
    size_t i = 0;
    for (; i + 8 <= s.len; i += 8) {
        uint64_t v;
        memcpy(&v, s.p + i, 8);
        const uint64_t ones = 0x0101010101010101u, tops = ones << 7;
        uint64_t below_space = (v - ones * 0x20) & ~v & tops;
        uint64_t d = v ^ ones * 0x7f, is_del = (d - ones) & ~d & tops;
        if (below_space | is_del)
            break;
    }
    for (; i < s.len; ++i) {
        unsigned char c = (unsigned char)s.p[i];
        if ((c < ' ' && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

/* RFC 9112 section 9.3; "close" outweighs "keep-alive". */
static void take_connection(struct slice value, struct head *h, bool *closes)
{
    for (struct slice rest = value; rest.p;) {
        struct slice option = slice_trim(slice_cut(&rest, ','));
        if (slice_ieq_str(option, "close"))
            *closes = true;
        else if (slice_ieq_str(option, "keep-alive"))
            h->keep_alive = true;
    }
}

/* A host and a port, whatever they are: nothing that begins another part of a URL (RFC 9110 section 7.2). */
static bool is_host(struct slice s)
{
    for (size_t i = 0; i < s.len; ++i) {
        if (s.p[i] <= ' ' || s.p[i] == 0x7f || memchr("/?#@\\\"<>", s.p[i], 8))
            return false;
    }
    return true;
}

static int take_length(struct slice v, struct head *h, const char **ret_message)
{
    if (h->has_length)
        return refuse(400, "the request has two Content-Length headers", ret_message);
    if (!slice_to_u64(v, INT64_MAX, &h->content_length))
        return refuse(400, "Content-Length is not a number", ret_message);
    h->has_length = true;
    return 0;
}

static int take_coding(struct slice v, struct head *h, const char **ret_message)
{
    if (h->is_chunked)
        return refuse(400, "the request has two Transfer-Encoding headers", ret_message);
    if (h->is_http_1_0)
        return refuse(400, "Transfer-Encoding in an HTTP/1.0 request", ret_message);
    if (!slice_ieq_str(v, "chunked"))
        return refuse(400, "the only Transfer-Encoding here is chunked", ret_message);
    h->is_chunked = true;
    return 0;
}

struct seen {
    bool host, closes;
};

/* By length first: nearly all headers of nearly all requests are none of these. */
static int take_field(struct slice name, struct slice value, struct head *h, struct seen *seen,
                      const char **ret_message)
{
    switch (name.len) {
    case 4:
        if (strncasecmp(name.p, "host", 4) != 0)
            break;
        if (seen->host)
            return refuse(400, "the request has two Host headers", ret_message);
        if (!is_host(value))
            return refuse(400, "Host is not the name of one", ret_message);
        seen->host = true;
        h->host = value;
        return 0;
    case 6:
        if (strncasecmp(name.p, "expect", 6) != 0)
            break;
        if (!slice_ieq_str(value, "100-continue"))
            return refuse(417, "the only expectation here is 100-continue", ret_message);
        h->expects_continue = !h->is_http_1_0; /* RFC 9110 section 10.1.1: a 1.0 client's is ignored */
        return 0;
    case 7:
        if (strncasecmp(name.p, "upgrade", 7) == 0)
            return 0;
        break;
    case 10:
        if (strncasecmp(name.p, "connection", 10) == 0)
            take_connection(value, h, &seen->closes);
        break;
    case 14:
        if (strncasecmp(name.p, "content-length", 14) == 0)
            return take_length(value, h, ret_message);
        break;
    case 17:
        if (strncasecmp(name.p, "transfer-encoding", 17) == 0)
            return take_coding(value, h, ret_message);
        break;
    default:
        break;
    }
    if (h->field_count == HEAD_FIELDS_MAX)
        return refuse(431, "the request has too many headers", ret_message);
    h->fields[h->field_count++] = (struct head_field){name, value};
    return 0;
}

static int parse_field(struct slice line, struct head *h, struct seen *seen, const char **ret_message)
{
    if (line.p[0] == ' ' || line.p[0] == '\t')
        return refuse(400, "a header line is folded", ret_message);
    size_t n = 0;
    while (n < line.len && is_token[(unsigned char)line.p[n]])
        ++n;
    if (n == 0 || n == line.len || line.p[n] != ':')
        return refuse(400, "a header line does not begin with a name and a colon", ret_message);
    struct slice value = slice_trim((struct slice){line.p + n + 1, line.len - n - 1});
    if (!is_value(value))
        return refuse(400, "a header's value holds a control character", ret_message);
    return take_field((struct slice){line.p, n}, value, h, seen, ret_message);
}

int head_parse(struct slice bytes, struct head *ret, const char **ret_message)
{
    size_t at = 0;
    struct seen seen = {false, false};
    ret->method = ret->target = ret->host = (struct slice){"", 0};
    ret->is_http_1_0 = ret->keep_alive = ret->expects_continue = ret->has_length = ret->is_chunked = false;
    ret->content_length = 0;
    ret->field_count = 0;
    int status = parse_request_line(next_line(bytes, &at), ret, ret_message);
    while (!status && at + 2 < bytes.len)
        status = parse_field(next_line(bytes, &at), ret, &seen, ret_message);
    if (status)
        return status;
    if (seen.closes)
        ret->keep_alive = false;
    if (ret->has_length && ret->is_chunked)
        return refuse(400, "the request has both Content-Length and Transfer-Encoding", ret_message);
    if (!seen.host && !ret->is_http_1_0)
        return refuse(400, "the request has no Host header", ret_message);
    return 0;
}

/* ---- targets ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int head_check_target(struct slice target, const char **ret_message)
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
