// SPDX-License-Identifier: Apache-2.0
#include "proxy/options/upstream.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "common/nearest.h"
#include "proxy/options/address.h"
#include "proxy/options/args.h"
#include "proxy/options/file.h"

#define REALMS_MAX 64

int option_check_member(const struct options *o, const struct option_def *def,
                        const struct option_member *members, const struct yaml_node *child, struct err *err)
{
    char at[OPTION_WHERE_MAX];
    struct option_origin origin = {OPTION_FROM_FILE, child->line, child->column};
    cleanup_free char *name = mem_printf("%s.%s", def->name, child->key);
    (void)option_where(o, &origin, def, name, at);
    struct nearest near = nearest_to(child->key);
    for (const struct option_member *m = members; m->name; ++m) {
        nearest_offer(&near, m->name);
        if (strcmp(m->name, child->key) != 0)
            continue;
        bool is_list = m->meta[0] == '[';
        if ((child->kind != YAML_SCALAR && !(is_list && child->kind == YAML_LIST)) || child->is_null)
            return err_set(err, ERR_INVALID, "%s: expected %s, found %s", at,
                           is_list ? "a list" : "a single value", yaml_tree_kind(child));
        if (child->kind == YAML_SCALAR && !*child->text)
            return err_set(err, ERR_INVALID, "%s: the value is empty", at);
        return 0;
    }
    return err_set(err, ERR_INVALID, "%s: unknown member%s%s%s", at, near.best ? ": did you mean '" : "",
                   near.best ? near.best : "", near.best ? "'?" : "");
}

int option_check_pattern(const char *pattern, const char *where, struct err *err)
{
    for (const char *c = pattern; *c; ++c) {
        if (isupper((unsigned char)*c))
            return err_set(err, ERR_INVALID, "%s: '%s' can match nothing: names are lower case", where,
                           pattern);
        if (!islower((unsigned char)*c) && !isdigit((unsigned char)*c) && !strchr("._-/:*", *c))
            return err_set(
                err, ERR_INVALID,
                "%s: '%s' can match nothing: a name has letters, digits and . _ - / : only, * is any of them",
                where, pattern);
    }
    return 0;
}

/* What an entry says before its members are put together. */
struct draft {
    struct options *o;
    const char *base_dir;
    struct options_upstream u;
    char *url, *password_file;
    bool has_plain_http, plain_http;
    char url_where[OPTION_WHERE_MAX], password_where[OPTION_WHERE_MAX];
};

static void cleanup_draft(struct draft *d)
{
    options_upstream_clear(&d->u);
    free(d->url);
    free(d->password_file);
}

static int read_realms(struct draft *d, const struct yaml_node *node, const char *where, struct err *err)
{
    size_t n = 0;
    d->u.realms = mem_zalloc((REALMS_MAX + 1) * sizeof *d->u.realms);
    if (node->kind == YAML_SCALAR)
        return option_parse_host(node->text, &d->u.realms[0], where, err);
    for (const struct yaml_node *item = node->children; item; item = item->next) {
        if (item->kind != YAML_SCALAR)
            return err_set(err, ERR_INVALID, "%s: expected a host, found %s", where, yaml_tree_kind(item));
        if (n == REALMS_MAX)
            return err_set(err, ERR_INVALID, "%s: more than %d hosts", where, REALMS_MAX);
        if (option_parse_host(item->text, &d->u.realms[n++], where, err) < 0)
            return -1;
    }
    return 0;
}

