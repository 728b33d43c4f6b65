// SPDX-License-Identifier: Apache-2.0
#include "proxy/options/check.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "proxy/options/account.h"
#include "proxy/options/state.h"

static const struct option_origin *origin_by_name(const struct options *o, const char *name)
{
    return &o->origins[option_index(option_by_name(name))];
}

/* O_NONBLOCK: a FIFO without a writer would hold us up here. *ret_mode may be NULL. */
static int check_readable(const char *path, const char *where, mode_t *ret_mode, struct err *err)
{
    struct stat st;
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_set_errno(err, ERR_IO, errno, "%s: cannot read '%s'", where, path);
    if (S_ISDIR(st.st_mode))
        return err_set(err, ERR_INVALID, "%s: '%s' is a folder, a file is expected", where, path);
    if (ret_mode)
        *ret_mode = st.st_mode;
    return 0;
}

static int check_tls(struct options *o, struct err *err)
{
    char where[OPTION_WHERE_MAX];
    const struct option_def *certificate = option_by_name("tls.certificate"),
                            *key = option_by_name("tls.key"), *http2 = option_by_name("tls.http2");
    const struct option_def *given = o->tls_certificate ? certificate : key;
    mode_t mode = 0;
    if (!o->tls_certificate != !o->tls_key)
        return err_set(err, ERR_INVALID, "%s: given without %s",
                       option_where(o, &o->origins[option_index(given)], given, NULL, where),
                       o->tls_certificate ? key->name : certificate->name);
    if (!o->tls_certificate) {
        if (o->tls_http2)
            return err_set(err, ERR_INVALID, "%s: HTTP/2 needs TLS: give tls.certificate and tls.key",
                           option_where(o, &o->origins[option_index(http2)], http2, NULL, where));
        return 0;
    }
    (void)option_where(o, &o->origins[option_index(certificate)], certificate, NULL, where);
    if (check_readable(o->tls_certificate, where, NULL, err) < 0)
        return -1;
    (void)option_where(o, &o->origins[option_index(key)], key, NULL, where);
    if (check_readable(o->tls_key, where, &mode, err) < 0)
        return -1;
    if (S_ISREG(mode) && (mode & S_IROTH))
        option_warn(o, "%s: '%s' may be read by everybody: chmod 0600", where, o->tls_key);
    const struct option_def *ca = option_by_name("tls.client-ca");
    (void)option_where(o, &o->origins[option_index(ca)], ca, NULL, where);
    return o->tls_client_ca ? check_readable(o->tls_client_ca, where, NULL, err) : 0;
}

static int check_upstreams(struct options *o, struct err *err)
{
    const struct option_def *def = option_by_name("upstreams");
    char where[OPTION_WHERE_MAX];
    for (size_t i = 0; i < o->upstream_count; ++i) {
        const struct options_upstream *u = &o->upstreams[i];
        (void)option_where(o, &u->origin, def, "upstreams.ca", where);
        if (u->ca && check_readable(u->ca, where, NULL, err) < 0)
            return -1;
        (void)option_where(o, &u->origin, def, "upstreams.inject", where);
        if (u->inject && !o->no_inject && strcmp(u->inject, "none") != 0 &&
            check_readable(u->inject, where, NULL, err) < 0)
            return -1;
        (void)option_where(o, &u->origin, def, "upstreams", where);
        if (u->ca && strncmp(u->url, "http://", 7) == 0)
            option_warn(o, "%s: upstream '%s' has a ca, and an http:// URL that does not use it", where,
                        u->name);
        if (u->password && strncmp(u->url, "http://", 7) == 0)
            option_warn(o, "%s: the password for '%s' goes over plain HTTP", where, u->name);
    }
    return 0;
}

/* Known upstreams are the upstream room's to know; here a name with a dot may be one of them. */
static int check_default_upstream(struct options *o, struct err *err)
{
    char where[OPTION_WHERE_MAX];
    if (o->default_upstream) {
        if (option_upstream(o, o->default_upstream) || strchr(o->default_upstream, '.'))
            return 0;
        const struct option_def *def = option_by_name("default-upstream");
        return err_set(err, ERR_INVALID, "%s: '%s' is not one of the upstreams: give it by --upstream %s=URL",
                       option_where(o, &o->origins[option_index(def)], def, NULL, where), o->default_upstream,
                       o->default_upstream);
    }
    for (size_t i = 0; i < o->upstream_count && !o->default_upstream; ++i)
        if (o->upstreams[i].url_given)
            o->default_upstream = mem_strdup(o->upstreams[i].name);
    if (!o->default_upstream)
        o->default_upstream = mem_strdup("docker.io");
    return 0;
}

static int check_injection(struct options *o, struct err *err)
{
    const struct option_def *def = option_by_name("inject");
    char where[OPTION_WHERE_MAX];
    const char *all_seen = NULL;
    for (size_t i = 0; i < o->rule_count; ++i) {
        const struct options_rule *r = &o->rules[i];
        (void)option_where(o, &r->origin, def, "inject.injection", where);
        if (r->injection && !o->no_inject && check_readable(r->injection, where, NULL, err) < 0)
            return -1;
        (void)option_where(o, &r->origin, def, "inject", where);
        if (all_seen)
            option_warn(o, "%s: the rule for '%s' is never reached: one before it matches everything", where,
                        r->match);
        if (!strchr(r->match, '*') && !strchr(r->match, '/'))
            option_warn(o,
                        "%s: '%s' matches nothing: full names begin with the upstream: docker.io/library/%s",
                        where, r->match, r->match);
        if (strcmp(r->match, "*") == 0)
            all_seen = r->match;
    }
    if (!o->inject_all)
        return 0;
    (void)option_where(o, origin_by_name(o, "inject"), def, NULL, where);
    if (!o->no_inject && check_readable(o->inject_all, where, NULL, err) < 0)
        return -1;
    option_add_rule(o, mem_strdup("*"), mem_strdup(o->inject_all), *origin_by_name(o, "inject"));
    return 0;
}

int option_check_all(struct options *o, struct err *err)
{
    char where[OPTION_WHERE_MAX];
    const struct option_def *data = option_by_name("data");
    struct stat st;
    if (check_tls(o, err) < 0 || check_upstreams(o, err) < 0 || check_default_upstream(o, err) < 0 ||
        check_injection(o, err) < 0 || option_check_access(o, err) < 0 || option_check_state(o, err) < 0 ||
        option_check_blobs(o, err) < 0)
        return -1;
    const struct option_def *peer_ca = option_by_name("peer-ca");
    (void)option_where(o, &o->origins[option_index(peer_ca)], peer_ca, NULL, where);
    if (o->peer_ca && check_readable(o->peer_ca, where, NULL, err) < 0)
        return -1;
    if (stat(o->data_dir, &st) == 0 && !S_ISDIR(st.st_mode))
        return err_set(err, ERR_INVALID, "%s: '%s' is not a folder",
                       option_where(o, &o->origins[option_index(data)], data, NULL, where), o->data_dir);
    return 0;
}
