// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_RECORDS_SERVED_H
#define RAC_RECORDS_SERVED_H
/*
 * What records need to know of a manifest that is served under a name. Made once by the worker that serves it
 * first, then handed along with every report of it: counted (atomic).
 *
 * Two facts may come later than the object, from the worker that made it: where it came from (source,
 * injection) and what it runs on. Other threads see each only behind its flag.
 */
#include <stdatomic.h>
#include <stdbool.h>

#include "common/digest.h"

#define SERVED_PLATFORM_MAX 96

struct served_part {
    struct digest digest;
    uint64_t size;
    char *platform; /* of a child of an index; NULL: not said */
};

struct served {
    unsigned refs; /* use served_ref/unref */
    char *registry, *repository;
    struct digest digest;
    char media_type[128];
    uint64_t size;
    bool is_index, is_runnable; /* neither: an artifact */
    struct served_part *part;   /* blobs, or the children of an index */
    size_t part_count;

    atomic_bool has_source;  /* the next two are set, as far as they will ever be */
    struct digest source;    /* the manifest it was made of; empty: not known */
    struct digest injection; /* empty: none */
    atomic_bool has_platform;
    char platform[SERVED_PLATFORM_MAX];
};

/* refs 1; texts are copied, parts left to the caller to fill. */
struct served *served_new(const char *registry, const char *repository, const struct digest *digest,
                          const char *media_type, uint64_t size, size_t parts);
struct served *served_ref(struct served *s);
void served_unref(struct served *s); /* NULL is fine */
/* Each once, by the worker that made it. NULL: not known, or none. */
void served_set_source(struct served *s, const struct digest *source, const struct digest *injection);
void served_set_platform(struct served *s, const char *platform);
/* "" while it is not known. */
const char *served_platform(struct served *s);
/* NULL if it does not list it. */
const struct served_part *served_find(const struct served *s, const char *digest);
#endif
