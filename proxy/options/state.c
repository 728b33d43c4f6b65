// SPDX-License-Identifier: Apache-2.0
#include "proxy/options/state.h"

#include <arpa/inet.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "proxy/options/address.h"
#include "proxy/cache/s3_url.h"
#include "proxy/options/file.h"
#include "proxy/options/value.h"
#include "proxy/state/redis_url.h"

void option_free_secret(char *s)
{
    if (s)
        explicit_bzero(s, strlen(s));
    free(s);
}

int option_parse_state(const char *text, const char *where, struct err *err)
{
    struct redis_url url;
    if (redis_url_parse(text, &url, err) < 0)
        return err_wrap(err, "%s", where);
    redis_url_clear(&url);
    return 0;
}

int option_parse_peer(const char *text, char **ret, const char *where, struct err *err)
{
    cleanup_free char *authority = NULL;
    const char *scheme = strncasecmp(text, "http://", 7) == 0    ? "http://"
                         : strncasecmp(text, "https://", 8) == 0 ? "https://"
                                                                 : NULL;
    struct in6_addr address;
    cleanup_free char *bracketed = NULL;
    const char *host = scheme ? text + strlen(scheme) : "";
    if (inet_pton(AF_INET6, host, &address) == 1) /* as Kubernetes has it for a pod */
        host = bracketed = mem_printf("[%s]", host);
    if (!scheme || option_parse_authority(host, &authority, where, NULL) < 0)
        return err_set(err, ERR_INVALID,
                       "%s: '%s': expected http://HOST:PORT or https://HOST:PORT, without user and path",
                       where, text);
    *ret = mem_printf("%s%s", scheme, authority);
    return 0;
}

int option_parse_blobs(const char *text, const char *where, struct err *err)
{
    struct s3_blobs_url url;
    if (s3_blobs_url_parse(text, &url, err) < 0)
        return err_wrap(err, "%s", where);
    s3_blobs_url_free(&url);
    return 0;
}

void option_show_state(const char *url, struct buf *out)
{
    if (!url)
        return;
    const char *login = strstr(url, "://") + 3, *at = strrchr(url, '@');
    const char *colon = at ? memchr(login, ':', (size_t)(at - login)) : NULL;
    if (!colon) {
        (void)buf_add_str(out, url);
        return;
    }
    (void)buf_add(out, url, (size_t)((colon > login ? colon : login) - url));
    (void)buf_add_str(out, colon > login ? at : at + 1);
}

static char *where_of(const struct options *o, const char *name, char out[OPTION_WHERE_MAX])
{
    const struct option_def *def = option_by_name(name);
    return option_where(o, &o->origins[option_index(def)], def, NULL, out);
}

static int check_passwords(struct options *o, const struct redis_url *url, struct err *err)
{
    char where[OPTION_WHERE_MAX];
    const struct option_origin *origin = &o->origins[option_index(option_by_name("state"))];
    (void)where_of(o, "state", where);
    if (url->password && origin->source == OPTION_FROM_FILE)
        return err_set(err, ERR_INVALID,
                       "%s: it holds a password: put that into a file of its own (state-password-file)",
                       where);
    if (url->password && o->state_password_file)
        return err_set(err, ERR_INVALID, "%s: there are a password and state-password-file", where);
    if (url->password && origin->source == OPTION_FROM_FLAG)
        option_warn(o, "%s: everybody on this machine can see its password: use state-password-file", where);
    if (url->user && !url->password && !o->state_password_file)
        return err_set(err, ERR_INVALID, "%s: a user needs a password: give state-password-file", where);
    if (!o->state_password_file)
        return 0;
    (void)where_of(o, "state-password-file", where);
    return option_read_password(o, o->state_password_file, &o->state_password, where, err);
}

static int check_peers(struct options *o, struct err *err)
{
    char where[OPTION_WHERE_MAX];
    const char *given = o->peer_address ? "peer-address" : "peer-ca";
    if (!o->peer_address && !o->peer_ca)
        return 0;
    (void)where_of(o, given, where);
    if (!o->state_url)
        return err_set(err, ERR_INVALID, "%s: given without state: replicas find each other there", where);
    if (o->peer_address && o->tls_certificate && strncmp(o->peer_address, "http:", 5) == 0)
        option_warn(o, "%s: this proxy speaks TLS only: https:// is meant", where);
    if (o->peer_address && o->tls_client_required)
        option_warn(o, "%s: other replicas send no certificate, and tls.client-required refuses them", where);
    return 0;
}

int option_check_state(struct options *o, struct err *err)
{
    char where[OPTION_WHERE_MAX];
    struct redis_url url;
    if (check_peers(o, err) < 0)
        return -1;
    if (!o->state_url && o->state_password_file)
        return err_set(err, ERR_INVALID, "%s: given without state",
                       where_of(o, "state-password-file", where));
    if (!o->state_url)
        return 0;
    if (redis_url_parse(o->state_url, &url, err) < 0)
        return err_wrap(err, "%s", where_of(o, "state", where));
    int rc = check_passwords(o, &url, err);
    redis_url_clear(&url);
    return rc;
}

int option_check_blobs(const struct options *o, struct err *err)
{
    char where[OPTION_WHERE_MAX];
    uint64_t age_ms;
    if (o->blobs_redirect_bytes && !o->blobs_url)
        return err_set(err, ERR_INVALID, "%s: given without blobs", where_of(o, "blobs-redirect", where));
    if (o->action != OPTIONS_GC)
        return 0;
    if (!o->blobs_url)
        return err_set(err, ERR_INVALID, "--gc-s3: say which bucket: --blobs s3://BUCKET/PREFIX");
    if (!o->action_older)
        return err_set(err, ERR_INVALID, "--gc-s3: say how old: --older-than 30d");
    if (!str_parse_duration(o->action_older, &age_ms))
        return err_set(err, ERR_INVALID, "--older-than: '%.40s' is not an age: 30d or 12h, for example",
                       o->action_older);
    return 0;
}
