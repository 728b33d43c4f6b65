// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_PROXY_OPTIONS_ACCOUNT_H
#define RAC_PROXY_OPTIONS_ACCOUNT_H
/* Who may ask: entries of `accounts`, words for roles. Private to options_*. */
#include <sys/types.h>

#include "proxy/options/list.h"
#include "proxy/options/yaml.h"

void options_account_clear(struct options_account *a); /* frees members, zeroes passwords */
/* file_mode: of the file the entry stands in, since it may hold a password. */
int option_read_account(struct options *o, const struct yaml_node *entry, struct option_origin origin,
                        const char *base_dir, mode_t file_mode, struct err *err);
/* "NAME:$2y$…", as `htpasswd -nB` prints it, or "NAME:sha256:…" for a key. */
int option_add_account_word(struct options *o, struct slice word, const struct option_origin *origin,
                            const char *where, struct err *err);
/* "pull", "request", "read-records", "admin"; several with commas between them; "none". */
int option_parse_roles(struct slice words, unsigned *ret, const char *where, struct err *err);
/* The same from a list, or a single value with commas. */
int option_read_roles(const struct yaml_node *node, unsigned *ret, const char *where, struct err *err);
void option_show_roles(unsigned roles, struct buf *out);
/* No key or certificate twice; who may ask if nothing is said; that anybody may. */
int option_check_access(struct options *o, struct err *err);
#endif
