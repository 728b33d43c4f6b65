// SPDX-License-Identifier: Apache-2.0
/* --help, --version and --check-config: what people read on a terminal. */
#include <inttypes.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/str.h"
#include "proxy/options/account.h"

#define HELP_COLUMNS 90
#define HELP_INDENT  8

static void print_wrapped(FILE *out, const char *first, const char *text)
{
    int column = *first ? fprintf(out, "%*s%s", HELP_INDENT, "", first) : 0;
    struct slice rest = slice_of(text);
    while (rest.p) {
        struct slice word = slice_cut(&rest, ' ');
        if (column && column + 1 + (int)word.len > HELP_COLUMNS) {
            (void)fputc('\n', out);
            column = 0;
        }
        column += fprintf(out, "%*s%.*s", column ? 1 : HELP_INDENT, "", (int)word.len, word.p);
    }
    (void)fputc('\n', out);
}

static void print_default(FILE *out, const struct option_def *def)
{
    const char *text = def->initial_text ? def->initial_text : def->initial;
    if (text)
        print_wrapped(out, "Default:", text);
}

void options_print_help(FILE *out, bool terminal)
{
    const char *bold = terminal ? "\033[1m" : "", *plain = terminal ? "\033[0m" : "";
    char word[OPTION_NAME_MAX + 1];
    (void)fprintf(
        out,
        "%srac-proxy%s: a pull-through registry that adds a layer to the images it hands on\n\n"
        "Usage: rac-proxy [OPTION]...\n\n"
        "Every option is also a member of the YAML file and a variable of the environment:\n"
        "--cache-size 10GiB is `cache: {size: 10GiB}` and RAC_CACHE_SIZE=10GiB. A flag wins over the\n"
        "environment, the environment over the file, the file over the default. Sizes: 512MiB, 10GiB,\n"
        "80%%. Durations: 500ms, 10s, 5m, 24h, 7d. Docs: docs/config.md, rac-proxy(1).\n",
        bold, plain);
    const char *group = "";
    for (size_t i = 0; i < option_count; ++i) {
        const struct option_def *def = &option_table[i];
        if (strcmp(group, def->group) != 0)
            (void)fprintf(out, "\n%s%s%s\n", bold, def->group, plain);
        group = def->group;
        const char *meta = option_meta(def);
        (void)fprintf(out, "  %s%s%s%s%s\n", bold, option_flag(def, word), plain, *meta ? " " : "", meta);
        print_wrapped(out, "", def->help);
        print_default(out, def);
    }
    (void)fprintf(out, "\n%sOther%s\n", bold, plain);
    for (size_t i = 0; i < option_action_count; ++i) {
        const struct option_action *a = &option_actions[i];
        char letter[] = {'-', a->letter, ',', ' ', '\0'};
        (void)fprintf(out, "  %s%s%s%s%s%s\n", bold, a->letter ? letter : "", a->flag, plain,
                      a->meta ? " " : "", a->meta ? a->meta : "");
        print_wrapped(out, "", a->help);
    }
}

/* One line: name, value, where from. */
static void print_value(FILE *out, const struct options *o, const char *name, const char *value,
                        const struct option_origin *origin, const struct option_def *def)
{
    char word[OPTION_NAME_MAX + 1];
    (void)fprintf(out, "  %-32s %-28s ", name, value);
    switch (origin->source) {
    case OPTION_FROM_DEFAULT:
        (void)fputs("default\n", out);
        return;
    case OPTION_FROM_FILE:
        (void)fprintf(out, "%s:%u\n", o->config_file, origin->line);
        return;
    case OPTION_FROM_ENV:
        (void)fprintf(out, "%s\n", option_variable(def, word));
        return;
    case OPTION_FROM_FLAG:
        (void)fprintf(out, "%s\n", option_flag(def, word));
        return;
    }
}

static void print_account(FILE *out, const struct options *o, const struct options_account *a,
                          const struct option_def *def)
{
    cleanup_buf struct buf name = {0};
    cleanup_buf struct buf value = {0};
    unsigned keys = 0;
    while (a->keys && a->keys[keys])
        ++keys;
    (void)buf_printf(&name, "account %s", a->name);
    option_show_roles(a->roles, &value);
    if (a->password_hash)
        (void)buf_add_str(&value, ", password set");
    if (keys)
        (void)buf_printf(&value, ", %u key%s", keys, keys > 1 ? "s" : "");
    if (a->certificate)
        (void)buf_printf(&value, ", certificate %s", a->certificate);
    for (size_t i = 0; i < a->upstream_count; ++i)
        (void)buf_printf(&value, "%s%s", i ? ", " : ", credentials for ", a->upstreams[i].name);
    print_value(out, o, buf_str(&name), buf_str(&value), &a->origin, def);
}

