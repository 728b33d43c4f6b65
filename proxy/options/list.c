// SPDX-License-Identifier: Apache-2.0
#include "proxy/options/list.h"

#include <string.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "proxy/options/account.h"
#include "proxy/options/address.h"
#include "proxy/options/endpoint.h"
#include "proxy/options/network.h"

#define LIST_MAX 4096 /* entries; each is looked at by its neighbours when it is added */

static void strings_free(char **list)
{
    for (size_t i = 0; list && list[i]; ++i)
        free(list[i]);
    free(list);
}

void options_upstream_clear(struct options_upstream *u)
{
    if (u->password)
        explicit_bzero(u->password, strlen(u->password));
    free(u->name);
    free(u->url);
    free(u->username);
    free(u->password);
    free(u->ca);
    free(u->inject);
    strings_free(u->realms);
    *u = (struct options_upstream){0};
}

struct options_upstream *option_upstream(const struct options *o, const char *name)
{
    for (size_t i = 0; i < o->upstream_count; ++i)
        if (strcmp(o->upstreams[i].name, name) == 0)
            return &o->upstreams[i];
    return NULL;
}

static void remove_upstream(struct options *o, struct options_upstream *u)
{
    size_t i = (size_t)(u - o->upstreams);
    options_upstream_clear(u);
    memmove(u, u + 1, (--o->upstream_count - i) * sizeof *u);
}

int option_add_upstream(struct options *o, struct options_upstream *u, const char *where, struct err *err)
{
    struct options_upstream *old = option_upstream(o, u->name);
    if (old && old->origin.source == u->origin.source)
        return err_set(err, ERR_INVALID, "%s: upstream '%s' is there twice", where, u->name);
    if (o->upstream_count >= LIST_MAX)
        return err_set(err, ERR_INVALID, "%s: more than %d upstreams", where, LIST_MAX);
    if (old && old->origin.source > u->origin.source) {
        options_upstream_clear(u);
        return 0;
    }
    if (old)
        remove_upstream(o, old);
    size_t at = 0;
    while (at < o->upstream_count && o->upstreams[at].origin.source >= u->origin.source)
        ++at;
    o->upstreams = mem_realloc(o->upstreams, (o->upstream_count + 1) * sizeof *u);
    memmove(&o->upstreams[at + 1], &o->upstreams[at], (o->upstream_count++ - at) * sizeof *u);
    o->upstreams[at] = *u;
    *u = (struct options_upstream){0};
    return 0;
}

void option_add_rule(struct options *o, char *match, char *injection, struct option_origin origin)
{
    o->rules = mem_realloc(o->rules, (o->rule_count + 1) * sizeof *o->rules);
    o->rules[o->rule_count++] =
        (struct options_rule){.match = match, .injection = injection, .origin = origin};
}

int option_add_listen(struct options *o, const char *text, const struct option_origin *origin,
                      const char *where, struct err *err)
{
    struct option_origin *last = &o->origins[option_index(option_by_name("listen"))];
    if (option_check_listen(text, where, err) < 0)
        return -1;
    if (last->source != origin->source) {
        for (size_t i = 0; i < o->listen_count; ++i)
            free(o->listen[i]);
        o->listen_count = 0;
        *last = *origin;
    }
    bool any_port = slice_ends_with(slice_of(text), ":0");
    for (size_t i = 0; i < o->listen_count && !any_port; ++i)
        if (strcmp(o->listen[i], text) == 0)
            return err_set(err, ERR_INVALID, "%s: '%s' is there twice", where, text);
    if (o->listen_count >= LIST_MAX)
        return err_set(err, ERR_INVALID, "%s: more than %d addresses", where, LIST_MAX);
    o->listen = mem_realloc(o->listen, (o->listen_count + 1) * sizeof *o->listen);
    o->listen[o->listen_count++] = mem_strdup(text);
    return 0;
}

void option_set_inject(struct options *o, const char *text, const char *base_dir)
{
    free(o->inject_all);
    o->inject_all = strcmp(text, "none") == 0 ? NULL : option_path(base_dir, text);
}

/* NAME=URL */
static int add_upstream_word(struct options *o, struct slice word, const struct option_origin *origin,
                             const char *where, struct err *err)
{
    struct slice rest = word;
    struct slice name = slice_cut(&rest, '=');
    if (memchr(name.p, '@', name.len) || !rest.p || name.len == 0 || rest.len == 0) {
        /* The word may be a URL with credentials whose name was forgotten: it is not shown. */
        return err_set(err, ERR_INVALID, "%s: expected NAME=URL, as in quay.io=https://quay.io", where);
    }
    cleanup_free char *name_text = mem_strndup(name.p, name.len);
    cleanup_free char *url_text = mem_strndup(rest.p, rest.len);
    struct options_upstream u = {.origin = *origin, .fresh_ms = UINT64_MAX, .url_given = true};
    int rc = option_parse_upstream_name(name_text, &u.name, where, err);
    if (rc == 0)
        rc = option_parse_url(url_text, false, &u.url, where, err);
    if (rc == 0)
        rc = option_add_upstream(o, &u, where, err);
    options_upstream_clear(&u);
    return rc;
}

static int add_word(struct options *o, const struct option_def *def, struct slice word,
                    const struct option_origin *origin, const char *where, struct err *err)
{
    switch (def->type) {
    case OPTION_UPSTREAMS:
        return add_upstream_word(o, word, origin, where, err);
    case OPTION_ACCOUNTS:
        return option_add_account_word(o, word, origin, where, err);
    case OPTION_LOCATIONS:
        return option_add_location_word(o, word, origin, where, err);
    case OPTION_ENDPOINTS:
        return option_add_endpoint_word(o, word, origin, where, err);
    case OPTION_NETWORKS:
        return option_add_proxy(o, word, origin, where, err);
    default:
        break;
    }
    cleanup_free char *address = mem_strndup(word.p, word.len);
    return option_add_listen(o, address, origin, where, err);
}

int option_set_list(struct options *o, const struct option_def *def, const char *text,
                    const struct option_origin *origin, const char *where, struct err *err)
{
    if (!*text)
        return err_set(err, ERR_INVALID, "%s: the value is empty", where);
    if (def->type == OPTION_INJECT) {
        option_set_inject(o, text, NULL);
        o->origins[option_index(def)] = *origin;
        return 0;
    }
    struct slice rest = slice_of(text);
    while (rest.p) {
        struct slice word = rest;
        if (origin->source == OPTION_FROM_ENV)
            word = slice_trim(slice_cut(&rest, ','));
        else
            rest = (struct slice){NULL, 0};
        if (add_word(o, def, word, origin, where, err) < 0)
            return -1;
        o->origins[option_index(def)] = *origin;
    }
    return 0;
}
