// SPDX-License-Identifier: Apache-2.0
#include "layers/layout.h"

#include <errno.h>
#include <libgen.h>

#include "common/hash.h"
#include "common/mem.h"
#include "layers/inject.h"
#include "layers/layout_blobs.h"
#include "layers/manifest_impl.h"
#include "layers/out_file.h"

/* What became of a manifest or index: one that is named twice is looked at once. */
struct outcome {
    struct digest source; /* the key */
    struct digest target; /* the source, if it stayed */
    uint64_t target_size;
    struct outcome *next; /* all of them, to free them by */
    UT_hash_handle hh;
};

struct layout {
    const struct layout_options *options;
    const char *out; /* where new blobs go */
    char *fallback_name;
    struct injection *inj;
    struct outcome *outcomes; /* the table */
    struct outcome *all;
    bool layer_ready[INJECTION_LAYERS_MAX]; /* verified, and among the blobs */
};

static int rewrite_node(struct layout *lt, const struct descriptor *d, const char *name, unsigned depth,
                        struct inject_child *ret, struct err *err);

/* "docker.io/library/busybox:1@sha256:..." -> "docker.io/library/busybox" */
static char *without_tag(const char *text)
{
    char *name = mem_strdup(text);
    char *at = strchr(name, '@');
    if (at)
        *at = '\0';
    char *slash = strrchr(name, '/'), *colon = strrchr(name, ':');
    if (colon && (!slash || colon > slash))
        *colon = '\0';
    return name;
}

/* A layout names its images by tag only ("latest") or in full; only a full name says what the image is. */
static char *name_of_entry(const struct layout *lt, const json_t *entry)
{
    static const char *const keys[] = {"org.opencontainers.image.ref.name", "io.containerd.image.name"};
    const json_t *annotations = json_object_get(entry, "annotations");
    if (lt->options->name)
        return mem_strdup(lt->options->name);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; ++i) {
        const char *text = json_string_value(json_object_get(annotations, keys[i]));
        if (text && strchr(text, '/'))
            return without_tag(text);
    }
    return mem_strdup(lt->fallback_name);
}

static void report(const struct layout *lt, const struct descriptor *d, const char *name, bool is_index,
                   const struct inject_child *child, const char *skipped)
{
    struct layout_event event = {
        .name = name,
        .source = &child->source,
        .target = &child->target,
        .is_index = is_index,
        .platform = d->has_platform ? &d->platform : NULL,
        .skipped = skipped,
    };
    lt->options->report(lt->options->report_arg, &event);
}

static int write_result(const struct layout *lt, const struct inject_result *r, struct inject_child *ret,
                        struct err *err)
{
    if (r->config && layout_blob_write(lt->out, &r->config_digest, r->config, r->config_len, err) < 0)
        return -1;
    if (layout_blob_write(lt->out, &r->manifest_digest, r->manifest, r->manifest_len, err) < 0)
        return -1;
    ret->target = r->manifest_digest;
    ret->target_size = r->manifest_len;
    return 0;
}

/* Layers are there and verified before the first manifest that names them. */
static int add_layers(struct layout *lt, const struct inject_result *r, struct err *err)
{
    cleanup_manifest struct manifest *m = manifest_parse(r->manifest, r->manifest_len, r->media_type, err);
    if (!m)
        return -1;
    for (size_t i = 0; i < injection_layer_count(lt->inj); ++i) {
        const struct injection_layer *layer = injection_layer_at(lt->inj, i);
        for (size_t k = 1; k < manifest_count(m); ++k) {
            if (!digest_eq(&manifest_at(m, k)->digest, &layer->gzip_digest))
                continue;
            if (!lt->layer_ready[i] && layout_blob_add_layer(lt->out, layer, err) < 0)
                return -1;
            lt->layer_ready[i] = true;
            break;
        }
    }
    return 0;
}

