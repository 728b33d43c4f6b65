// SPDX-License-Identifier: Apache-2.0
#include "layers/manifest.h"

#include <assert.h>

#include "common/json.h"
#include "common/mem.h"
#include "layers/document.h"
#include "layers/manifest_impl.h"

struct manifest {
    json_t *root;
    enum media_kind kind;
    char media_type[MANIFEST_MEDIA_TYPE_MAX];
    bool unsafe_number; /* holds a number that we could not write again as it was */
    struct descriptor *descriptors;
    size_t count, cap;
};

static const char *const root_names[] = {
    "schemaVersion", "mediaType", "artifactType", "config",     "layers", "blobs", "manifests",    "subject",
    "annotations",   "fsLayers",  "history",      "signatures", "name",   "tag",   "architecture", NULL};
static const char *const descriptor_names[] = {"mediaType", "digest",   "size",         "urls", "annotations",
                                               "data",      "platform", "artifactType", NULL};
static const char *const platform_names[] = {"os",         "architecture", "variant",
                                             "os.version", "os.features",  NULL};
static const char *const fs_layer_names[] = {"blobSum", NULL};

/* A string member into a fixed array; absent and null leave it empty. */
static int copy_str(const json_t *obj, const char *key, char *out, size_t cap, const char *where,
                    struct err *err)
{
    const json_t *v = json_object_get(obj, key);
    if (!v || json_is_null(v))
        return 0;
    if (!json_is_string(v))
        return err_set(err, ERR_MANIFEST_INVALID, "%s: '%s' must be a string", where, key);
    if (json_string_length(v) >= cap)
        return err_set(err, ERR_MANIFEST_INVALID, "%s: '%s' has more than %zu characters", where, key,
                       cap - 1);
    memcpy(out, json_string_value(v), json_string_length(v) + 1);
    return 0;
}

static int copy_digest(const json_t *obj, const char *key, struct digest *ret, const char *where,
                       struct err *err)
{
    const json_t *v = json_object_get(obj, key);
    if (!json_is_string(v))
        return err_set(err, ERR_MANIFEST_INVALID, "%s: '%s' must be a string", where, key);
    if (digest_parse((struct slice){json_string_value(v), json_string_length(v)}, ret, err) < 0)
        return err_wrap(err, "%s: %s", where, key);
    return 0;
}

static int descriptor_parse_platform(const json_t *obj, struct descriptor *d, const char *where,
                                     struct err *err)
{
    const json_t *p = json_object_get(obj, "platform");
    if (!p || json_is_null(p))
        return 0;
    if (!json_is_object(p))
        return err_set(err, ERR_MANIFEST_INVALID, "%s: 'platform' must be an object", where);
    if (document_check_names(p, platform_names, where, err) < 0 ||
        copy_str(p, "os", d->platform.os, sizeof d->platform.os, where, err) < 0 ||
        copy_str(p, "architecture", d->platform.architecture, sizeof d->platform.architecture, where, err) <
            0 ||
        copy_str(p, "variant", d->platform.variant, sizeof d->platform.variant, where, err) < 0)
        return -1;
    d->has_platform = true;
    return 0;
}

/* BuildKit's attestations: a child of platform unknown/unknown that names the image it speaks about. */
static void descriptor_find_attested(const json_t *annotations, struct descriptor *d)
{
    const json_t *v = json_object_get(annotations, "vnd.docker.reference.digest");
    if (!json_is_string(v) || strcmp(d->platform.os, "unknown") != 0 ||
        strcmp(d->platform.architecture, "unknown") != 0)
        return;
    d->is_attestation =
        digest_parse((struct slice){json_string_value(v), json_string_length(v)}, &d->attests, NULL) == 0;
}

