// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_COMMON_ERR_H
#define RAC_COMMON_ERR_H
/*
 * Errors are values. A function that can fail takes `struct err *err` last and returns 0 or more on success,
 * a negative number with *err set on failure. Made and returned in one call:
 *
 *     return err_set(err, ERR_UPSTREAM, "%s: token endpoint answered %ld", name, status);
 *
 * wrapped on the way up (err_wrap puts what was being done in front), and printed once, by who gives up.
 * `err` may be NULL where the caller does not care. A struct err is plain data: copy it freely, between
 * threads too. Messages are for users: they name the image, the file, the upstream, and what to do next;
 * never a credential.
 */
#include <stdbool.h>
#include <stdint.h>

enum err_code {
    ERR_NONE = 0,
    ERR_INTERNAL,         /* a bug or a resource of ours: 500 */
    ERR_INVALID,          /* bad argument, option or document that is not one of the below */
    ERR_NAME_INVALID,     /* malformed repository name: 400 */
    ERR_DIGEST_INVALID,   /* malformed digest, or bytes that do not match one: 400 */
    ERR_MANIFEST_INVALID, /* malformed reference or manifest: 400 */
    ERR_SIZE_INVALID,     /* over a limit: 413 */
    ERR_RANGE_INVALID,    /* range outside the blob: 416 */
    ERR_NOT_FOUND,        /* no such thing, where none of the next three is meant */
    ERR_MANIFEST_UNKNOWN, /* 404 */
    ERR_BLOB_UNKNOWN,     /* 404 */
    ERR_NAME_UNKNOWN,     /* 404 */
    ERR_UNAUTHORIZED,     /* an upstream wants (other) credentials: 401 */
    ERR_DENIED,           /* 403 */
    ERR_LIMITED,          /* an upstream limits us: 429, see retry_after_s */
    ERR_UPSTREAM,         /* an upstream is broken or cannot be reached: 502 */
    ERR_TIMEOUT,          /* an upstream is too slow: 504 */
    ERR_UNSUPPORTED,      /* method or feature: 405 */
    ERR_NO_SPACE,         /* ENOSPC, EDQUOT */
    ERR_IO,               /* any other failure of a file */
    ERR_OVERLOADED,       /* a bounded queue of ours is full: 503 */
    ERR_CANCELLED,        /* nobody wants the result any more */
    ERR_EXISTS,           /* it is there already, and was to be new */
    ERR_STALE,            /* it has changed since we looked */
};

#define ERR_MSG_MAX 600

struct err {
    enum err_code code;
    uint32_t retry_after_s; /* ERR_LIMITED and ERR_OVERLOADED: seconds, 0 = not said */
    char msg[ERR_MSG_MAX];  /* NUL-terminated, one line, no trailing full stop needed */
};

/* Sets *err and returns -1. */
int err_set(struct err *err, enum err_code code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* As err_set, with ": " and the text of errno_value at the end. ENOSPC and EDQUOT turn ERR_IO into
 * ERR_NO_SPACE, EMFILE and ENFILE into ERR_OVERLOADED: both pass. */
int err_set_errno(struct err *err, enum err_code code, int errno_value, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Puts "<text>: " in front of the message that is there, keeps the code, returns -1. */
int err_wrap(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void err_clear(struct err *err);
/* The name of a code as logs and metrics show it: "upstream", "not_found". Static. */
const char *err_code_name(enum err_code code);
#endif
