// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_LAYERS_REFERENCE_H
#define RAC_LAYERS_REFERENCE_H
/*
 * Names, tags and references as the distribution spec writes them (OCI distribution spec 1.1, "Pulling
 * manifests"). Pure; any thread. What passes holds no '%', no "..", no "//", no NUL and no upper case (but in
 * tags), so it may stand in a path or a URL as it is.
 */
#include <stdbool.h>

#include "common/digest.h"
#include "common/err.h"
#include "common/str.h"

#define REFERENCE_NAME_MAX 255
#define REFERENCE_TAG_MAX  128

struct reference {
    bool is_digest;
    struct digest digest;            /* if is_digest */
    char tag[REFERENCE_TAG_MAX + 1]; /* else; NUL-terminated */
};

/* [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/...)*, at most 255 bytes. ERR_NAME_INVALID. */
int reference_check_name(struct slice name, struct err *err);
/* [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}. ERR_MANIFEST_INVALID. */
int reference_check_tag(struct slice tag, struct err *err);
/* A digest if it holds a ':' (ERR_DIGEST_INVALID if it is none), else a tag. */
int reference_parse(struct slice text, struct reference *ret, struct err *err);
#endif
