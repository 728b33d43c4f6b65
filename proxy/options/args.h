// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_PROXY_OPTIONS_ARGS_H
#define RAC_PROXY_OPTIONS_ARGS_H
/* The command line and the environment. Private to options_*. */
#include "proxy/options/list.h"

/* First pass: checks that every flag is known and has its value, sets o->action and o->config_file, applies
 * nothing. */
int option_scan_args(struct options *o, int argc, char *const *argv, struct err *err);
/* Second pass, over arguments that option_scan_args took. */
int option_apply_args(struct options *o, int argc, char *const *argv, struct err *err);
/* The variables of the table. One with our prefix that is none of ours gets a warning. */
int option_apply_env(struct options *o, char *const *env, struct err *err);
/* The value of a variable, or NULL; borrowed. env may be NULL. */
const char *option_env(char *const *env, const char *name);
#endif
