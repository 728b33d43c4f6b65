// SPDX-License-Identifier: Apache-2.0
#include "proxy/options/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "common/nearest.h"
#include "proxy/options/account.h"
#include "proxy/options/endpoint.h"
#include "proxy/options/network.h"
#include "proxy/options/upstream.h"
#include "proxy/options/yaml.h"

#define PASSWORD_MAX 4096

/* All of a file into memory that is not moved while it grows, so that the caller can zero it. NULL with err
 * set; reads one byte past `max`, which the caller refuses. */
static char *read_all(const char *path, size_t max, size_t *ret_len, mode_t *ret_mode, const char *where,
                      struct err *err)
{
    struct stat st;
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0) {
        (void)err_set_errno(err, ERR_IO, errno, "%s: cannot read '%s'", where, path);
        return NULL;
    }
    cleanup_free char *bytes = mem_alloc(max + 2);
    size_t len = 0;
    while (len <= max) {
        ssize_t n = read(fd, bytes + len, max + 1 - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            (void)err_set_errno(err, ERR_IO, errno, "%s: cannot read '%s'", where, path);
            explicit_bzero(bytes, len);
            return NULL;
        }
        if (n == 0)
            break;
        len += (size_t)n;
    }
    bytes[len] = '\0';
    *ret_len = len;
    *ret_mode = st.st_mode;
    return steal_ptr(&bytes);
}

static int password_of(char *bytes, size_t len, const char *path, char **ret, const char *where,
                       struct err *err)
{
    if (len > PASSWORD_MAX)
        return err_set(err, ERR_INVALID, "%s: '%s' is longer than %d bytes, no password", where, path,
                       PASSWORD_MAX);
    if (len && bytes[len - 1] == '\n')
        --len;
    if (len && bytes[len - 1] == '\r')
        --len;
    if (len == 0)
        return err_set(err, ERR_INVALID, "%s: '%s' is empty", where, path);
    for (size_t i = 0; i < len; ++i)
        if ((unsigned char)bytes[i] < 0x20 || bytes[i] == 0x7f)
            return err_set(err, ERR_INVALID, "%s: '%s' holds more than one line, or control characters",
                           where, path);
    *ret = mem_strndup(bytes, len);
    return 0;
}

int option_read_password(struct options *o, const char *path, char **ret, const char *where, struct err *err)
{
    size_t len;
    mode_t mode;
    char *bytes = read_all(path, PASSWORD_MAX, &len, &mode, where, err);
    if (!bytes)
        return -1;
    int rc = password_of(bytes, len, path, ret, where, err);
    explicit_bzero(bytes, len);
    free(bytes);
    if (rc == 0 && S_ISREG(mode) && (mode & S_IROTH))
        option_warn(o, "%s: '%s' may be read by everybody: chmod 0600", where, path);
    return rc;
}

struct walk {
    struct options *o;
    const char *base_dir;
    mode_t mode; /* of the file */
};

static struct option_origin origin_of(const struct yaml_node *node)
{
    return (struct option_origin){.source = OPTION_FROM_FILE, .line = node->line, .column = node->column};
}

static int read_listen(struct walk *w, const struct yaml_node *node, const char *where, struct err *err)
{
    struct option_origin origin = origin_of(node);
    if (node->kind == YAML_SCALAR && !node->is_null)
        return option_add_listen(w->o, node->text, &origin, where, err);
    if (node->kind != YAML_LIST || !node->children)
        return err_set(err, ERR_INVALID, "%s: expected an address or a list of them, found %s", where,
                       node->kind == YAML_LIST ? "an empty list" : yaml_tree_kind(node));
    for (const struct yaml_node *item = node->children; item; item = item->next) {
        if (item->kind != YAML_SCALAR)
            return err_set(err, ERR_INVALID, "%s: expected an address, found %s", where,
                           yaml_tree_kind(item));
        if (option_add_listen(w->o, item->text, &origin, where, err) < 0)
            return -1;
    }
    return 0;
}

