// SPDX-License-Identifier: Apache-2.0
#include "layers/image.h"

#include <assert.h>

#include "common/json.h"
#include "common/mem.h"
#include "layers/image_out.h"

#define OCI_INDEX    "application/vnd.oci.image.index.v1+json"
#define OCI_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define OCI_CONFIG   "application/vnd.oci.image.config.v1+json"
#define OCI_LAYER    "application/vnd.oci.image.layer.v1.tar+gzip"
#define EPOCH        "1970-01-01T00:00:00Z" /* a time would make other bytes of the same layers */

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

static json_t *descriptor(const char *media_type, const struct digest *digest, uint64_t size)
{
    json_t *d = json_object();
    put(d, "mediaType", json_string(media_type));
    put(d, "digest", json_string(digest->s));
    put(d, "size", json_integer((json_int_t)size));
    return d;
}

static void put_platform(json_t *obj, const struct platform *p)
{
    put(obj, "architecture", json_string(p->architecture));
    put(obj, "os", json_string(p->os));
    if (p->variant[0])
        put(obj, "variant", json_string(p->variant));
}

/* Writes a document as a blob; its descriptor, or NULL. */
static json_t *put_document(struct image_out *out, const json_t *document, const char *media_type,
                            struct err *err)
{
    size_t len;
    cleanup_free char *text = json_format(document, &len);
    struct digest digest = digest_of(text, len);
    return image_out_put_blob(out, &digest, text, len, err) < 0 ? NULL : descriptor(media_type, &digest, len);
}

/* The layers for a platform into the manifest and the config. */
static int put_layers(struct image_out *out, struct injection *inj, const struct platform *p,
                      json_t *manifest, json_t *config, struct err *err)
{
    json_t *layers = json_array(), *diff_ids = json_array(), *history = json_array(), *rootfs = json_object();
    put(manifest, "layers", layers);
    put(config, "rootfs", rootfs);
    put(rootfs, "type", json_string("layers"));
    put(rootfs, "diff_ids", diff_ids);
    put(config, "history", history);
    for (size_t i = 0; i < injection_layer_count(inj); ++i) {
        const struct injection_layer *layer = injection_layer_at(inj, i);
        if (!injection_layer_applies(layer, p))
            continue;
        if (image_out_put_layer(out, layer, err) < 0)
            return err_wrap(err, "layers[%zu]", i);
        append(layers, descriptor(OCI_LAYER, &layer->gzip_digest, layer->gzip_size));
        append(diff_ids, json_string(layer->tar_digest.s));
        json_t *entry = json_object();
        put(entry, "created", json_string(EPOCH));
        put(entry, "created_by", json_string("rac-layer image"));
        if (layer->name)
            put(entry, "comment", json_string(layer->name));
        append(history, entry);
    }
    char text[PLATFORM_STR_MAX];
    return json_array_size(layers)
               ? 0
               : err_set(err, ERR_INVALID, "no layer is for %s", platform_format(p, text));
}

/* One platform's image; its descriptor, or NULL. */
static json_t *put_image(struct image_out *out, struct injection *inj, const struct platform *p,
                         struct err *err)
{
    cleanup_json json_t *manifest = json_object(), *config = json_object();
    put(config, "created", json_string(EPOCH));
    put_platform(config, p);
    put(config, "config", json_object());
    put(manifest, "schemaVersion", json_integer(2));
    put(manifest, "mediaType", json_string(OCI_MANIFEST));
    put(manifest, "config", json_null()); /* its place */
    if (put_layers(out, inj, p, manifest, config, err) < 0)
        return NULL;
    json_t *of_config = put_document(out, config, OCI_CONFIG, err);
    if (!of_config)
        return NULL;
    put(manifest, "config", of_config);
    json_t *of_manifest = put_document(out, manifest, OCI_MANIFEST, err);
    if (!of_manifest)
        return NULL;
    json_t *platform = json_object();
    put_platform(platform, p);
    put(of_manifest, "platform", platform);
    return of_manifest;
}

static int add_platform(struct image_result *r, const struct platform *p, struct err *err)
{
    for (size_t i = 0; i < r->image_count; ++i)
        if (memcmp(&r->images[i].platform, p, sizeof *p) == 0)
            return 0;
    if (r->image_count == IMAGE_PLATFORMS_MAX)
        return err_set(err, ERR_INVALID, "more than %d platforms", IMAGE_PLATFORMS_MAX);
    r->images[r->image_count++].platform = *p;
    return 0;
}

static int find_platforms(struct injection *inj, const struct image_options *options, struct image_result *r,
                          struct err *err)
{
    struct platform p;
    for (size_t i = 0; i < options->platform_count; ++i) {
        p = (struct platform){0};
        if (platform_parse(slice_of(options->platforms[i]), &p, err) < 0 || add_platform(r, &p, err) < 0)
            return -1;
    }
    for (size_t i = 0; !options->platform_count && i < injection_layer_count(inj); ++i) {
        const struct injection_layer *layer = injection_layer_at(inj, i);
        if (layer->has_platform && add_platform(r, &layer->platform, err) < 0)
            return -1;
    }
    if (r->image_count == 0)
        return err_set(err, ERR_INVALID, "no layer says which platform it is for: give --platform");
    return 0;
}

/* index.json: the one image that the layout holds, under its tag. */
static int put_layout(struct image_out *out, json_t *index, const char *tag, struct err *err)
{
    static const char version[] = "{\"imageLayoutVersion\":\"1.0.0\"}";
    cleanup_json json_t *top = json_object();
    json_t *manifests = json_array(), *annotations = json_object();
    json_t *name = json_string(tag ? tag : "latest");
    if (!name) {
        json_decref(manifests);
        json_decref(annotations);
        json_decref(index);
        return err_set(err, ERR_INVALID, "the image's name is not UTF-8");
    }
    put(annotations, "org.opencontainers.image.ref.name", name);
    put(index, "annotations", annotations);
    append(manifests, index);
    put(top, "schemaVersion", json_integer(2));
    put(top, "mediaType", json_string(OCI_INDEX));
    put(top, "manifests", manifests);
    size_t len;
    cleanup_free char *text = json_format(top, &len);
    if (image_out_put(out, "oci-layout", version, sizeof version - 1, err) < 0)
        return -1;
    return image_out_put(out, "index.json", text, len, err);
}

int image_write(struct injection *inj, const struct image_options *options, struct image_result *ret,
                struct err *err)
{
    struct image_result r = {0};
    if (find_platforms(inj, options, &r, err) < 0)
        return -1;
    cleanup_image_out struct image_out *out = image_out_new(options->out, err);
    if (!out)
        return -1;
    cleanup_json json_t *index = json_object();
    json_t *manifests = json_array();
    put(index, "schemaVersion", json_integer(2));
    put(index, "mediaType", json_string(OCI_INDEX));
    put(index, "manifests", manifests);
    for (size_t i = 0; i < r.image_count; ++i) {
        json_t *image = put_image(out, inj, &r.images[i].platform, err);
        if (!image)
            return -1;
        (void)digest_parse(slice_of(json_string_value(json_object_get(image, "digest"))),
                           &r.images[i].manifest, NULL);
        append(manifests, image);
    }
    json_t *of_index = put_document(out, index, OCI_INDEX, err);
    if (!of_index)
        return -1;
    (void)digest_parse(slice_of(json_string_value(json_object_get(of_index, "digest"))), &r.index, NULL);
    if (put_layout(out, of_index, options->tag, err) < 0 || image_out_finish(out, err) < 0)
        return -1;
    *ret = r;
    return 0;
}
