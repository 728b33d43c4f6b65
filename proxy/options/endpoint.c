// SPDX-License-Identifier: Apache-2.0
#include "proxy/options/endpoint.h"

#include <ctype.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "common/fs.h"
#include "common/mem.h"
#include "common/nearest.h"
#include "proxy/options/address.h"
#include "proxy/options/value.h"

#define ENDPOINTS_MAX   32
#define HEADERS_MAX     32
#define HEADERS_BYTES   ((size_t)16 << 10)
#define IGNORE_MAX      32
#define NAME_LENGTH_MAX 64
#define DAY_MS          (UINT64_C(24) * 3600 * 1000)

static void free_list(char **list)
{
    for (char **one = list; one && *one; ++one) {
        explicit_bzero(*one, strlen(*one));
        free(*one);
    }
    free(list);
}

void options_endpoint_clear(struct options_endpoint *e)
{
    free(e->name);
    free(e->url);
    free(e->ca);
    free_list(e->headers);
    free_list(e->ignore_media_types);
    free_list(e->ignore_actions);
    memset(e, 0, sizeof *e);
}

/* False if it holds as many as it may. Takes text over. */
static bool append(char ***list, size_t max, char *text)
{
    size_t n = 0;
    while (*list && (*list)[n])
        ++n;
    if (n >= max) {
        free(text);
        return false;
    }
    *list = mem_realloc(*list, (n + 2) * sizeof **list);
    (*list)[n] = text;
    (*list)[n + 1] = NULL;
    return true;
}

/* ---- members ---- */

static int read_url(const char *text, char **ret, const char *where, struct err *err)
{
    if (strchr(text, '@')) /* not shown: it may hold a password */
        return err_set(err, ERR_INVALID, "%s: a URL without credentials, please: they go into headers",
                       where);
    return option_parse_url(text, false, ret, where, err);
}

static int read_name(const char *text, char **ret, const char *where, struct err *err)
{
    size_t len = strlen(text);
    bool ok = len > 0 && len <= NAME_LENGTH_MAX;
    for (size_t i = 0; i < len; ++i)
        ok = ok && (isalnum((unsigned char)text[i]) || strchr("._-", text[i]));
    if (!ok)
        return err_set(err, ERR_INVALID, "%s: a name has 1 to %d letters, digits and . _ -", where,
                       NAME_LENGTH_MAX);
    free(*ret);
    *ret = mem_strdup(text);
    return 0;
}

/* RFC 9110 section 5.1: a token; what is ours or curl's to say is not for others. */
static int add_header(struct options_endpoint *e, struct slice name, struct slice value, const char *where,
                      struct err *err)
{
    static const char *const ours[] = {"content-type", "content-length", "transfer-encoding",
                                       "host",         "expect",         "connection"};
    bool ok = name.len > 0 && value.len > 0;
    for (size_t i = 0; i < name.len; ++i)
        ok = ok && (isalnum((unsigned char)name.p[i]) || memchr("!#$%&'*+-.^_`|~", name.p[i], 15));
    for (size_t i = 0; i < value.len; ++i)
        ok = ok && ((unsigned char)value.p[i] >= 0x20 || value.p[i] == '\t') && value.p[i] != 0x7f;
    if (!ok) /* the value is not shown */
        return err_set(err, ERR_INVALID, "%s: a header is a name and a value", where);
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; ++i)
        if (slice_ieq_str(name, ours[i]))
            return err_set(err, ERR_INVALID, "%s: the header %s is not for setting", where, ours[i]);
    char *line = mem_printf("%.*s: %.*s", (int)name.len, name.p, (int)value.len, value.p);
    if (!append(&e->headers, HEADERS_MAX, line))
        return err_set(err, ERR_INVALID, "%s: more than %d headers", where, HEADERS_MAX);
    return 0;
}

