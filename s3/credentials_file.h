// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3_CREDENTIALS_FILE_H
#define RAC_S3_CREDENTIALS_FILE_H
/* Small files that are read whole: profiles, tokens. */
#include <stddef.h>

#include "common/err.h"

/* *ret: malloc'd, NUL-terminated. 1; 0 if there is no such file; -1 with ERR_IO, also if it is longer than
 * max. */
int credentials_read_file(const char *path, size_t max, char **ret, size_t *ret_len, struct err *err);
#endif
