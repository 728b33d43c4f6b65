// SPDX-License-Identifier: Apache-2.0
#include "proxy/k8s/pod.h"

#include <assert.h>

#include "common/mem.h"
#include "proxy/k8s/pod_image.h"

#define KEY_REWRITE    "rac-proxy/rewrite"
#define KEY_ENTRYPOINT "rac-proxy/entrypoint"
#define CHAIN          "WAVE_ENTRY_CHAIN"

/* What all containers of a pod have in common. */
struct pod {
    const struct admission_config *config;
    const struct admission_images *images;
    const json_t *spec;
    bool is_windows, keep_commands;
    json_t *patch;
    struct admission_result *result;
};

/* ---- what is asked of us ---- */

static bool says_no(const json_t *map, const char *key)
{
    const char *value = json_string_value(json_object_get(map, key));
    return value && (strcmp(value, "disabled") == 0 || strcmp(value, "false") == 0);
}

static const json_t *metadata(const json_t *pod, const char *map)
{
    return json_object_get(json_object_get(pod, "metadata"), map);
}

bool pod_is_exempt(const json_t *pod)
{
    const json_t *annotations = metadata(pod, "annotations");
    /* The kubelet compares a mirror with the file that it comes of: a change would make it start over. */
    return json_object_get(annotations, "kubernetes.io/config.mirror") || says_no(annotations, KEY_REWRITE) ||
           says_no(metadata(pod, "labels"), KEY_REWRITE);
}

/* ---- operations ---- */

static void add_operation(struct pod *p, const char *op, const char *path, json_t *value)
{
    int rc =
        json_array_append_new(p->patch, json_pack("{s:s, s:s, s:o}", "op", op, "path", path, "value", value));
    assert(rc == 0);
}

static void set_member(struct pod *p, const char *container, const char *name, bool is_there, json_t *value)
{
    cleanup_free char *path = mem_printf("%s/%s", container, name);
    add_operation(p, is_there ? "replace" : "add", path, value);
}

/* ---- commands ---- */

static bool applies_to(const struct injection *injection, struct slice architecture)
{
    struct platform platform;
    return platform_parse(architecture, &platform, NULL) == 0 && injection_applies(injection, &platform);
}

/* Whether the image will have our entry point on every node that the pod may run on: one that is put in front
 * and is not there keeps a container from starting. */
static bool is_everywhere(const struct pod *p, const struct injection *injection)
{
    const char *own =
        json_string_value(json_object_get(json_object_get(p->spec, "nodeSelector"), "kubernetes.io/arch"));
    struct slice rest = slice_of(own ? own : p->config->architectures);
    while (rest.p)
        if (!applies_to(injection, slice_trim(slice_cut(&rest, ','))))
            return false;
    return true;
}

static bool begins_with(const json_t *command, const struct injection_string_list *words)
{
    for (size_t i = 0; i < words->n; ++i) {
        const char *word = json_string_value(json_array_get(command, i));
        if (!word || strcmp(word, words->v[i]) != 0)
            return false;
    }
    return true;
}

/* Words that the kubelet would still put variables into: inside of a JSON text they could break it. */
static bool has_references(const json_t *command)
{
    size_t i;
    json_t *word;
    json_array_foreach (command, i, word)
        if (strstr(json_string_value(word), "$("))
            return true;
    return false;
}

static bool has_variable(const json_t *env, const char *name)
{
    size_t i;
    json_t *entry;
    json_array_foreach (env, i, entry) {
        const char *text = json_string_value(json_object_get(entry, "name"));
        if (text && strcmp(text, name) == 0)
            return true;
    }
    return false;
}

/* As layers/config_rewrite.c does it with an image's entry point. */
static json_t *chain_text(const json_t *command)
{
    const char *first = json_string_value(json_array_get(command, 0));
    if (json_array_size(command) == 1 && first[0] != '[')
        return json_string(first);
    cleanup_free char *list = json_format(command, NULL);
    return json_string(list);
}

/* A command of the pod's own replaces the image's entry point, and ours with it: ours goes in front again. */
static void put_in_front(struct pod *p, const json_t *container, const char *path,
                         const struct pod_image *image)
{
    const json_t *command = json_object_get(container, "command"), *env = json_object_get(container, "env");
    if (json_array_size(command) == 0 || !image->injection || image->is_pinned || p->keep_commands)
        return;
    const struct injection_string_list *ours = injection_entrypoint(image->injection);
    if (!ours->n || begins_with(command, ours) || p->is_windows || !is_everywhere(p, image->injection))
        return;
    bool by_env = injection_chain(image->injection) == INJECTION_CHAIN_ENV;
    if (by_env && (has_variable(env, CHAIN) || has_references(command)))
        return;

    json_t *all = json_array();
    for (size_t i = 0; i < ours->n; ++i)
        (void)json_array_append_new(all, json_string(ours->v[i]));
    if (!by_env)
        (void)json_array_extend(all, (json_t *)(uintptr_t)command);
    set_member(p, path, "command", true, all);
    ++p->result->commands;
    if (!by_env)
        return;
    json_t *variable = json_pack("{s:s, s:o}", "name", CHAIN, "value", chain_text(command));
    if (json_is_array(env))
        set_member(p, path, "env/-", false, variable);
    else
        set_member(p, path, "env", json_object_get(container, "env") != NULL, json_pack("[o]", variable));
}

