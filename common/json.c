// SPDX-License-Identifier: Apache-2.0
#include "common/json.h"

#include <assert.h>
#include <stdlib.h>

#include "common/mem.h"

/* Without memory a member would be left out of a document, and nobody would know. */
__attribute__((constructor)) static void set_memory(void)
{
    json_set_alloc_funcs(mem_alloc, free);
}

/* jansson's own depth limit is compiled in at 2048, and its parser recurses: look before it does. */
static bool too_deep(const char *p, size_t len)
{
    unsigned depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < len; ++i) {
        char c = p[i];
        if (in_string) {
            if (c == '\\')
                ++i;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > JSON_DEPTH_MAX)
                return true;
        } else if ((c == '}' || c == ']') && depth) {
            --depth;
        }
    }
    return false;
}

json_t *json_parse(const void *p, size_t len, size_t max_bytes, struct err *err)
{
    if (len > max_bytes) {
        (void)err_set(err, ERR_SIZE_INVALID, "JSON document of %zu bytes is over the limit of %zu", len,
                      max_bytes);
        return NULL;
    }
    if (too_deep(p, len)) {
        (void)err_set(err, ERR_INVALID, "JSON document is nested deeper than %d levels", JSON_DEPTH_MAX);
        return NULL;
    }
    json_error_t e;
    json_t *j = json_loadb(p, len, JSON_REJECT_DUPLICATES, &e);
    if (!j)
        (void)err_set(err, ERR_INVALID, "not valid JSON: %s (line %d, column %d)", e.text, e.line, e.column);
    return j;
}

char *json_format(const json_t *j, size_t *ret_len)
{
    char *s = json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY);
    if (!s)
        abort();
    if (ret_len)
        *ret_len = strlen(s);
    return s;
}

/* The code points of UTF-8 text, one after the other; text is valid, jansson saw to that. */
static uint32_t next_code_point(const unsigned char **p)
{
    const unsigned char *s = *p;
    uint32_t c = s[0];
    if (c < 0x80) {
        *p = s + 1;
        return c;
    }
    if (c < 0xe0) {
        *p = s + 2;
        return (c & 0x1f) << 6 | (s[1] & 0x3fu);
    }
    if (c < 0xf0) {
        *p = s + 3;
        return (c & 0x0f) << 12 | (s[1] & 0x3fu) << 6 | (s[2] & 0x3fu);
    }
    *p = s + 4;
    return (c & 0x07) << 18 | (s[1] & 0x3fu) << 12 | (s[2] & 0x3fu) << 6 | (s[3] & 0x3fu);
}

/* First UTF-16 code unit: what decides the order of two differing code points (RFC 8785 section 3.2.3). */
static uint32_t first_unit(uint32_t c)
{
    return c < 0x10000 ? c : 0xd800 + ((c - 0x10000) >> 10);
}

static int compare_utf16(const void *a, const void *b)
{
    const unsigned char *x = *(const unsigned char *const *)a, *y = *(const unsigned char *const *)b;
    while (*x && *y) {
        uint32_t cx = next_code_point(&x), cy = next_code_point(&y);
        if (cx != cy) {
            uint32_t ux = first_unit(cx), uy = first_unit(cy);
            return ux != uy ? (ux < uy ? -1 : 1) : (cx < cy ? -1 : 1);
        }
    }
    return *x ? 1 : *y ? -1 : 0;
}

static void canonical_string(struct buf *b, const char *s, size_t len)
{
    (void)buf_add(b, "\"", 1);
    for (size_t i = 0; i < len; ++i) {
        unsigned char c = (unsigned char)s[i];
        const char *two = c == '"'    ? "\\\""
                          : c == '\\' ? "\\\\"
                          : c == '\b' ? "\\b"
                          : c == '\t' ? "\\t"
                          : c == '\n' ? "\\n"
                          : c == '\f' ? "\\f"
                          : c == '\r' ? "\\r"
                                      : NULL;
        if (two)
            (void)buf_add_str(b, two);
        else if (c < 0x20)
            (void)buf_printf(b, "\\u%04x", c);
        else
            (void)buf_add(b, &s[i], 1);
    }
    (void)buf_add(b, "\"", 1);
}

static void canonical_value(struct buf *b, const json_t *j)
{
    switch (json_typeof(j)) {
    case JSON_OBJECT: {
        size_t n = json_object_size(j), i = 0;
        cleanup_free const char **keys = mem_alloc(n * sizeof *keys);
        const char *key;
        json_t *value;
        json_object_foreach ((json_t *)j, key, value)
            keys[i++] = key;
        qsort(keys, n, sizeof *keys, compare_utf16);
        (void)buf_add(b, "{", 1);
        for (i = 0; i < n; ++i) {
            if (i)
                (void)buf_add(b, ",", 1);
            canonical_string(b, keys[i], strlen(keys[i]));
            (void)buf_add(b, ":", 1);
            canonical_value(b, json_object_get(j, keys[i]));
        }
        (void)buf_add(b, "}", 1);
        break;
    }
    case JSON_ARRAY:
        (void)buf_add(b, "[", 1);
        for (size_t i = 0; i < json_array_size(j); ++i) {
            if (i)
                (void)buf_add(b, ",", 1);
            canonical_value(b, json_array_get(j, i));
        }
        (void)buf_add(b, "]", 1);
        break;
    case JSON_STRING:
        canonical_string(b, json_string_value(j), json_string_length(j));
        break;
    case JSON_INTEGER:
        (void)buf_printf(b, "%" JSON_INTEGER_FORMAT, json_integer_value(j));
        break;
    case JSON_REAL:
        assert(false && "canonical JSON of a real number");
        break;
    case JSON_TRUE:
        (void)buf_add_str(b, "true");
        break;
    case JSON_FALSE:
        (void)buf_add_str(b, "false");
        break;
    case JSON_NULL:
        (void)buf_add_str(b, "null");
        break;
    }
}

char *json_format_canonical(const json_t *j, size_t *ret_len)
{
    struct buf b = {0};
    canonical_value(&b, j);
    assert(!b.overflow);
    if (ret_len)
        *ret_len = b.len;
    return buf_take(&b);
}

bool json_has_unsafe_number(const json_t *j)
{
    const char *key;
    json_t *value;
    size_t i;
    switch (json_typeof(j)) {
    case JSON_REAL:
        return true;
    case JSON_INTEGER:
        return json_integer_value(j) > (json_int_t)1 << 53 || json_integer_value(j) < -((json_int_t)1 << 53);
    case JSON_OBJECT:
        json_object_foreach ((json_t *)j, key, value)
            if (json_has_unsafe_number(value))
                return true;
        return false;
    case JSON_ARRAY:
        json_array_foreach ((json_t *)j, i, value)
            if (json_has_unsafe_number(value))
                return true;
        return false;
    default:
        return false;
    }
}

int json_get_str(const json_t *obj, const char *key, const char **ret, struct err *err)
{
    const json_t *v = json_object_get(obj, key);
    if (v && !json_is_string(v) && !json_is_null(v))
        return err_set(err, ERR_INVALID, "'%s' must be a string", key);
    *ret = json_string_value(v);
    return 0;
}
