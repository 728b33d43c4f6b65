// SPDX-License-Identifier: Apache-2.0
#include "layers/injection.h"

#include <errno.h>
#include <libgen.h>

#include "common/json.h"
#include "common/mem.h"
#include "layers/injection_impl.h"
#include "layers/out_file.h"

struct parser {
    enum injection_trust trust;
    const char *base_dir; /* absolute */
};

static const char *const root_names[] = {"layers",     "entrypoint", "cmd",  "env",
                                         "workingDir", "labels",     "user", "entrypointChain",
                                         "platform",   NULL};
static const char *const layer_names[] = {"location", "gzipDigest", "gzipSize",    "tarDigest",
                                          "name",     "platform",   "skipHashing", NULL};

/* A slip in a configuration file must not pass for "not set". Clients may be newer than we are. */
static int check_members(const struct parser *ps, const json_t *obj, const char *const *known,
                         struct err *err)
{
    if (ps->trust == INJECTION_FROM_CLIENT)
        return 0;
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)obj, key, value) {
        const char *const *name = known;
        while (*name && strcmp(*name, key) != 0)
            ++name;
        if (!*name)
            return err_set(err, ERR_INVALID, "unknown member '%.80s'", key);
    }
    return 0;
}

/* A member of any type but null; NULL if absent. */
static const json_t *member(const json_t *obj, const char *key)
{
    const json_t *v = json_object_get(obj, key);
    return json_is_null(v) ? NULL : v;
}

static int parse_list(const json_t *obj, const char *key, struct injection_string_list *ret, struct err *err)
{
    const json_t *v = member(obj, key);
    if (!v)
        return 0;
    if (!json_is_array(v))
        return err_set(err, ERR_INVALID, "'%s' must be a list of strings", key);
    size_t n = json_array_size(v);
    ret->v = mem_zalloc((n + 1) * sizeof *ret->v);
    for (size_t i = 0; i < n; ++i) {
        const char *s = json_string_value(json_array_get(v, i));
        if (!s)
            return err_set(err, ERR_INVALID, "'%s' must be a list of strings: entry %zu is none", key, i);
        ret->v[ret->n++] = mem_strdup(s);
    }
    return 0;
}

static int parse_env(const json_t *obj, struct injection *inj, struct err *err)
{
    if (parse_list(obj, "env", &inj->env, err) < 0)
        return -1;
    for (size_t i = 0; i < inj->env.n; ++i)
        if (!strchr(inj->env.v[i], '=') || inj->env.v[i][0] == '=')
            return err_set(err, ERR_INVALID, "'env' entry %zu must be KEY=VALUE", i);
    return 0;
}

static int compare_label(const void *a, const void *b)
{
    return strcmp(((char *const *)a)[0], ((char *const *)b)[0]);
}

/* Sorted, since members of an object have no order: it must not come to show in an image. */
static int parse_labels(const json_t *obj, struct injection *inj, struct err *err)
{
    const json_t *v = member(obj, "labels");
    if (!v)
        return 0;
    if (!json_is_object(v))
        return err_set(err, ERR_INVALID, "'labels' must be an object of strings");
    struct injection_string_list *list = &inj->labels;
    list->v = mem_zalloc((2 * json_object_size(v) + 1) * sizeof *list->v);
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)v, key, value) {
        if (!json_is_string(value))
            return err_set(err, ERR_INVALID, "label '%.80s' must be a string", key);
        list->v[list->n++] = mem_strdup(key);
        list->v[list->n++] = mem_strdup(json_string_value(value));
    }
    qsort(list->v, list->n / 2, 2 * sizeof *list->v, compare_label);
    return 0;
}

/* A string member that says one of two things; absent, null and "" leave *ret as it is. */
static int parse_choice(const json_t *obj, const char *key, const char *zero, const char *one, int *ret,
                        struct err *err)
{
    const char *s;
    if (json_get_str(obj, key, &s, err) < 0)
        return -1;
    if (!s || !*s)
        return 0;
    if (strcmp(s, zero) != 0 && strcmp(s, one) != 0)
        return err_set(err, ERR_INVALID, "'%s' must be '%s' or '%s', not '%.40s'", key, zero, one, s);
    *ret = strcmp(s, one) == 0;
    return 0;
}

static int parse_location(const struct parser *ps, const json_t *obj, struct injection_layer *layer,
                          struct err *err)
{
    const char *s;
    enum layer_location kind;
    if (json_get_str(obj, "location", &s, err) < 0)
        return -1;
    if (!s || !*s)
        return err_set(err, ERR_INVALID, "'location' is missing: where the layer's bytes are");
    if (injection_location_kind(slice_of(s), &kind, err) < 0)
        return -1;
    if ((kind == LAYER_FILE || kind == LAYER_IMAGE) && ps->trust == INJECTION_FROM_CLIENT)
        return err_set(err, ERR_INVALID, "'location' must be https://, data: or gzip:");
    layer->location =
        kind == LAYER_FILE && s[0] != '/' ? mem_printf("%s/%s", ps->base_dir, s) : mem_strdup(s);
    return 0;
}

static int parse_digest(const json_t *obj, const char *key, struct digest *ret, struct err *err)
{
    const char *s;
    if (json_get_str(obj, key, &s, err) < 0)
        return -1;
    if (!s || !*s)
        return err_set(err, ERR_INVALID, "'%s' is missing", key);
    if (digest_parse(slice_of(s), ret, err) < 0) {
        if (err)
            err->code = ERR_INVALID;
        return err_wrap(err, "'%s'", key);
    }
    return 0;
}

