// SPDX-License-Identifier: Apache-2.0
#include <assert.h>
#include <stdio.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "proxy/upstream/names.h"
#include "proxy/upstream/upstream.h"

struct upstream_set {
    unsigned refs; /* atomic */
    bool allow_any;
    struct upstream **list; /* a dozen: looked through from the front */
    size_t len, default_at;
};

struct upstream_set *upstream_set_new(bool allow_any)
{
    struct upstream_set *s = mem_new(struct upstream_set);
    s->refs = 1;
    s->allow_any = allow_any;
    return s;
}

struct upstream_set *upstream_set_ref(struct upstream_set *s)
{
    (void)__atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
    return s;
}

void upstream_set_unref(struct upstream_set *s)
{
    if (!s || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    for (size_t i = 0; i < s->len; ++i)
        upstream_unref(s->list[i]);
    free(s->list);
    free(s);
}

size_t upstream_set_count(const struct upstream_set *s)
{
    return s->len;
}

struct upstream *upstream_set_at(const struct upstream_set *s, size_t i)
{
    assert(i < s->len);
    return s->list[i];
}

static struct upstream **find(const struct upstream_set *s, struct slice name)
{
    name = names_canonical(name);
    for (size_t i = 0; i < s->len; ++i) {
        if (slice_eq_str(name, s->list[i]->name))
            return &s->list[i];
    }
    return NULL;
}

struct upstream_set *upstream_set_copy(const struct upstream_set *s)
{
    struct upstream_set *copy = upstream_set_new(s->allow_any);
    for (size_t i = 0; i < s->len; ++i)
        upstream_set_add(copy, s->list[i]);
    copy->default_at = s->default_at;
    return copy;
}

struct upstream *upstream_set_find(const struct upstream_set *s, const char *name)
{
    struct upstream **at = find(s, slice_of(name));
    return at ? *at : NULL;
}

bool upstream_set_allows_any(const struct upstream_set *s)
{
    return s->allow_any;
}

void upstream_set_add(struct upstream_set *s, struct upstream *u)
{
    struct upstream **at = find(s, slice_of(u->name));
    (void)upstream_ref(u);
    if (at) {
        upstream_unref(*at);
        *at = u;
        return;
    }
    s->list = mem_realloc(s->list, (s->len + 1) * sizeof(struct upstream *));
    s->list[s->len++] = u;
}

int upstream_set_default(struct upstream_set *s, const char *name, struct err *err)
{
    struct upstream **at = find(s, slice_of(name));
    if (!at)
        return err_set(err, ERR_INVALID, "default upstream '%.100s' is not among the upstreams", name);
    s->default_at = (size_t)(at - s->list);
    return 0;
}

int upstream_set_add_known(struct upstream_set *s, const uint8_t scope_key[32], struct err *err)
{
    static const struct upstream_config known[] = {
        {.name = "docker.io", .url = "https://registry-1.docker.io", .library_prefix = true},
        {.name = "ghcr.io", .url = "https://ghcr.io"},
        {.name = "quay.io", .url = "https://quay.io"},
        {.name = "gcr.io", .url = "https://gcr.io"},
        {.name = "registry.k8s.io", .url = "https://registry.k8s.io"},
        {.name = "public.ecr.aws", .url = "https://public.ecr.aws"},
        {.name = "mcr.microsoft.com", .url = "https://mcr.microsoft.com"},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; ++i) {
        struct upstream *u = NULL;
        if (upstream_new(&known[i], scope_key, &u, err) < 0)
            return err_wrap(err, "upstream %s", known[i].name);
        upstream_set_add(s, u);
        upstream_unref(u);
    }
    return 0;
}

/* An upstream nobody configured: https, no credentials, public addresses only. */
static int upstream_of_host(struct slice host, struct upstream **ret, struct err *err)
{
    static const uint8_t no_key[32]; /* without credentials there is nothing to hash */
    cleanup_free char *name = mem_strndup(host.p, host.len);
    cleanup_free char *url = mem_printf("https://%s", name);
    struct upstream_config config = {.name = name, .url = url};
    return upstream_new(&config, no_key, ret, err);
}

/* A reference to the upstream called `host`. */
static int look_up(const struct upstream_set *s, struct slice host, struct upstream **ret, struct err *err)
{
    struct upstream **at = find(s, host);
    if (at) {
        *ret = upstream_ref(*at);
        return 0;
    }
    host = names_canonical(host);
    if (names_check_upstream(host, NULL) < 0)
        return err_set(err, ERR_DENIED, "that is not the name of an upstream");
    if (!s->allow_any || upstream_of_host(host, ret, NULL) < 0)
        return err_set(err, ERR_DENIED, "upstream '%.*s' is not allowed here: add it under 'upstreams'",
                       (int)host.len, host.p);
    return 0;
}

/* A host in a query may come in any case; a segment of a name is lower case by its grammar. What is too long
 * becomes empty, which is no upstream. */
static struct slice lower_case(struct slice host, char out[NAMES_UPSTREAM_MAX + 1])
{
    struct slice lower = {out, host.len <= NAMES_UPSTREAM_MAX ? host.len : 0};
    for (size_t i = 0; i < lower.len; ++i)
        out[i] = (char)(host.p[i] >= 'A' && host.p[i] <= 'Z' ? host.p[i] + ('a' - 'A') : host.p[i]);
    return lower;
}

int upstream_set_get(const struct upstream_set *s, struct slice host, struct upstream **ret, struct err *err)
{
    char lower[NAMES_UPSTREAM_MAX + 1];
    return look_up(s, lower_case(host, lower), ret, err);
}

int upstream_resolve(struct upstream_set *s, struct slice name, struct slice ns, struct upstream_name *ret,
                     struct err *err)
{
    struct slice repository = name, first = {NULL, 0};
    char lower[NAMES_UPSTREAM_MAX + 1];
    if (ns.p) {
        first = lower_case(ns, lower);
    } else {
        struct slice rest = name, segment = slice_cut(&rest, '/');
        if (find(s, segment) || names_is_host(segment)) {
            first = segment;
            repository = rest;
        }
    }
    if (!first.p && s->len == 0)
        return err_set(err, ERR_DENIED, "no upstream is configured: add one under 'upstreams'");
    if (first.p && !repository.len)
        return err_set(err, ERR_NAME_INVALID,
                       "'%.*s' is an upstream: the name of a repository is missing behind it",
                       (int)(first.len > 100 ? 100 : first.len), first.p);
    if (names_check_repository(repository, err) < 0)
        return -1;

    struct upstream *u = NULL;
    if (!first.p)
        u = upstream_ref(s->list[s->default_at]);
    else if (look_up(s, first, &u, err) < 0)
        return -1;
    assert(u);

    bool library = u->library_prefix && !memchr(repository.p, '/', repository.len);
    if (library && repository.len + strlen("library/") > NAMES_REPOSITORY_MAX) {
        upstream_unref(u);
        return err_set(err, ERR_NAME_INVALID, "repository name is over the limit of %d characters",
                       NAMES_REPOSITORY_MAX);
    }
    ret->upstream = u;
    (void)snprintf(ret->repository, sizeof ret->repository, "%s%.*s", library ? "library/" : "",
                   (int)repository.len, repository.p);
    (void)snprintf(ret->canonical, sizeof ret->canonical, "%s/%s", u->name, ret->repository);
    return 0;
}
