// SPDX-License-Identifier: Apache-2.0
#include "proxy/upstream/upstream.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>

#include "common/mem.h"
#include "proxy/upstream/names.h"
#include "proxy/upstream/url.h"

#define CREDENTIAL_MAX ((size_t)16 << 10)

static void free_secret(char *s)
{
    if (s)
        OPENSSL_cleanse(s, strlen(s));
    free(s);
}

struct upstream *upstream_ref(struct upstream *u)
{
    (void)__atomic_add_fetch(&u->refs, 1, __ATOMIC_RELAXED);
    return u;
}

void upstream_unref(struct upstream *u)
{
    if (!u || __atomic_sub_fetch(&u->refs, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    free_secret(u->username);
    free_secret(u->password);
    for (char **r = u->realms; r && *r; ++r)
        free(*r);
    free(u->realms);
    free(u->name);
    free(u->url);
    free(u->host);
    free(u->ca_file);
    free(u);
}

static void cleanup_upstream_fn(struct upstream **u)
{
    upstream_unref(*u);
}
#define cleanup_upstream RAC_CLEANUP(cleanup_upstream_fn)

/* RFC 7617 section 2: no colon in the user name, no control character in either. */
static int check_credential(const char *s, const char *what, bool colon_ok, struct err *err)
{
    size_t len = strlen(s);
    if (len == 0 || len > CREDENTIAL_MAX)
        return err_set(err, ERR_INVALID, "%s: must have 1 to %zu bytes", what, CREDENTIAL_MAX);
    for (size_t i = 0; i < len; ++i) {
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
            return err_set(err, ERR_INVALID, "%s: has a control character%s", what,
                           i + 1 == len ? " at its end; is it a line end?" : "");
        if (s[i] == ':' && !colon_ok)
            return err_set(err, ERR_INVALID, "%s: cannot have a colon", what);
    }
    return 0;
}

static int take_credentials(struct upstream *u, const struct upstream_config *config,
                            const uint8_t scope_key[32], struct err *err)
{
    if (!config->username && !config->password) {
        (void)snprintf(u->scope, sizeof u->scope, "anon");
        return 0;
    }
    if (!config->username)
        return err_set(err, ERR_INVALID, "username: missing; there is a password");
    if (!config->password)
        return err_set(err, ERR_INVALID, "password: missing; there is a username");
    if (check_credential(config->username, "username", false, err) < 0 ||
        check_credential(config->password, "password", true, err) < 0)
        return -1;
    u->username = mem_strdup(config->username);
    u->password = mem_strdup(config->password);
    cleanup_buf struct buf text = {0};
    /* NUL between the three: none of them can hold one. */
    (void)buf_add(&text, u->name, strlen(u->name) + 1);
    (void)buf_add(&text, u->username, strlen(u->username) + 1);
    (void)buf_add(&text, u->password, strlen(u->password));
    uint8_t mac[EVP_MAX_MD_SIZE];
    unsigned mac_len = sizeof mac;
    const void *ok = HMAC(EVP_sha256(), scope_key, 32, (const uint8_t *)text.p, text.len, mac, &mac_len);
    OPENSSL_cleanse(text.p, text.len);
    if (!ok)
        return err_set(err, ERR_INTERNAL, "HMAC-SHA-256 failed");
    memcpy(u->scope, "u:", 2);
    for (size_t i = 0; i < 16; ++i)
        (void)snprintf(u->scope + 2 + 2 * i, 3, "%02x", mac[i]);
    return 0;
}

static int take_url(struct upstream *u, const char *text, struct err *err)
{
    cleanup_url struct url url = {0};
    if (!text)
        return err_set(err, ERR_INVALID, "url: missing");
    if (url_parse(text, &url, err) < 0)
        return err_wrap(err, "url");
    if (url_has_query(&url))
        return err_set(err, ERR_INVALID, "url: cannot have a query or a fragment");
    u->url = url_format(&url);
    for (size_t n = strlen(u->url); n && u->url[n - 1] == '/'; --n)
        u->url[n - 1] = '\0';
    u->host = mem_strdup(url.host);
    return 0;
}

static int take_realms(struct upstream *u, const char *const *realms, struct err *err)
{
    size_t n = 0;
    while (realms && realms[n])
        ++n;
    u->realms = mem_zalloc((n + 1) * sizeof *u->realms);
    for (size_t i = 0; i < n; ++i) {
        if (names_check_upstream(slice_of(realms[i]), NULL) < 0)
            return err_set(err, ERR_INVALID, "realms: '%.100s' is not a host, in lower case", realms[i]);
        u->realms[i] = mem_strdup(realms[i]);
    }
    return 0;
}

int upstream_new(const struct upstream_config *config, const uint8_t scope_key[32], struct upstream **ret,
                 struct err *err)
{
    cleanup_upstream struct upstream *u = mem_new(struct upstream);
    u->refs = 1;
    struct slice name = slice_of(config->name);
    if (name.len == 0)
        return err_set(err, ERR_INVALID, "name: missing");
    if (names_check_upstream(name, err) < 0)
        return err_wrap(err, "name");
    name = names_canonical(name);
    u->name = mem_strndup(name.p, name.len);
    if (take_url(u, config->url, err) < 0 || take_credentials(u, config, scope_key, err) < 0 ||
        take_realms(u, config->realms, err) < 0)
        return -1;
    u->ca_file = config->ca_file ? mem_strdup(config->ca_file) : NULL;
    u->by_hand = config->by_hand;
    u->private_addresses = config->private_addresses;
    u->library_prefix = config->library_prefix;
    *ret = steal_ptr(&u);
    return 0;
}

int upstream_with(const struct upstream *base, const char *username, const char *password,
                  const uint8_t scope_key[32], struct upstream **ret, struct err *err)
{
    struct upstream_config config = {
        .name = base->name,
        .url = base->url,
        .username = username,
        .password = password,
        .ca_file = base->ca_file,
        .realms = (const char *const *)base->realms,
        .by_hand = base->by_hand,
        .private_addresses = base->private_addresses,
        .library_prefix = base->library_prefix,
    };
    return upstream_new(&config, scope_key, ret, err);
}

bool upstream_has_refresh_token(const struct upstream *u)
{
    return u->username && strcmp(u->username, UPSTREAM_REFRESH_USER) == 0;
}

bool upstream_lists_realm(const struct upstream *u, const char *host)
{
    for (char *const *r = u->realms; r && *r; ++r) {
        if (strcmp(*r, host) == 0)
            return true;
    }
    return false;
}
