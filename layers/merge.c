// SPDX-License-Identifier: Apache-2.0
#include "layers/merge.h"

#include <assert.h>

#include "common/json.h"
#include "common/mem.h"
#include "layers/injection.h"
#include "layers/layer_source.h"
#include "layers/out_file.h"

/* What an injection says besides its layers, defaults said too. */
static json_t *without_layers(const struct injection *inj)
{
    const char *text = injection_json(inj);
    json_t *root = json_parse(text, strlen(text), INJECTION_BYTES_MAX, NULL);
    assert(root);
    (void)json_object_del(root, "layers");
    return root;
}

static char *file_name(const struct injection_layer *layer, size_t n)
{
    char text[PLATFORM_STR_MAX];
    if (!layer->has_platform)
        return mem_printf("layer-%zu.tar.gz", n + 1);
    (void)platform_format(&layer->platform, text);
    for (char *p = text; *p; ++p)
        if (*p == '/')
            *p = '-';
    return mem_printf("layer-%s.tar.gz", text);
}

static int write_bytes(void *arg, const void *bytes, size_t len, struct err *err)
{
    return out_file_write(arg, bytes, len, err);
}

static int copy_layer(const struct injection_layer *layer, const char *out_dir, const char *name,
                      struct err *err)
{
    cleanup_free char *path = mem_printf("%s/%s", out_dir, name);
    cleanup_out_file struct out_file *f = out_file_new(path, err);
    return f && layer_source_read(layer, write_bytes, f, err) == 0 ? out_file_finish(f, err) : -1;
}

static bool has_location(const json_t *layers, const char *location)
{
    size_t i;
    json_t *layer;
    json_array_foreach (layers, i, layer)
        if (strcmp(json_string_value(json_object_get(layer, "location")), location) == 0)
            return true;
    return false;
}

static int add_layer(json_t *layers, const struct injection_layer *layer, const char *out_dir,
                     struct err *err)
{
    enum layer_location kind;
    if (injection_layer_location(layer, &kind, err) < 0)
        return -1;
    cleanup_free char *name = kind == LAYER_FILE ? file_name(layer, json_array_size(layers)) : NULL;
    if (name && has_location(layers, name))
        return err_set(err, ERR_INVALID, "two layers would be %s: one platform, one layer", name);
    if (name && copy_layer(layer, out_dir, name, err) < 0)
        return -1;
    json_t *one = json_object();
    (void)json_object_set_new(one, "location", json_string(name ? name : layer->location));
    (void)json_object_set_new(one, "gzipDigest", json_string(layer->gzip_digest.s));
    (void)json_object_set_new(one, "gzipSize", json_integer((json_int_t)layer->gzip_size));
    (void)json_object_set_new(one, "tarDigest", json_string(layer->tar_digest.s));
    if (layer->name)
        (void)json_object_set_new(one, "name", json_string(layer->name));
    char text[PLATFORM_STR_MAX];
    if (layer->has_platform)
        (void)json_object_set_new(one, "platform", json_string(platform_format(&layer->platform, text)));
    (void)json_array_append_new(layers, one);
    return 0;
}

static int add_injection(json_t **rest, json_t *layers, const char *path, const char *out_dir,
                         struct err *err)
{
    cleanup_injection struct injection *inj = injection_load(path, err);
    if (!inj)
        return -1;
    cleanup_json json_t *own = without_layers(inj);
    if (!*rest)
        *rest = json_incref(own);
    else if (!json_equal(*rest, own))
        return err_set(err, ERR_INVALID, "%s differs from the first one in more than its layers", path);
    for (size_t i = 0; i < injection_layer_count(inj); ++i)
        if (add_layer(layers, injection_layer_at(inj, i), out_dir, err) < 0)
            return err_wrap(err, "%s: layers[%zu]", path, i);
    return 0;
}

int merge_injections(const char *const *paths, size_t count, const char *out_dir, struct merge_result *ret,
                     struct err *err)
{
    if (make_folders(out_dir, err) < 0)
        return -1;
    cleanup_json json_t *root = json_object(), *layers = json_array(), *rest = NULL;
    for (size_t i = 0; i < count; ++i)
        if (add_injection(&rest, layers, paths[i], out_dir, err) < 0)
            return -1;
    (void)json_object_set(root, "layers", layers);
    if (rest)
        (void)json_object_update(root, rest);
    cleanup_free char *text = json_dumps(root, JSON_INDENT(2));
    assert(text);
    cleanup_injection struct injection *merged =
        injection_parse(text, strlen(text), INJECTION_FROM_CONFIGURATION, out_dir, err);
    if (!merged)
        return -1;
    cleanup_free char *lines = mem_printf("%s\n", text), *path = mem_printf("%s/layer.json", out_dir);
    if (out_file_put(path, lines, strlen(lines), err) < 0)
        return -1;
    *ret = (struct merge_result){.layers = injection_layer_count(merged),
                                 .injection = *injection_digest(merged)};
    return 0;
}