static int parse_layer(const struct parser *ps, const json_t *obj, struct injection_layer *layer,
                       struct err *err)
{
    if (!json_is_object(obj))
        return err_set(err, ERR_INVALID, "must be an object");
    const char *name, *platform;
    if (check_members(ps, obj, layer_names, err) < 0 || parse_location(ps, obj, layer, err) < 0 ||
        parse_digest(obj, "gzipDigest", &layer->gzip_digest, err) < 0 ||
        parse_digest(obj, "tarDigest", &layer->tar_digest, err) < 0 ||
        json_get_str(obj, "name", &name, err) < 0 || json_get_str(obj, "platform", &platform, err) < 0)
        return -1;
    const json_t *size = member(obj, "gzipSize"), *skip = member(obj, "skipHashing");
    if (!size)
        return err_set(err, ERR_INVALID, "'gzipSize' is missing");
    if (!json_is_integer(size) || json_integer_value(size) <= 0 ||
        json_integer_value(size) > (json_int_t)1 << 53)
        return err_set(err, ERR_INVALID, "'gzipSize' must be a number of bytes");
    layer->gzip_size = (uint64_t)json_integer_value(size);
    if (skip && !json_is_boolean(skip))
        return err_set(err, ERR_INVALID, "'skipHashing' must be true or false");
    layer->name = name && *name ? mem_strdup(name) : NULL;
    layer->has_platform = platform && *platform;
    if (layer->has_platform && platform_parse(slice_of(platform), &layer->platform, err) < 0)
        return err_wrap(err, "'platform'");
    return 0;
}

static int parse_layers(const struct parser *ps, const json_t *obj, struct injection *inj, struct err *err)
{
    const json_t *v = member(obj, "layers");
    if (!v)
        return 0;
    if (!json_is_array(v))
        return err_set(err, ERR_INVALID, "'layers' must be a list");
    size_t n = json_array_size(v);
    if (n > INJECTION_LAYERS_MAX)
        return err_set(err, ERR_INVALID, "'layers' has %zu entries, the limit is %d", n,
                       INJECTION_LAYERS_MAX);
    inj->layers = mem_zalloc((n + 1) * sizeof *inj->layers);
    for (size_t i = 0; i < n; ++i) {
        inj->layer_count = i + 1; /* so that a half-filled one is freed too */
        if (parse_layer(ps, json_array_get(v, i), &inj->layers[i], err) < 0)
            return err_wrap(err, "layers[%zu]", i);
    }
    return 0;
}

static int parse_members(const struct parser *ps, const json_t *obj, struct injection *inj, struct err *err)
{
    const char *dir, *platform;
    int user = 0, chain = ps->trust == INJECTION_FROM_CLIENT;
    if (!json_is_object(obj))
        return err_set(err, ERR_INVALID, "an injection must be a JSON object");
    if (check_members(ps, obj, root_names, err) < 0 || parse_layers(ps, obj, inj, err) < 0 ||
        parse_list(obj, "entrypoint", &inj->entrypoint, err) < 0 ||
        parse_list(obj, "cmd", &inj->cmd, err) < 0 || parse_env(obj, inj, err) < 0 ||
        parse_labels(obj, inj, err) < 0 || json_get_str(obj, "workingDir", &dir, err) < 0 ||
        parse_choice(obj, "user", "keep", "root-then-drop", &user, err) < 0 ||
        parse_choice(obj, "entrypointChain", "args", "env", &chain, err) < 0 ||
        json_get_str(obj, "platform", &platform, err) < 0)
        return -1;
    inj->has_platform = platform && *platform;
    if (inj->has_platform && platform_parse(slice_of(platform), &inj->platform, err) < 0)
        return err_wrap(err, "'platform'");
    inj->working_dir = dir && *dir ? mem_strdup(dir) : NULL;
    inj->user = user ? INJECTION_USER_ROOT_THEN_DROP : INJECTION_USER_KEEP;
    inj->chain = chain ? INJECTION_CHAIN_ENV : INJECTION_CHAIN_ARGS;
    return 0;
}

struct injection *injection_from_client(const struct json_t *root, struct err *err)
{
    struct parser ps = {.trust = INJECTION_FROM_CLIENT};
    cleanup_injection struct injection *inj = injection_new();
    if (parse_members(&ps, root, inj, err) < 0)
        return NULL;
    injection_seal(inj);
    return steal_ptr(&inj);
}

struct injection *injection_parse(const void *json, size_t len, enum injection_trust trust,
                                  const char *base_dir, struct err *err)
{
    struct parser ps = {.trust = trust};
    cleanup_free char *base = NULL;
    if (trust == INJECTION_FROM_CONFIGURATION) {
        base = realpath(base_dir ? base_dir : ".", NULL);
        if (!base) {
            (void)err_set_errno(err, ERR_IO, errno, "folder %s", base_dir ? base_dir : ".");
            return NULL;
        }
        ps.base_dir = base;
    }
    cleanup_json json_t *root = json_parse(json, len, INJECTION_BYTES_MAX, err);
    if (!root)
        return NULL;
    cleanup_injection struct injection *inj = injection_new();
    if (parse_members(&ps, root, inj, err) < 0)
        return NULL;
    injection_seal(inj);
    return steal_ptr(&inj);
}

struct injection *injection_load(const char *path, struct err *err)
{
    cleanup_buf struct buf text = {0};
    cleanup_free char *copy = mem_strdup(path);
    struct injection *inj = NULL;
    if (in_file_read(path, INJECTION_BYTES_MAX, &text, err) == 0)
        inj = injection_parse(buf_str(&text), text.len, INJECTION_FROM_CONFIGURATION, dirname(copy), err);
    if (!inj)
        (void)err_wrap(err, "injection %s", path);
    return inj;
}
