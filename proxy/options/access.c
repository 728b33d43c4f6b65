// SPDX-License-Identifier: Apache-2.0
/* What must hold of accounts, listeners and anonymous roles together. */
#include <string.h>

#include "common/cleanup.h"
#include "proxy/access/access.h"
#include "proxy/options/account.h"
#include "proxy/options/network.h"

static bool shares_key(const struct options_account *a, const struct options_account *b)
{
    for (char **x = a->keys; x && *x; ++x)
        for (char **y = b->keys; y && *y; ++y)
            if (x != y && strcmp(*x, *y) == 0)
                return true;
    return false;
}

static int check_accounts(const struct options *o, struct err *err)
{
    const struct option_def *def = option_by_name("accounts");
    char where[OPTION_WHERE_MAX];
    for (size_t i = 0; i < o->account_count; ++i) {
        const struct options_account *a = &o->accounts[i];
        (void)option_where(o, &a->origin, def, NULL, where);
        if (a->certificate && !o->tls_client_ca)
            return err_set(err, ERR_INVALID,
                           "%s: account '%s' has a certificate, which needs tls.client-ca to be verified",
                           where, a->name);
        for (size_t k = 0; k <= i; ++k) {
            const struct options_account *b = &o->accounts[k];
            if (shares_key(a, b))
                return err_set(err, ERR_INVALID, "%s: a key of account '%s' is there twice", where, a->name);
            if (k < i && a->certificate && b->certificate && strcmp(a->certificate, b->certificate) == 0)
                return err_set(err, ERR_INVALID, "%s: certificate '%s' is that of account '%s' already",
                               where, a->certificate, b->name);
        }
    }
    return 0;
}

static int check_client_ca(const struct options *o, struct err *err)
{
    const struct option_def *ca = option_by_name("tls.client-ca"), *auth = option_by_name("tls.client-auth");
    const struct option_origin *from = &o->origins[option_index(auth)];
    char where[OPTION_WHERE_MAX];
    if (o->tls_client_ca && !o->tls_certificate)
        return err_set(err, ERR_INVALID, "%s: client certificates need TLS: give tls.certificate and tls.key",
                       option_where(o, &o->origins[option_index(ca)], ca, NULL, where));
    const struct option_def *clients = option_by_name("k8s.clients");
    if (!o->tls_client_ca && o->k8s_clients)
        return err_set(err, ERR_INVALID, "%s: given without tls.client-ca",
                       option_where(o, &o->origins[option_index(clients)], clients, NULL, where));
    if (!o->tls_client_ca && from->source != OPTION_FROM_DEFAULT)
        return err_set(err, ERR_INVALID, "%s: given without tls.client-ca",
                       option_where(o, from, auth, NULL, where));
    return 0;
}

/* A proxy that the network reaches asks who is there, unless it was told not to; and one that would turn
 * everybody away says so at its start, not to every client. */
static int check_anonymous(struct options *o, struct err *err)
{
    const struct option_def *anonymous = option_by_name("access.anonymous"), *open = option_by_name("open");
    const struct option_origin *from = &o->origins[option_index(anonymous)];
    bool loopback = option_is_loopback_only(o), given = from->source != OPTION_FROM_DEFAULT;
    char where[OPTION_WHERE_MAX];
    if (given && o->open)
        return err_set(err, ERR_INVALID, "%s: stands beside access.anonymous: one of them",
                       option_where(o, &o->origins[option_index(open)], open, NULL, where));
    if (!given)
        o->anonymous = loopback || o->open ? ACCESS_PULL | ACCESS_REQUEST : 0;
    const char *first = o->listen[0];
    for (size_t i = 0; i < o->listen_count && !loopback; ++i) {
        struct options one = {.listen = &o->listen[i], .listen_count = 1};
        if (option_is_loopback_only(&one))
            continue;
        first = o->listen[i];
        break;
    }
    /* A webhook for pods needs nobody to be let in, where that is said. */
    if (!o->account_count && !o->anonymous && !(given && o->k8s_proxy_name))
        return err_set(
            err, ERR_INVALID,
            "listen: other machines may reach %s, and nobody is let in: add an account (accounts: [{name: "
            "NAME, password-hash: HASH, roles: [pull]}]; rac-proxy --hash-password prints the hash), or let "
            "everybody in by --open. See docs/access.md",
            first);
    if (o->anonymous && !loopback)
        option_warn(o,
                    "%s: whoever reaches %s may use this proxy, and the credentials it has for upstreams, "
                    "without saying who they are",
                    given ? "access.anonymous" : "open", first);
    if (o->anonymous && loopback && !given && o->account_count)
        option_warn(o,
                    "access.anonymous: there are accounts, and who sends no credentials may still pull and "
                    "make tokens, since all listeners are loopback: say access.anonymous: none if a reverse "
                    "proxy stands in front");
    if (o->account_count && !o->tls_certificate && !loopback)
        option_warn(o,
                    "listen: passwords of accounts come to %s in the clear: give tls.certificate and "
                    "tls.key, or let something in front do TLS",
                    first);
    return 0;
}

int option_check_access(struct options *o, struct err *err)
{
    if (check_client_ca(o, err) < 0 || check_accounts(o, err) < 0)
        return -1;
    return o->action == OPTIONS_SERVE || o->action == OPTIONS_CHECK ? check_anonymous(o, err) : 0;
}
