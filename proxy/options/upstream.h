// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_PROXY_OPTIONS_UPSTREAM_H
#define RAC_PROXY_OPTIONS_UPSTREAM_H
/* One entry of `upstreams` in the file, and what entries of lists have in common. Private to options_*. */
#include <sys/types.h>

#include "proxy/options/list.h"
#include "proxy/options/yaml.h"

/* file_mode: of the file the entry stands in, since it may hold a password. */
int option_read_upstream(struct options *o, const struct yaml_node *entry, struct option_origin origin,
                         const char *base_dir, mode_t file_mode, struct err *err);
/* `child` is one of `members`, and a single value (or a list, where its meta says so). `where`: of the entry.
 */
int option_check_member(const struct options *o, const struct option_def *def,
                        const struct option_member *members, const struct yaml_node *child, struct err *err);
/* A pattern that could match a canonical name. */
int option_check_pattern(const char *pattern, const char *where, struct err *err);
/* RAC_UPSTREAM_<NAME>_USERNAME, ..._PASSWORD, ..._PASSWORD_FILE for the upstreams that are there by now. */
int option_read_credentials(struct options *o, char *const *env, struct err *err);
#endif
