// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_LAYERS_DOCUMENT_H
#define RAC_LAYERS_DOCUMENT_H
/*
 * Foreign JSON documents (manifests, indexes, configs), read so that nobody who reads them too can read
 * something else: common/json.h's strict rules, names that differ by case only, and numbers that we could not
 * write again as they were. Pure; any thread.
 */
#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"
#include "common/json.h"

/* An object at the root, or NULL with ERR_MANIFEST_INVALID (ERR_SIZE_INVALID past max_bytes). A number that
 * would not be written again with the same characters (an integer past 2^53, most reals) is no error:
 * *ret_unsafe_number tells, and the tree is then good for reading only; integers past 64 bits read as the
 * largest. */
json_t *document_parse(const void *bytes, size_t len, size_t max_bytes, bool *ret_unsafe_number,
                       struct err *err);

/* Refuses members of `obj` that differ from a known name by case only. Go's encoding/json matches names by
 * simple Unicode folding, where U+017F is an s and U+212A a k. `known` ends with NULL; `where` is for the
 * message. ERR_MANIFEST_INVALID. */
int document_check_names(const json_t *obj, const char *const *known, const char *where, struct err *err);
#endif
