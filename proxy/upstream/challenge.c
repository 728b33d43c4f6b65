// SPDX-License-Identifier: Apache-2.0
#include "proxy/upstream/challenge.h"

/*
 * WWW-Authenticate = #challenge
 * challenge        = auth-scheme [ 1*SP ( token68 / #auth-param ) ]
 * auth-param       = token BWS "=" BWS ( token / quoted-string )
 *
 * Commas separate challenges as well as the parameters of one: what follows a comma is a parameter if it is a
 * token with "=" behind it, and a scheme otherwise.
 */
struct parser {
    struct slice text;
    size_t at;
    struct err *err;
};

static int fail(const struct parser *p, const char *what)
{
    return err_set(p->err, ERR_UPSTREAM, "malformed WWW-Authenticate: %s at byte %zu", what, p->at);
}

static int peek(const struct parser *p)
{
    return p->at < p->text.len ? (unsigned char)p->text.p[p->at] : -1;
}

static bool is_alnum(int c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_tchar(int c)
{
    return is_alnum(c) || (c > 0 && strchr("!#$%&'*+-.^_`|~", c));
}

static void skip_space(struct parser *p)
{
    while (peek(p) == ' ' || peek(p) == '\t')
        ++p->at;
}

static struct slice take_token(struct parser *p)
{
    size_t begin = p->at;
    while (is_tchar(peek(p)))
        ++p->at;
    return (struct slice){p->text.p + begin, p->at - begin};
}

/* Skips empty list elements: "a, ,b" is a list of two (RFC 9110 section 5.6.1.2). */
static void skip_commas(struct parser *p)
{
    for (skip_space(p); peek(p) == ','; skip_space(p))
        ++p->at;
}

/* Without moving: does a parameter's "token BWS = BWS value" stand here? A lone "=" behind a token, or
 * several, belong to a token68. */
static bool at_param(const struct parser *p)
{
    struct parser ahead = *p;
    if (take_token(&ahead).len == 0)
        return false;
    skip_space(&ahead);
    if (peek(&ahead) != '=')
        return false;
    ++ahead.at;
    skip_space(&ahead);
    return peek(&ahead) == '"' || is_tchar(peek(&ahead));
}

/* The unescaped text of a quoted-string into out; NULL out reads and leaves it. */
static int take_quoted(struct parser *p, char *out, size_t cap)
{
    size_t n = 0;
    for (++p->at;; ++p->at) {
        int c = peek(p);
        if (c == '"')
            break;
        if (c == '\\') {
            ++p->at;
            c = peek(p);
        }
        if (c < 0)
            return fail(p, "quoted text without an end");
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return fail(p, "control character");
        if (out && n + 1 >= cap)
            return fail(p, "value too long");
        if (out)
            out[n++] = (char)c;
    }
    ++p->at;
    if (out)
        out[n] = '\0';
    return 0;
}

static int take_value(struct parser *p, char *out, size_t cap)
{
    if (peek(p) == '"')
        return take_quoted(p, out, cap);
    struct slice value = take_token(p);
    if (value.len == 0)
        return fail(p, "parameter without a value");
    if (out && value.len >= cap)
        return fail(p, "value too long");
    if (out) {
        memcpy(out, value.p, value.len);
        out[value.len] = '\0';
    }
    return 0;
}

/* What a parameter of Bearer goes into; NULL if we have no use for it. */
static char *member(struct challenge *c, struct slice name, size_t *ret_cap, unsigned *ret_bit)
{
    if (slice_ieq_str(name, "realm")) {
        *ret_cap = sizeof c->realm;
        *ret_bit = 1;
        return c->realm;
    }
    if (slice_ieq_str(name, "service")) {
        *ret_cap = sizeof c->service;
        *ret_bit = 2;
        return c->service;
    }
    if (slice_ieq_str(name, "scope")) {
        *ret_cap = sizeof c->scope;
        *ret_bit = 4;
        return c->scope;
    }
    return NULL;
}

/* Parameters up to the next scheme or the end; `c` NULL reads and leaves them. */
static int take_params(struct parser *p, struct challenge *c)
{
    unsigned seen = 0;
    while (at_param(p)) {
        struct slice name = take_token(p);
        skip_space(p);
        ++p->at; /* '=' */
        skip_space(p);
        size_t cap = 0;
        unsigned bit = 0;
        char *out = c ? member(c, name, &cap, &bit) : NULL;
        if (seen & bit)
            return fail(p, "parameter said twice");
        seen |= bit;
        if (take_value(p, out, cap) < 0)
            return -1;
        skip_space(p);
        if (peek(p) >= 0 && peek(p) != ',')
            return fail(p, "no comma behind a parameter");
        skip_commas(p);
    }
    return 0;
}

/* token68 = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"=" */
static int skip_token68(struct parser *p)
{
    size_t begin = p->at;
    while (is_alnum(peek(p)) || (peek(p) > 0 && strchr("-._~+/", peek(p))))
        ++p->at;
    if (p->at == begin)
        return fail(p, "no parameter");
    while (peek(p) == '=')
        ++p->at;
    skip_space(p);
    if (peek(p) >= 0 && peek(p) != ',')
        return fail(p, "no comma behind a challenge");
    return 0;
}

static int take_challenge(struct parser *p, struct challenge *c)
{
    struct slice scheme = take_token(p);
    if (scheme.len == 0)
        return fail(p, "no scheme");
    bool bearer = slice_ieq_str(scheme, "Bearer") && !c->bearer;
    c->bearer = c->bearer || bearer;
    c->basic = c->basic || slice_ieq_str(scheme, "Basic");
    int next = peek(p);
    if (next >= 0 && next != ' ' && next != '\t' && next != ',')
        return fail(p, "unexpected character");
    skip_space(p);
    if (peek(p) < 0)
        return 0;
    if (peek(p) != ',' && !at_param(p))
        return skip_token68(p);
    /* "Scheme , a=b": an empty element in front of the first parameter, or a challenge with none and what
     * looks like a parameter without a scheme. The grammar allows the first reading only. */
    skip_commas(p);
    return take_params(p, bearer ? c : NULL);
}

int challenge_parse(struct slice header, struct challenge *c, struct err *err)
{
    struct parser p = {.text = header, .err = err};
    if (header.len > CHALLENGE_HEADER_MAX)
        return err_set(err, ERR_UPSTREAM, "WWW-Authenticate of %zu bytes is over the limit of %zu",
                       header.len, CHALLENGE_HEADER_MAX);
    struct challenge found = *c;
    for (skip_commas(&p); peek(&p) >= 0; skip_commas(&p)) {
        if (take_challenge(&p, &found) < 0)
            return -1;
    }
    *c = found;
    return 0;
}