static int rewrite_image(struct layout *lt, const struct manifest *m, const char *name,
                         struct inject_child *ret, const char **ret_skipped, struct err *err)
{
    cleanup_buf struct buf config = {0};
    if (!manifest_rewritable(m, ret_skipped))
        return 0;
    if (layout_blob_read(lt->options->dir, &manifest_at(m, 0)->digest, &config, err) < 0)
        return -1;
    cleanup_inject_result struct inject_result r = {0};
    if (inject_image(m, buf_str(&config), config.len, lt->inj, name, &ret->source, &r, err) < 0)
        return -1;
    *ret_skipped = r.skipped;
    return r.skipped ? 0 : add_layers(lt, &r, err) < 0 ? -1 : write_result(lt, &r, ret, err);
}

/* The children of an index, each as it became. `name` NULL: of the layout itself, whose entries say their
 * names. */
static int rewrite_children(struct layout *lt, const struct manifest *index, const char *name, unsigned depth,
                            struct inject_child *children, struct err *err)
{
    const json_t *list = json_object_get(manifest_tree(index), "manifests");
    for (size_t i = 0; i < manifest_count(index); ++i) {
        cleanup_free char *own = name ? mem_strdup(name) : name_of_entry(lt, json_array_get(list, i));
        if (rewrite_node(lt, manifest_at(index, i), own, depth, &children[i], err) < 0)
            return -1;
    }
    return 0;
}

static int rewrite_index(struct layout *lt, const struct manifest *index, const char *name, unsigned depth,
                         struct inject_child *ret, const char **ret_skipped, struct err *err)
{
    if (depth > LAYOUT_DEPTH_MAX)
        return err_set(err, ERR_MANIFEST_INVALID, "indexes within indexes, more than %d deep",
                       LAYOUT_DEPTH_MAX);
    size_t n = manifest_count(index);
    cleanup_free struct inject_child *children = mem_zalloc((n + 1) * sizeof *children);
    cleanup_inject_result struct inject_result r = {0};
    if (rewrite_children(lt, index, name, depth + 1, children, err) < 0 ||
        inject_index(index, children, n, &r, err) < 0)
        return -1;
    *ret_skipped = r.skipped;
    return r.skipped ? 0 : write_result(lt, &r, ret, err);
}

/* NULL if this is to be read, else why not. */
static const char *reason_to_stay(const struct layout *lt, const struct descriptor *d)
{
    enum media_kind kind = media_type_kind(slice_of(d->media_type));
    if (!inject_child_may_change(d, lt->inj))
        return injection_is_empty(lt->inj)    ? "empty"
               : d->is_attestation            ? "attestation"
               : kind == MEDIA_DOCKER_SCHEMA1 ? "schema1"
               : media_kind_is_image(kind)    ? "platform"
                                              : "artifact";
    return layout_blob_exists(lt->options->dir, &d->digest) ? NULL : "not in the layout";
}

static int rewrite_node(struct layout *lt, const struct descriptor *d, const char *name, unsigned depth,
                        struct inject_child *ret, struct err *err)
{
    struct outcome *o;
    HASH_FIND_STR(lt->outcomes, d->digest.s, o);
    *ret = (struct inject_child){.source = d->digest, .target = d->digest, .target_size = d->size};
    if (o) {
        ret->target = o->target;
        ret->target_size = o->target_size;
        return 0;
    }
    const char *skipped = reason_to_stay(lt, d);
    bool is_index = false;
    if (!skipped) {
        cleanup_buf struct buf bytes = {0};
        if (layout_blob_read(lt->options->dir, &d->digest, &bytes, err) < 0)
            return -1;
        cleanup_manifest struct manifest *m =
            manifest_parse(buf_str(&bytes), bytes.len, d->media_type[0] ? d->media_type : NULL, err);
        if (!m)
            return err_wrap(err, "manifest %s", d->digest.s);
        is_index = manifest_is_index(m);
        int rc = is_index ? rewrite_index(lt, m, name, depth, ret, &skipped, err)
                          : rewrite_image(lt, m, name, ret, &skipped, err);
        if (rc < 0)
            return err_wrap(err, "%s %s", is_index ? "index" : "image", d->digest.s);
    }
    report(lt, d, name, is_index, ret, skipped);
    o = mem_new(struct outcome);
    o->source = ret->source;
    o->target = ret->target;
    o->target_size = ret->target_size;
    o->next = lt->all;
    lt->all = o;
    HASH_ADD_STR(lt->outcomes, source.s, o);
    return 0;
}

