// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_LAYERS_MEDIA_TYPE_H
#define RAC_LAYERS_MEDIA_TYPE_H
/*
 * The media types of both families, Docker's and OCI's (OCI image spec, media-types.md; distribution's
 * manifest-v2-2.md). Pure; any thread.
 */
#include <stdbool.h>

#include "common/str.h"

#define MEDIA_TYPE_DOCKER_MANIFEST       "application/vnd.docker.distribution.manifest.v2+json"
#define MEDIA_TYPE_DOCKER_LIST           "application/vnd.docker.distribution.manifest.list.v2+json"
#define MEDIA_TYPE_DOCKER_SCHEMA1        "application/vnd.docker.distribution.manifest.v1+json"
#define MEDIA_TYPE_DOCKER_SCHEMA1_SIGNED "application/vnd.docker.distribution.manifest.v1+prettyjws"
#define MEDIA_TYPE_DOCKER_CONFIG         "application/vnd.docker.container.image.v1+json"
#define MEDIA_TYPE_DOCKER_LAYER_GZIP     "application/vnd.docker.image.rootfs.diff.tar.gzip"
#define MEDIA_TYPE_OCI_MANIFEST          "application/vnd.oci.image.manifest.v1+json"
#define MEDIA_TYPE_OCI_INDEX             "application/vnd.oci.image.index.v1+json"
#define MEDIA_TYPE_OCI_CONFIG            "application/vnd.oci.image.config.v1+json"
#define MEDIA_TYPE_OCI_LAYER_GZIP        "application/vnd.oci.image.layer.v1.tar+gzip"

enum media_kind {
    MEDIA_OTHER,
    MEDIA_DOCKER_MANIFEST,
    MEDIA_OCI_MANIFEST,
    MEDIA_DOCKER_LIST,
    MEDIA_OCI_INDEX,
    MEDIA_DOCKER_SCHEMA1, /* plain and signed (prettyjws) */
};

/* The type itself: what stands before a ';', without spaces. Borrowed from `content_type`. */
struct slice media_type_bare(struct slice content_type);
/* Parameters ("; charset=utf-8") are ignored; case counts, as it does for Go clients. */
enum media_kind media_type_kind(struct slice type);
bool media_kind_is_index(enum media_kind kind); /* a list or an index */
bool media_kind_is_image(enum media_kind kind); /* an image manifest of either family, not schema 1 */
/* An image config of either family; every other config type says: an artifact. */
bool media_type_is_config(struct slice type);
/* A file system layer of either family, of any compression, foreign and encrypted ones too. */
bool media_type_is_layer(struct slice type);
/* The one Accept value that upstreams are asked with, so that the answer, and what is cached for a tag, never
 * depends on who asked: both families' manifests and indexes, schema 1 last. Static. */
const char *media_type_accept_all(void);
#endif
