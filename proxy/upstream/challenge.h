// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_UPSTREAM_CHALLENGE_H
#define RAC_UPSTREAM_CHALLENGE_H
/*
 * What an upstream says about how to come in: WWW-Authenticate, by the grammar of RFC 9110 section 11
 * (before: RFC 7235) and the parameters of the distribution project's token authentication. Strict: text that
 * is not in the grammar is an error, not a guess. Pure.
 */
#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"
#include "common/str.h"

#define CHALLENGE_HEADER_MAX ((size_t)16 << 10) /* bytes of one header's value */

struct challenge {
    bool bearer, basic; /* which of the schemes we know was offered */
    /* Of the first Bearer challenge; NUL-terminated, "" if not said. */
    char realm[2048], service[512], scope[2048];
};

/* Adds what one WWW-Authenticate header offers to *c, which the caller zeroed before the first. Schemes other
 * than Bearer and Basic are read and left. ERR_UPSTREAM saying what is wrong and where; *c is as before then.
 */
int challenge_parse(struct slice header, struct challenge *c, struct err *err);
#endif
