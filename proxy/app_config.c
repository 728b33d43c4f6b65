// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>

#include "common/mem.h"
#include "proxy/app_impl.h"
#include "proxy/inject/local_check.h"

static int add_upstream(struct registry_config *c, const struct options_upstream *u,
                        const uint8_t scope_key[32], struct err *err)
{
    struct upstream *made;
    struct upstream_config config = {
        .name = u->name,
        .url = u->url,
        .username = u->username,
        .password = u->password,
        .ca_file = u->ca,
        .realms = (const char *const *)u->realms,
        .by_hand = true,
        .private_addresses = u->private_addresses,
        .library_prefix = strcmp(u->name, "docker.io") == 0,
    };
    /* An entry without an address adds credentials to a known registry, else it names a host by hand. */
    for (size_t i = 0; !u->url_given && i < upstream_set_count(c->upstreams); ++i) {
        const struct upstream *known = upstream_set_at(c->upstreams, i);
        if (strcmp(known->name, u->name) == 0 && !known->by_hand) {
            config.url = known->url;
            config.by_hand = false;
        }
    }
    if (upstream_new(&config, scope_key, &made, err) < 0)
        return err_wrap(err, "upstream %s", u->name);
    upstream_set_add(c->upstreams, made);
    upstream_unref(made);
    if (u->fresh_ms != UINT64_MAX) {
        c->fresh = mem_realloc(c->fresh, (c->fresh_count + 1) * sizeof *c->fresh);
        c->fresh[c->fresh_count++] = (struct registry_fresh){mem_strdup(u->name), u->fresh_ms};
    }
    return 0;
}

static int add_upstreams(struct registry_config *c, const struct options *o, const uint8_t scope_key[32],
                         struct err *err)
{
    c->upstreams = upstream_set_new(o->upstreams_any);
    if (upstream_set_add_known(c->upstreams, scope_key, err) < 0)
        return -1;
    for (size_t i = 0; i < o->upstream_count; ++i)
        if (add_upstream(c, &o->upstreams[i], scope_key, err) < 0)
            return -1;
    return upstream_set_default(c->upstreams, o->default_upstream, err);
}

/* An upstream of all, seen with the account's credentials: a scope of its own. */
static int add_own_upstream(struct upstream_set *set, const struct options_upstream *u,
                            const uint8_t scope_key[32], struct err *err)
{
    const struct upstream *base = upstream_set_find(set, u->name);
    struct upstream *made;
    if (!base)
        return err_set(err, ERR_INVALID, "there is no upstream '%s': add it under 'upstreams'", u->name);
    if (upstream_with(base, u->username, u->password, scope_key, &made, err) < 0)
        return err_wrap(err, "upstream '%s'", u->name);
    upstream_set_add(set, made);
    upstream_unref(made);
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct registry_account *)a)->name, ((const struct registry_account *)b)->name);
}

static int add_accounts(struct registry_config *c, const struct options *o, const uint8_t scope_key[32],
                        struct err *err)
{
    c->accounts = mem_zalloc((o->account_count + 1) * sizeof *c->accounts);
    for (size_t i = 0; i < o->account_count; ++i) {
        const struct options_account *a = &o->accounts[i];
        if (!a->upstream_count)
            continue;
        struct registry_account *own = &c->accounts[c->account_count++];
        own->name = mem_strdup(a->name);
        own->upstreams = upstream_set_copy(c->upstreams);
        for (size_t k = 0; k < a->upstream_count; ++k)
            if (add_own_upstream(own->upstreams, &a->upstreams[k], scope_key, err) < 0)
                return err_wrap(err, "account '%s'", a->name);
    }
    qsort(c->accounts, c->account_count, sizeof *c->accounts, by_name);
    return 0;
}

/* path NULL or "none": no injection. */
static int load(const char *path, const struct options *o, struct injection **ret, struct err *err)
{
    *ret = NULL;
    if (!path || strcmp(path, "none") == 0)
        return 0;
    cleanup_injection struct injection *inj = injection_load(path, err);
    if (!inj)
        return -1;
    if (local_check(inj, o->max_layer_bytes, err) < 0)
        return err_wrap(err, "%s", path);
    *ret = steal_ptr(&inj);
    return 0;
}

static int add_rules(struct registry_config *c, const struct options *o, struct err *err)
{
    c->rules = rules_new();
    if (o->no_inject)
        return 0;
    for (size_t i = 0; i < o->upstream_count; ++i) {
        cleanup_injection struct injection *inj = NULL;
        if (!o->upstreams[i].inject)
            continue;
        if (load(o->upstreams[i].inject, o, &inj, err) < 0)
            return -1;
        rules_add_upstream(c->rules, o->upstreams[i].name, inj);
    }
    for (size_t i = 0; i < o->rule_count; ++i) {
        cleanup_injection struct injection *inj = NULL;
        if (load(o->rules[i].injection, o, &inj, err) < 0)
            return -1;
        rules_add(c->rules, o->rules[i].match, inj);
    }
    return 0;
}

int app_config_new(const struct options *o, const uint8_t scope_key[32], struct registry_config **ret,
                   struct err *err)
{
    struct registry_config *c = mem_new(struct registry_config);
    c->refs = 1;
    c->tags = (struct tags_policy){
        .fresh_ms = o->fresh_ms,
        .stale_ms = o->stale_ms,
        .offline_ms = o->offline_ms,
        .missing_ms = o->missing_ms,
        .stale_while_revalidate = o->stale_while_revalidate,
    };
    c->pinned_refuse = o->pinned_refuse;
    c->own_names[0] = o->public_host ? mem_strdup(o->public_host) : NULL;
    c->own_names[1] = o->k8s_proxy_name ? mem_strdup(o->k8s_proxy_name) : NULL;
    if (add_upstreams(c, o, scope_key, err) < 0 || add_accounts(c, o, scope_key, err) < 0 ||
        add_rules(c, o, err) < 0) {
        registry_config_unref(c);
        return -1;
    }
    *ret = c;
    return 0;
}
