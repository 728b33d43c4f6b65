// SPDX-License-Identifier: Apache-2.0
#include "layers/config.h"

#include "common/json.h"
#include "common/mem.h"
#include "layers/config_impl.h"
#include "layers/document.h"

struct config {
    json_t *root;
    struct platform platform;
    bool unsafe_number;
};

static const char *const root_names[] = {"created",     "author",  "architecture", "os",     "os.version",
                                         "os.features", "variant", "config",       "rootfs", "history",
                                         NULL};
static const char *const rootfs_names[] = {"type", "diff_ids", NULL};
static const char *const run_names[] = {"User",        "ExposedPorts", "Env",     "Entrypoint", "Cmd",
                                        "Volumes",     "WorkingDir",   "Labels",  "StopSignal", "ArgsEscaped",
                                        "Healthcheck", "Shell",        "OnBuild", NULL};

/* Absent and null are the same everywhere in a config, as for Go. */
static const json_t *member(const json_t *obj, const char *key)
{
    const json_t *v = json_object_get(obj, key);
    return json_is_null(v) ? NULL : v;
}

static int check_object(const json_t *parent, const char *key, const char *const *names, struct err *err)
{
    const json_t *v = member(parent, key);
    if (!v)
        return 0;
    if (!json_is_object(v))
        return err_set(err, ERR_MANIFEST_INVALID, "'%s' must be an object", key);
    return names ? document_check_names(v, names, key, err) : 0;
}

static int check_string(const json_t *parent, const char *key, struct err *err)
{
    const json_t *v = member(parent, key);
    if (v && !json_is_string(v))
        return err_set(err, ERR_MANIFEST_INVALID, "'%s' must be a string", key);
    return 0;
}

/* `lone`: one string may stand for a list of one, as early Docker wrote commands. */
static int check_strings(const json_t *parent, const char *key, bool lone, struct err *err)
{
    const json_t *v = member(parent, key);
    if (!v || (lone && json_is_string(v)))
        return 0;
    bool ok = json_is_array(v);
    for (size_t i = 0; ok && i < json_array_size(v); ++i)
        ok = json_is_string(json_array_get(v, i));
    return ok ? 0 : err_set(err, ERR_MANIFEST_INVALID, "'%s' must be a list of strings", key);
}

static int config_check(const json_t *root, struct err *err)
{
    if (document_check_names(root, root_names, "config", err) < 0 ||
        check_object(root, "config", run_names, err) < 0 ||
        check_object(root, "rootfs", rootfs_names, err) < 0)
        return -1;
    const json_t *run = member(root, "config");
    if (check_string(run, "User", err) < 0 || check_string(run, "WorkingDir", err) < 0 ||
        check_strings(run, "Env", false, err) < 0 || check_strings(run, "Entrypoint", true, err) < 0 ||
        check_strings(run, "Cmd", true, err) < 0 || check_object(run, "Labels", NULL, err) < 0 ||
        check_strings(member(root, "rootfs"), "diff_ids", false, err) < 0)
        return -1;
    const json_t *history = member(root, "history");
    if (history && !json_is_array(history))
        return err_set(err, ERR_MANIFEST_INVALID, "'history' must be a list");
    return 0;
}

static int copy_part(const json_t *root, const char *key, const char *fallback, char out[PLATFORM_PART_MAX],
                     struct err *err)
{
    if (check_string(root, key, err) < 0)
        return -1;
    const char *s = json_string_value(member(root, key));
    if (!s || !*s)
        s = fallback;
    if (strlen(s) >= PLATFORM_PART_MAX)
        return err_set(err, ERR_MANIFEST_INVALID, "'%s' has more than %d characters", key,
                       PLATFORM_PART_MAX - 1);
    memcpy(out, s, strlen(s) + 1);
    return 0;
}

struct config *config_parse(const void *bytes, size_t len, struct err *err)
{
    cleanup_config struct config *c = mem_new(struct config);
    c->root = document_parse(bytes, len, CONFIG_BYTES_MAX, &c->unsafe_number, err);
    if (!c->root || config_check(c->root, err) < 0 ||
        copy_part(c->root, "os", "linux", c->platform.os, err) < 0 ||
        copy_part(c->root, "architecture", "", c->platform.architecture, err) < 0 ||
        copy_part(c->root, "variant", "", c->platform.variant, err) < 0) {
        (void)err_wrap(err, "image config");
        return NULL;
    }
    return steal_ptr(&c);
}

void config_free(struct config *c)
{
    if (!c)
        return;
    json_decref(c->root);
    free(c);
}

const struct platform *config_platform(const struct config *c)
{
    return &c->platform;
}

const json_t *config_tree(const struct config *c)
{
    return c->root;
}

bool config_rewritable(const struct config *c, size_t layers, const char **ret_reason)
{
    const json_t *rootfs = member(c->root, "rootfs");
    const char *reason = !rootfs                                                 ? "rootfs"
                         : json_array_size(member(rootfs, "diff_ids")) != layers ? "diff_ids"
                         : c->unsafe_number                                      ? "number"
                                                                                 : NULL;
    if (reason)
        *ret_reason = reason;
    return reason == NULL;
}