static int read_rule(struct walk *w, const struct yaml_node *node, struct err *err)
{
    char where[OPTION_WHERE_MAX];
    const struct option_def *def = option_by_name("inject");
    struct option_origin origin = origin_of(node);
    cleanup_free char *match = NULL;
    cleanup_free char *injection = NULL;
    bool has_injection = false;
    (void)option_where(w->o, &origin, def, "inject", where);
    if (node->kind != YAML_MAP)
        return err_set(err, ERR_INVALID, "%s: a rule is {match: PATTERN, injection: FILE}, found %s", where,
                       yaml_tree_kind(node));
    for (const struct yaml_node *child = node->children; child; child = child->next) {
        struct option_origin at = origin_of(child);
        if (option_check_member(w->o, def, option_rule_members, child, err) < 0)
            return -1;
        if (strcmp(child->key, "match") == 0) {
            (void)option_where(w->o, &at, def, "inject.match", where);
            if (option_check_pattern(child->text, where, err) < 0)
                return -1;
            match = mem_strdup(child->text);
            continue;
        }
        has_injection = true;
        if (strcmp(child->text, "none") != 0)
            injection = option_path(w->base_dir, child->text);
    }
    (void)option_where(w->o, &origin, def, "inject", where);
    if (!match || !has_injection)
        return err_set(err, ERR_INVALID, "%s: the rule has no '%s'", where, match ? "injection" : "match");
    option_add_rule(w->o, steal_ptr(&match), steal_ptr(&injection), origin);
    return 0;
}

static int read_inject(struct walk *w, const struct yaml_node *node, const char *where, struct err *err)
{
    if (node->kind == YAML_SCALAR && !node->is_null) {
        option_set_inject(w->o, node->text, w->base_dir);
        return 0;
    }
    if (node->kind != YAML_LIST)
        return err_set(err, ERR_INVALID, "%s: expected a list of rules, an injection file or none, found %s",
                       where, yaml_tree_kind(node));
    for (const struct yaml_node *rule = node->children; rule; rule = rule->next)
        if (read_rule(w, rule, err) < 0)
            return -1;
    return 0;
}

static int read_upstreams(struct walk *w, const struct yaml_node *node, const char *where, struct err *err)
{
    if (node->kind != YAML_LIST)
        return err_set(err, ERR_INVALID, "%s: expected a list of {name: ..., url: ...}, found %s", where,
                       yaml_tree_kind(node));
    for (const struct yaml_node *entry = node->children; entry; entry = entry->next) {
        struct option_origin origin = origin_of(entry);
        if (option_read_upstream(w->o, entry, origin, w->base_dir, w->mode, err) < 0)
            return -1;
    }
    return 0;
}

static int read_accounts(struct walk *w, const struct yaml_node *node, const char *where, struct err *err)
{
    if (node->kind != YAML_LIST)
        return err_set(err, ERR_INVALID, "%s: expected a list of {name: ..., password-hash: ...}, found %s",
                       where, yaml_tree_kind(node));
    for (const struct yaml_node *entry = node->children; entry; entry = entry->next)
        if (option_read_account(w->o, entry, origin_of(entry), w->base_dir, w->mode, err) < 0)
            return -1;
    return 0;
}

static int read_locations(struct walk *w, const struct yaml_node *node, const char *where, struct err *err)
{
    if (node->kind != YAML_LIST)
        return err_set(err, ERR_INVALID, "%s: expected a list of {network: ..., name: ...}, found %s", where,
                       yaml_tree_kind(node));
    for (const struct yaml_node *entry = node->children; entry; entry = entry->next)
        if (option_read_location(w->o, entry, origin_of(entry), err) < 0)
            return -1;
    return 0;
}

static int read_endpoints(struct walk *w, const struct yaml_node *node, const char *where, struct err *err)
{
    if (node->kind != YAML_LIST)
        return err_set(err, ERR_INVALID, "%s: expected a list of {name: ..., url: ...}, found %s", where,
                       yaml_tree_kind(node));
    for (const struct yaml_node *entry = node->children; entry; entry = entry->next)
        if (option_read_endpoint(w->o, entry, origin_of(entry), w->base_dir, w->mode, err) < 0)
            return -1;
    return 0;
}

static int read_networks(struct walk *w, const struct yaml_node *node, const char *where, struct err *err)
{
    struct option_origin origin = origin_of(node);
    if (node->kind == YAML_SCALAR && !node->is_null)
        return option_add_proxy(w->o, slice_of(node->text), &origin, where, err);
    if (node->kind != YAML_LIST)
        return err_set(err, ERR_INVALID, "%s: expected a list of networks, found %s", where,
                       yaml_tree_kind(node));
    for (const struct yaml_node *item = node->children; item; item = item->next) {
        if (item->kind != YAML_SCALAR)
            return err_set(err, ERR_INVALID, "%s: expected a network, found %s", where, yaml_tree_kind(item));
        if (option_add_proxy(w->o, slice_of(item->text), &origin, where, err) < 0)
            return -1;
    }
    return 0;
}

