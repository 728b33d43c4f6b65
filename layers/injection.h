// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_LAYERS_INJECTION_H
#define RAC_LAYERS_INJECTION_H
/*
 * An injection: what is added to an image. Read from a file of the proxy's configuration, or from a client's
 * container-token request; docs/injection.md has the format. Immutable after it was parsed and counted by
 * reference, so it may be shared by threads.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/digest.h"
#include "common/err.h"
#include "common/str.h"
#include "layers/platform.h"

#define INJECTION_BYTES_MAX                                                                                  \
    ((size_t)16 << 20)           /* a document, layers in data: and gzip: locations included                 \
                                  */
#define INJECTION_LAYERS_MAX 126 /* an image can hold no more */

enum injection_trust {
    INJECTION_FROM_CONFIGURATION, /* file locations allowed; an unknown member is an error that names it */
    INJECTION_FROM_CLIENT, /* no files; unknown members are ignored; entrypointChain defaults to "env" */
};

enum injection_user {
    INJECTION_USER_KEEP,
    INJECTION_USER_ROOT_THEN_DROP, /* User becomes 0, the image's own goes to RAC_USER */
};

enum injection_chain {
    INJECTION_CHAIN_ARGS, /* the image's entry point follows ours as arguments */
    INJECTION_CHAIN_ENV,  /* the image's entry point goes to WAVE_ENTRY_CHAIN */
};

enum layer_location {
    LAYER_FILE,  /* an absolute path */
    LAYER_HTTPS, /* a URL */
    LAYER_DATA,  /* "data:" + base64 of the gzip tar */
    LAYER_GZIP,  /* "gzip:" + base64 of the zlib-deflated gzip tar */
    LAYER_IMAGE, /* "image:" + the canonical name of a repository that has the blob gzipDigest; never a
                    client's */
};

struct injection_layer {
    const char *location; /* file names are absolute */
    struct digest gzip_digest, tar_digest;
    uint64_t gzip_size; /* bytes, > 0 */
    const char *name;   /* NULL if it has none */
    bool has_platform;  /* false: goes into images of every platform */
    struct platform platform;
};

struct injection_string_list {
    char **v;
    size_t n;
};

struct injection;

/* ERR_INVALID naming the member. `base_dir`: what file names are relative to; NULL = the working folder. The
 * result has one reference, the caller's. */
struct injection *injection_parse(const void *json, size_t len, enum injection_trust trust,
                                  const char *base_dir, struct err *err);
/* The same of a client's JSON that was parsed already (json_t of jansson: inline layers are large, and not
 * copied for it). */
struct json_t;
struct injection *injection_from_client(const struct json_t *root, struct err *err);
/* Reads a file of the configuration; file names in it are relative to its folder. Blocks. ERR_IO,
 * ERR_INVALID. */
struct injection *injection_load(const char *path, struct err *err);
struct injection *injection_ref(struct injection *inj);
void injection_unref(struct injection *inj); /* NULL is fine */

/* RFC 8785 text of what it means: no location, no skipHashing, no empty members, no members at their default.
 * Two injections that do the same have the same. Borrowed. */
const char *injection_canonical(const struct injection *inj, size_t *ret_len);
/* SHA-256 of the canonical text: the injection's identity, and the label rac.injection. Borrowed. */
const struct digest *injection_digest(const struct injection *inj);
/* The whole of it as JSON, locations included, every default said: parses, as configuration, to the same
 * injection again. Borrowed. */
const char *injection_json(const struct injection *inj);

size_t injection_layer_count(const struct injection *inj);
const struct injection_layer *injection_layer_at(const struct injection *inj, size_t i); /* borrowed */
/* Where a layer's bytes are. Never fails for a layer of a parsed injection. ERR_INVALID. */
int injection_layer_location(const struct injection_layer *layer, enum layer_location *ret, struct err *err);
/* The bytes (the gzip tar) of a data: or gzip: location, at most `max` of them (ERR_SIZE_INVALID past it).
 * They are not checked against the digests: see verify.h. `ret` is filled from empty. */
int injection_layer_decode(const struct injection_layer *layer, size_t max, struct buf *ret, struct err *err);

/* What it does besides layers; all borrowed, n == 0 or NULL = nothing. */
const struct injection_string_list *injection_entrypoint(const struct injection *inj);
const struct injection_string_list *injection_cmd(const struct injection *inj);
const struct injection_string_list *injection_env(const struct injection *inj); /* "K=V" */
const struct injection_string_list *
injection_labels(const struct injection *inj); /* key, value, key, value, ... */
const char *injection_working_dir(const struct injection *inj);
enum injection_user injection_user(const struct injection *inj);
enum injection_chain injection_chain(const struct injection *inj);

/* The one platform whose images it changes; NULL: all. Borrowed. */
const struct platform *injection_platform(const struct injection *inj);

bool injection_is_empty(const struct injection *inj); /* nothing at all: a plain pass-through */
/* Does it change images of this platform: not Windows, within the injection's own platform if it has one, and
 * where it has layers at least one is for it. */
bool injection_applies(const struct injection *inj, const struct platform *platform);
bool injection_layer_applies(const struct injection_layer *layer, const struct platform *platform);

static inline void cleanup_injection_fn(struct injection **inj)
{
    injection_unref(*inj);
}
#define cleanup_injection RAC_CLEANUP(cleanup_injection_fn)
#endif
