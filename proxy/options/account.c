// SPDX-License-Identifier: Apache-2.0
#include "proxy/options/account.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "common/nearest.h"
#include "proxy/access/access.h"
#include "proxy/access/password.h"
#include "proxy/options/address.h"
#include "proxy/options/file.h"
#include "proxy/options/network.h"
#include "proxy/options/upstream.h"

#define ACCOUNTS_MAX 10000
#define KEYS_MAX     16 /* of one account: enough to change them without haste */
#define NAME_MAX_LEN 128

static const struct {
    const char *name;
    unsigned role;
} roles[] = {{"pull", ACCESS_PULL},
             {"request", ACCESS_REQUEST},
             {"read-records", ACCESS_READ_RECORDS},
             {"admin", ACCESS_ADMIN}};
#define ROLE_COUNT (sizeof roles / sizeof roles[0])

int option_parse_roles(struct slice words, unsigned *ret, const char *where, struct err *err)
{
    unsigned found = 0;
    bool none = false;
    while (words.p) {
        struct slice word = slice_trim(slice_cut(&words, ','));
        cleanup_free char *text = mem_strndup(word.p, word.len);
        struct nearest near = nearest_to(text);
        unsigned role = 0;
        for (size_t i = 0; i < ROLE_COUNT; ++i) {
            nearest_offer(&near, roles[i].name);
            if (strcmp(roles[i].name, text) == 0)
                role = roles[i].role;
        }
        none = none || strcmp(text, "none") == 0;
        if (!role && !none)
            return err_set(
                err, ERR_INVALID, "%s: '%s' is not a role (pull, request, read-records, admin)%s%s%s", where,
                text, near.best ? ": did you mean '" : "", near.best ? near.best : "", near.best ? "'?" : "");
        found |= role;
    }
    if (none && found)
        return err_set(err, ERR_INVALID, "%s: none stands alone", where);
    *ret = found;
    return 0;
}

int option_read_roles(const struct yaml_node *node, unsigned *ret, const char *where, struct err *err)
{
    unsigned found = 0;
    if (node->kind == YAML_SCALAR && !node->is_null)
        return option_parse_roles(slice_of(node->text), ret, where, err);
    if (node->kind != YAML_LIST)
        return err_set(err, ERR_INVALID, "%s: expected a list of roles, found %s", where,
                       yaml_tree_kind(node));
    for (const struct yaml_node *item = node->children; item; item = item->next) {
        unsigned role = 0;
        if (item->kind != YAML_SCALAR)
            return err_set(err, ERR_INVALID, "%s: expected a role, found %s", where, yaml_tree_kind(item));
        if (option_parse_roles(slice_of(item->text), &role, where, err) < 0)
            return -1;
        if (!role && node->children->next)
            return err_set(err, ERR_INVALID, "%s: none stands alone", where);
        found |= role;
    }
    *ret = found;
    return 0;
}

void option_show_roles(unsigned found, struct buf *out)
{
    const char *sep = "";
    for (size_t i = 0; i < ROLE_COUNT; ++i) {
        if (!(found & roles[i].role))
            continue;
        (void)buf_printf(out, "%s%s", sep, roles[i].name);
        sep = ",";
    }
    if (!found)
        (void)buf_add_str(out, "none");
}

void options_account_clear(struct options_account *a)
{
    for (size_t i = 0; i < a->upstream_count; ++i)
        options_upstream_clear(&a->upstreams[i]);
    for (char **k = a->keys; k && *k; ++k)
        free(*k);
    free(a->upstreams);
    free(a->keys);
    free(a->name);
    free(a->password_hash);
    free(a->certificate);
    *a = (struct options_account){0};
}

static void cleanup_account_fn(struct options_account *a)
{
    options_account_clear(a);
}
#define cleanup_account RAC_CLEANUP(cleanup_account_fn)

/* What Basic can carry (RFC 7617 section 2: no colon), and every log and label shows plainly. */
static int check_name(struct slice name, const char *where, struct err *err)
{
    bool ok = name.len > 0 && name.len <= NAME_MAX_LEN && isalnum((unsigned char)name.p[0]);
    for (size_t i = 0; i < name.len; ++i)
        ok = ok && (isalnum((unsigned char)name.p[i]) || memchr("._-@", name.p[i], 4));
    return ok ? 0
              : err_set(err, ERR_INVALID,
                        "%s: an account's name has letters, digits and . _ - @ (at most %d)", where,
                        NAME_MAX_LEN);
}

