// SPDX-License-Identifier: Apache-2.0
#include "fuse-layer/init/chain.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"

/* Reads from `in`, writes words to `out`, which has room for all of the text: no escape is longer unescaped.
 */
struct parser {
    const char *in;
    char *out;
    const char *wrong; /* the first thing that was */
};

static bool fail(struct parser *p, const char *wrong)
{
    p->wrong = wrong;
    return false;
}

static void skip_space(struct parser *p)
{
    p->in += strspn(p->in, " \t\r\n");
}

static bool read_hex4(struct parser *p, unsigned *ret)
{
    unsigned value = 0;
    for (int i = 0; i < 4; ++i, ++p->in) {
        char c = *p->in;
        if (c >= '0' && c <= '9')
            value = value << 4 | (unsigned)(c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            value = value << 4 | (unsigned)((c | 0x20) - 'a' + 10);
        else
            return fail(p, "a \\u without four hex digits");
    }
    *ret = value;
    return true;
}

static void put_utf8(struct parser *p, unsigned c)
{
    if (c < 0x80) {
        *p->out++ = (char)c;
        return;
    }
    if (c < 0x800) {
        *p->out++ = (char)(0xc0 | c >> 6);
    } else {
        if (c < 0x10000) {
            *p->out++ = (char)(0xe0 | c >> 12);
        } else {
            *p->out++ = (char)(0xf0 | c >> 18);
            *p->out++ = (char)(0x80 | (c >> 12 & 0x3f));
        }
        *p->out++ = (char)(0x80 | (c >> 6 & 0x3f));
    }
    *p->out++ = (char)(0x80 | (c & 0x3f));
}

/* Behind "\u" (RFC 8259 section 7). */
static bool read_unicode(struct parser *p)
{
    unsigned c, low;
    if (!read_hex4(p, &c))
        return false;
    if (c == 0)
        return fail(p, "a NUL, which no argument can hold");
    if (c >= 0xdc00 && c <= 0xdfff)
        return fail(p, "half a surrogate pair");
    if (c >= 0xd800 && c <= 0xdbff) {
        if (p->in[0] != '\\' || p->in[1] != 'u')
            return fail(p, "half a surrogate pair");
        p->in += 2;
        if (!read_hex4(p, &low))
            return false;
        if (low < 0xdc00 || low > 0xdfff)
            return fail(p, "half a surrogate pair");
        c = 0x10000 + ((c - 0xd800) << 10 | (low - 0xdc00));
    }
    put_utf8(p, c);
    return true;
}

static bool read_escape(struct parser *p)
{
    static const char escapes[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    char c = *p->in;
    if (c == 'u') {
        ++p->in;
        return read_unicode(p);
    }
    const char *at = c ? strchr(escapes, c) : NULL;
    if (!at)
        return fail(p, "an escape that JSON does not have");
    ++p->in;
    *p->out++ = meant[at - escapes];
    return true;
}

/* A string, to the byte behind its closing quote; the word is NUL-terminated. */
static bool read_word(struct parser *p, char **ret)
{
    if (*p->in != '"')
        return fail(p, "something that is no string");
    ++p->in;
    *ret = p->out;
    while (*p->in != '"') {
        if ((unsigned char)*p->in < 0x20)
            return fail(p, *p->in ? "a control character in a string" : "a string without an end");
        if (*p->in != '\\') {
            *p->out++ = *p->in++;
            continue;
        }
        ++p->in;
        if (!read_escape(p))
            return false;
    }
    ++p->in;
    *p->out++ = '\0';
    return true;
}

static bool read_array(struct parser *p, char **words, size_t *count)
{
    ++p->in;
    skip_space(p);
    if (*p->in == ']') {
        ++p->in;
    } else {
        for (;;) {
            if (*count == CHAIN_WORDS_MAX)
                return fail(p, "too many words");
            if (!read_word(p, &words[*count]))
                return false;
            ++*count;
            skip_space(p);
            char c = *p->in;
            if (c != ',' && c != ']')
                return fail(p, "no comma and no closing bracket behind a string");
            ++p->in;
            skip_space(p);
            if (c == ']')
                break;
        }
    }
    skip_space(p);
    return *p->in == '\0' || fail(p, "something behind its closing bracket");
}

static bool is_array(const char *chain)
{
    if (*chain != '[')
        return false;
    chain += 1 + strspn(chain + 1, " \t\r\n");
    return *chain == '"' || *chain == ']';
}

/* How many words a text can have at most, for the allocation. */
static size_t words_bound(const char *chain)
{
    size_t n = 1;
    for (; *chain; ++chain)
        n += *chain == ',';
    return n < CHAIN_WORDS_MAX ? n : CHAIN_WORDS_MAX;
}

char **chain_command(const char *chain, int argc, char **argv, struct err *err)
{
    if (!chain)
        chain = "";
    size_t len = strlen(chain), args = argc > 0 ? (size_t)argc : 0, count = 0;
    if (len > CHAIN_BYTES_MAX) {
        (void)err_set(err, ERR_SIZE_INVALID, "WAVE_ENTRY_CHAIN has %zu bytes, more than %zu", len,
                      CHAIN_BYTES_MAX);
        return NULL;
    }
    size_t pointers = (words_bound(chain) + args + 1) * sizeof(char *);
    char **words = mem_zalloc(pointers + len + 1), *bytes = (char *)words + pointers;
    if (is_array(chain)) {
        struct parser p = {.in = chain, .out = bytes};
        if (!read_array(&p, words, &count)) {
            (void)err_set(err, ERR_INVALID, "WAVE_ENTRY_CHAIN is no JSON array of strings: %s, at byte %zu",
                          p.wrong, (size_t)(p.in - chain));
            free(words);
            return NULL;
        }
    } else if (len) {
        words[count++] = memcpy(bytes, chain, len + 1);
    }
    for (size_t i = 0; i < args; ++i)
        words[count++] = argv[i];
    words[count] = NULL;
    return words;
}
