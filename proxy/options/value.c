// SPDX-License-Identifier: Apache-2.0
#include "proxy/options/value.h"

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "common/nearest.h"
#include "proxy/options/account.h"
#include "proxy/options/address.h"
#include "proxy/options/endpoint.h"
#include "proxy/options/state.h"

static void *member(const struct options *o, size_t offset)
{
    return (char *)(uintptr_t)o + offset;
}

/* "12", "1.5 GiB", "80%": digits, at most one point, then a unit without digits. Keeps what strtod would take
 * beyond that ("1e3", "0x10", "nan") from meaning something. */
static bool is_number_and_unit(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 18)
        return false;
    text += digits;
    if (*text == '.') {
        digits = strspn(++text, "0123456789");
        if (digits == 0 || digits > 18)
            return false;
        text += digits;
    }
    return strpbrk(text, "0123456789.") == NULL;
}

int option_parse_bool(const char *text, bool *ret, const char *where, struct err *err)
{
    if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
        return err_set(err, ERR_INVALID, "%s: '%s' is neither true nor false", where, text);
    *ret = text[0] == 't';
    return 0;
}

void option_show_duration(uint64_t ms, struct buf *out)
{
    static const struct {
        const char *name;
        uint64_t ms;
    } units[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
    size_t u = 0;
    /* 60s and 24h are what people write, not 1m and 1d. */
    while (units[u].ms > 1 && (ms % units[u].ms != 0 || (ms / units[u].ms < 2 && units[u].ms > 1000)))
        ++u;
    (void)buf_printf(out, "%" PRIu64 "%s", ms / units[u].ms, ms ? units[u].name : "s");
}

int option_parse_duration(const char *text, uint64_t min_ms, uint64_t max_ms, uint64_t *ret_ms,
                          const char *where, struct err *err)
{
    uint64_t ms;
    if (!is_number_and_unit(text) || !str_parse_duration(text, &ms))
        return err_set(err, ERR_INVALID, "%s: '%s' is not a duration: write 500ms, 10s, 5m, 24h or 7d", where,
                       text);
    if (ms < min_ms || ms > max_ms) {
        cleanup_buf struct buf range = {0};
        option_show_duration(min_ms, &range);
        (void)buf_add_str(&range, " to ");
        option_show_duration(max_ms, &range);
        return err_set(err, ERR_INVALID, "%s: '%s' is out of range: from %s", where, text, buf_str(&range));
    }
    *ret_ms = ms;
    return 0;
}

static void show_size(uint64_t bytes, struct buf *out)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t u = 0;
    while (bytes && bytes % 1024 == 0 && u + 1 < sizeof units / sizeof units[0]) {
        bytes /= 1024;
        ++u;
    }
    (void)buf_printf(out, "%" PRIu64 "%s", bytes, units[u]);
}

static int set_size(struct options *o, const struct option_def *def, const char *text, const char *where,
                    struct err *err)
{
    bool may_be_percent = def->type == OPTION_SIZE_OR_PERCENT, percent = false;
    uint64_t v;
    if (!is_number_and_unit(text) || !str_parse_size(text, &v, &percent) || (percent && !may_be_percent) ||
        (percent && strchr(text, '.')))
        return err_set(err, ERR_INVALID, "%s: '%s' is not a size: write 512MiB, 10GiB%s or bytes", where,
                       text, may_be_percent ? ", 80%" : "");
    if (percent && v < 1)
        return err_set(err, ERR_INVALID, "%s: '%s' is out of range: from 1%% to 100%%", where, text);
    if (!percent && (v < def->min || v > def->max)) {
        cleanup_buf struct buf range = {0};
        show_size(def->min, &range);
        (void)buf_add_str(&range, " to ");
        show_size(def->max, &range);
        return err_set(err, ERR_INVALID, "%s: '%s' is out of range: from %s", where, text, buf_str(&range));
    }
    *(uint64_t *)member(o, def->offset) = percent ? 0 : v;
    if (may_be_percent)
        *(uint32_t *)member(o, def->offset2) = percent ? (uint32_t)v : 0;
    return 0;
}