static int descriptor_parse(const json_t *obj, struct descriptor *ret, const char *where, struct err *err)
{
    struct descriptor d = {0};
    if (!json_is_object(obj))
        return err_set(err, ERR_MANIFEST_INVALID, "%s must be an object", where);
    if (document_check_names(obj, descriptor_names, where, err) < 0 ||
        copy_str(obj, "mediaType", d.media_type, sizeof d.media_type, where, err) < 0 ||
        copy_digest(obj, "digest", &d.digest, where, err) < 0)
        return -1;
    const json_t *size = json_object_get(obj, "size");
    if (!json_is_integer(size) || json_integer_value(size) < 0 ||
        json_integer_value(size) > MANIFEST_SIZE_MAX)
        return err_set(err, ERR_MANIFEST_INVALID, "%s: 'size' must be a whole number from 0 to 2^53", where);
    d.size = (uint64_t)json_integer_value(size);
    const json_t *annotations = json_object_get(obj, "annotations");
    if (annotations && !json_is_object(annotations) && !json_is_null(annotations))
        return err_set(err, ERR_MANIFEST_INVALID, "%s: 'annotations' must be an object", where);
    const json_t *urls = json_object_get(obj, "urls");
    if (urls && !json_is_array(urls) && !json_is_null(urls))
        return err_set(err, ERR_MANIFEST_INVALID, "%s: 'urls' must be a list", where);
    d.has_urls = json_array_size(urls) > 0;
    if (descriptor_parse_platform(obj, &d, where, err) < 0)
        return -1;
    descriptor_find_attested(annotations, &d);
    *ret = d;
    return 0;
}

static struct descriptor *manifest_push(struct manifest *m)
{
    if (m->count == m->cap) {
        m->cap = m->cap ? 2 * m->cap : 8;
        m->descriptors = mem_realloc(m->descriptors, m->cap * sizeof *m->descriptors);
    }
    struct descriptor *d = &m->descriptors[m->count++];
    memset(d, 0, sizeof *d);
    return d;
}

/* The descriptors of a list; absent and null are an empty one, as for Go. */
static int manifest_parse_list(struct manifest *m, const char *key, struct err *err)
{
    const json_t *list = json_object_get(m->root, key);
    if (!list || json_is_null(list))
        return 0;
    if (!json_is_array(list))
        return err_set(err, ERR_MANIFEST_INVALID, "'%s' must be a list", key);
    if (json_array_size(list) > MANIFEST_DESCRIPTORS_MAX - m->count)
        return err_set(err, ERR_SIZE_INVALID, "'%s' has %zu entries, the limit is %d in all", key,
                       json_array_size(list), MANIFEST_DESCRIPTORS_MAX);
    bool is_fs = strcmp(key, "fsLayers") == 0;
    for (size_t i = 0; i < json_array_size(list); ++i) {
        const json_t *entry = json_array_get(list, i);
        struct descriptor *d = manifest_push(m);
        char where[64];
        (void)snprintf(where, sizeof where, "%s[%zu]", key, i);
        if (!is_fs) {
            if (descriptor_parse(entry, d, where, err) < 0)
                return -1;
        } else if (!json_is_object(entry)) {
            return err_set(err, ERR_MANIFEST_INVALID, "%s must be an object", where);
        } else if (document_check_names(entry, fs_layer_names, where, err) < 0 ||
                   copy_digest(entry, "blobSum", &d->digest, where, err) < 0) {
            return -1;
        }
    }
    return 0;
}

static bool has(const struct manifest *m, const char *key)
{
    return json_object_get(m->root, key) != NULL;
}

/* Sets kind and media_type: by the body, else by the upstream, else by shape. */
static int manifest_find_type(struct manifest *m, const char *content_type, struct err *err)
{
    if (copy_str(m->root, "mediaType", m->media_type, sizeof m->media_type, "manifest", err) < 0)
        return -1;
    if (m->media_type[0]) {
        m->kind = media_type_kind(slice_of(m->media_type));
        return 0;
    }
    struct slice bare = media_type_bare(slice_of(content_type));
    m->kind = media_type_kind(bare);
    if (m->kind != MEDIA_OTHER) {
        memcpy(m->media_type, bare.p, bare.len);
        return 0;
    }
    const char *type = has(m, "fsLayers") && has(m, "signatures") ? MEDIA_TYPE_DOCKER_SCHEMA1_SIGNED
                       : has(m, "fsLayers")                       ? MEDIA_TYPE_DOCKER_SCHEMA1
                       : has(m, "manifests")                      ? MEDIA_TYPE_OCI_INDEX
                       : has(m, "config") || has(m, "layers")     ? MEDIA_TYPE_OCI_MANIFEST
                                                                  : NULL;
    if (!type)
        return err_set(err, ERR_MANIFEST_INVALID,
                       "neither a manifest nor an index: no mediaType, config, layers or manifests");
    m->kind = media_type_kind(slice_of(type));
    memcpy(m->media_type, type, strlen(type) + 1);
    return 0;
}

/* A body that clients could take for something else than its type says is refused, whatever they do with it.
 */
