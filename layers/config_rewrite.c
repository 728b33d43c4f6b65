// SPDX-License-Identifier: Apache-2.0
/*
 * The config's half of an injection (docs/injection.md, "What is done to an image"). Works on a deep copy;
 * whatever is null or missing on the way is made. jansson keeps the order of members: one that is there is
 * replaced in its place, a new one goes to the end.
 */
#include <assert.h>

#include "common/json.h"
#include "common/mem.h"
#include "layers/config_impl.h"

static void put(json_t *obj, const char *key, json_t *value)
{
    int rc = json_object_set_new(obj, key, value);
    assert(rc == 0);
}

static void append(json_t *array, json_t *value)
{
    int rc = json_array_append_new(array, value);
    assert(rc == 0);
}

/* The member, made as an empty array or object if it is absent or null. Borrowed. */
static json_t *need_array(json_t *obj, const char *key)
{
    if (!json_is_array(json_object_get(obj, key)))
        put(obj, key, json_array());
    return json_object_get(obj, key);
}

static json_t *need_object(json_t *obj, const char *key)
{
    if (!json_is_object(json_object_get(obj, key)))
        put(obj, key, json_object());
    return json_object_get(obj, key);
}

static bool env_is(const json_t *entry, const char *key, size_t key_len)
{
    const char *s = json_string_value(entry);
    return strncmp(s, key, key_len) == 0 && (s[key_len] == '=' || s[key_len] == '\0');
}

/* Removes every entry of this key from `from` on. */
static void env_remove(json_t *env, const char *key, size_t key_len, size_t from)
{
    for (size_t i = json_array_size(env); i-- > from;)
        if (env_is(json_array_get(env, i), key, key_len))
            (void)json_array_remove(env, i);
}

/* `entry` is "K=V": takes the place of the first entry of its key, else goes to the end. Later entries of the
 * key would win over it at run time, so they go. */
static void env_set(json_t *env, const char *entry)
{
    size_t key_len = (size_t)(strchr(entry, '=') - entry);
    for (size_t i = 0; i < json_array_size(env); ++i) {
        if (env_is(json_array_get(env, i), entry, key_len)) {
            env_remove(env, entry, key_len, i + 1);
            (void)json_array_set_new(env, i, json_string(entry));
            return;
        }
    }
    append(env, json_string(entry));
}

static json_t *strings(const struct injection_string_list *list)
{
    json_t *array = json_array();
    for (size_t i = 0; i < list->n; ++i)
        append(array, json_string(list->v[i]));
    return array;
}

/* A command as a list, however it was written: a new reference. */
static json_t *command_list(const json_t *run, const char *key)
{
    const json_t *v = json_object_get(run, key);
    if (json_is_array(v))
        return json_deep_copy(v);
    json_t *array = json_array();
    if (json_is_string(v))
        append(array, json_string(json_string_value(v)));
    return array;
}

static void rewrite_layers(json_t *root, const struct injection *inj, const struct platform *platform)
{
    json_t *diff_ids = need_array(json_object_get(root, "rootfs"), "diff_ids");
    json_t *history = json_object_get(root, "history");
    const char *created = json_string_value(json_object_get(root, "created"));
    for (size_t i = 0; i < injection_layer_count(inj); ++i) {
        const struct injection_layer *layer = injection_layer_at(inj, i);
        if (!injection_layer_applies(layer, platform))
            continue;
        append(diff_ids, json_string(layer->tar_digest.s));
        if (!json_is_array(history))
            continue;
        json_t *entry = json_object();
        if (created)
            put(entry, "created", json_string(created));
        cleanup_free char *by = mem_printf("rac inject %s", layer->gzip_digest.s);
        put(entry, "created_by", json_string(by));
        if (layer->name)
            put(entry, "comment", json_string(layer->name));
        append(history, entry);
    }
}

/* The image's own entry point, for an entry point of ours that reads it from the environment: last in Env, in
 * place of one that an earlier injection left. */
static void chain_by_env(json_t *run, const json_t *own)
{
    if (json_array_size(own) == 0)
        return;
    json_t *env = need_array(run, "Env");
    cleanup_free char *list = json_array_size(own) == 1
                                  ? mem_strdup(json_string_value(json_array_get(own, 0)))
                                  : json_format(own, NULL);
    cleanup_free char *entry = mem_printf("WAVE_ENTRY_CHAIN=%s", list);
    env_remove(env, "WAVE_ENTRY_CHAIN", strlen("WAVE_ENTRY_CHAIN"), 0);
    append(env, json_string(entry));
}

static void rewrite_command(json_t *run, const struct injection *inj)
{
    const struct injection_string_list *entrypoint = injection_entrypoint(inj), *cmd = injection_cmd(inj);
    if (entrypoint->n) {
        cleanup_json json_t *own = command_list(run, "Entrypoint");
        json_t *all = strings(entrypoint);
        if (injection_chain(inj) == INJECTION_CHAIN_ARGS)
            (void)json_array_extend(all, own);
        else
            chain_by_env(run, own);
        put(run, "Entrypoint", all);
    }
    if (cmd->n)
        put(run, "Cmd", strings(cmd));
}

static bool user_is_root(const char *user)
{
    static const char *const roots[] = {"", "root", "0", "root:root", "0:0", "root:0", "0:root"};
    for (size_t i = 0; i < sizeof roots / sizeof roots[0]; ++i)
        if (strcmp(user, roots[i]) == 0)
            return true;
    return false;
}

/* "0", not "root": an image without /etc/passwd knows no names. */
static void rewrite_user(json_t *run)
{
    const char *user = json_string_value(json_object_get(run, "User"));
    if (!user || user_is_root(user))
        return;
    cleanup_free char *entry = mem_printf("RAC_USER=%s", user);
    env_set(need_array(run, "Env"), entry);
    put(run, "User", json_string("0"));
}

json_t *config_rewrite(const struct config *c, const struct injection *inj, const char *source_label,
                       struct err *err)
{
    cleanup_json json_t *source = json_string(source_label);
    if (!source) {
        (void)err_set(err, ERR_INVALID, "the image's name is not UTF-8");
        return NULL;
    }
    json_t *root = json_deep_copy(config_tree(c));
    assert(root);
    rewrite_layers(root, inj, config_platform(c));

    json_t *run = need_object(root, "config");
    const struct injection_string_list *env = injection_env(inj), *labels = injection_labels(inj);
    for (size_t i = 0; i < env->n; ++i)
        env_set(need_array(run, "Env"), env->v[i]);
    if (injection_user(inj) == INJECTION_USER_ROOT_THEN_DROP)
        rewrite_user(run);
    rewrite_command(run, inj);
    if (injection_working_dir(inj))
        put(run, "WorkingDir", json_string(injection_working_dir(inj)));

    json_t *all_labels = need_object(run, "Labels");
    for (size_t i = 0; i < labels->n; i += 2)
        put(all_labels, labels->v[i], json_string(labels->v[i + 1]));
    put(all_labels, "rac.source", json_incref(source));
    put(all_labels, "rac.injection", json_string(injection_digest(inj)->s));
    return root;
}
