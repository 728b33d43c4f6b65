// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_PROXY_OPTIONS_FILE_H
#define RAC_PROXY_OPTIONS_FILE_H
/*
 * The configuration file: its tree of members onto struct options. Private to options_*.
 *
 * A member is written nested or dotted, which is the same: `cache: {size: 10GiB}`, `cache.size: 10GiB`. So
 * `upstreams` and `inject` may be lists and still have neighbours: `inject.pinned: refuse`.
 */
#include <sys/types.h>

#include "proxy/options/list.h"

/* Reads o->config_file. ERR_IO, ERR_INVALID with "FILE:LINE:COLUMN: member: what is wrong", ERR_SIZE_INVALID.
 */
int option_read_file(struct options *o, struct err *err);
/* As option_read_file, of bytes in memory: for that, and for fuzzing. base_dir as in option_set. */
int option_read_document(struct options *o, const char *bytes, size_t len, const char *base_dir, mode_t mode,
                         struct err *err);
/* The one line of a file that holds nothing else. A file that others may read gets a warning. */
int option_read_password(struct options *o, const char *path, char **ret, const char *where, struct err *err);
#endif