/* ---- containers ---- */

static int check_words(const json_t *container, const char *key, const char *path, struct err *err)
{
    const json_t *list = json_object_get(container, key);
    size_t i;
    json_t *word;
    if (!list || json_is_null(list))
        return 0;
    if (!json_is_array(list))
        return err_set(err, ERR_INVALID, "%s/%s is no list", path, key);
    json_array_foreach (list, i, word)
        if (!json_is_string(word))
            return err_set(err, ERR_INVALID, "%s/%s/%zu is no text", path, key, i);
    return 0;
}

static int rewrite_container(struct pod *p, const json_t *container, const char *path, bool image_only,
                             struct err *err)
{
    const json_t *text = json_object_get(container, "image");
    const char *policy;
    if (!json_is_object(container))
        return err_set(err, ERR_INVALID, "%s is no object", path);
    if (!text || json_is_null(text)) /* allowed to pod templates, and refused elsewhere by the API server */
        return 0;
    if (!json_is_string(text))
        return err_set(err, ERR_INVALID, "%s/image is no text", path);
    if (check_words(container, "command", path, err) < 0 ||
        json_get_str(container, "imagePullPolicy", &policy, err) < 0)
        return -1;

    struct pod_image image;
    struct slice name = {json_string_value(text), json_string_length(text)};
    pod_image_read(name, p->config, p->images, &image);
    if (image.renamed) {
        set_member(p, path, "image", true, json_string(image.renamed));
        ++p->result->renamed;
    } else {
        ++p->result->kept;
    }
    if (!image_only) {
        if (image.renamed && p->config->pull_always && !(policy && strcmp(policy, "Always") == 0))
            set_member(p, path, "imagePullPolicy", json_object_get(container, "imagePullPolicy") != NULL,
                       json_string("Always"));
        put_in_front(p, container, path, &image);
    }
    pod_image_clear(&image);
    return 0;
}

static const json_t *by_name(const json_t *list, const json_t *container)
{
    const char *name = json_string_value(json_object_get(container, "name"));
    size_t i;
    json_t *other;
    json_array_foreach (list, i, other) {
        const char *text = json_string_value(json_object_get(other, "name"));
        if (name && text && strcmp(name, text) == 0)
            return other;
    }
    return NULL;
}

static bool same_image(const json_t *a, const json_t *b)
{
    const char *x = json_string_value(json_object_get(a, "image")),
               *y = json_string_value(json_object_get(b, "image"));
    return x && y && strcmp(x, y) == 0;
}

static int rewrite_list(struct pod *p, const char *key, const json_t *before, enum pod_moment moment,
                        struct err *err)
{
    const json_t *list = json_object_get(p->spec, key);
    const json_t *old = json_object_get(json_object_get(before, "spec"), key);
    size_t i;
    json_t *container;
    if (!list || json_is_null(list))
        return 0;
    if (!json_is_array(list))
        return err_set(err, ERR_INVALID, "spec/%s is no list", key);
    json_array_foreach (list, i, container) {
        const json_t *was = before ? by_name(old, container) : NULL;
        cleanup_free char *path = mem_printf("/spec/%s/%zu", key, i);
        if (was && (moment == POD_DEBUGGED || same_image(container, was)))
            continue;
        if (rewrite_container(p, container, path, moment == POD_CHANGED, err) < 0)
            return -1;
    }
    return 0;
}

static bool runs_windows(const json_t *spec)
{
    const char *os = json_string_value(json_object_get(json_object_get(spec, "os"), "name"));
    if (!os)
        os = json_string_value(json_object_get(json_object_get(spec, "nodeSelector"), "kubernetes.io/os"));
    return os && strcmp(os, "windows") == 0;
}

int pod_rewrite(const json_t *pod, const json_t *before, enum pod_moment moment,
                const struct admission_config *config, const struct admission_images *images, json_t *patch,
                struct admission_result *ret, struct err *err)
{
    struct pod p = {.config = config,
                    .images = images,
                    .spec = json_object_get(pod, "spec"),
                    .keep_commands = says_no(metadata(pod, "annotations"), KEY_ENTRYPOINT),
                    .patch = patch,
                    .result = ret};
    if (!json_is_object(p.spec))
        return err_set(err, ERR_INVALID, "the pod's 'spec' is missing, or no object");
    p.is_windows = runs_windows(p.spec);
    if (moment != POD_DEBUGGED && (rewrite_list(&p, "initContainers", before, moment, err) < 0 ||
                                   rewrite_list(&p, "containers", before, moment, err) < 0))
        return -1;
    return moment == POD_CHANGED ? 0 : rewrite_list(&p, "ephemeralContainers", before, moment, err);
}