/* "sha256:<hex>", as --make-key prints it. */
static int add_key(struct options_account *a, const char *text, const char *where, struct err *err)
{
    static const char prefix[] = "sha256:";
    size_t n = 0;
    while (a->keys && a->keys[n])
        ++n;
    if (key_is_one(slice_of(text)))
        return err_set(err, ERR_INVALID,
                       "%s: that is a key itself: only its digest belongs here, which --make-key prints "
                       "beside it. Make another one, this one was written down",
                       where);
    if (strncmp(text, prefix, sizeof prefix - 1) != 0 || strlen(text) != sizeof prefix - 1 + 64 ||
        strspn(text + sizeof prefix - 1, "0123456789abcdef") != 64)
        return err_set(err, ERR_INVALID,
                       "%s: expected sha256: and 64 hexadecimal digits, as rac-proxy --make-key prints",
                       where);
    if (n >= KEYS_MAX)
        return err_set(err, ERR_INVALID, "%s: more than %d keys", where, KEYS_MAX);
    a->keys = mem_realloc(a->keys, (n + 2) * sizeof *a->keys);
    a->keys[n] = mem_strdup(text + sizeof prefix - 1);
    a->keys[n + 1] = NULL;
    return 0;
}

static int set_hash(struct options_account *a, const char *text, const char *where, struct err *err)
{
    if (a->password_hash)
        return err_set(err, ERR_INVALID, "%s: there are two password hashes", where);
    if (password_check_hash(text, err) < 0)
        return err_wrap(err, "%s", where);
    a->password_hash = mem_strdup(text);
    return 0;
}

/* Whatever the source, a name stands for one account; a higher source replaces it whole. */
static int add_account(struct options *o, struct options_account *a, const char *where, struct err *err)
{
    if (!a->password_hash && !a->keys && !a->certificate)
        return err_set(
            err, ERR_INVALID,
            "%s: nobody could log in as '%s': it needs a password-hash (rac-proxy --hash-password), "
            "keys (--make-key) or a certificate",
            where, a->name);
    struct options_account *at = NULL;
    for (size_t i = 0; i < o->account_count; ++i)
        if (strcmp(o->accounts[i].name, a->name) == 0)
            at = &o->accounts[i];
    if (at && at->origin.source == a->origin.source)
        return err_set(err, ERR_INVALID, "%s: account '%s' is there twice", where, a->name);
    if (!at && o->account_count >= ACCOUNTS_MAX)
        return err_set(err, ERR_INVALID, "%s: more than %d accounts", where, ACCOUNTS_MAX);
    if (at) {
        options_account_clear(at);
    } else {
        o->accounts = mem_realloc(o->accounts, (o->account_count + 1) * sizeof *a);
        at = &o->accounts[o->account_count++];
    }
    *at = *a;
    *a = (struct options_account){0};
    return 0;
}

int option_add_account_word(struct options *o, struct slice word, const struct option_origin *origin,
                            const char *where, struct err *err)
{
    cleanup_account struct options_account a = {.origin = *origin, .roles = ACCESS_PULL};
    struct slice secret = word;
    struct slice name = slice_cut(&secret, ':');
    if (!secret.p)
        return err_set(err, ERR_INVALID, "%s: expected NAME:HASH, as htpasswd -nB prints it", where);
    if (check_name(name, where, err) < 0)
        return -1;
    a.name = mem_strndup(name.p, name.len);
    cleanup_free char *text = mem_strndup(secret.p, secret.len);
    int rc = text[0] == '$' ? set_hash(&a, text, where, err) : add_key(&a, text, where, err);
    return rc < 0 ? -1 : add_account(o, &a, where, err);
}

/* ---- an entry of the file ---- */

struct draft {
    struct options *o;
    const char *base_dir;
    mode_t mode;
    struct options_account a;
};

static void cleanup_draft_fn(struct draft *d)
{
    options_account_clear(&d->a);
}

static int read_upstream_member(struct draft *d, struct options_upstream *u, const struct yaml_node *node,
                                const char *where, struct err *err)
{
    if (strcmp(node->key, "name") == 0)
        return option_parse_upstream_name(node->text, &u->name, where, err);
    if (strcmp(node->key, "username") == 0) {
        if (strchr(node->text, ':')) /* RFC 7617 section 2 */
            return err_set(err, ERR_INVALID, "%s: a user name has no colon", where);
        u->username = mem_strdup(node->text);
        return 0;
    }
    if (u->password)
        return err_set(err, ERR_INVALID, "%s: there are both password and password-file", where);
    if (strcmp(node->key, "password") == 0) {
        if (S_ISREG(d->mode) && (d->mode & S_IROTH))
            option_warn(d->o,
                        "%s: holds a password and may be read by everybody: chmod 0600, or use "
                        "password-file",
                        where);
        u->password = mem_strdup(node->text);
        return 0;
    }
    cleanup_free char *path = option_path(d->base_dir, node->text);
    return option_read_password(d->o, path, &u->password, where, err);
}

