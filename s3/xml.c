// SPDX-License-Identifier: Apache-2.0
#include "s3/xml.h"

#include <ctype.h>

#include "common/cleanup.h"
#include "common/mem.h"

#define NAME_MAX_BYTES 128

void xml_init(struct xml *x, struct slice document)
{
    *x = (struct xml){.rest = document, .text.max = XML_TEXT_MAX};
    if (slice_starts_with(x->rest, "\xef\xbb\xbf"))
        x->rest = (struct slice){x->rest.p + 3, x->rest.len - 3};
}

void xml_free(struct xml *x)
{
    buf_free(&x->text);
}

bool xml_is(const struct xml *x, const char *name)
{
    return slice_eq_str(x->name, name);
}

static enum xml_event bad(const char *what, struct err *err)
{
    (void)err_set(err, ERR_IO, "the server's XML is malformed: %s", what);
    return XML_ERROR;
}

static void advance(struct xml *x, size_t n)
{
    x->rest.p += n;
    x->rest.len -= n;
}

/* Advances behind `end`; false if it does not come. */
static bool skip_past(struct xml *x, const char *end)
{
    size_t n = strlen(end);
    const char *at = memmem(x->rest.p, x->rest.len, end, n);
    if (!at)
        return false;
    advance(x, (size_t)(at - x->rest.p) + n);
    return true;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool add_utf8(struct buf *b, uint32_t c)
{
    char out[4];
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    if (c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return false;
    if (n == 1) {
        out[0] = (char)c;
    } else {
        static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
        for (size_t i = n; i-- > 1; c >>= 6)
            out[i] = (char)(0x80 | (c & 0x3f));
        out[0] = (char)(lead[n] | c);
    }
    return buf_add(b, out, n);
}

static bool add_char_reference(struct buf *b, struct slice digits)
{
    bool hex = digits.len && digits.p[0] == 'x';
    size_t i = hex ? 1 : 0;
    uint32_t value = 0;
    if (i == digits.len || digits.len > 8)
        return false;
    for (; i < digits.len; ++i) {
        unsigned char c = (unsigned char)digits.p[i];
        if (hex ? !isxdigit(c) : !isdigit(c))
            return false;
        unsigned digit = c <= '9' ? c - 48U : (c | 0x20U) - 'a' + 10U;
        value = value * (hex ? 16 : 10) + digit;
    }
    return add_utf8(b, value);
}

/* One entity, `rest` behind its '&'; returns its length with the ';', 0 if it is none. */
static size_t add_entity(struct buf *b, struct slice rest)
{
    static const struct {
        const char *name;
        char is;
    } named[] = {{"lt", '<'}, {"gt", '>'}, {"amp", '&'}, {"quot", '"'}, {"apos", '\''}};
    const char *end = memchr(rest.p, ';', rest.len < 12 ? rest.len : 12);
    if (!end)
        return 0;
    struct slice name = {rest.p, (size_t)(end - rest.p)};
    if (name.len > 1 && name.p[0] == '#')
        return add_char_reference(b, (struct slice){name.p + 1, name.len - 1}) ? name.len + 1 : 0;
    for (size_t i = 0; i < sizeof named / sizeof named[0]; ++i) {
        if (slice_eq_str(name, named[i].name))
            return buf_add(b, &named[i].is, 1) ? name.len + 1 : 0;
    }
    return 0;
}

/* Text up to a '<' or the end, added to x->text. */
static bool read_plain_text(struct xml *x)
{
    while (x->rest.len && *x->rest.p != '<') {
        if (*x->rest.p == '&') {
            advance(x, 1);
            size_t n = add_entity(&x->text, x->rest);
            if (!n)
                return false;
            advance(x, n);
            continue;
        }
        size_t n = 0;
        while (n < x->rest.len && x->rest.p[n] != '<' && x->rest.p[n] != '&')
            ++n;
        if (!buf_add(&x->text, x->rest.p, n))
            return false;
        advance(x, n);
    }
    return true;
}

static size_t name_length(struct slice s)
{
    size_t n = 0;
    while (n < s.len && (isalnum((unsigned char)s.p[n]) || (unsigned char)s.p[n] >= 0x80 || s.p[n] == '_' ||
                         s.p[n] == '-' || s.p[n] == '.' || s.p[n] == ':'))
        ++n;
    return n <= NAME_MAX_BYTES ? n : 0;
}

static struct slice local_name(struct slice name)
{
    const char *colon = memrchr(name.p, ':', name.len);
    return colon ? (struct slice){colon + 1, name.len - (size_t)(colon + 1 - name.p)} : name;
}

/* To the '>' of a start tag, over its attributes; whether "/>" ends it. */
static bool skip_attributes(struct xml *x, bool *ret_empty)
{
    char last = 0;
    while (x->rest.len) {
        char c = *x->rest.p;
        advance(x, 1);
        if (c == '>') {
            *ret_empty = last == '/';
            return true;
        }
        if (c == '<')
            return false;
        if (c == '"' || c == '\'') {
            const char *end = memchr(x->rest.p, c, x->rest.len);
            if (!end)
                return false;
            advance(x, (size_t)(end - x->rest.p) + 1);
        }
        last = c;
    }
    return false;
}

static enum xml_event read_start(struct xml *x, struct err *err)
{
    advance(x, 1);
    size_t n = name_length(x->rest);
    struct slice name = {x->rest.p, n};
    bool empty;
    if (!n)
        return bad("a '<' that starts no element", err);
    advance(x, n);
    if (!skip_attributes(x, &empty))
        return bad("a tag without an end", err);
    if (x->depth == XML_DEPTH_MAX || (x->depth == 0 && x->seen_root))
        return bad("elements nested too deeply, or more than one root", err);
    x->open[x->depth++] = name;
    x->seen_root = true;
    x->name = local_name(name);
    x->pending_end = empty;
    return XML_START;
}

static enum xml_event close_element(struct xml *x)
{
    x->name = local_name(x->open[--x->depth]);
    return XML_END;
}

static enum xml_event read_end(struct xml *x, struct err *err)
{
    advance(x, 2);
    size_t n = name_length(x->rest);
    struct slice name = {x->rest.p, n};
    advance(x, n);
    while (x->rest.len && is_space(*x->rest.p))
        advance(x, 1);
    if (!x->rest.len || *x->rest.p != '>' || !x->depth || !slice_eq(x->open[x->depth - 1], name))
        return bad("an end tag that fits no start tag", err);
    advance(x, 1);
    return close_element(x);
}

static bool only_spaces(const struct buf *b)
{
    for (size_t i = 0; i < b->len; ++i) {
        if (!is_space(b->p[i]))
            return false;
    }
    return true;
}

/* Comments, processing instructions and CDATA, as long as they come. */
static bool read_text_and_markup(struct xml *x)
{
    for (;;) {
        if (!read_plain_text(x))
            return false;
        if (slice_starts_with(x->rest, "<!--")) {
            advance(x, 4);
            if (!skip_past(x, "-->"))
                return false;
        } else if (slice_starts_with(x->rest, "<![CDATA[")) {
            const char *begin = x->rest.p + 9;
            if (!skip_past(x, "]]>") || x->rest.p - 3 < begin ||
                !buf_add(&x->text, begin, (size_t)(x->rest.p - 3 - begin)))
                return false;
        } else if (slice_starts_with(x->rest, "<?")) {
            if (!skip_past(x, "?>"))
                return false;
        } else {
            return !slice_starts_with(x->rest, "<!");
        }
    }
}

enum xml_event xml_next(struct xml *x, struct err *err)
{
    if (x->pending_end) {
        x->pending_end = false;
        return close_element(x);
    }
    buf_reset(&x->text);
    if (!read_text_and_markup(x))
        return bad("text, an entity, a comment or a document type that is not allowed", err);
    if (x->depth == 0 && !only_spaces(&x->text))
        return bad("text outside of elements", err);
    if (x->depth && x->text.len)
        return XML_TEXT;
    if (!x->rest.len)
        return x->depth || !x->seen_root ? bad("it ends early", err) : XML_END_OF_DOCUMENT;
    return slice_starts_with(x->rest, "</") ? read_end(x, err) : read_start(x, err);
}

int xml_read_text(struct xml *x, char **ret, struct err *err)
{
    unsigned depth = x->depth;
    cleanup_buf struct buf text = {.max = XML_TEXT_MAX};
    for (;;) {
        switch (xml_next(x, err)) {
        case XML_TEXT:
            if (x->depth == depth && !buf_add(&text, x->text.p, x->text.len))
                return (int)bad("an element's text is too long", err);
            break;
        case XML_END:
            if (x->depth < depth) {
                *ret = buf_take(&text);
                return 0;
            }
            break;
        case XML_START:
            break;
        case XML_ERROR:
        case XML_END_OF_DOCUMENT:
            return -1;
        }
    }
}

int xml_skip(struct xml *x, struct err *err)
{
    cleanup_free char *text = NULL;
    return xml_read_text(x, &text, err);
}

int xml_next_child(struct xml *x, unsigned depth, struct err *err)
{
    for (;;) {
        switch (xml_next(x, err)) {
        case XML_START:
            return 1;
        case XML_END:
            if (x->depth < depth)
                return 0;
            break;
        case XML_TEXT:
            break;
        case XML_ERROR:
            return -1;
        case XML_END_OF_DOCUMENT:
            return 0;
        }
    }
}