static int read_headers(struct options_endpoint *e, const struct yaml_node *node, const char *where,
                        struct err *err)
{
    for (const struct yaml_node *h = node->children; h; h = h->next) {
        if (h->kind != YAML_SCALAR)
            return err_set(err, ERR_INVALID, "%s: %s: expected a single value, found %s", where, h->key,
                           yaml_tree_kind(h));
        if (add_header(e, slice_of(h->key), slice_of(h->text), where, err) < 0)
            return -1;
    }
    return 0;
}

static int read_headers_file(struct options *o, struct options_endpoint *e, const char *path,
                             const char *where, struct err *err)
{
    struct stat st;
    cleanup_buf struct buf b = {0};
    if (fs_read_file(path, HEADERS_BYTES, &b, err) < 0)
        return err_wrap(err, "%s", where);
    if (stat(path, &st) == 0 && (st.st_mode & S_IROTH))
        option_warn(o, "%s: %s may be read by everybody: chmod 0600", where, path);
    struct slice rest = {buf_str(&b), b.len};
    int rc = 0;
    while (rc == 0 && rest.p) {
        struct slice value = slice_cut(&rest, '\n');
        if (slice_ends_with(value, "\r"))
            --value.len;
        if (slice_trim(value).len == 0)
            continue;
        struct slice name = slice_cut(&value, ':');
        rc = add_header(e, name, value.p ? slice_trim(value) : (struct slice){"", 0}, where, err);
    }
    if (b.len)
        explicit_bzero(b.p, b.len);
    return rc;
}

static int read_ignore(struct options_endpoint *e, const struct yaml_node *node, const char *where,
                       struct err *err)
{
    for (const struct yaml_node *child = node->children; child; child = child->next) {
        bool types = strcmp(child->key, "mediaTypes") == 0, actions = strcmp(child->key, "actions") == 0;
        if (!types && !actions)
            return err_set(err, ERR_INVALID, "%s: unknown member '%s': it has mediaTypes and actions", where,
                           child->key);
        if (child->kind != YAML_LIST)
            return err_set(err, ERR_INVALID, "%s: %s: expected a list, found %s", where, child->key,
                           yaml_tree_kind(child));
        for (const struct yaml_node *item = child->children; item; item = item->next) {
            if (item->kind != YAML_SCALAR || !item->text[0])
                return err_set(err, ERR_INVALID, "%s: %s: expected texts", where, child->key);
            if (actions && strcmp(item->text, "pull") != 0 && strcmp(item->text, "check") != 0)
                return err_set(err, ERR_INVALID, "%s: there are the actions pull and check, and no '%s'",
                               where, item->text);
            if (!append(types ? &e->ignore_media_types : &e->ignore_actions, IGNORE_MAX,
                        mem_strdup(item->text)))
                return err_set(err, ERR_INVALID, "%s: more than %d of them", where, IGNORE_MAX);
        }
    }
    return 0;
}

static int read_scalar(struct options *o, struct options_endpoint *e, const struct yaml_node *node,
                       const char *base_dir, const char *where, struct err *err)
{
    uint64_t n;
    if (strcmp(node->key, "name") == 0)
        return read_name(node->text, &e->name, where, err);
    if (strcmp(node->key, "url") == 0)
        return read_url(node->text, &e->url, where, err);
    if (strcmp(node->key, "timeout") == 0)
        return option_parse_duration(node->text, 100, DAY_MS, &e->timeout_ms, where, err);
    if (strcmp(node->key, "backoff") == 0)
        return option_parse_duration(node->text, 10, DAY_MS, &e->backoff_ms, where, err);
    if (strcmp(node->key, "threshold") == 0) {
        if (!slice_to_u64(slice_of(node->text), 1000000, &n) || n == 0)
            return err_set(err, ERR_INVALID, "%s: expected a number from 1", where);
        e->threshold = (uint32_t)n;
        return 0;
    }
    cleanup_free char *path = option_path(base_dir, node->text);
    if (strcmp(node->key, "headers-file") == 0)
        return read_headers_file(o, e, path, where, err);
    e->ca = steal_ptr(&path);
    return 0;
}

