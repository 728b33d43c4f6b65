// SPDX-License-Identifier: Apache-2.0
/* What follows from a row of the table of options: how it is found, what its flag and its variable are, and
 * what documents say of its value. */
#include "proxy/options/value.h"

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

size_t option_index(const struct option_def *def)
{
    return (size_t)(def - option_table);
}

char *option_flag(const struct option_def *def, char *out)
{
    int n = snprintf(out, OPTION_NAME_MAX + 1, "--%s", def->flag_word ? def->flag_word : def->name);
    assert(n > 0 && (size_t)n <= OPTION_NAME_MAX);
    for (char *c = out; *c; ++c)
        *c = *c == '.' ? '-' : *c;
    return out;
}

char *option_variable(const struct option_def *def, char *out)
{
    int n = snprintf(out, OPTION_NAME_MAX + 1, "RAC_%s", def->flag_word ? def->flag_word : def->name);
    assert(n > 0 && (size_t)n <= OPTION_NAME_MAX);
    for (char *c = out; *c; ++c)
        *c = *c == '.' || *c == '-' ? '_' : (char)toupper((unsigned char)*c);
    return out;
}

const struct option_def *option_by_name(const char *name)
{
    for (size_t i = 0; i < option_count; ++i)
        if (strcmp(option_table[i].name, name) == 0)
            return &option_table[i];
    return NULL;
}

const struct option_def *option_by_flag(const char *flag)
{
    char text[OPTION_NAME_MAX + 1];
    for (size_t i = 0; i < option_count; ++i)
        if (strcmp(option_flag(&option_table[i], text), flag) == 0)
            return &option_table[i];
    return NULL;
}

const struct option_def *option_by_variable(const char *name)
{
    char text[OPTION_NAME_MAX + 1];
    for (size_t i = 0; i < option_count; ++i)
        if (strcmp(option_variable(&option_table[i], text), name) == 0)
            return &option_table[i];
    return NULL;
}

const char *option_meta(const struct option_def *def)
{
    if (def->meta)
        return def->meta;
    switch (def->type) {
    case OPTION_UINT:
        return "N";
    case OPTION_SIZE:
    case OPTION_SIZE_OR_PERCENT:
        return "SIZE";
    case OPTION_DURATION:
        return "DURATION";
    case OPTION_FILE:
        return "FILE";
    case OPTION_FOLDER:
        return "DIR";
    case OPTION_ENUM:
        return "WORD";
    case OPTION_USER:
        return "USER";
    case OPTION_BOOL:
    case OPTION_NAME:
    case OPTION_AUTHORITY:
    case OPTION_PEER:
    case OPTION_STATE:
    case OPTION_BLOBS:
    case OPTION_HOSTS:
    case OPTION_WORDS:
    case OPTION_LISTEN:
    case OPTION_UPSTREAMS:
    case OPTION_INJECT:
    case OPTION_ACCOUNTS:
    case OPTION_ROLES:
    case OPTION_LOCATIONS:
    case OPTION_ENDPOINTS:
    case OPTION_NETWORKS:
        break;
    }
    return "";
}

bool option_is_list(const struct option_def *def)
{
    switch (def->type) {
    case OPTION_LISTEN:
    case OPTION_UPSTREAMS:
    case OPTION_INJECT:
    case OPTION_ACCOUNTS:
    case OPTION_LOCATIONS:
    case OPTION_ENDPOINTS:
    case OPTION_NETWORKS:
        return true;
    default:
        return false;
    }
}

void option_describe(const struct option_def *def, struct buf *out)
{
    switch (def->type) {
    case OPTION_BOOL:
        (void)buf_add_str(out, "true or false");
        return;
    case OPTION_UINT:
        (void)buf_printf(out, "number, %" PRIu64 " to %" PRIu64, def->min, def->max);
        return;
    case OPTION_SIZE_OR_PERCENT:
        (void)buf_add_str(out, "size, or 1% to 100%");
        return;
    case OPTION_SIZE:
        (void)buf_add_str(out, "size");
        return;
    case OPTION_DURATION:
        (void)buf_add_str(out, "duration, ");
        option_show_duration(def->min, out);
        (void)buf_add_str(out, " to ");
        option_show_duration(def->max, out);
        return;
    case OPTION_FILE:
        (void)buf_add_str(out, "file");
        return;
    case OPTION_FOLDER:
        (void)buf_add_str(out, "folder");
        return;
    case OPTION_ENUM:
        for (size_t i = 0; def->choices[i]; ++i)
            (void)buf_printf(out, "%s%s", i ? ", " : "", def->choices[i]);
        return;
    case OPTION_NAME:
        (void)buf_add_str(out, "name of an upstream");
        return;
    case OPTION_USER:
        (void)buf_add_str(out, "name, UID or UID:GID");
        return;
    case OPTION_AUTHORITY:
        (void)buf_add_str(out, "host, or host:port");
        return;
    case OPTION_PEER:
    case OPTION_STATE:
    case OPTION_BLOBS:
        (void)buf_add_str(out, "URL");
        return;
    case OPTION_HOSTS:
        (void)buf_add_str(out, "hosts, commas between them");
        return;
    case OPTION_WORDS:
        (void)buf_add_str(out, "words, commas between them");
        return;
    case OPTION_LISTEN:
        (void)buf_add_str(out, "list of addresses");
        return;
    case OPTION_UPSTREAMS:
        (void)buf_add_str(out, "list, see below");
        return;
    case OPTION_INJECT:
        (void)buf_add_str(out, "file, none, or list of rules, see below");
        return;
    case OPTION_ACCOUNTS:
    case OPTION_LOCATIONS:
    case OPTION_ENDPOINTS:
        (void)buf_add_str(out, "list, see below");
        return;
    case OPTION_ROLES:
        (void)buf_add_str(out, "list of roles, or none");
        return;
    case OPTION_NETWORKS:
        (void)buf_add_str(out, "list of networks");
        return;
    }
}