static int read_upstream(struct draft *d, const struct yaml_node *entry, struct err *err)
{
    char where[OPTION_WHERE_MAX], at[OPTION_WHERE_MAX];
    const struct option_def *def = option_by_name("accounts");
    struct option_origin origin = {OPTION_FROM_FILE, entry->line, entry->column};
    (void)option_where(d->o, &origin, def, "accounts.upstreams", where);
    if (entry->kind != YAML_MAP)
        return err_set(err, ERR_INVALID,
                       "%s: expected {name: NAME, username: TEXT, password-file: FILE}, found %s", where,
                       yaml_tree_kind(entry));
    d->a.upstreams = mem_realloc(d->a.upstreams, (d->a.upstream_count + 1) * sizeof *d->a.upstreams);
    struct options_upstream *u = &d->a.upstreams[d->a.upstream_count++];
    *u = (struct options_upstream){.origin = origin};
    for (const struct yaml_node *child = entry->children; child; child = child->next) {
        struct option_origin child_origin = {OPTION_FROM_FILE, child->line, child->column};
        cleanup_free char *name = mem_printf("accounts.upstreams.%s", child->key);
        (void)option_where(d->o, &child_origin, def, name, at);
        if (option_check_member(d->o, def, option_account_upstream_members, child, err) < 0 ||
            read_upstream_member(d, u, child, at, err) < 0)
            return -1;
    }
    if (!u->name || !u->username || !u->password)
        return err_set(err, ERR_INVALID, "%s: there is no '%s'", where,
                       !u->name       ? "name"
                       : !u->username ? "username"
                                      : "password-file");
    for (const struct options_upstream *other = d->a.upstreams; other < u; ++other)
        if (strcmp(other->name, u->name) == 0)
            return err_set(err, ERR_INVALID, "%s: upstream '%s' is there twice", where, u->name);
    return 0;
}

static int read_keys(struct draft *d, const struct yaml_node *node, const char *where, struct err *err)
{
    if (node->kind == YAML_SCALAR)
        return add_key(&d->a, node->text, where, err);
    for (const struct yaml_node *item = node->children; item; item = item->next) {
        if (item->kind != YAML_SCALAR)
            return err_set(err, ERR_INVALID, "%s: expected a key's digest, found %s", where,
                           yaml_tree_kind(item));
        if (add_key(&d->a, item->text, where, err) < 0)
            return -1;
    }
    return 0;
}

static int read_member(struct draft *d, const struct yaml_node *node, const char *where, struct err *err)
{
    struct options_account *a = &d->a;
    const char *key = node->key;
    if (strcmp(key, "name") == 0) {
        a->name = mem_strdup(node->text);
        return check_name(slice_of(node->text), where, err);
    }
    if (strcmp(key, "password-hash") == 0)
        return set_hash(a, node->text, where, err);
    if (strcmp(key, "password-hash-file") == 0) {
        cleanup_free char *path = option_path(d->base_dir, node->text);
        cleanup_free char *hash = NULL;
        return option_read_password(d->o, path, &hash, where, err) < 0 ? -1 : set_hash(a, hash, where, err);
    }
    if (strcmp(key, "keys") == 0)
        return read_keys(d, node, where, err);
    if (strcmp(key, "roles") == 0)
        return option_read_roles(node, &a->roles, where, err);
    if (strcmp(key, "certificate") == 0) {
        a->certificate = mem_strdup(node->text);
        return 0;
    }
    if (node->kind != YAML_LIST) /* upstreams */
        return err_set(err, ERR_INVALID, "%s: expected a list, found %s", where, yaml_tree_kind(node));
    for (const struct yaml_node *entry = node->children; entry; entry = entry->next)
        if (read_upstream(d, entry, err) < 0)
            return -1;
    return 0;
}

int option_read_account(struct options *o, const struct yaml_node *entry, struct option_origin origin,
                        const char *base_dir, mode_t file_mode, struct err *err)
{
    char where[OPTION_WHERE_MAX], at[OPTION_WHERE_MAX];
    const struct option_def *def = option_by_name("accounts");
    __attribute__((cleanup(cleanup_draft_fn))) struct draft d = {
        .o = o, .base_dir = base_dir, .mode = file_mode};
    d.a.origin = origin;
    d.a.roles = ACCESS_PULL;
    (void)option_where(o, &origin, def, NULL, where);
    if (entry->kind != YAML_MAP)
        return err_set(err, ERR_INVALID,
                       "%s: an account is {name: NAME, password-hash: HASH, roles: [pull]}, found %s", where,
                       yaml_tree_kind(entry));
    for (const struct yaml_node *child = entry->children; child; child = child->next) {
        struct option_origin child_origin = {OPTION_FROM_FILE, child->line, child->column};
        cleanup_free char *name = mem_printf("accounts.%s", child->key);
        (void)option_where(o, &child_origin, def, name, at);
        if (option_check_member(o, def, option_account_members, child, err) < 0 ||
            read_member(&d, child, at, err) < 0)
            return -1;
    }
    if (!d.a.name)
        return err_set(err, ERR_INVALID, "%s: the account has no 'name'", where);
    return add_account(o, &d.a, where, err);
}
