// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_UPSTREAM_TOKEN_H
#define RAC_UPSTREAM_TOKEN_H
/* A Bearer token as a token server gives it. Immutable, reference-counted (atomic), wiped when the last one
 * goes. */
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/err.h"

#define TOKEN_ANSWER_MAX ((size_t)1 << 20)  /* bytes of a token server's answer */
#define TOKEN_MAX        ((size_t)64 << 10) /* bytes of a token */
#define TOKEN_LIFE_MAX_S 3600u

struct token {
    unsigned refs;    /* atomic */
    uint32_t keep_ms; /* how long it is kept: its life minus a margin; 0 = for those who wait only */
    char value[];     /* NUL-terminated, 1 to TOKEN_MAX visible ASCII characters */
};

/* Reads {"token" or "access_token", "expires_in"} (distribution: token authentication). A life that is not
 * said is 60 s, none above an hour is believed. ERR_UPSTREAM with the cause. */
int token_parse(const void *answer, size_t len, struct token **ret, struct err *err);
struct token *token_ref(struct token *t);
void token_unref(struct token *t); /* NULL is fine */

static inline void cleanup_token_fn(struct token **t)
{
    token_unref(*t);
}
#define cleanup_token RAC_CLEANUP(cleanup_token_fn)
#endif
