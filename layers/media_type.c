// SPDX-License-Identifier: Apache-2.0
#include "layers/media_type.h"

static const struct {
    const char *name;
    enum media_kind kind;
} manifest_types[] = {
    {MEDIA_TYPE_OCI_INDEX, MEDIA_OCI_INDEX},
    {MEDIA_TYPE_DOCKER_LIST, MEDIA_DOCKER_LIST},
    {MEDIA_TYPE_OCI_MANIFEST, MEDIA_OCI_MANIFEST},
    {MEDIA_TYPE_DOCKER_MANIFEST, MEDIA_DOCKER_MANIFEST},
    {MEDIA_TYPE_DOCKER_SCHEMA1_SIGNED, MEDIA_DOCKER_SCHEMA1},
    {MEDIA_TYPE_DOCKER_SCHEMA1, MEDIA_DOCKER_SCHEMA1},
};

struct slice media_type_bare(struct slice content_type)
{
    struct slice rest = content_type;
    return slice_trim(slice_cut(&rest, ';'));
}

enum media_kind media_type_kind(struct slice type)
{
    struct slice bare = media_type_bare(type);
    for (size_t i = 0; i < sizeof manifest_types / sizeof manifest_types[0]; ++i)
        if (slice_eq_str(bare, manifest_types[i].name))
            return manifest_types[i].kind;
    return MEDIA_OTHER;
}

bool media_kind_is_index(enum media_kind kind)
{
    return kind == MEDIA_DOCKER_LIST || kind == MEDIA_OCI_INDEX;
}

bool media_kind_is_image(enum media_kind kind)
{
    return kind == MEDIA_DOCKER_MANIFEST || kind == MEDIA_OCI_MANIFEST;
}

bool media_type_is_config(struct slice type)
{
    return slice_eq_str(type, MEDIA_TYPE_DOCKER_CONFIG) || slice_eq_str(type, MEDIA_TYPE_OCI_CONFIG);
}

bool media_type_is_layer(struct slice type)
{
    return slice_starts_with(type, "application/vnd.docker.image.rootfs.") ||
           slice_starts_with(type, "application/vnd.oci.image.layer.");
}

const char *media_type_accept_all(void)
{
    return MEDIA_TYPE_OCI_INDEX ", " MEDIA_TYPE_DOCKER_LIST ", " MEDIA_TYPE_OCI_MANIFEST
                                ", " MEDIA_TYPE_DOCKER_MANIFEST ", " MEDIA_TYPE_DOCKER_SCHEMA1_SIGNED
                                ", " MEDIA_TYPE_DOCKER_SCHEMA1;
}
