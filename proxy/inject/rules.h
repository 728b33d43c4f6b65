// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_INJECT_RULES_H
#define RAC_INJECT_RULES_H
/* Which image gets which injection: rules over canonical names, first match wins. Immutable once made. */
#include "layers/injection.h"

struct rules;
struct rules *rules_new(void);
void rules_free(struct rules *r);
/* pattern: glob over "docker.io/library/busybox"; injection NULL = none; takes a reference of its own. */
void rules_add(struct rules *r, const char *pattern, struct injection *injection);
/* For all images of an upstream ("docker.io"); goes before the patterns. */
void rules_add_upstream(struct rules *r, const char *upstream, struct injection *injection);
/* Borrowed; NULL = the image goes through unchanged. An injection with nothing in it counts as none. */
struct injection *rules_find(const struct rules *r, const char *upstream, const char *canonical);
/* Each injection once; borrowed. */
size_t rules_injection_count(const struct rules *r);
struct injection *rules_injection_at(const struct rules *r, size_t i);
#endif
