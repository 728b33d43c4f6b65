// SPDX-License-Identifier: Apache-2.0
#include "layers/reference.h"

static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* Length of a separator at s[i]: ".", "_", "__" or dashes; 0 if there is none. */
static size_t separator_len(struct slice s, size_t i)
{
    size_t n = 0;
    if (s.p[i] == '.')
        return 1;
    if (s.p[i] == '_')
        return i + 1 < s.len && s.p[i + 1] == '_' ? 2 : 1;
    while (i + n < s.len && s.p[i + n] == '-')
        ++n;
    return n;
}

static bool component_ok(struct slice s)
{
    if (s.len == 0 || !is_alnum(s.p[0]))
        return false;
    for (size_t i = 0; i < s.len;) {
        if (is_alnum(s.p[i])) {
            ++i;
            continue;
        }
        size_t n = separator_len(s, i);
        if (n == 0 || i + n >= s.len || !is_alnum(s.p[i + n]))
            return false;
        i += n;
    }
    return true;
}

/* Outside bytes on their way into a message: what is not printable must not reach a log or a terminal. */
static const char *printable(struct slice s, char out[81])
{
    size_t n = s.len > 80 ? 80 : s.len;
    for (size_t i = 0; i < n; ++i)
        out[i] = s.p[i] >= 0x20 && s.p[i] < 0x7f ? s.p[i] : '?';
    out[n] = '\0';
    return out;
}

int reference_check_name(struct slice name, struct err *err)
{
    char text[81];
    if (name.len > REFERENCE_NAME_MAX)
        return err_set(err, ERR_NAME_INVALID,
                       "repository name '%s...' has %zu characters, over the limit of %d",
                       printable(name, text), name.len, REFERENCE_NAME_MAX);
    struct slice rest = name;
    do {
        if (!component_ok(slice_cut(&rest, '/')))
            return err_set(
                err, ERR_NAME_INVALID,
                "'%s' is not a repository name: lower-case letters and digits, with single '.', '_', "
                "'__' or dashes between, and '/' between the parts",
                printable(name, text));
    } while (rest.p);
    return 0;
}

int reference_check_tag(struct slice tag, struct err *err)
{
    bool ok = tag.len >= 1 && tag.len <= REFERENCE_TAG_MAX && tag.p[0] != '.' && tag.p[0] != '-';
    for (size_t i = 0; ok && i < tag.len; ++i) {
        char c = tag.p[i];
        ok = is_alnum(c) || (c >= 'A' && c <= 'Z') || c == '_' || c == '.' || c == '-';
    }
    char text[81];
    if (!ok)
        return err_set(
            err, ERR_MANIFEST_INVALID,
            "'%s' is not a tag: at most %d letters, digits, '_', '.' and '-', beginning with none of the "
            "last two",
            printable(tag, text), REFERENCE_TAG_MAX);
    return 0;
}

int reference_parse(struct slice text, struct reference *ret, struct err *err)
{
    struct reference r = {0};
    if (text.len && memchr(text.p, ':', text.len)) {
        if (digest_parse(text, &r.digest, err) < 0)
            return -1;
        r.is_digest = true;
    } else {
        if (reference_check_tag(text, err) < 0)
            return -1;
        memcpy(r.tag, text.p, text.len);
    }
    *ret = r;
    return 0;
}
