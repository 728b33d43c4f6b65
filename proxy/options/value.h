// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_PROXY_OPTIONS_VALUE_H
#define RAC_PROXY_OPTIONS_VALUE_H
/*
 * One value of the table: from text into its member of struct options, back into text, compared, copied.
 * Private to options_*. `where` is what a message begins with: "rac.yaml:3:7: cache.size", "--cache-size",
 * "RAC_CACHE_SIZE".
 */
#include "common/str.h"
#include "proxy/options/table.h"

/* Sets a value that is no list (option_is_list). base_dir: what a relative path is relative to; NULL = leave
 * it. The old value is freed; on ERR_INVALID it stands. */
int option_set(struct options *o, const struct option_def *def, const char *text, const char *base_dir,
               const char *where, struct err *err);
/* As it may be written in the file: "10GiB", "60s", "true"; appends nothing if it is unset. No list. */
void option_show(const struct options *o, const struct option_def *def, struct buf *out);
/* Any type. */
bool option_same(const struct options *a, const struct options *b, const struct option_def *def);
/* to's value becomes a copy of from's, with its origin. Any type but OPTION_UPSTREAMS and OPTION_INJECT,
 * which reload. */
void option_copy(struct options *to, const struct options *from, const struct option_def *def);

/* `path` itself if it is absolute or base_dir is NULL or "."; malloc'd. */
char *option_path(const char *base_dir, const char *path);
/* "true" and "false"; ERR_INVALID. */
int option_parse_bool(const char *text, bool *ret, const char *where, struct err *err);
int option_parse_duration(const char *text, uint64_t min_ms, uint64_t max_ms, uint64_t *ret_ms,
                          const char *where, struct err *err);
/* "90s", "7d", "1500ms": the largest unit that holds it whole. */
void option_show_duration(uint64_t ms, struct buf *out);
/* What a message about a value begins with; member NULL: the row's name. Into `out`; returns out. */
#define OPTION_WHERE_MAX ((size_t)300)
char *option_where(const struct options *o, const struct option_origin *origin, const struct option_def *def,
                   const char *member, char out[OPTION_WHERE_MAX]);
/* Appends to o->warnings. */
void option_warn(struct options *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#endif
