// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_LAYERS_PLATFORM_H
#define RAC_LAYERS_PLATFORM_H
/*
 * What an image runs on: operating system, architecture, variant, in Go's words (OCI image spec,
 * image-index.md, "platform"). Plain data; pure; any thread.
 */
#include <stdbool.h>

#include "common/err.h"
#include "common/str.h"

#define PLATFORM_PART_MAX 32 /* with the NUL */
#define PLATFORM_STR_MAX  ((size_t)3 * PLATFORM_PART_MAX)

struct platform {
    char os[PLATFORM_PART_MAX];
    char architecture[PLATFORM_PART_MAX];
    char variant[PLATFORM_PART_MAX]; /* "" = not said */
};

/* "[os/]arch[/variant]"; os is linux where it is not said. Aliases become Go's words: x86_64, x86-64 ->
 * amd64; aarch64, arm64v8 -> arm64; arm32v7, armhf -> arm/v7; armel -> arm/v6; i386, i686 -> 386.
 * ERR_INVALID. */
int platform_parse(struct slice text, struct platform *ret, struct err *err);
/* May something made for `wanted` go into an image for `have`? A variant that is not wanted matches every
 * variant; arm64 is arm64/v8, amd64 is amd64/v1, arm is arm/v7. */
bool platform_matches(const struct platform *wanted, const struct platform *have);
/* "linux/arm/v7" into `out`; returns out. */
const char *platform_format(const struct platform *p, char out[PLATFORM_STR_MAX]);
#endif
