// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_LAYERS_INJECTION_IMPL_H
#define RAC_LAYERS_INJECTION_IMPL_H
/* For injection*.c only: what an injection is made of. Filled by injection_parse.c, then sealed and never
 * changed. */
#include <stdatomic.h>

#include "layers/injection.h"

struct injection {
    atomic_int refs;
    struct injection_layer *layers; /* their strings are owned: see injection_free */
    size_t layer_count;
    struct injection_string_list entrypoint, cmd, env, labels;
    char *working_dir; /* NULL = the image's */
    enum injection_user user;
    enum injection_chain chain;
    bool has_platform;
    struct platform platform;
    char *canonical; /* these three by injection_seal */
    size_t canonical_len;
    struct digest digest;
    char *json;
};

/* An empty one with one reference. */
struct injection *injection_new(void);
/* Writes the canonical and the full text, once all members are set. */
void injection_seal(struct injection *inj);
/* What kind of location this text is. ERR_INVALID. */
int injection_location_kind(struct slice location, enum layer_location *ret, struct err *err);
#endif