static int read_member(struct draft *d, const struct yaml_node *node, const char *where, struct err *err)
{
    const char *key = node->key;
    struct options_upstream *u = &d->u;
    if (strcmp(key, "name") == 0)
        return option_parse_upstream_name(node->text, &u->name, where, err);
    if (strcmp(key, "plain-http") == 0) {
        d->has_plain_http = true;
        return option_parse_bool(node->text, &d->plain_http, where, err);
    }
    if (strcmp(key, "private") == 0)
        return option_parse_bool(node->text, &u->private_addresses, where, err);
    if (strcmp(key, "fresh") == 0) {
        const struct option_def *fresh = option_by_name("upstream.fresh");
        return option_parse_duration(node->text, fresh->min, fresh->max, &u->fresh_ms, where, err);
    }
    if (strcmp(key, "realms") == 0)
        return read_realms(d, node, where, err);
    if (strcmp(key, "url") == 0) {
        (void)snprintf(d->url_where, sizeof d->url_where, "%s", where);
        d->url = mem_strdup(node->text);
    } else if (strcmp(key, "username") == 0) {
        if (strchr(node->text, ':')) /* RFC 7617 section 2 */
            return err_set(err, ERR_INVALID, "%s: a user name has no colon", where);
        u->username = mem_strdup(node->text);
    } else if (strcmp(key, "password") == 0) {
        u->password = mem_strdup(node->text);
    } else if (strcmp(key, "password-file") == 0) {
        (void)snprintf(d->password_where, sizeof d->password_where, "%s", where);
        d->password_file = option_path(d->base_dir, node->text);
    } else if (strcmp(key, "ca") == 0) {
        u->ca = option_path(d->base_dir, node->text);
    } else if (strcmp(key, "inject") == 0) {
        u->inject =
            strcmp(node->text, "none") == 0 ? mem_strdup("none") : option_path(d->base_dir, node->text);
    }
    return 0;
}

static int finish_url(struct draft *d, const char *where, struct err *err)
{
    struct options_upstream *u = &d->u;
    if (d->url) {
        u->url_given = true;
        if (option_parse_url(d->url, d->plain_http, &u->url, d->url_where, err) < 0)
            return -1;
        if (d->has_plain_http && !d->plain_http && strncmp(u->url, "http://", 7) == 0)
            return err_set(err, ERR_INVALID, "%s: the URL is http://, and plain-http is false", d->url_where);
        return 0;
    }
    if (!strpbrk(u->name, ".:"))
        return err_set(err, ERR_INVALID, "%s: upstream '%s' has no url, and its name is no host", where,
                       u->name);
    if (d->plain_http)
        u->url_given = true;
    /* docker.io is the one registry whose name is not where it is. */
    u->url = mem_printf("http%s://%s", d->plain_http ? "" : "s",
                        strcmp(u->name, "docker.io") == 0 ? "registry-1.docker.io" : u->name);
    return 0;
}

static int finish_credentials(struct draft *d, mode_t file_mode, const char *where, struct err *err)
{
    struct options_upstream *u = &d->u;
    if (u->password && d->password_file)
        return err_set(err, ERR_INVALID, "%s: upstream '%s' has both password and password-file", where,
                       u->name);
    if (u->password && S_ISREG(file_mode) && (file_mode & S_IROTH))
        option_warn(d->o,
                    "%s: holds a password and may be read by everybody: chmod 0600, or use password-file",
                    where);
    if (d->password_file &&
        option_read_password(d->o, d->password_file, &u->password, d->password_where, err) < 0)
        return -1;
    return 0;
}

int option_read_upstream(struct options *o, const struct yaml_node *entry, struct option_origin origin,
                         const char *base_dir, mode_t file_mode, struct err *err)
{
    char where[OPTION_WHERE_MAX], at[OPTION_WHERE_MAX];
    const struct option_def *def = option_by_name("upstreams");
    __attribute__((cleanup(cleanup_draft))) struct draft d = {.o = o, .base_dir = base_dir};
    d.u.origin = origin;
    d.u.fresh_ms = UINT64_MAX;
    (void)option_where(o, &origin, def, "upstreams", where);
    if (entry->kind != YAML_MAP)
        return err_set(err, ERR_INVALID, "%s: an upstream is {name: NAME, url: URL, ...}, found %s", where,
                       yaml_tree_kind(entry));
    for (const struct yaml_node *child = entry->children; child; child = child->next) {
        struct option_origin child_origin = {OPTION_FROM_FILE, child->line, child->column};
        cleanup_free char *name = mem_printf("upstreams.%s", child->key);
        (void)option_where(o, &child_origin, def, name, at);
        if (option_check_member(o, def, option_upstream_members, child, err) < 0 ||
            read_member(&d, child, at, err) < 0)
            return -1;
    }
    if (!d.u.name)
        return err_set(err, ERR_INVALID, "%s: the upstream has no 'name'", where);
    if (finish_url(&d, where, err) < 0 || finish_credentials(&d, file_mode, where, err) < 0)
        return -1;
    return option_add_upstream(o, &d.u, where, err);
}

