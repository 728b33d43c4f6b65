// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_ACCESS_PASSWORD_H
#define RAC_ACCESS_PASSWORD_H
/*
 * Passwords and API keys as they are kept: bcrypt by the C library's crypt (what `htpasswd -B` writes), and
 * the SHA-256 of 256 random bits, which needs no slow hash. Pure but for the random bytes; any thread.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/str.h"

#define PASSWORD_MAX      ((size_t)72) /* bytes: bcrypt looks at no more, so more is refused */
#define PASSWORD_HASH_MAX 61           /* "$2b$10$" + 53, with its NUL */
#define PASSWORD_COST     10           /* of what password_hash makes: some 50 ms */
#define PASSWORD_COST_MAX 14           /* of what is accepted: about a second */

#define KEY_PREFIX   "rack_"
#define KEY_TEXT_MAX (5 + 64 + 1) /* the prefix, 64 hex digits, NUL */
#define KEY_HEX_MAX  (64 + 1)

/* "$2b$10$...", "$2y$", "$2a$". ERR_INVALID says what is expected; the hash is not shown. */
int password_check_hash(const char *hash, struct err *err);
/* Takes as long as the hash says, whatever the password is. A password that is too long or has a NUL is
 * wrong, in the same time. */
bool password_matches(struct slice password, const char *hash);
/* ERR_INVALID for an empty one, one of more than PASSWORD_MAX bytes, or with control characters. */
int password_hash(struct slice password, char out[PASSWORD_HASH_MAX], struct err *err);

/* Looks like a key: begins as one. */
bool key_is_one(struct slice text);
/* A fresh key, and its digest in hex as the configuration has it behind "sha256:". */
int key_make(char out[KEY_TEXT_MAX], char digest[KEY_HEX_MAX], struct err *err);
void key_digest(struct slice key, uint8_t out[32]);
#endif