static int set_uint(struct options *o, const struct option_def *def, const char *text, const char *where,
                    struct err *err)
{
    uint64_t v;
    if (!slice_to_u64(slice_of(text), UINT64_MAX, &v))
        return err_set(err, ERR_INVALID, "%s: '%s' is not a whole number", where, text);
    if (v < def->min || v > def->max)
        return err_set(err, ERR_INVALID, "%s: '%s' is out of range: from %" PRIu64 " to %" PRIu64, where,
                       text, def->min, def->max);
    assert(def->max <= UINT32_MAX);
    *(uint32_t *)member(o, def->offset) = (uint32_t)v;
    return 0;
}

static int set_enum(struct options *o, const struct option_def *def, const char *text, const char *where,
                    struct err *err)
{
    struct nearest near = nearest_to(text);
    for (unsigned i = 0; def->choices[i]; ++i) {
        nearest_offer(&near, def->choices[i]);
        if (strcmp(def->choices[i], text) != 0)
            continue;
        if (def->size == sizeof(bool))
            *(bool *)member(o, def->offset) = i != 0;
        else
            memcpy(member(o, def->offset), &i, sizeof i);
        return 0;
    }
    cleanup_buf struct buf known = {0};
    for (unsigned i = 0; def->choices[i]; ++i)
        (void)buf_printf(&known, "%s%s", i == 0 ? "" : def->choices[i + 1] ? ", " : " or ", def->choices[i]);
    return err_set(err, ERR_INVALID, "%s: '%s' is not one of %s%s%s%s", where, text, buf_str(&known),
                   near.best ? ": did you mean '" : "", near.best ? near.best : "", near.best ? "'?" : "");
}

static unsigned get_enum(const struct options *o, const struct option_def *def)
{
    unsigned i = 0;
    if (def->size == sizeof(bool))
        return *(bool *)member(o, def->offset) ? 1 : 0;
    memcpy(&i, member(o, def->offset), sizeof i);
    return i;
}

char *option_path(const char *base_dir, const char *path)
{
    if (path[0] == '/' || !base_dir || strcmp(base_dir, ".") == 0)
        return mem_strdup(path);
    return mem_printf("%s%s%s", base_dir, base_dir[strlen(base_dir) - 1] == '/' ? "" : "/", path);
}

static void set_string(struct options *o, const struct option_def *def, char *value)
{
    char **s = member(o, def->offset);
    free(*s);
    *s = value;
}

/* What the parser makes of it. */
static int set_parsed(struct options *o, const struct option_def *def,
                      int (*parse)(const char *, char **, const char *, struct err *), const char *text,
                      const char *where, struct err *err)
{
    char *value;
    if (parse(text, &value, where, err) < 0)
        return -1;
    set_string(o, def, value);
    return 0;
}

/* As it is, if the parser takes it. */
static int set_checked(struct options *o, const struct option_def *def,
                       int (*parse)(const char *, const char *, struct err *), const char *text,
                       const char *where, struct err *err)
{
    if (parse(text, where, err) < 0)
        return -1;
    set_string(o, def, mem_strdup(text));
    return 0;
}

static int set_hosts(struct options *o, const struct option_def *def, const char *text, const char *where,
                     struct err *err)
{
    struct slice rest = slice_of(text);
    cleanup_buf struct buf all = {0};
    while (rest.p) {
        struct slice one = slice_trim(slice_cut(&rest, ','));
        cleanup_free char *word = mem_strndup(one.len ? one.p : "", one.len);
        cleanup_free char *host = NULL;
        if (option_parse_host(word, &host, where, err) < 0)
            return -1;
        (void)buf_printf(&all, "%s%s", all.len ? "," : "", host);
    }
    set_string(o, def, buf_take(&all));
    return 0;
}

