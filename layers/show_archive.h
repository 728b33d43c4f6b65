// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_LAYERS_SHOW_ARCHIVE_H
#define RAC_LAYERS_SHOW_ARCHIVE_H
/* The table of contents of a layer: tar, plain or by gzip or zstd. Streams. For show.c. */
#include <stdio.h>

#include "common/err.h"
#include "common/str.h"

/* `head`: the first bytes, which were read from `fd` already. */
int show_archive(int fd, struct slice head, FILE *out, struct err *err);
#endif
