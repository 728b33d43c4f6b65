// SPDX-License-Identifier: Apache-2.0
#include "layers/injection.h"

#include <assert.h>

#include "common/json.h"
#include "common/mem.h"
#include "layers/injection_impl.h"

struct injection *injection_new(void)
{
    struct injection *inj = mem_new(struct injection);
    atomic_init(&inj->refs, 1);
    return inj;
}

static void string_list_free(struct injection_string_list *list)
{
    for (size_t i = 0; i < list->n; ++i)
        free(list->v[i]);
    free(list->v);
}

struct injection *injection_ref(struct injection *inj)
{
    int before = atomic_fetch_add_explicit(&inj->refs, 1, memory_order_relaxed);
    assert(before > 0);
    return inj;
}

void injection_unref(struct injection *inj)
{
    if (!inj || atomic_fetch_sub_explicit(&inj->refs, 1, memory_order_acq_rel) > 1)
        return;
    for (size_t i = 0; i < inj->layer_count; ++i) {
        free((void *)inj->layers[i].location);
        free((void *)inj->layers[i].name);
    }
    free(inj->layers);
    string_list_free(&inj->entrypoint);
    string_list_free(&inj->cmd);
    string_list_free(&inj->env);
    string_list_free(&inj->labels);
    free(inj->working_dir);
    free(inj->canonical);
    free(inj->json);
    free(inj);
}

static void put(json_t *obj, const char *key, json_t *value)
{
    int rc = json_object_set_new(obj, key, value);
    assert(rc == 0);
}

static void put_list(json_t *obj, const char *key, const struct injection_string_list *list)
{
    if (list->n == 0)
        return;
    json_t *array = json_array();
    for (size_t i = 0; i < list->n; ++i)
        (void)json_array_append_new(array, json_string(list->v[i]));
    put(obj, key, array);
}

static json_t *layer_to_json(const struct injection_layer *layer, bool full)
{
    json_t *obj = json_object();
    char platform[PLATFORM_STR_MAX];
    if (full)
        put(obj, "location", json_string(layer->location));
    put(obj, "gzipDigest", json_string(layer->gzip_digest.s));
    put(obj, "gzipSize", json_integer((json_int_t)layer->gzip_size));
    put(obj, "tarDigest", json_string(layer->tar_digest.s));
    if (layer->name)
        put(obj, "name", json_string(layer->name));
    if (layer->has_platform)
        put(obj, "platform", json_string(platform_format(&layer->platform, platform)));
    return obj;
}

/* `full`: with locations and every default said, so that it reads the same from whoever it comes. Else only
 * what makes a difference to an image: two texts for one meaning would be two digests for one image. */
static json_t *injection_to_json(const struct injection *inj, bool full)
{
    json_t *obj = json_object();
    char platform[PLATFORM_STR_MAX];
    if (inj->layer_count) {
        json_t *layers = json_array();
        for (size_t i = 0; i < inj->layer_count; ++i)
            (void)json_array_append_new(layers, layer_to_json(&inj->layers[i], full));
        put(obj, "layers", layers);
    }
    put_list(obj, "entrypoint", &inj->entrypoint);
    put_list(obj, "cmd", &inj->cmd);
    put_list(obj, "env", &inj->env);
    if (inj->working_dir)
        put(obj, "workingDir", json_string(inj->working_dir));
    if (inj->labels.n) {
        json_t *labels = json_object();
        for (size_t i = 0; i < inj->labels.n; i += 2)
            put(labels, inj->labels.v[i], json_string(inj->labels.v[i + 1]));
        put(obj, "labels", labels);
    }
    if (full || inj->user == INJECTION_USER_ROOT_THEN_DROP)
        put(obj, "user", json_string(inj->user == INJECTION_USER_KEEP ? "keep" : "root-then-drop"));
    if (full || (inj->chain == INJECTION_CHAIN_ENV && inj->entrypoint.n))
        put(obj, "entrypointChain", json_string(inj->chain == INJECTION_CHAIN_ARGS ? "args" : "env"));
    if (inj->has_platform)
        put(obj, "platform", json_string(platform_format(&inj->platform, platform)));
    return obj;
}

void injection_seal(struct injection *inj)
{
    cleanup_json json_t *meaning = injection_to_json(inj, false), *all = injection_to_json(inj, true);
    inj->canonical = json_format_canonical(meaning, &inj->canonical_len);
    inj->digest = digest_of(inj->canonical, inj->canonical_len);
    inj->json = json_format(all, NULL);
}

const char *injection_canonical(const struct injection *inj, size_t *ret_len)
{
    if (ret_len)
        *ret_len = inj->canonical_len;
    return inj->canonical;
}

const struct digest *injection_digest(const struct injection *inj)
{
    return &inj->digest;
}

const char *injection_json(const struct injection *inj)
{
    return inj->json;
}

size_t injection_layer_count(const struct injection *inj)
{
    return inj->layer_count;
}

const struct injection_layer *injection_layer_at(const struct injection *inj, size_t i)
{
    assert(i < inj->layer_count);
    return &inj->layers[i];
}

const struct injection_string_list *injection_entrypoint(const struct injection *inj)
{
    return &inj->entrypoint;
}

const struct injection_string_list *injection_cmd(const struct injection *inj)
{
    return &inj->cmd;
}

const struct injection_string_list *injection_env(const struct injection *inj)
{
    return &inj->env;
}

const struct injection_string_list *injection_labels(const struct injection *inj)
{
    return &inj->labels;
}

const char *injection_working_dir(const struct injection *inj)
{
    return inj->working_dir;
}

enum injection_user injection_user(const struct injection *inj)
{
    return inj->user;
}

enum injection_chain injection_chain(const struct injection *inj)
{
    return inj->chain;
}

const struct platform *injection_platform(const struct injection *inj)
{
    return inj->has_platform ? &inj->platform : NULL;
}

bool injection_is_empty(const struct injection *inj)
{
    return inj->layer_count == 0 && inj->entrypoint.n == 0 && inj->cmd.n == 0 && inj->env.n == 0 &&
           inj->labels.n == 0 && !inj->working_dir && inj->user == INJECTION_USER_KEEP;
}

bool injection_layer_applies(const struct injection_layer *layer, const struct platform *platform)
{
    return !layer->has_platform || platform_matches(&layer->platform, platform);
}

bool injection_applies(const struct injection *inj, const struct platform *platform)
{
    /* "unknown" is what build tools call a manifest that is not to be run. */
    if (strcmp(platform->os, "windows") == 0 || strcmp(platform->os, "unknown") == 0)
        return false;
    if (inj->has_platform && !platform_matches(&inj->platform, platform))
        return false;
    for (size_t i = 0; i < inj->layer_count; ++i)
        if (injection_layer_applies(&inj->layers[i], platform))
            return true;
    return inj->layer_count == 0 && !injection_is_empty(inj);
}