static int read_option(struct walk *w, const struct option_def *def, const struct yaml_node *node,
                       const char *where, struct err *err)
{
    struct option_origin *origin = &w->o->origins[option_index(def)];
    if (origin->source == OPTION_FROM_FILE)
        return err_set(err, ERR_INVALID, "%s: is there twice, first in line %u", where, origin->line);
    int rc = -1;
    switch (def->type) {
    case OPTION_LISTEN:
        rc = read_listen(w, node, where, err);
        break;
    case OPTION_UPSTREAMS:
        rc = read_upstreams(w, node, where, err);
        break;
    case OPTION_INJECT:
        rc = read_inject(w, node, where, err);
        break;
    case OPTION_ACCOUNTS:
        rc = read_accounts(w, node, where, err);
        break;
    case OPTION_ROLES:
        rc = option_read_roles(node, &w->o->anonymous, where, err);
        break;
    case OPTION_LOCATIONS:
        rc = read_locations(w, node, where, err);
        break;
    case OPTION_ENDPOINTS:
        rc = read_endpoints(w, node, where, err);
        break;
    case OPTION_NETWORKS:
        rc = read_networks(w, node, where, err);
        break;
    default:
        if (node->kind != YAML_SCALAR || node->is_null)
            return err_set(err, ERR_INVALID, "%s: expected a single value, found %s", where,
                           yaml_tree_kind(node));
        rc = option_set(w->o, def, node->text, w->base_dir, where, err);
        break;
    }
    if (rc == 0)
        *origin = origin_of(node);
    return rc;
}

/* A name that options' names begin with: "cache" of "cache.size". */
static bool is_group(const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < option_count; ++i)
        if (strncmp(option_table[i].name, name, len) == 0 && option_table[i].name[len] == '.')
            return true;
    return false;
}

static int unknown(const char *name, const char *where, struct err *err)
{
    struct nearest near = nearest_to(name);
    for (size_t i = 0; i < option_count; ++i)
        nearest_offer(&near, option_table[i].name);
    return err_set(err, ERR_INVALID, "%s: unknown member%s%s%s", where, near.best ? ": did you mean '" : "",
                   near.best ? near.best : "", near.best ? "'?" : "");
}

static int read_members(struct walk *w, const struct yaml_node *map, const char *prefix, struct err *err)
{
    for (const struct yaml_node *node = map->children; node; node = node->next) {
        char where[OPTION_WHERE_MAX];
        struct option_origin origin = origin_of(node);
        cleanup_free char *name = mem_printf("%s%s%s", prefix, *prefix ? "." : "", node->key);
        const struct option_def *def = option_by_name(name);
        (void)option_where(w->o, &origin, def, name, where);
        if (is_group(name) && node->kind == YAML_MAP) {
            if (read_members(w, node, name, err) < 0)
                return -1;
        } else if (def) {
            if (read_option(w, def, node, where, err) < 0)
                return -1;
        } else if (!is_group(name)) {
            return unknown(name, where, err);
        } else if (!node->is_null) {
            return err_set(err, ERR_INVALID, "%s: expected members below it, found %s", where,
                           yaml_tree_kind(node));
        }
    }
    return 0;
}

int option_read_document(struct options *o, const char *bytes, size_t len, const char *base_dir, mode_t mode,
                         struct err *err)
{
    cleanup_yaml struct yaml_node *root = yaml_tree_parse(bytes, len, o->config_file, err);
    if (!root)
        return -1;
    struct walk w = {.o = o, .base_dir = base_dir, .mode = mode};
    return read_members(&w, root, "", err);
}

int option_read_file(struct options *o, struct err *err)
{
    size_t len;
    mode_t mode;
    char *bytes = read_all(o->config_file, YAML_BYTES_MAX, &len, &mode, "--config", err);
    if (!bytes)
        return -1;
    const char *slash = strrchr(o->config_file, '/');
    size_t dir_len = slash ? (size_t)(slash - o->config_file) : 1;
    cleanup_free char *base_dir =
        slash ? mem_strndup(o->config_file, dir_len ? dir_len : 1) : mem_strdup(".");
    int rc = option_read_document(o, bytes, len, base_dir, mode, err);
    explicit_bzero(bytes, len);
    free(bytes);
    return rc;
}
