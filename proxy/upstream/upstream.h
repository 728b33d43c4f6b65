// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_UPSTREAM_UPSTREAM_H
#define RAC_UPSTREAM_UPSTREAM_H
/*
 * An upstream registry as configured, and the set of them. Immutable once made and reference-counted
 * (atomic): a reload makes a new set, requests under way keep the old one.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/str.h"

/* What the configuration says of one upstream; strings are copied. NULL = default. */
struct upstream_config {
    const char *name;     /* "docker.io": the first segment of a path, the value of ns */
    const char *url;      /* "https://registry-1.docker.io", "http://127.0.0.1:5000/prefix" */
    const char *username; /* both or none */
    const char *password;
    const char *ca_file; /* PEM file, instead of the system's */
    const char *const
        *realms;            /* hosts of token servers outside of the upstream's own domain; NULL-terminated */
    bool by_hand;           /* configured, not one of the known ones: its own host may be private */
    bool private_addresses; /* its redirects and realms may lead to private addresses too */
    bool library_prefix;    /* one-segment names get "library/": docker.io */
};

struct upstream {
    unsigned refs;           /* atomic; use upstream_ref/unref */
    char *name, *url, *host; /* host without port, lower case, of the url */
    char *username, *password, *ca_file;
    char **realms;
    bool by_hand, private_addresses, library_prefix;
    /* Whose eyes the upstream sees us with: "anon", or "u:" + 32 hex of a keyed hash of name and credentials.
     * Cached facts (who may read what, tags) are kept per scope. */
    char scope[40];
};

/* As a user name, it says that the password is a refresh token ("identity token"), as docker's own
 * configuration and credential helpers have it: exchanged at the token server, never sent as Basic. */
#define UPSTREAM_REFRESH_USER "<token>"
bool upstream_has_refresh_token(const struct upstream *u);

struct upstream_set;

/* scope_key: 32 random bytes of this installation (state keeps them). Errors name the member. */
int upstream_new(const struct upstream_config *config, const uint8_t scope_key[32], struct upstream **ret,
                 struct err *err);
struct upstream *upstream_ref(struct upstream *u);
void upstream_unref(struct upstream *u); /* NULL is fine */
/* Whether the configuration names that host (lower case, no port) among the upstream's token servers. */
bool upstream_lists_realm(const struct upstream *u, const char *host);

struct upstream_set *
upstream_set_new(bool allow_any); /* allow_any: unknown hosts are https upstreams, addresses checked */
/* Takes a reference of its own. One of the same name is replaced. The first added is the default unless one
 * is named. */
void upstream_set_add(struct upstream_set *s, struct upstream *u);
int upstream_set_default(struct upstream_set *s, const char *name, struct err *err);
/* The same upstreams, in a set that can be added to. */
struct upstream_set *upstream_set_copy(const struct upstream_set *s);
struct upstream *upstream_set_find(const struct upstream_set *s, const char *name); /* borrowed; NULL: none */
bool upstream_set_allows_any(const struct upstream_set *s);
struct upstream_set *upstream_set_ref(struct upstream_set *s);
void upstream_set_unref(struct upstream_set *s);
size_t upstream_set_count(const struct upstream_set *s);
struct upstream *upstream_set_at(const struct upstream_set *s, size_t i); /* borrowed */
/* docker.io, ghcr.io, quay.io, gcr.io, registry.k8s.io, public.ecr.aws, mcr.microsoft.com. */
int upstream_set_add_known(struct upstream_set *s, const uint8_t scope_key[32], struct err *err);

/* `base` as seen with other credentials: a scope of its own. scope_key as in upstream_new. */
int upstream_with(const struct upstream *base, const char *username, const char *password,
                  const uint8_t scope_key[32], struct upstream **ret, struct err *err);
/* The upstream called `host` (any case), a reference. ERR_DENIED as upstream_resolve. */
int upstream_set_get(const struct upstream_set *s, struct slice host, struct upstream **ret, struct err *err);

/* Which upstream, and which repository there, a name means (design: api.md "Names"). */
struct upstream_name {
    struct upstream *upstream; /* a reference for the caller */
    char repository[256];      /* "library/busybox": what stands in the path upstream */
    char canonical[512];       /* "docker.io/library/busybox" */
};
/* `name` is well-formed (reference_check_name). `ns`: value of the query parameter, p == NULL if absent.
 * ERR_DENIED with "upstream 'x' is not allowed here: add it under 'upstreams'" for an unknown host;
 * ERR_NAME_INVALID if nothing is left behind the first segment. docker.io, index.docker.io and
 * registry-1.docker.io are one. */
int upstream_resolve(struct upstream_set *s, struct slice name, struct slice ns, struct upstream_name *ret,
                     struct err *err);
#endif