static int set_words(struct options *o, const struct option_def *def, const char *text, const char *where,
                     struct err *err)
{
    struct slice rest = slice_of(text);
    cleanup_buf struct buf all = {0};
    while (rest.p) {
        struct slice one = slice_trim(slice_cut(&rest, ','));
        cleanup_free char *word = mem_strndup(one.len ? one.p : "", one.len);
        if (!*word ||
            word[strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:-")])
            return err_set(err, ERR_INVALID,
                           "%s: '%s' is not a list of words of letters, digits and ._:-, commas between them",
                           where, text);
        (void)buf_printf(&all, "%s%s", all.len ? "," : "", word);
    }
    set_string(o, def, buf_take(&all));
    return 0;
}

int option_set(struct options *o, const struct option_def *def, const char *text, const char *base_dir,
               const char *where, struct err *err)
{
    assert(!option_is_list(def));
    if (!*text)
        return err_set(err, ERR_INVALID, "%s: the value is empty", where);
    switch (def->type) {
    case OPTION_BOOL:
        return option_parse_bool(text, member(o, def->offset), where, err);
    case OPTION_UINT:
        return set_uint(o, def, text, where, err);
    case OPTION_SIZE:
    case OPTION_SIZE_OR_PERCENT:
        return set_size(o, def, text, where, err);
    case OPTION_DURATION:
        return option_parse_duration(text, def->min, def->max, member(o, def->offset), where, err);
    case OPTION_ENUM:
        return set_enum(o, def, text, where, err);
    case OPTION_FILE:
    case OPTION_FOLDER:
        set_string(o, def, option_path(base_dir, text));
        return 0;
    case OPTION_NAME:
        return set_parsed(o, def, option_parse_upstream_name, text, where, err);
    case OPTION_ROLES:
        return option_parse_roles(slice_of(text), member(o, def->offset), where, err);
    case OPTION_USER:
        if (strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-:") !=
            strlen(text))
            return err_set(err, ERR_INVALID, "%s: '%s' is not a user: a name, UID or UID:GID is expected",
                           where, text);
        set_string(o, def, mem_strdup(text));
        return 0;
    case OPTION_AUTHORITY:
        return set_parsed(o, def, option_parse_authority, text, where, err);
    case OPTION_PEER:
        return set_parsed(o, def, option_parse_peer, text, where, err);
    case OPTION_STATE:
        return set_checked(o, def, option_parse_state, text, where, err);
    case OPTION_BLOBS:
        return set_checked(o, def, option_parse_blobs, text, where, err);
    case OPTION_HOSTS:
        return set_hosts(o, def, text, where, err);
    case OPTION_WORDS:
        return set_words(o, def, text, where, err);
    default:
        break;
    }
    return err_set(err, ERR_INTERNAL, "%s: no single value", where);
}

void option_show(const struct options *o, const struct option_def *def, struct buf *out)
{
    assert(!option_is_list(def));
    switch (def->type) {
    case OPTION_BOOL:
        (void)buf_add_str(out, *(bool *)member(o, def->offset) ? "true" : "false");
        return;
    case OPTION_UINT:
        (void)buf_printf(out, "%" PRIu32, *(uint32_t *)member(o, def->offset));
        return;
    case OPTION_SIZE_OR_PERCENT:
        if (*(uint32_t *)member(o, def->offset2)) {
            (void)buf_printf(out, "%" PRIu32 "%%", *(uint32_t *)member(o, def->offset2));
            return;
        }
        show_size(*(uint64_t *)member(o, def->offset), out);
        return;
    case OPTION_SIZE:
        show_size(*(uint64_t *)member(o, def->offset), out);
        return;
    case OPTION_DURATION:
        option_show_duration(*(uint64_t *)member(o, def->offset), out);
        return;
    case OPTION_ENUM:
        (void)buf_add_str(out, def->choices[get_enum(o, def)]);
        return;
    case OPTION_FILE:
    case OPTION_FOLDER:
    case OPTION_USER:
    case OPTION_AUTHORITY:
    case OPTION_PEER:
    case OPTION_BLOBS:
    case OPTION_HOSTS:
    case OPTION_WORDS:
    case OPTION_NAME: {
        const char *s = *(char **)member(o, def->offset);
        (void)buf_add_str(out, s ? s : "");
        return;
    }
    case OPTION_STATE:
        option_show_state(*(char **)member(o, def->offset), out);
        return;
    case OPTION_ROLES:
        option_show_roles(*(unsigned *)member(o, def->offset), out);
        return;
    default:
        return;
    }
}

bool option_same(const struct options *a, const struct options *b, const struct option_def *def)
{
    if (def->type == OPTION_LISTEN) {
        if (a->listen_count != b->listen_count)
            return false;
        for (size_t i = 0; i < a->listen_count; ++i)
            if (strcmp(a->listen[i], b->listen[i]) != 0)
                return false;
        return true;
    }
    if (def->type == OPTION_ENDPOINTS)
        return option_endpoints_same(a, b);
    if (def->type == OPTION_STATE) /* what is not shown counts, too */
        return strcmp(a->state_url ? a->state_url : "", b->state_url ? b->state_url : "") == 0;
    assert(!option_is_list(def));
    cleanup_buf struct buf text_a = {0};
    cleanup_buf struct buf text_b = {0};
    option_show(a, def, &text_a);
    option_show(b, def, &text_b);
    return strcmp(buf_str(&text_a), buf_str(&text_b)) == 0;
}

static void copy_listen(struct options *to, const struct options *from)
{
    for (size_t i = 0; i < to->listen_count; ++i)
        free(to->listen[i]);
    to->listen = mem_realloc(to->listen, from->listen_count * sizeof *to->listen);
    to->listen_count = from->listen_count;
    for (size_t i = 0; i < from->listen_count; ++i)
        to->listen[i] = mem_strdup(from->listen[i]);
}

void option_copy(struct options *to, const struct options *from, const struct option_def *def)
{
    assert(!option_is_list(def) || def->type == OPTION_LISTEN || def->type == OPTION_ENDPOINTS);
    to->origins[option_index(def)] = from->origins[option_index(def)];
    switch (def->type) {
    case OPTION_LISTEN:
        copy_listen(to, from);
        return;
    case OPTION_ENDPOINTS:
        option_copy_endpoints(to, from);
        return;
    case OPTION_FILE:
    case OPTION_FOLDER:
    case OPTION_USER:
    case OPTION_AUTHORITY:
    case OPTION_PEER:
    case OPTION_STATE:
    case OPTION_BLOBS:
    case OPTION_HOSTS:
    case OPTION_WORDS:
    case OPTION_NAME: {
        const char *s = *(char **)member(from, def->offset);
        set_string(to, def, s ? mem_strdup(s) : NULL);
        return;
    }
    case OPTION_SIZE_OR_PERCENT:
        memcpy(member(to, def->offset2), member(from, def->offset2), sizeof(uint32_t));
        break;
    default:
        break;
    }
    memcpy(member(to, def->offset), member(from, def->offset), def->size);
}

char *option_where(const struct options *o, const struct option_origin *origin, const struct option_def *def,
                   const char *member_name, char out[OPTION_WHERE_MAX])
{
    char word[OPTION_NAME_MAX + 1];
    const char *name = member_name ? member_name : def->name;
    switch (origin->source) {
    case OPTION_FROM_FILE:
        (void)snprintf(out, OPTION_WHERE_MAX, "%.200s:%u:%u: %s", o->config_file, origin->line,
                       origin->column, name);
        break;
    case OPTION_FROM_ENV:
        (void)snprintf(out, OPTION_WHERE_MAX, "%s", option_variable(def, word));
        break;
    case OPTION_FROM_FLAG:
        (void)snprintf(out, OPTION_WHERE_MAX, "%s", option_flag(def, word));
        break;
    case OPTION_FROM_DEFAULT:
        (void)snprintf(out, OPTION_WHERE_MAX, "%s", name);
        break;
    }
    return out;
}

void option_warn(struct options *o, const char *fmt, ...)
{
    cleanup_free char *text = NULL;
    va_list ap;
    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0)
        abort();
    va_end(ap);
    size_t n = 0;
    while (o->warnings[n])
        ++n;
    o->warnings = mem_realloc(o->warnings, (n + 2) * sizeof *o->warnings);
    o->warnings[n] = steal_ptr(&text);
    o->warnings[n + 1] = NULL;
}