/* Everything below an index or manifest that `out` does not have yet. What the source lacks too is left out:
 * layouts of one platform still list the others, and foreign layers are elsewhere. */
static int copy_below(const struct layout *lt, const struct manifest *m, unsigned depth, struct err *err)
{
    if (depth > LAYOUT_DEPTH_MAX + 2)
        return err_set(err, ERR_MANIFEST_INVALID, "indexes within indexes, more than %d deep",
                       LAYOUT_DEPTH_MAX);
    const char *dir = lt->options->dir;
    for (size_t i = 0; i < manifest_count(m); ++i) {
        const struct descriptor *d = manifest_at(m, i);
        if (layout_blob_exists(dir, &d->digest) && layout_blob_copy(dir, lt->out, &d->digest, err) < 0)
            return -1;
        enum media_kind kind = media_type_kind(slice_of(d->media_type));
        if (!manifest_is_index(m) || kind == MEDIA_OTHER || !layout_blob_exists(lt->out, &d->digest))
            continue;
        cleanup_buf struct buf bytes = {0};
        if (layout_blob_read(lt->out, &d->digest, &bytes, err) < 0)
            return -1;
        cleanup_manifest struct manifest *child =
            manifest_parse(buf_str(&bytes), bytes.len, d->media_type, err);
        if (!child)
            return err_wrap(err, "manifest %s", d->digest.s);
        if (copy_below(lt, child, depth + 1, err) < 0)
            return -1;
    }
    return 0;
}

static int write_index(const struct layout *lt, const void *bytes, size_t len, struct err *err)
{
    cleanup_free char *marker = mem_printf("%s/oci-layout", lt->out),
                      *path = mem_printf("%s/index.json", lt->out);
    if (lt->options->out) {
        static const char version[] = "{\"imageLayoutVersion\":\"1.0.0\"}";
        cleanup_manifest struct manifest *m = manifest_parse(bytes, len, MEDIA_TYPE_OCI_INDEX, err);
        if (!m || copy_below(lt, m, 0, err) < 0 || out_file_put(marker, version, sizeof version - 1, err) < 0)
            return -1;
    }
    return out_file_put(path, bytes, len, err);
}

static int rewrite_layout(struct layout *lt, struct err *err)
{
    cleanup_free char *path = mem_printf("%s/index.json", lt->options->dir);
    cleanup_buf struct buf text = {0};
    if (in_file_read(path, MANIFEST_BYTES_MAX, &text, err) < 0)
        return err_wrap(err, "%s is no OCI layout", lt->options->dir);
    cleanup_manifest struct manifest *index =
        manifest_parse(buf_str(&text), text.len, MEDIA_TYPE_OCI_INDEX, err);
    if (!index || !manifest_is_index(index))
        return index ? err_set(err, ERR_MANIFEST_INVALID, "%s is no index", path) : err_wrap(err, "%s", path);
    size_t n = manifest_count(index);
    cleanup_free struct inject_child *children = mem_zalloc((n + 1) * sizeof *children);
    cleanup_inject_result struct inject_result r = {0};
    if (rewrite_children(lt, index, NULL, 1, children, err) < 0 ||
        inject_index(index, children, n, &r, err) < 0)
        return -1;
    if (!r.skipped)
        return write_index(lt, r.manifest, r.manifest_len, err);
    return lt->options->out ? write_index(lt, buf_str(&text), text.len, err) : 0;
}

int layout_inject(const struct layout_options *options, struct injection *inj, struct err *err)
{
    struct layout lt = {.options = options, .out = options->out ? options->out : options->dir, .inj = inj};
    cleanup_free char *real = realpath(options->dir, NULL);
    if (!real)
        return err_set_errno(err, ERR_IO, errno, "folder %s", options->dir);
    lt.fallback_name = mem_printf("localhost/%s", basename(real));
    int rc = options->out ? make_folders(options->out, err) : 0;
    if (rc == 0)
        rc = rewrite_layout(&lt, err);
    HASH_CLEAR(hh, lt.outcomes);
    while (lt.all) {
        struct outcome *o = lt.all;
        lt.all = o->next;
        free(o);
    }
    free(lt.fallback_name);
    return rc;
}
