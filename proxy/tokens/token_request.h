// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_TOKENS_TOKEN_REQUEST_H
#define RAC_TOKENS_TOKEN_REQUEST_H
/*
 * What a client asks for when it wants a container token (design: api.md "Container tokens"). Pure: bytes in,
 * a checked request or an error that names the member out. Members that are not known are ignored, null is
 * "not said"; known ones that ask for what this server does not do are refused by their name.
 */
#include "layers/injection.h"
#include "layers/reference.h"

#define TOKEN_REQUEST_IMAGE_MAX 600
#define TOKEN_REQUEST_NOTE_MAX  1024 /* bytes of each member that is only recorded */

struct token_request_limits {
    unsigned layers, includes;         /* most of them; layers: of containerConfig and includes together */
    uint64_t layer_bytes, total_bytes; /* packed: of one, of all */
    uint64_t unpacked_bytes;           /* of one */
};

/* "busybox", "quay.io/x/y:1", "localhost:5000/x@sha256:…", as people write images. */
struct image_name {
    char text[TOKEN_REQUEST_IMAGE_MAX + 1]; /* as given; the slices point into it */
    struct slice host;          /* a first segment with a port, which no name may hold; else p NULL */
    struct slice name;          /* checked: reference_check_name */
    struct reference reference; /* "latest" if there is none; of tag and digest, the digest */
};

struct token_request {
    struct image_name image;
    struct injection *injection; /* containerConfig, for `platform`; may be empty, never NULL */
    bool all_platforms;          /* else: */
    struct platform platform;
    struct image_name *includes;
    size_t include_count;
    char *note; /* JSON object of what is recorded, or NULL */
};

/* ERR_INVALID, ERR_NAME_INVALID, …: all of them 400; ERR_SIZE_INVALID past a limit, naming it. */
int token_request_parse(const void *json, size_t len, const struct token_request_limits *limits,
                        struct token_request **ret, struct err *err);
void token_request_free(struct token_request *q); /* NULL is fine */
int image_name_parse(struct slice text, struct image_name *ret, struct err *err);
/* Layers of the whole injection against the limits. ERR_SIZE_INVALID, ERR_INVALID. */
int token_request_check_layers(const struct injection *inj, const struct token_request_limits *limits,
                               struct err *err);
#endif
