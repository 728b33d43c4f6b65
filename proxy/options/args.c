// SPDX-License-Identifier: Apache-2.0
#include "proxy/options/args.h"

#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "common/nearest.h"

/* One flag as it stands on the command line, with its value. */
struct arg {
    const struct option_def *def;       /* or … */
    const struct option_action *action; /* … exactly one of them */
    const char *value;                  /* NULL: takes none */
};

static const struct option_action *find_action(const char *word)
{
    for (size_t i = 0; i < option_action_count; ++i) {
        const struct option_action *a = &option_actions[i];
        if (strcmp(a->flag, word) == 0)
            return a;
        if (a->letter && word[0] == '-' && word[1] == a->letter && !word[2])
            return a;
    }
    return NULL;
}

static int unknown_flag(const char *word, struct err *err)
{
    struct nearest near = nearest_to(word);
    char(*flags)[OPTION_NAME_MAX + 1] = mem_alloc(option_count * sizeof *flags);
    for (size_t i = 0; i < option_count; ++i)
        nearest_offer(&near, option_flag(&option_table[i], flags[i]));
    for (size_t i = 0; i < option_action_count; ++i)
        nearest_offer(&near, option_actions[i].flag);
    (void)err_set(err, ERR_INVALID, "unknown option '%s'%s%s%s", word,
                  near.best ? ": did you mean " : ": see --help", near.best ? near.best : "",
                  near.best ? "?" : "");
    free(flags);
    return -1;
}

/* Reads the flag at argv[*i] and moves *i behind it. */
static int next_arg(int argc, char *const *argv, int *i, struct arg *ret, struct err *err)
{
    const char *text = argv[(*i)++];
    if (text[0] != '-' || !text[1])
        return err_set(err, ERR_INVALID, "unexpected argument '%s': options begin with --, see --help", text);
    const char *equals = text[1] == '-' ? strchr(text, '=') : NULL;
    cleanup_free char *word = equals ? mem_strndup(text, (size_t)(equals - text)) : mem_strdup(text);
    *ret = (struct arg){.action = find_action(word), .value = equals ? equals + 1 : NULL};
    if (!ret->action)
        ret->def = option_by_flag(word);
    if (!ret->action && !ret->def)
        return unknown_flag(word, err);
    if (ret->def && ret->def->type == OPTION_BOOL) {
        /* A word behind it is never its value, so that `--no-inject --listen …` means one thing. */
        if (!equals)
            ret->value = "true";
        return 0;
    }
    if (ret->action && !ret->action->meta) {
        if (equals)
            return err_set(err, ERR_INVALID, "%s takes no value", word);
        return 0;
    }
    const char *meta = ret->action ? ret->action->meta : option_meta(ret->def);
    if (!equals && *i < argc && strncmp(argv[*i], "--", 2) != 0)
        ret->value = argv[(*i)++];
    if (!ret->value || !*ret->value)
        return err_set(err, ERR_INVALID, "%s needs a value: %s=%s", word, word, meta);
    return 0;
}

int option_scan_args(struct options *o, int argc, char *const *argv, struct err *err)
{
    for (int i = 1; i < argc;) {
        struct arg arg = {0};
        if (next_arg(argc, argv, &i, &arg, err) < 0)
            return -1;
        if (!arg.action)
            continue;
        if (arg.action->action == OPTION_ACTION_DRY) {
            o->action_dry = true;
            continue;
        }
        if (arg.action->action < 0) {
            char **to = arg.action->action == OPTION_ACTION_CONFIG  ? &o->config_file
                        : arg.action->action == OPTION_ACTION_SINCE ? &o->action_since
                        : arg.action->action == OPTION_ACTION_OLDER ? &o->action_older
                                                                    : &o->action_names;
            free(*to);
            *to = mem_strdup(arg.value);
            continue;
        }
        /* --help among other things is --help. */
        if (o->action == OPTIONS_HELP || arg.action->action == OPTIONS_HELP)
            o->action = OPTIONS_HELP;
        else if (o->action != OPTIONS_SERVE && (int)o->action != arg.action->action)
            return err_set(err, ERR_INVALID, "%s: another option says to do something else",
                           arg.action->flag);
        else
            o->action = (__typeof__(o->action))arg.action->action;
        if (arg.value) {
            free(o->action_file);
            o->action_file = mem_strdup(arg.value);
        }
    }
    if (o->action_since && o->action != OPTIONS_EXPORT && o->action != OPTIONS_HELP)
        return err_set(err, ERR_INVALID, "--since: is for --export-pulls");
    if (o->action_names && o->action != OPTIONS_CERTIFICATE && o->action != OPTIONS_HELP)
        return err_set(err, ERR_INVALID, "--names: is for --make-webhook-certificate");
    if ((o->action_older || o->action_dry) && o->action != OPTIONS_GC && o->action != OPTIONS_HELP)
        return err_set(err, ERR_INVALID, "%s: is for --gc-s3",
                       o->action_older ? "--older-than" : "--dry-run");
    return 0;
}