/* A name as it stands in a variable: quay.io is QUAY_IO there. */
static bool is_variable_of(struct slice part, struct slice name)
{
    bool same = name.len == part.len;
    for (size_t i = 0; same && i < part.len; ++i) {
        unsigned char c = (unsigned char)name.p[i];
        same = part.p[i] == (isalnum(c) ? (char)toupper(c) : '_');
    }
    return same;
}

/* The upstream that is given under that name; a known registry need not be: it gets an entry without a url,
 * as one of the file that only brings credentials. NULL if there is no such upstream. */
static struct options_upstream *upstream_of_variable(struct options *o, struct slice part, const char *where,
                                                     struct err *err)
{
    for (size_t i = 0; i < o->upstream_count; ++i)
        if (is_variable_of(part, slice_of(o->upstreams[i].name)))
            return &o->upstreams[i];
    struct slice known = slice_of(option_by_name("upstreams")->initial_text);
    while (known.p) {
        struct slice name = slice_trim(slice_cut(&known, ','));
        if (!is_variable_of(part, name))
            continue;
        __attribute__((cleanup(cleanup_draft))) struct draft d = {.o = o};
        d.u.name = mem_strndup(name.p, name.len);
        d.u.origin = (struct option_origin){.source = OPTION_FROM_ENV};
        d.u.fresh_ms = UINT64_MAX;
        if (finish_url(&d, where, err) < 0 || option_add_upstream(o, &d.u, where, err) < 0)
            return NULL;
        cleanup_free char *text = mem_strndup(name.p, name.len);
        return option_upstream(o, text);
    }
    (void)err_set(
        err, ERR_INVALID,
        "%s: no upstream of that name is given: add it, as in RAC_UPSTREAM=lab=https://registry.lab", where);
    return NULL;
}

static int apply_credential(struct options *o, struct options_upstream *u, const char *what,
                            const char *value, const char *where, struct err *err)
{
    char *text = NULL;
    if (!*value)
        return err_set(err, ERR_INVALID, "%s: the value is empty", where);
    if (strcmp(what, "_USERNAME") == 0) {
        if (strchr(value, ':'))
            return err_set(err, ERR_INVALID, "%s: a user name has no colon", where);
        free(u->username);
        u->username = mem_strdup(value);
        return 0;
    }
    if (strcmp(what, "_PASSWORD") == 0)
        text = mem_strdup(value);
    else if (option_read_password(o, value, &text, where, err) < 0)
        return -1;
    if (u->password)
        explicit_bzero(u->password, strlen(u->password));
    free(u->password);
    u->password = text;
    return 0;
}

int option_read_credentials(struct options *o, char *const *env, struct err *err)
{
    static const char prefix[] = "RAC_UPSTREAM_";
    static const char *const kinds[] = {"_USERNAME", "_PASSWORD", "_PASSWORD_FILE"};
    for (char *const *e = env; e && *e; ++e) {
        struct slice value = slice_of(*e);
        struct slice name = slice_cut(&value, '=');
        for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; ++k) {
            size_t extra = sizeof prefix - 1 + strlen(kinds[k]);
            if (!value.p || name.len <= extra || !slice_starts_with(name, prefix) ||
                !slice_ends_with(name, kinds[k]))
                continue;
            cleanup_free char *where = mem_strndup(name.p, name.len);
            struct slice part = {name.p + sizeof prefix - 1, name.len - extra};
            struct options_upstream *u = upstream_of_variable(o, part, where, err);
            if (!u)
                return -1;
            cleanup_free char *other = mem_printf("%s%.*s_PASSWORD", prefix, (int)part.len, part.p);
            if (k == 2 && option_env(env, other))
                return err_set(err, ERR_INVALID, "%s and %s are both set", other, where);
            if (apply_credential(o, u, kinds[k], value.p, where, err) < 0)
                return -1;
        }
    }
    for (size_t i = 0; i < o->upstream_count; ++i) {
        const struct options_upstream *u = &o->upstreams[i];
        char where[OPTION_WHERE_MAX];
        if (!u->username != !u->password)
            return err_set(err, ERR_INVALID, "%s: upstream '%s' has a %s without a %s",
                           option_where(o, &u->origin, option_by_name("upstreams"), NULL, where), u->name,
                           u->username ? "username" : "password",
                           u->username ? "password or password-file" : "username");
    }
    return 0;
}
