// SPDX-License-Identifier: Apache-2.0
#include "layers/inject.h"

#include <assert.h>

#include "common/json.h"
#include "common/mem.h"
#include "layers/config.h"
#include "layers/config_impl.h"
#include "layers/manifest_impl.h"

void inject_result_free(struct inject_result *r)
{
    free(r->manifest);
    free(r->config);
    memset(r, 0, sizeof *r);
}

static int result_skip(struct inject_result *ret, const char *reason)
{
    *ret = (struct inject_result){.skipped = reason};
    return 0;
}

static void put(json_t *obj, const char *key, json_t *value)
{
    int rc = json_object_set_new(obj, key, value);
    assert(rc == 0);
}

/* Points a descriptor at other bytes. What it says about where else the old bytes are goes with them. */
static void descriptor_retarget(json_t *descriptor, const struct digest *digest, uint64_t size)
{
    put(descriptor, "digest", json_string(digest->s));
    put(descriptor, "size", json_integer((json_int_t)size));
    (void)json_object_del(descriptor, "data");
    (void)json_object_del(descriptor, "urls");
}

/* Formats the new manifest or index into *ret. podman and containerd refuse what is larger. */
static int result_set_manifest(struct inject_result *ret, const struct manifest *source, const json_t *tree,
                               struct err *err)
{
    ret->manifest = json_format(tree, &ret->manifest_len);
    if (ret->manifest_len >= MANIFEST_BYTES_MAX)
        return err_set(err, ERR_SIZE_INVALID,
                       "the rewritten manifest would have %zu bytes: clients take fewer than %zu",
                       ret->manifest_len, MANIFEST_BYTES_MAX);
    ret->manifest_digest = digest_of(ret->manifest, ret->manifest_len);
    (void)snprintf(ret->media_type, sizeof ret->media_type, "%s", manifest_media_type(source));
    return 0;
}

static int result_set_config(struct inject_result *ret, const json_t *tree, struct err *err)
{
    ret->config = json_format(tree, &ret->config_len);
    if (ret->config_len >= CONFIG_BYTES_MAX)
        return err_set(err, ERR_SIZE_INVALID,
                       "the rewritten image config would have %zu bytes: clients take fewer than %zu",
                       ret->config_len, CONFIG_BYTES_MAX);
    ret->config_digest = digest_of(ret->config, ret->config_len);
    return 0;
}

/* The family of the base is kept: podman and skopeo refuse a manifest of one family with layers of the other,
 * and containerd cannot unpack gzip that is called plain tar. */
static int append_layers(json_t *tree, enum media_kind kind, const struct injection *inj,
                         const struct platform *platform, struct err *err)
{
    if (!json_is_array(json_object_get(tree, "layers")))
        put(tree, "layers", json_array());
    json_t *layers = json_object_get(tree, "layers");
    size_t own = json_array_size(layers);
    for (size_t i = 0; i < injection_layer_count(inj); ++i) {
        const struct injection_layer *layer = injection_layer_at(inj, i);
        if (!injection_layer_applies(layer, platform))
            continue;
        json_t *descriptor = json_object();
        put(descriptor, "mediaType",
            json_string(kind == MEDIA_DOCKER_MANIFEST ? MEDIA_TYPE_DOCKER_LAYER_GZIP
                                                      : MEDIA_TYPE_OCI_LAYER_GZIP));
        put(descriptor, "size", json_integer((json_int_t)layer->gzip_size));
        put(descriptor, "digest", json_string(layer->gzip_digest.s));
        (void)json_array_append_new(layers, descriptor);
    }
    size_t all = json_array_size(layers);
    if (all > INJECT_LAYERS_MAX && all > own)
        return err_set(err, ERR_SIZE_INVALID,
                       "the image has %zu layers and the injection adds %zu: the limit is %d in all", own,
                       all - own, INJECT_LAYERS_MAX);
    return 0;
}

/* The pre-defined keys for what an image is based on (OCI image spec, annotations.md). */
static void annotate_base(json_t *tree, const char *canonical_name, const struct digest *source)
{
    json_t *annotations = json_object_get(tree, "annotations");
    if (!json_is_object(annotations)) {
        put(tree, "annotations", json_object());
        annotations = json_object_get(tree, "annotations");
    }
    if (!json_object_get(annotations, "org.opencontainers.image.base.name"))
        put(annotations, "org.opencontainers.image.base.name", json_string(canonical_name));
    if (!json_object_get(annotations, "org.opencontainers.image.base.digest"))
        put(annotations, "org.opencontainers.image.base.digest", json_string(source->s));
}