static int apply(struct options *o, const struct option_def *def, const char *value,
                 const struct option_origin *origin, struct err *err)
{
    char where[OPTION_WHERE_MAX];
    (void)option_where(o, origin, def, NULL, where);
    if (option_is_list(def))
        return option_set_list(o, def, value, origin, where, err);
    if (option_set(o, def, value, NULL, where, err) < 0)
        return -1;
    o->origins[option_index(def)] = *origin;
    return 0;
}

int option_apply_args(struct options *o, int argc, char *const *argv, struct err *err)
{
    static const struct option_origin origin = {.source = OPTION_FROM_FLAG};
    for (int i = 1; i < argc;) {
        struct arg arg = {0};
        if (next_arg(argc, argv, &i, &arg, err) < 0)
            return -1;
        if (arg.def && apply(o, arg.def, arg.value, &origin, err) < 0)
            return -1;
    }
    return 0;
}

const char *option_env(char *const *env, const char *name)
{
    size_t len = strlen(name);
    for (; env && *env; ++env)
        if (strncmp(*env, name, len) == 0 && (*env)[len] == '=')
            return *env + len + 1;
    return NULL;
}

/* Of the programs in images and of our scripts, which share the prefix: all that begin with one of these. */
static const char *const others[] = {
    "RAC_S3_",    "RAC_ARCHITECTURES", "RAC_BIN_DIR",   "RAC_CACHE_DIR",    "RAC_CERTIFICATES",
    "RAC_CONFIG", "RAC_DEB_",          "RAC_DIR_MODE",  "RAC_FILE_MODE",    "RAC_FLUSH_TIMEOUT",
    "RAC_GID",    "RAC_LAYER",         "RAC_MEMORY",    "RAC_METADATA_TTL", "RAC_MOUNT",
    "RAC_POSIX",  "RAC_READY_MESSAGE", "RAC_READ_ONLY", "RAC_THREADS",      "RAC_UID",
};

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text), end_len = strlen(end);
    return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

/* The kubelet tells every container of the services beside it: RAC_PORT_9090_TCP_ADDR is of one called "rac".
 */
static bool is_kubernetes(const char *name)
{
    return strstr(name, "_SERVICE_HOST") || strstr(name, "_SERVICE_PORT") || ends_with(name, "_PORT") ||
           strstr(name, "_TCP") || strstr(name, "_UDP");
}

static bool is_credential(const char *name)
{
    return strncmp(name, "RAC_UPSTREAM_", 13) == 0 &&
           (ends_with(name, "_USERNAME") || ends_with(name, "_PASSWORD") ||
            ends_with(name, "_PASSWORD_FILE"));
}

static void warn_of_unknown(struct options *o, const char *name)
{
    struct nearest near = nearest_to(name);
    char(*variables)[OPTION_NAME_MAX + 1] = mem_alloc(option_count * sizeof *variables);
    bool is_known = is_credential(name) || is_kubernetes(name);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; ++i)
        is_known = is_known || strncmp(name, others[i], strlen(others[i])) == 0;
    for (size_t i = 0; i < option_count; ++i)
        nearest_offer(&near, option_variable(&option_table[i], variables[i]));
    if (!is_known && near.best)
        option_warn(o, "the environment's %s means nothing here: %s is meant?", name, near.best);
    else if (!is_known)
        option_warn(o, "the environment's %s means nothing here", name);
    free(variables);
}

int option_apply_env(struct options *o, char *const *env, struct err *err)
{
    static const struct option_origin origin = {.source = OPTION_FROM_ENV};
    for (; env && *env; ++env) {
        struct slice value = slice_of(*env);
        struct slice name = slice_cut(&value, '=');
        if (!value.p || !slice_starts_with(name, "RAC_"))
            continue;
        cleanup_free char *name_text = mem_strndup(name.p, name.len);
        const struct option_def *def = option_by_variable(name_text);
        if (!def)
            warn_of_unknown(o, name_text);
        /* An empty variable is one that is not set: what `RAC_DATA= rac-proxy` and compose files mean by it.
         */
        else if (value.len && apply(o, def, value.p, &origin, err) < 0)
            return -1;
    }
    return 0;
}
