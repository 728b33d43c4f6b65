// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_LAYERS_LAYOUT_H
#define RAC_LAYERS_LAYOUT_H
/*
 * Rewrites the images of an OCI image layout on disk (OCI image spec, image-layout.md), as skopeo, umoci and
 * buildah write it, by the same functions as the proxy: what this makes of an image has the digest that the
 * proxy announces, if the name is the same. Every blob that is read is checked against its digest. Blocks;
 * one thread.
 */
#include <stddef.h>

#include "common/digest.h"
#include "common/err.h"
#include "layers/injection.h"

#define LAYOUT_DEPTH_MAX 4 /* indexes within indexes */

/* One image or index that was looked at: `target` is what became of it; `skipped` says why it stayed, else
 * NULL. */
struct layout_event {
    const char *name; /* canonical: what rac.source says */
    const struct digest *source, *target;
    bool is_index;
    const struct platform *platform; /* NULL if the index does not say */
    const char *skipped;
};
typedef void layout_report(void *arg, const struct layout_event *event);

struct layout_options {
    const char *dir;
    const char *out; /* NULL = in place; else a folder to be made, which gets all that its images need */
    const char
        *name; /* canonical name of the images; NULL = from their annotation, else localhost/<folder> */
    layout_report *report;
    void *report_arg;
};

/* 0, also where nothing was to be rewritten. Until its last step, the new index.json, the layout is as it
 * was. */
int layout_inject(const struct layout_options *options, struct injection *inj, struct err *err);
#endif