static int manifest_check_shape(const struct manifest *m, struct err *err)
{
    bool image = has(m, "config") || has(m, "layers"), index = has(m, "manifests"), fs = has(m, "fsLayers");
    if (image + index + fs > 1)
        return err_set(err, ERR_MANIFEST_INVALID,
                       "has members of an image and of an index (or of schema 1) at once");
    bool wrong = (media_kind_is_index(m->kind) && !index) || (media_kind_is_image(m->kind) && !image) ||
                 (m->kind == MEDIA_DOCKER_SCHEMA1 && !fs);
    if (wrong)
        return err_set(err, ERR_MANIFEST_INVALID, "has not the members of its type, %s", m->media_type);
    if (media_kind_is_image(m->kind) && !json_is_object(json_object_get(m->root, "config")))
        return err_set(err, ERR_MANIFEST_INVALID, "'config' must be an object");
    const json_t *version = json_object_get(m->root, "schemaVersion");
    json_int_t want = m->kind == MEDIA_DOCKER_SCHEMA1 ? 1 : 2;
    if (version && m->kind != MEDIA_OTHER &&
        (!json_is_integer(version) || json_integer_value(version) != want))
        return err_set(err, ERR_MANIFEST_INVALID, "'schemaVersion' must be %d for %s", (int)want,
                       m->media_type);
    const json_t *annotations = json_object_get(m->root, "annotations");
    if (annotations && !json_is_object(annotations) && !json_is_null(annotations))
        return err_set(err, ERR_MANIFEST_INVALID, "'annotations' must be an object");
    return 0;
}

static int manifest_parse_descriptors(struct manifest *m, struct err *err)
{
    const json_t *config = json_object_get(m->root, "config");
    if (json_is_object(config)) {
        if (descriptor_parse(config, manifest_push(m), "config", err) < 0)
            return -1;
    }
    const json_t *subject = json_object_get(m->root, "subject");
    struct descriptor ignored;
    if (subject && !json_is_null(subject) && descriptor_parse(subject, &ignored, "subject", err) < 0)
        return -1;
    static const char *const lists[] = {"layers", "manifests", "fsLayers", "blobs"};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; ++i) {
        bool artifact_only = strcmp(lists[i], "blobs") == 0;
        if ((!artifact_only || m->kind == MEDIA_OTHER) && manifest_parse_list(m, lists[i], err) < 0)
            return -1;
    }
    return 0;
}

struct manifest *manifest_parse(const void *bytes, size_t len, const char *content_type, struct err *err)
{
    cleanup_manifest struct manifest *m = mem_new(struct manifest);
    m->root = document_parse(bytes, len, MANIFEST_BYTES_MAX, &m->unsafe_number, err);
    if (!m->root || document_check_names(m->root, root_names, "manifest", err) < 0 ||
        manifest_find_type(m, content_type, err) < 0 || manifest_check_shape(m, err) < 0 ||
        manifest_parse_descriptors(m, err) < 0)
        return NULL;
    return steal_ptr(&m);
}

void manifest_free(struct manifest *m)
{
    if (!m)
        return;
    json_decref(m->root);
    free(m->descriptors);
    free(m);
}

enum media_kind manifest_kind(const struct manifest *m)
{
    return m->kind;
}

const char *manifest_media_type(const struct manifest *m)
{
    return m->media_type;
}

bool manifest_is_index(const struct manifest *m)
{
    return media_kind_is_index(m->kind);
}

size_t manifest_count(const struct manifest *m)
{
    return m->count;
}

const struct descriptor *manifest_at(const struct manifest *m, size_t i)
{
    assert(i < m->count);
    return &m->descriptors[i];
}

const json_t *manifest_tree(const struct manifest *m)
{
    return m->root;
}

bool manifest_has_unsafe_number(const struct manifest *m)
{
    return m->unsafe_number;
}

bool manifest_rewritable(const struct manifest *m, const char **ret_reason)
{
    const char *reason = NULL;
    if (manifest_is_index(m))
        reason = "index";
    else if (m->kind == MEDIA_DOCKER_SCHEMA1)
        reason = "schema1";
    else if (!media_kind_is_image(m->kind) || !media_type_is_config(slice_of(m->descriptors[0].media_type)))
        reason = "artifact";
    /* Signatures and attestations of some tools call their config an image's; their layers tell what they
     * are. */
    for (size_t i = 1; !reason && i < m->count; ++i)
        if (!media_type_is_layer(slice_of(m->descriptors[i].media_type)))
            reason = "artifact";
    if (!reason && m->unsafe_number)
        reason = "number";
    if (reason)
        *ret_reason = reason;
    return reason == NULL;
}