static void print_networks(FILE *out, const struct options *o, const struct option_def *def)
{
    const struct option_origin *origin = &o->origins[option_index(def)];
    char text[NET_TEXT_MAX];
    cleanup_buf struct buf value = {0};
    for (size_t i = 0; def->type == OPTION_LOCATIONS && i < o->location_count; ++i) {
        const struct options_location *l = &o->locations[i];
        cleanup_buf struct buf name = {0};
        (void)buf_printf(&name, "location %s", l->name);
        buf_reset(&value);
        (void)buf_printf(&value, "%s/%u", net_format(&l->network.base, text),
                         l->network.bits - (net_is_ipv4(&l->network.base) ? 96 : 0));
        print_value(out, o, buf_str(&name), buf_str(&value), &l->origin, def);
    }
    for (size_t i = 0; def->type == OPTION_NETWORKS && i < o->trusted_proxy_count; ++i) {
        const struct net_range *n = &o->trusted_proxies[i];
        buf_reset(&value);
        (void)buf_printf(&value, "%s/%u", net_format(&n->base, text),
                         n->bits - (net_is_ipv4(&n->base) ? 96 : 0));
        print_value(out, o, def->name, buf_str(&value), origin, def);
    }
}

static void print_list(FILE *out, const struct options *o, const struct option_def *def)
{
    const struct option_origin *origin = &o->origins[option_index(def)];
    cleanup_buf struct buf name = {0};
    cleanup_buf struct buf value = {0};
    for (size_t i = 0; def->type == OPTION_LISTEN && i < o->listen_count; ++i)
        print_value(out, o, def->name, o->listen[i], origin, def);
    for (size_t i = 0; def->type == OPTION_UPSTREAMS && i < o->upstream_count; ++i) {
        const struct options_upstream *u = &o->upstreams[i];
        buf_reset(&name);
        buf_reset(&value);
        (void)buf_printf(&name, "upstream %s", u->name);
        (void)buf_printf(&value, "%s%s%s%s%s%s", u->url, u->password ? ", credentials set" : "",
                         u->ca ? ", ca " : "", u->ca ? u->ca : "", u->inject ? ", inject " : "",
                         u->inject ? u->inject : "");
        if (u->fresh_ms != UINT64_MAX) {
            (void)buf_add_str(&value, ", fresh ");
            option_show_duration(u->fresh_ms, &value);
        }
        if (u->private_addresses)
            (void)buf_add_str(&value, ", private");
        print_value(out, o, buf_str(&name), buf_str(&value), &u->origin, def);
    }
    for (size_t i = 0; def->type == OPTION_ACCOUNTS && i < o->account_count; ++i)
        print_account(out, o, &o->accounts[i], def);
    print_networks(out, o, def);
    for (size_t i = 0; def->type == OPTION_ENDPOINTS && i < o->endpoint_count; ++i) {
        const struct options_endpoint *e = &o->endpoints[i];
        buf_reset(&name);
        buf_reset(&value);
        (void)buf_printf(&name, "endpoint %s", e->name);
        (void)buf_printf(&value, "%s%s", e->url, e->headers ? ", headers set" : "");
        print_value(out, o, buf_str(&name), buf_str(&value), &e->origin, def);
    }
    for (size_t i = 0; def->type == OPTION_INJECT && i < o->rule_count; ++i) {
        const struct options_rule *r = &o->rules[i];
        buf_reset(&name);
        (void)buf_printf(&name, "inject %s", r->match);
        print_value(out, o, buf_str(&name), r->injection ? r->injection : "none", &r->origin, def);
    }
}

void options_print_check(const struct options *o, FILE *out)
{
    (void)fputs("configuration is valid\n", out);
    for (size_t i = 0; o->warnings[i]; ++i)
        (void)fprintf(out, "warning: %s\n", o->warnings[i]);
    for (size_t i = 0; i < option_count; ++i) {
        const struct option_def *def = &option_table[i];
        if (option_is_list(def)) {
            print_list(out, o, def);
            continue;
        }
        cleanup_buf struct buf value = {0};
        option_show(o, def, &value);
        if (value.len)
            print_value(out, o, def->name, buf_str(&value), &o->origins[i], def);
    }
}

bool options_print_action(const struct options *o, FILE *out, bool terminal)
{
    switch (o->action) {
    case OPTIONS_HELP:
        options_print_help(out, terminal);
        return true;
    case OPTIONS_VERSION:
        (void)fprintf(out, "rac-proxy %s\n", RAC_VERSION);
        return true;
    case OPTIONS_CHECK:
        options_print_check(o, out);
        return true;
    case OPTIONS_DOC:
        options_print_doc(out);
        return true;
    case OPTIONS_TABLE:
        options_print_table(out);
        return true;
    case OPTIONS_METRICS:
        options_print_metrics(out);
        return true;
    case OPTIONS_MAN:
        options_print_man(out);
        return true;
    case OPTIONS_BASH:
        options_print_bash_completion(out);
        return true;
    case OPTIONS_ZSH:
        options_print_zsh_completion(out);
        return true;
    case OPTIONS_SERVE:
    case OPTIONS_SCRUB:
    case OPTIONS_GC:
    case OPTIONS_BACKUP:
    case OPTIONS_EXPORT:
    case OPTIONS_HASH:
    case OPTIONS_KEY:
    case OPTIONS_CERTIFICATE:
        break;
    }
    return false;
}
