// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_PROXY_OPTIONS_LIST_H
#define RAC_PROXY_OPTIONS_LIST_H
/*
 * The options that are lists: addresses, upstreams, rules; accounts and networks have files of their own. How
 * entries of several sources come together. Private to options_*.
 *
 * listen: the highest source that gives any wins whole. upstreams: all of them, a higher source replaces an
 * entry of the same name whole (so that credentials never go to another URL than the one they were written
 * beside). Rules come from the file only; inject_all from any source.
 */
#include "proxy/options/value.h"

void options_upstream_clear(struct options_upstream *u); /* frees members, zeroes the password */
/* Takes what *u holds, and leaves it empty. ERR_INVALID if the same source gave that name before; *u is kept
 * then. */
int option_add_upstream(struct options *o, struct options_upstream *u, const char *where, struct err *err);
void option_add_rule(struct options *o, char *match, char *injection,
                     struct option_origin origin); /* takes both */
int option_add_listen(struct options *o, const char *text, const struct option_origin *origin,
                      const char *where, struct err *err);
/* A list as a flag or a variable has it: for a variable, words with commas between them. */
int option_set_list(struct options *o, const struct option_def *def, const char *text,
                    const struct option_origin *origin, const char *where, struct err *err);
/* The entry of that name, or NULL. */
struct options_upstream *option_upstream(const struct options *o, const char *name);
/* "none" or a file, into inject_all. */
void option_set_inject(struct options *o, const char *text, const char *base_dir);
#endif