/* What the value must be, by the first letter of what documents say of it. */
static int check_shape(const struct yaml_node *node, const char *where, struct err *err)
{
    struct nearest near = nearest_to(node->key);
    for (const struct option_member *m = option_endpoint_members; m->name; ++m) {
        nearest_offer(&near, m->name);
        if (strcmp(m->name, node->key) != 0)
            continue;
        bool is_map = m->meta[0] == '{';
        if (node->kind != (is_map ? YAML_MAP : YAML_SCALAR) || node->is_null || (!is_map && !node->text[0]))
            return err_set(err, ERR_INVALID, "%s: expected %s, found %s", where, is_map ? m->meta : "a value",
                           yaml_tree_kind(node));
        return 0;
    }
    return err_set(err, ERR_INVALID, "%s: unknown member%s%s%s", where, near.best ? ": did you mean '" : "",
                   near.best ? near.best : "", near.best ? "'?" : "");
}

/* ---- the list ---- */

static void begin(struct options_endpoint *e, const struct option_origin *origin)
{
    *e =
        (struct options_endpoint){.timeout_ms = 5000, .backoff_ms = 10000, .threshold = 5, .origin = *origin};
}

/* The highest source that gives any wins whole, as with `listen`. Takes e over. */
static int add(struct options *o, struct options_endpoint *e, const char *where, struct err *err)
{
    struct option_origin *last = &o->origins[option_index(option_by_name("notifications.endpoints"))];
    int rc = 0;
    if (last->source != e->origin.source) {
        for (size_t i = 0; i < o->endpoint_count; ++i)
            options_endpoint_clear(&o->endpoints[i]);
        o->endpoint_count = 0;
        *last = e->origin;
    }
    for (size_t i = 0; rc == 0 && i < o->endpoint_count; ++i)
        if (strcmp(o->endpoints[i].name, e->name) == 0)
            rc = err_set(err, ERR_INVALID, "%s: '%s' is there twice", where, e->name);
    if (rc == 0 && o->endpoint_count >= ENDPOINTS_MAX)
        rc = err_set(err, ERR_INVALID, "%s: more than %d endpoints", where, ENDPOINTS_MAX);
    if (rc < 0) {
        options_endpoint_clear(e);
        return rc;
    }
    o->endpoints = mem_realloc(o->endpoints, (o->endpoint_count + 1) * sizeof *e);
    o->endpoints[o->endpoint_count++] = *e;
    return 0;
}

static int read_members(struct options *o, struct options_endpoint *e, const struct yaml_node *entry,
                        const char *base_dir, struct err *err)
{
    char where[OPTION_WHERE_MAX];
    const struct option_def *def = option_by_name("notifications.endpoints");
    for (const struct yaml_node *child = entry->children; child; child = child->next) {
        struct option_origin origin = {OPTION_FROM_FILE, child->line, child->column};
        cleanup_free char *name = mem_printf("notifications.endpoints.%s", child->key);
        (void)option_where(o, &origin, def, name, where);
        if (check_shape(child, where, err) < 0)
            return -1;
        int rc = strcmp(child->key, "headers") == 0  ? read_headers(e, child, where, err)
                 : strcmp(child->key, "ignore") == 0 ? read_ignore(e, child, where, err)
                                                     : read_scalar(o, e, child, base_dir, where, err);
        if (rc < 0)
            return -1;
    }
    (void)option_where(o, &e->origin, def, NULL, where);
    if (!e->name || !e->url)
        return err_set(err, ERR_INVALID, "%s: the endpoint has no '%s'", where, e->name ? "url" : "name");
    return 0;
}

