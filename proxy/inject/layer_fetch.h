// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_INJECT_LAYER_FETCH_H
#define RAC_INJECT_LAYER_FETCH_H
/* One injected layer into the store: from the store itself (checked again), a file, the text of the
 * injection, or https. */
#include "layers/injection.h"
#include "proxy/cache/env.h"

typedef void layer_fetch_fn(void *arg, const struct err *err);

/* Where the bytes of layers may come from, besides public https servers; as long as the process. */
struct layer_sources {
    const char *const *hosts; /* of https locations that may have private addresses, lower case, no port;
                                 NULL-terminated, or NULL */
    const char *ca_file;      /* NULL: the system's authorities */
    struct jobs *jobs; /* where layers are unpacked: not the threads that serve the disk, since that may take
                          long */
    _Atomic bool *stopping; /* set when nobody waits any more: layers that are unpacked then end with
                               ERR_CANCELLED */
    /* Brings a blob of an image's repository into the store ("docker.io/library/busybox", "#<account>" behind
     * it if that account's credentials are to be used); answers later on `loop`. */
    void (*image_blob)(void *arg, struct loop *loop, const char *name, const struct digest *digest,
                       uint64_t size, layer_fetch_fn *fn, void *fn_arg);
    void *arg;
};

struct layer_fetch_params {
    const struct cache_env *env;
    const struct layer_sources *sources;
    struct injection *injection;
    const struct injection_layer *layer; /* lives as long as `injection`, of which a reference is taken */
    uint64_t max_tar_bytes;
    bool prove; /* that the bytes are in the store is not enough: its location must have them. Knowing a
                   digest is no right to the bytes */
};
/* Never calls back from inside. */
void layer_fetch(const struct layer_fetch_params *params, struct loop *loop, layer_fetch_fn *fn, void *arg);
#endif
