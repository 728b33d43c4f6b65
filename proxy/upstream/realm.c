// SPDX-License-Identifier: Apache-2.0
#include "proxy/upstream/realm.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "common/str.h"
#include "proxy/upstream/address.h"

/* The repository's name as the challenge has it. It is believed only if it is ours, or ours below a prefix,
 * which is what an upstream whose url has a path says; anything wider would make a token that is worth
 * stealing. */
static char *scope_of(const struct challenge *c, const char *repository)
{
    struct slice rest = slice_of(c->scope), name = {NULL, 0};
    if (slice_eq_str(slice_cut(&rest, ':'), "repository") && slice_ends_with(rest, ":pull"))
        name = (struct slice){rest.p, rest.len - strlen(":pull")};
    bool one = name.len && !memchr(name.p, ' ', name.len) && !memchr(name.p, ':', name.len) &&
               !memchr(name.p, ',', name.len);
    size_t len = strlen(repository);
    bool below_prefix =
        one && name.len > len && slice_ends_with(name, repository) && name.p[name.len - len - 1] == '/';
    if (below_prefix)
        return mem_printf("repository:%.*s:pull", (int)name.len, name.p);
    return mem_printf("repository:%s:pull", repository);
}

static void add(struct buf *b, const char *name, const char *value)
{
    (void)buf_printf(b, "%s%s=", b->len ? "&" : "", name);
    (void)buf_add_url_escaped(b, slice_of(value));
}

static char *form_of(const struct challenge *c, const char *scope, const char *refresh_token)
{
    struct buf b = {0};
    add(&b, "grant_type", "refresh_token");
    add(&b, "client_id", "rac-proxy");
    if (c->service[0])
        add(&b, "service", c->service);
    if (scope)
        add(&b, "scope", scope);
    add(&b, "refresh_token", refresh_token);
    char *form = mem_strdup(buf_str(&b));
    OPENSSL_cleanse(b.p, b.len);
    buf_free(&b);
    return form;
}

int realm_of(const struct upstream *u, const struct url *own, const struct challenge *c,
             const char *repository, struct realm *ret, struct err *err)
{
    cleanup_url struct url url = {0};
    struct err cause = {0};
    if (!c->realm[0])
        return err_set(err, ERR_UPSTREAM, "challenge has no realm");
    if (url_parse(c->realm, &url, &cause) < 0)
        return err_set(err, ERR_DENIED, "token server refused: the realm of the challenge %s", cause.msg);
    if (own->https && !url.https)
        return err_set(err, ERR_DENIED,
                       "token server refused: the realm's host %s is asked by http, the upstream by https",
                       url.host);
    bool trusted =
        address_same_site(slice_of(url.host), slice_of(own->host)) || upstream_lists_realm(u, url.host);
    cleanup_free char *scope = repository ? scope_of(c, repository) : NULL;
    struct realm made = {.credentials = u->username && trusted};
    if (made.credentials && upstream_has_refresh_token(u)) {
        made.form = form_of(c, scope, u->password);
    } else if ((c->service[0] && url_add_query(&url, "service", c->service, err) < 0) ||
               (scope && url_add_query(&url, "scope", scope, err) < 0)) {
        return -1;
    }
    made.url = url;
    *ret = made;
    url = (struct url){0};
    return 0;
}

void realm_free(struct realm *realm)
{
    url_free(&realm->url);
    if (realm->form)
        OPENSSL_cleanse(realm->form, strlen(realm->form));
    free(realm->form);
    realm->form = NULL;
}
