// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_LAYERS_SHOW_H
#define RAC_LAYERS_SHOW_H
/*
 * Says what is in a file: a layer (tar, gzip, zstd), a manifest, an index, a config or an injection. For
 * people: the text may change. Blocks.
 */
#include <stdio.h>

#include "common/err.h"

/* `path`: "-" is standard input. Names from inside are printed with everything unprintable escaped. */
int show_file(const char *path, FILE *out, struct err *err);
#endif
