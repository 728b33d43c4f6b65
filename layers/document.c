// SPDX-License-Identifier: Apache-2.0
#include "layers/document.h"

#include <errno.h>
#include <math.h>

#include "common/mem.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static size_t skip_digits(struct slice s, size_t i)
{
    while (i < s.len && is_digit(s.p[i]))
        ++i;
    return i;
}

/* RFC 8259 section 6. False for what is no number; jansson will say so itself. */
static bool number_shape(struct slice s, bool *ret_real)
{
    size_t i = s.p[0] == '-' ? 1 : 0, start = i;
    i = skip_digits(s, i);
    if (i == start || (i - start > 1 && s.p[start] == '0'))
        return false;
    *ret_real = i < s.len;
    if (i < s.len && s.p[i] == '.') {
        start = ++i;
        i = skip_digits(s, i);
        if (i == start)
            return false;
    }
    if (i < s.len && (s.p[i] == 'e' || s.p[i] == 'E')) {
        ++i;
        if (i < s.len && (s.p[i] == '+' || s.p[i] == '-'))
            ++i;
        start = i;
        i = skip_digits(s, i);
        if (i == start)
            return false;
    }
    return i == s.len;
}

/* Would the number be written as it stands here? *ret_mask: what to read instead, where jansson refuses to
 * read it. */
static bool number_is_safe(struct slice s, bool real, struct slice *ret_mask)
{
    cleanup_free char *text = mem_strndup(s.p, s.len);
    *ret_mask = (struct slice){NULL, 0};
    errno = 0;
    if (!real) {
        long long v = strtoll(text, NULL, 10);
        if (errno == ERANGE)
            *ret_mask = v < 0 ? SLICE_LIT("-9223372036854775807") : SLICE_LIT("9223372036854775807");
        return v >= -(1LL << 53) && v <= 1LL << 53 && strcmp(text, "-0") != 0;
    }
    double v = strtod(text, NULL);
    if (!isfinite(v)) {
        *ret_mask = SLICE_LIT("1.5"); /* any real: it is not going to be written */
        return false;
    }
    cleanup_json json_t *j = json_real(v);
    cleanup_free char *again = json_format(j, NULL);
    return strcmp(text, again) == 0;
}

/* Looks at every number outside of strings. Returns a copy of the text with over-long numbers masked, or NULL
 * if there is no such number. A mask is never longer than what it stands for. */
static char *scan_numbers(const char *p, size_t len, bool *ret_unsafe)
{
    char *copy = NULL;
    bool in_string = false;
    *ret_unsafe = false;
    for (size_t i = 0; i < len;) {
        if (in_string) {
            in_string = p[i] != '"';
            i += p[i] == '\\' ? 2 : 1;
            continue;
        }
        if (p[i] != '-' && !is_digit(p[i])) {
            in_string = p[i] == '"';
            ++i;
            continue;
        }
        size_t end = i + 1;
        while (end < len && p[end] && (is_digit(p[end]) || strchr("+-.eE", p[end])))
            ++end;
        struct slice number = {p + i, end - i};
        bool real = false;
        struct slice mask = {NULL, 0};
        if (number_shape(number, &real) && !number_is_safe(number, real, &mask))
            *ret_unsafe = true;
        if (mask.len) {
            if (!copy)
                copy = mem_dup(p, len);
            memset(copy + i, ' ', number.len);
            memcpy(copy + i, mask.p, mask.len);
        }
        i = end;
    }
    return copy;
}

json_t *document_parse(const void *bytes, size_t len, size_t max_bytes, bool *ret_unsafe_number,
                       struct err *err)
{
    cleanup_free char *masked = NULL;
    bool unsafe = false;
    if (len <= max_bytes)
        masked = scan_numbers(bytes, len, &unsafe);
    json_t *j = json_parse(masked ? masked : bytes, len, max_bytes, err);
    if (!j) {
        if (err && err->code == ERR_INVALID)
            err->code = ERR_MANIFEST_INVALID;
        return NULL;
    }
    if (!json_is_object(j)) {
        json_decref(j);
        (void)err_set(err, ERR_MANIFEST_INVALID, "not a JSON object");
        return NULL;
    }
    *ret_unsafe_number = unsafe;
    return j;
}

/* The next character of a name, folded as Go folds; *p moves behind it. */
static unsigned char next_folded(const unsigned char **p)
{
    const unsigned char *s = *p;
    if (s[0] == 0xc5 && s[1] == 0xbf) {
        *p = s + 2;
        return 's';
    }
    if (s[0] == 0xe2 && s[1] == 0x84 && s[2] == 0xaa) {
        *p = s + 3;
        return 'k';
    }
    *p = s + 1;
    return s[0] >= 'A' && s[0] <= 'Z' ? (unsigned char)(s[0] + 32) : s[0];
}

static bool folds_equal(const char *a, const char *b)
{
    const unsigned char *x = (const unsigned char *)a, *y = (const unsigned char *)b;
    while (*x && *y)
        if (next_folded(&x) != next_folded(&y))
            return false;
    return *x == *y;
}

int document_check_names(const json_t *obj, const char *const *known, const char *where, struct err *err)
{
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)obj, key, value)
        for (const char *const *name = known; *name; ++name)
            if (folds_equal(key, *name) && strcmp(key, *name) != 0)
                return err_set(
                    err, ERR_MANIFEST_INVALID,
                    "%s: member '%.60s' is '%s' in other letters: clients would not agree on what it means",
                    where, key, *name);
    return 0;
}
