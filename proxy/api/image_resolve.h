// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_API_IMAGE_RESOLVE_H
#define RAC_API_IMAGE_RESOLVE_H
/*
 * What an image's name stands for upstream, before it is promised to anybody: its digest, whether it is for
 * the platform that is wanted, and, where its layers are to go on top of another image, which those are.
 * Through the cache, like a pull. On one worker's loop.
 */
#include "common/json.h"
#include "layers/platform.h"
#include "layers/reference.h"
#include "proxy/registry/registry.h"
#include "proxy/registry/target.h"

struct image_resolve_params {
    struct registry *registry;
    struct target *target;             /* a reference is taken */
    const struct reference *reference; /* copied */
    const struct platform *platform;   /* copied; NULL: any */
    const char *account;               /* whose credentials the target goes by, NULL: nobody's; borrowed */
    bool layers;                       /* the layers of its one image for `platform` are wanted */
};

/* source: what the reference names, an index or a manifest; linked to the target's name. layers: a list of
 * layers as an injection has them, borrowed; NULL if they were not asked for. Else err: the upstream's truth,
 * or ERR_INVALID saying which platforms there are. */
typedef void image_resolve_fn(void *arg, const struct digest *source, json_t *layers, const struct err *err);
/* fn comes on `loop`, never from inside. */
void image_resolve(const struct image_resolve_params *params, struct loop *loop, image_resolve_fn *fn,
                   void *arg);
#endif
