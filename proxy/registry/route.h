// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_REGISTRY_ROUTE_H
#define RAC_REGISTRY_ROUTE_H
/* A path below /v2 and what it means. Pure. The path is taken as it came over the wire: nothing in a
 * well-formed one is percent-encoded, so a '%' is an error of its name or reference like any other stray
 * character. */
#include "common/str.h"

enum route_kind {
    ROUTE_BASE,      /* /v2/ */
    ROUTE_CATALOG,   /* /v2/_catalog */
    ROUTE_MANIFEST,  /* /v2/<name>/manifests/<reference> */
    ROUTE_BLOB,      /* /v2/<name>/blobs/<digest> */
    ROUTE_TAGS,      /* /v2/<name>/tags/list */
    ROUTE_REFERRERS, /* /v2/<name>/referrers/<digest> */
    ROUTE_UPLOAD,    /* /v2/<name>/blobs/uploads/… */
    ROUTE_UNKNOWN,
};

struct route {
    enum route_kind kind;
    struct slice name;      /* not checked yet */
    struct slice reference; /* tag or digest; not checked yet */
};

/* path begins with "/v2". Names may hold segments called "manifests" or "blobs": the last one that fits
 * decides. */
struct route route_parse(struct slice path);
const char *route_label(enum route_kind kind); /* for logs and metrics; static */
#endif
