// SPDX-License-Identifier: Apache-2.0
#include "proxy/inject/rules.h"

#include <stdlib.h>

#include "common/mem.h"

struct rule {
    char *text; /* a pattern, or the name of an upstream */
    bool upstream;
    struct injection *injection;
};

struct rules {
    struct rule *rule;
    size_t count;
    struct injection **injection;
    size_t injection_count;
};

struct rules *rules_new(void)
{
    return mem_new(struct rules);
}

void rules_free(struct rules *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->count; ++i) {
        free(r->rule[i].text);
        injection_unref(r->rule[i].injection);
    }
    for (size_t i = 0; i < r->injection_count; ++i)
        injection_unref(r->injection[i]);
    free(r->rule);
    free(r->injection);
    free(r);
}

static void list_injection(struct rules *r, struct injection *injection)
{
    for (size_t i = 0; i < r->injection_count; ++i)
        if (digest_eq(injection_digest(r->injection[i]), injection_digest(injection)))
            return;
    r->injection = mem_realloc(r->injection, (r->injection_count + 1) * sizeof(struct injection *));
    r->injection[r->injection_count++] = injection_ref(injection);
}

static void add(struct rules *r, const char *text, bool upstream, struct injection *injection)
{
    r->rule = mem_realloc(r->rule, (r->count + 1) * sizeof *r->rule);
    r->rule[r->count++] = (struct rule){.text = mem_strdup(text),
                                        .upstream = upstream,
                                        .injection = injection ? injection_ref(injection) : NULL};
    if (injection && !injection_is_empty(injection))
        list_injection(r, injection);
}

void rules_add(struct rules *r, const char *pattern, struct injection *injection)
{
    add(r, pattern, false, injection);
}

void rules_add_upstream(struct rules *r, const char *upstream, struct injection *injection)
{
    add(r, upstream, true, injection);
}

static struct injection *effective(const struct rule *rule)
{
    return rule->injection && !injection_is_empty(rule->injection) ? rule->injection : NULL;
}

struct injection *rules_find(const struct rules *r, const char *upstream, const char *canonical)
{
    for (size_t i = 0; i < r->count; ++i)
        if (r->rule[i].upstream && strcmp(r->rule[i].text, upstream) == 0)
            return effective(&r->rule[i]);
    for (size_t i = 0; i < r->count; ++i)
        if (!r->rule[i].upstream && str_glob_match(r->rule[i].text, canonical))
            return effective(&r->rule[i]);
    return NULL;
}

size_t rules_injection_count(const struct rules *r)
{
    return r->injection_count;
}

struct injection *rules_injection_at(const struct rules *r, size_t i)
{
    return r->injection[i];
}
