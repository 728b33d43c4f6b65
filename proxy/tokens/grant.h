// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_TOKENS_GRANT_H
#define RAC_TOKENS_GRANT_H
/*
 * What a container token grants. The token is 128 random bits that stand for one image, rewritten in one way,
 * for a while (design: api.md "Container tokens"). Whoever has it may pull that image.
 *
 * The text of a token is given out once, and stored nowhere: the state goes by its SHA-256. A grant is
 * immutable but for its pulls, counted by reference (atomic), and may be used on any thread.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/digest.h"
#include "common/str.h"
#include "proxy/state/state.h"

#define TOKEN_CHARS 32 /* lower-case hex */
#define GRANT_BITS  16 /* bytes */
#define TOKEN_SHOWN 6  /* of them in logs and messages: enough to find it, no help in guessing it */

struct grant {
    atomic_uint refs; /* use grant_ref/unref */
    uint8_t key[STATE_TOKEN_KEY];
    uint8_t bits[GRANT_BITS]; /* the token itself: in memory only, where a warm pull looks it up unhashed */
    char shown[TOKEN_SHOWN + 1];
    int64_t created_ms, expires_ms; /* wall clock */
    char *account;                  /* who made it; NULL: anonymous */
    char *canonical;                /* "docker.io/library/busybox" */
    char *upstream;                 /* "docker.io" */
    const char *repository;         /* "library/busybox": what its pullers call it */
    char *tag;                      /* NULL: pinned to the target's digest */
    struct digest source, injection, target;
    char *image, *platform, *note; /* as struct state_token */
    _Atomic uint64_t pulls;        /* so far, as far as this process knows */
    atomic_uint unsaved;           /* of them: not in the state yet */
    struct grant *dirty_next;      /* tokens.c: those with unsaved pulls */
};

/* Its bits, if it is a well-formed token; anything else is one that nobody has. */
bool grant_check(struct slice text, uint8_t ret[GRANT_BITS]);
/* SHA-256 of its text. */
void grant_key(struct slice text, uint8_t ret[STATE_TOKEN_KEY]);
/* 128 bits from the system, as text. ERR_INTERNAL. */
int grant_random(char ret[TOKEN_CHARS + 1], struct err *err);
/* Strings are copied; `text` is the token, well-formed. One reference, the caller's. */
struct grant *grant_new(const struct state_token *t, struct slice text);
struct grant *grant_ref(struct grant *t);
void grant_unref(struct grant *t); /* NULL is fine */
#endif
