// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_COMMON_JSON_H
#define RAC_COMMON_JSON_H
/*
 * jansson with our limits. Strict: duplicate keys, trailing data, NUL in strings, invalid UTF-8, too many
 * bytes and too much depth are errors that say where. Key order is kept.
 */
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "common/str.h"

#define JSON_DOCUMENT_MAX ((size_t)4 << 20) /* bytes of a manifest, index or config */
#define JSON_DEPTH_MAX    32

static inline void cleanup_json_fn(json_t **j)
{
    json_decref(*j);
}
#define cleanup_json RAC_CLEANUP(cleanup_json_fn)

/* The parsed value, to be json_decref'd, or NULL with ERR_INVALID (ERR_SIZE_INVALID past max_bytes). */
json_t *json_parse(const void *p, size_t len, size_t max_bytes, struct err *err);
/* Compact, order kept; malloc'd, NUL-terminated. Never NULL. */
char *json_format(const json_t *j, size_t *ret_len);
/* RFC 8785: members sorted by UTF-16 code units, minimal escapes, no white space. Integers and strings only,
 * as far as numbers go: a real number is an assert. malloc'd, NUL-terminated. */
char *json_format_canonical(const json_t *j, size_t *ret_len);
/* True if a parse and a re-write would change a number: an integer past 2^53, or any real. Looks at the whole
 * tree. */
bool json_has_unsafe_number(const json_t *j);
/* A member that must be a string if it is there: NULL if absent or null. ERR_INVALID naming the member
 * otherwise. */
int json_get_str(const json_t *obj, const char *key, const char **ret, struct err *err);
#endif