int option_read_endpoint(struct options *o, const struct yaml_node *entry, struct option_origin origin,
                         const char *base_dir, mode_t mode, struct err *err)
{
    char where[OPTION_WHERE_MAX];
    struct options_endpoint e;
    (void)option_where(o, &origin, option_by_name("notifications.endpoints"), NULL, where);
    if (entry->kind != YAML_MAP)
        return err_set(err, ERR_INVALID, "%s: an endpoint is {name: NAME, url: URL, ...}, found %s", where,
                       yaml_tree_kind(entry));
    begin(&e, &origin);
    if (read_members(o, &e, entry, base_dir, err) < 0) {
        options_endpoint_clear(&e);
        return -1;
    }
    for (const struct yaml_node *child = entry->children; child; child = child->next)
        if (strcmp(child->key, "headers") == 0 && S_ISREG(mode) && (mode & S_IROTH))
            option_warn(o, "%s: holds headers and may be read by everybody: chmod 0600, or use headers-file",
                        where);
    return add(o, &e, where, err);
}

int option_add_endpoint_word(struct options *o, struct slice word, const struct option_origin *origin,
                             const char *where, struct err *err)
{
    struct options_endpoint e;
    struct slice url = word;
    struct slice name = slice_cut(&url, '=');
    if (!url.p)
        return err_set(err, ERR_INVALID, "%s: expected NAME=URL, as in audit=https://audit.lab/events",
                       where);
    cleanup_free char *name_text = mem_strndup(name.p, name.len);
    cleanup_free char *url_text = mem_strndup(url.p, url.len);
    begin(&e, origin);
    if (read_name(name_text, &e.name, where, err) < 0 || read_url(url_text, &e.url, where, err) < 0) {
        options_endpoint_clear(&e);
        return -1;
    }
    return add(o, &e, where, err);
}

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool same_list(char *const *a, char *const *b)
{
    while (a && b && *a && *b && strcmp(*a, *b) == 0)
        ++a, ++b;
    return (!a || !*a) && (!b || !*b);
}

bool option_endpoints_same(const struct options *a, const struct options *b)
{
    if (a->endpoint_count != b->endpoint_count)
        return false;
    for (size_t i = 0; i < a->endpoint_count; ++i) {
        const struct options_endpoint *x = &a->endpoints[i], *y = &b->endpoints[i];
        if (!same_text(x->name, y->name) || !same_text(x->url, y->url) || !same_text(x->ca, y->ca) ||
            !same_list(x->headers, y->headers) || x->timeout_ms != y->timeout_ms ||
            x->backoff_ms != y->backoff_ms || x->threshold != y->threshold ||
            !same_list(x->ignore_media_types, y->ignore_media_types) ||
            !same_list(x->ignore_actions, y->ignore_actions))
            return false;
    }
    return true;
}

static char *copy_text(const char *s)
{
    return s ? mem_strdup(s) : NULL;
}

static char **copy_list(char *const *list)
{
    size_t n = 0;
    while (list && list[n])
        ++n;
    char **copy = list ? mem_zalloc((n + 1) * sizeof *copy) : NULL;
    for (size_t i = 0; i < n; ++i)
        copy[i] = mem_strdup(list[i]);
    return copy;
}

void option_copy_endpoints(struct options *to, const struct options *from)
{
    for (size_t i = 0; i < to->endpoint_count; ++i)
        options_endpoint_clear(&to->endpoints[i]);
    to->endpoint_count = from->endpoint_count;
    to->endpoints = mem_realloc(to->endpoints, (from->endpoint_count + 1) * sizeof *to->endpoints);
    for (size_t i = 0; i < from->endpoint_count; ++i) {
        const struct options_endpoint *e = &from->endpoints[i];
        to->endpoints[i] = *e;
        to->endpoints[i].name = copy_text(e->name);
        to->endpoints[i].url = copy_text(e->url);
        to->endpoints[i].ca = copy_text(e->ca);
        to->endpoints[i].headers = copy_list(e->headers);
        to->endpoints[i].ignore_media_types = copy_list(e->ignore_media_types);
        to->endpoints[i].ignore_actions = copy_list(e->ignore_actions);
    }
}
