// SPDX-License-Identifier: Apache-2.0
#include "s3/http_head.h"

#include <ctype.h>
#include <time.h>

#include "common/mem.h"

#define CHUNK_LINES_MAX 8192 /* of all extensions and trailers of a body */

size_t http_head_end(const char *p, size_t len)
{
    const char *end = memmem(p, len, "\r\n\r\n", 4);
    return end ? (size_t)(end - p) + 4 : 0;
}

static bool is_token(struct slice s)
{
    for (size_t i = 0; i < s.len; ++i) {
        if (!isalnum((unsigned char)s.p[i]) && (!s.p[i] || !strchr("!#$%&'*+-.^_`|~", s.p[i])))
            return false;
    }
    return s.len > 0;
}

static bool value_valid(struct slice s)
{
    for (size_t i = 0; i < s.len; ++i) {
        unsigned char c = (unsigned char)s.p[i];
        if ((c < ' ' && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

static int parse_status(struct http_head *h, struct slice line, struct err *err)
{
    if (line.len < 12 || !slice_starts_with(line, "HTTP/1.") || (line.p[7] != '0' && line.p[7] != '1') ||
        line.p[8] != ' ' || (line.len > 12 && line.p[12] != ' '))
        return err_set(err, ERR_IO, "the server does not speak HTTP/1.1");
    uint64_t status;
    if (!slice_to_u64((struct slice){line.p + 9, 3}, 999, &status) || status < 100)
        return err_set(err, ERR_IO, "the server's answer has no status");
    h->status = (int)status;
    h->keep_alive = line.p[7] == '1';
    return 0;
}

static int use_framing(struct http_head *h, const struct http_header *header, struct err *err)
{
    struct slice value = header->value;
    if (slice_ieq_str(header->name, "content-length")) {
        uint64_t length;
        if (!slice_to_u64(value, INT64_MAX, &length) || (h->has_length && h->length != length))
            return err_set(err, ERR_IO, "the server's answer has a bad Content-Length");
        h->has_length = true;
        h->length = length;
    } else if (slice_ieq_str(header->name, "transfer-encoding")) {
        if (h->chunked || !slice_ieq_str(value, "chunked"))
            return err_set(err, ERR_IO, "the server's answer has a Transfer-Encoding other than chunked");
        h->chunked = true;
    } else if (slice_ieq_str(header->name, "connection")) {
        struct slice rest = value;
        while (rest.p) {
            struct slice option = slice_trim(slice_cut(&rest, ','));
            if (slice_ieq_str(option, "close"))
                h->keep_alive = false;
            else if (slice_ieq_str(option, "keep-alive"))
                h->keep_alive = true;
        }
    }
    return 0;
}

static int parse_header(struct http_head *h, struct slice line, struct err *err)
{
    struct http_header header = {.value = line};
    header.name = slice_cut(&header.value, ':');
    if (!header.value.p || !is_token(header.name))
        return err_set(err, ERR_IO, "the server's answer has a malformed header line");
    header.value = slice_trim(header.value);
    if (!value_valid(header.value))
        return err_set(err, ERR_IO, "the server's answer has control characters in %.*s",
                       (int)(header.name.len < 64 ? header.name.len : 64), header.name.p);
    if (h->headers_len == HTTP_HEADERS_MAX)
        return err_set(err, ERR_IO, "the server's answer has more than %d headers", HTTP_HEADERS_MAX);
    h->headers[h->headers_len++] = header;
    return use_framing(h, &header, err);
}

int http_head_parse(struct http_head *ret, const char *p, size_t len, struct err *err)
{
    http_head_free(ret);
    ret->text = mem_dup(p, len);
    struct slice rest = {ret->text, len};
    for (bool first = true; rest.p && rest.len; first = false) {
        struct slice line = slice_cut(&rest, '\n');
        if (!line.len || line.p[line.len - 1] != '\r')
            return err_set(err, ERR_IO, "the server's answer has a line that does not end in CR LF");
        --line.len;
        if (first ? parse_status(ret, line, err) < 0 : line.len && parse_header(ret, line, err) < 0)
            return -1;
    }
    if (!ret->status)
        return err_set(err, ERR_IO, "the server's answer is empty");
    /* Both at once is what request smuggling looks like (RFC 9112 section 6.3). */
    if (ret->chunked && ret->has_length)
        return err_set(err, ERR_IO, "the server's answer has a Content-Length and is chunked");
    return 0;
}

void http_head_free(struct http_head *h)
{
    free(h->text);
    *h = (struct http_head){0};
}

struct slice http_head_get(const struct http_head *h, const char *name)
{
    for (size_t i = 0; i < h->headers_len; ++i) {
        if (slice_ieq_str(h->headers[i].name, name))
            return h->headers[i].value;
    }
    return (struct slice){NULL, 0};
}

bool http_range_parse(struct slice value, struct http_range *ret)
{
    struct http_range r = {0};
    if (!slice_starts_with(value, "bytes "))
        return false;
    struct slice range = {value.p + 6, value.len - 6}, total = range;
    range = slice_cut(&total, '/');
    if (!total.p || !slice_to_u64(total, INT64_MAX, &r.total))
        return false;
    r.known_range = !slice_eq_str(range, "*");
    if (r.known_range) {
        struct slice last = range, first = slice_cut(&last, '-');
        if (!last.p || !slice_to_u64(first, INT64_MAX, &r.first) || !slice_to_u64(last, INT64_MAX, &r.last) ||
            r.first > r.last || r.last >= r.total)
            return false;
    }
    *ret = r;
    return true;
}

bool http_date_parse(struct slice value, int64_t *ret_ms)
{
    char text[40];
    struct tm tm = {0};
    if (value.len >= sizeof text)
        return false;
    memcpy(text, value.p ? value.p : "", value.len);
    text[value.len] = '\0';
    /* No locale is set in this program: names are English. */
    const char *end = strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    if (!end || *end)
        return false;
    *ret_ms = (int64_t)timegm(&tm) * 1000;
    return true;
}

uint32_t http_retry_after(struct slice value, int64_t now_ms)
{
    uint64_t seconds;
    int64_t date;
    if (slice_to_u64(value, UINT64_MAX, &seconds))
        return (uint32_t)(seconds < 3600 ? seconds : 3600);
    if (!http_date_parse(value, &date) || date <= now_ms)
        return 0;
    return (uint32_t)(date - now_ms < 3600000 ? (date - now_ms + 999) / 1000 : 3600);
}

static int hex_digit(char ch)
{
    if (ch >= '0' && ch <= '9')
        return ch - '0';
    ch = (char)(ch | 0x20);
    return ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

/* One byte of anything but data. False if it does not belong there. */
static bool chunked_step(struct http_chunked *c, char ch)
{
    int digit;
    switch (c->state) {
    case HTTP_CHUNK_SIZE:
        digit = hex_digit(ch);
        if (digit >= 0) {
            c->left = c->left << 4 | (unsigned)digit;
            return ++c->digits <= 15;
        }
        if (ch == '\r')
            c->state = HTTP_CHUNK_SIZE_LF;
        else if (ch == ';' || ch == ' ' || ch == '\t')
            c->state = HTTP_CHUNK_EXTENSION;
        else
            return false;
        return c->digits > 0;
    case HTTP_CHUNK_EXTENSION:
        if (ch == '\r')
            c->state = HTTP_CHUNK_SIZE_LF;
        return ch != '\n' && ++c->line <= CHUNK_LINES_MAX;
    case HTTP_CHUNK_SIZE_LF:
        c->state = c->left ? HTTP_CHUNK_DATA : HTTP_CHUNK_TRAILER;
        c->line_empty = true;
        return ch == '\n';
    case HTTP_CHUNK_DATA_CR:
        c->state = HTTP_CHUNK_DATA_LF;
        return ch == '\r';
    case HTTP_CHUNK_DATA_LF:
        c->state = HTTP_CHUNK_SIZE;
        c->digits = 0;
        return ch == '\n';
    case HTTP_CHUNK_TRAILER:
        if (ch == '\r')
            c->state = HTTP_CHUNK_TRAILER_LF;
        else
            c->line_empty = false;
        return ch != '\n' && ++c->line <= CHUNK_LINES_MAX;
    case HTTP_CHUNK_TRAILER_LF:
        c->state = c->line_empty ? HTTP_CHUNK_DONE : HTTP_CHUNK_TRAILER;
        c->line_empty = true;
        return ch == '\n';
    case HTTP_CHUNK_DATA:
    case HTTP_CHUNK_DONE:
        break;
    }
    return false;
}

ptrdiff_t http_chunked_next(struct http_chunked *c, const char *p, size_t len, struct slice *ret_data,
                            struct err *err)
{
    size_t i = 0;
    *ret_data = (struct slice){p, 0};
    while (i < len && c->state != HTTP_CHUNK_DONE) {
        if (c->state == HTTP_CHUNK_DATA) {
            size_t n = len - i < c->left ? len - i : (size_t)c->left;
            *ret_data = (struct slice){p + i, n};
            c->left -= n;
            if (!c->left)
                c->state = HTTP_CHUNK_DATA_CR;
            return (ptrdiff_t)(i + n);
        }
        if (!chunked_step(c, p[i++]))
            return err_set(err, ERR_IO, "the server's chunked body is malformed");
    }
    return (ptrdiff_t)i;
}