int inject_image(const struct manifest *m, const void *config, size_t config_len, const struct injection *inj,
                 const char *canonical_name, const struct digest *source, struct inject_result *ret,
                 struct err *err)
{
    const char *reason = NULL;
    if (injection_is_empty(inj))
        return result_skip(ret, "empty");
    if (!manifest_rewritable(m, &reason))
        return result_skip(ret, reason);
    cleanup_config struct config *c = config_parse(config, config_len, err);
    if (!c)
        return -1;
    if (!config_rewritable(c, manifest_count(m) - 1, &reason))
        return result_skip(ret, reason);
    if (!injection_applies(inj, config_platform(c)))
        return result_skip(ret, "platform");

    cleanup_inject_result struct inject_result r = {0};
    cleanup_free char *label = mem_printf("%s@%s", canonical_name, source->s);
    cleanup_json json_t *new_config = config_rewrite(c, inj, label, err);
    if (!new_config || result_set_config(&r, new_config, err) < 0)
        return -1;

    cleanup_json json_t *tree = json_deep_copy(manifest_tree(m));
    assert(tree);
    if (append_layers(tree, manifest_kind(m), inj, config_platform(c), err) < 0)
        return -1;
    descriptor_retarget(json_object_get(tree, "config"), &r.config_digest, r.config_len);
    if (manifest_kind(m) == MEDIA_OCI_MANIFEST)
        annotate_base(tree, canonical_name, source);
    if (result_set_manifest(&r, m, tree, err) < 0)
        return -1;
    *ret = r;
    memset(&r, 0, sizeof r);
    return 0;
}

bool inject_child_may_change(const struct descriptor *child, const struct injection *inj)
{
    enum media_kind kind = media_type_kind(slice_of(child->media_type));
    if (child->is_attestation || injection_is_empty(inj))
        return false;
    if (media_kind_is_index(kind))
        return true;
    return media_kind_is_image(kind) && (!child->has_platform || injection_applies(inj, &child->platform));
}

static int compare_child(const void *a, const void *b)
{
    return strcmp(((const struct inject_child *)a)->source.s, ((const struct inject_child *)b)->source.s);
}

/* Those that were rewritten, sorted by source: an index may have thousands. */
static struct inject_child *rewritten_children(const struct inject_child *children, size_t n, size_t *ret_n)
{
    struct inject_child *sorted = mem_alloc((n + 1) * sizeof *sorted);
    *ret_n = 0;
    for (size_t i = 0; i < n; ++i)
        if (!digest_eq(&children[i].source, &children[i].target))
            sorted[(*ret_n)++] = children[i];
    qsort(sorted, *ret_n, sizeof *sorted, compare_child);
    return sorted;
}

static const struct inject_child *find_child(const struct inject_child *sorted, size_t n,
                                             const struct digest *source)
{
    struct inject_child key = {.source = *source};
    return bsearch(&key, sorted, n, sizeof *sorted, compare_child);
}

int inject_index(const struct manifest *index, const struct inject_child *children, size_t n,
                 struct inject_result *ret, struct err *err)
{
    assert(manifest_is_index(index));
    if (manifest_has_unsafe_number(index))
        return result_skip(ret, "number");
    bool changed = false;
    size_t rewritten = 0;
    cleanup_free struct inject_child *sorted = rewritten_children(children, n, &rewritten);
    cleanup_json json_t *tree = json_deep_copy(manifest_tree(index));
    assert(tree);
    json_t *list = json_object_get(tree, "manifests");
    /* From the end, so that what is dropped moves nothing that is still to come. */
    for (size_t i = manifest_count(index); i-- > 0;) {
        const struct descriptor *d = manifest_at(index, i);
        const struct inject_child *child = find_child(sorted, rewritten, &d->digest);
        if (child) {
            descriptor_retarget(json_array_get(list, i), &child->target, child->target_size);
            changed = true;
        } else if (d->is_attestation && find_child(sorted, rewritten, &d->attests)) {
            (void)json_array_remove(list, i);
        }
    }
    if (!changed)
        return result_skip(ret, "unchanged");
    cleanup_inject_result struct inject_result r = {0};
    if (result_set_manifest(&r, index, tree, err) < 0)
        return -1;
    *ret = r;
    memset(&r, 0, sizeof r);
    return 0;
}
