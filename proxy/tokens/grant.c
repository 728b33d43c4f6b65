// SPDX-License-Identifier: Apache-2.0
#include "proxy/tokens/grant.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "common/mem.h"

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool grant_check(struct slice text, uint8_t ret[GRANT_BITS])
{
    if (text.len != TOKEN_CHARS)
        return false;
    for (size_t i = 0; i < GRANT_BITS; ++i) {
        int high = hex_value(text.p[2 * i]), low = hex_value(text.p[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        ret[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

void grant_key(struct slice text, uint8_t ret[STATE_TOKEN_KEY])
{
    struct digest d = digest_of(text.p, text.len);
    const char *hex = digest_hex(&d);
    for (size_t i = 0; i < STATE_TOKEN_KEY; ++i)
        ret[i] = (uint8_t)(hex_value(hex[2 * i]) << 4 | hex_value(hex[2 * i + 1]));
}

int grant_random(char ret[TOKEN_CHARS + 1], struct err *err)
{
    uint8_t bits[GRANT_BITS];
    if (getrandom(bits, sizeof bits, 0) != (ssize_t)sizeof bits)
        return err_set(err, ERR_INTERNAL, "no random bytes from the system");
    for (size_t i = 0; i < sizeof bits; ++i)
        (void)snprintf(ret + 2 * i, 3, "%02x", bits[i]);
    return 0;
}

static char *copy_or_null(const char *s)
{
    return s ? mem_strdup(s) : NULL;
}

struct grant *grant_new(const struct state_token *t, struct slice text)
{
    struct grant *k = mem_new(struct grant);
    atomic_init(&k->refs, 1);
    memcpy(k->key, t->key, sizeof k->key);
    (void)grant_check(text, k->bits);
    (void)snprintf(k->shown, sizeof k->shown, "%.*s", (int)text.len, text.p);
    k->created_ms = t->created_ms;
    k->expires_ms = t->expires_ms;
    k->account = copy_or_null(t->account);
    k->canonical = mem_strdup(t->canonical);
    const char *slash = strchr(k->canonical, '/'); /* names of upstreams have none */
    k->upstream = mem_strndup(k->canonical, slash ? (size_t)(slash - k->canonical) : 0);
    k->repository = slash ? slash + 1 : k->canonical;
    k->tag = copy_or_null(t->tag);
    k->source = t->source;
    k->injection = t->injection;
    k->target = t->target;
    k->image = mem_strdup(t->image);
    k->platform = copy_or_null(t->platform);
    k->note = copy_or_null(t->note);
    atomic_init(&k->pulls, t->pulls);
    return k;
}

struct grant *grant_ref(struct grant *t)
{
    (void)atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    return t;
}

void grant_unref(struct grant *t)
{
    if (!t || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) > 1)
        return;
    free(t->account);
    free(t->canonical);
    free(t->upstream);
    free(t->tag);
    free(t->image);
    free(t->platform);
    free(t->note);
    free(t);
}
