// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_UPSTREAM_NAMES_H
#define RAC_UPSTREAM_NAMES_H
/*
 * What names of upstreams look like, and how the name of an image is cut into one and a repository (design:
 * api.md "Names"). Pure. upstream_resolve() in upstream_set.c puts it together.
 */
#include <stdbool.h>

#include "common/err.h"
#include "common/str.h"

#define NAMES_UPSTREAM_MAX   255
#define NAMES_REPOSITORY_MAX 255

/* An upstream's name: a word or a host, with a port or without, lower case, one segment: "docker.io", "edge",
 * "localhost:5000", "[::1]:5000". ERR_INVALID. "wt" is taken: container tokens live there. */
int names_check_upstream(struct slice name, struct err *err);
/* index.docker.io and registry-1.docker.io are docker.io; others are what they are. */
struct slice names_canonical(struct slice upstream);
/* A first segment that can only be meant as a host: it has a '.' or ':', or is "localhost". */
bool names_is_host(struct slice segment);
/* The repository's part of a path upstream: [a-z0-9._/-], no empty segment, none of dots only, at most
 * NAMES_REPOSITORY_MAX. Callers have checked the whole grammar; this keeps a name from ever meaning another
 * path. */
int names_check_repository(struct slice repository, struct err *err);
#endif
