// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_ACCESS_CREDENTIALS_H
#define RAC_ACCESS_CREDENTIALS_H
/* What an Authorization header says (RFC 9110 section 11.6.2, RFC 7617, RFC 6750). Pure. */
#include <stdbool.h>

#include "common/str.h"

#define CREDENTIALS_MAX ((size_t)4096) /* bytes of a header that is looked at */

enum credentials_kind {
    CREDENTIALS_BAD,  /* neither of the two, or malformed */
    CREDENTIALS_NONE, /* Basic without name and password: what skopeo and podman send if nobody logged in */
    CREDENTIALS_BASIC,
    CREDENTIALS_BEARER,
};

struct credentials {
    enum credentials_kind kind;
    struct slice name;   /* Basic: in front of the first colon; never empty */
    struct slice secret; /* the password, or the token; may be empty for Basic */
};

/* `room` keeps what is decoded: CREDENTIALS_MAX bytes, for the caller to cleanse. */
struct credentials credentials_parse(struct slice header, char *room);
#endif
