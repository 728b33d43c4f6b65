// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_PROXY_OPTIONS_CHECK_H
#define RAC_PROXY_OPTIONS_CHECK_H
/* What one value alone cannot tell: pairs, names that must exist, files that must be readable, and what is
 * allowed but not wise. After all sources were read. Private to options_*. */
#include "proxy/options/list.h"

/* ERR_INVALID or ERR_IO with the place the value came from. Adds to o->warnings. */
int option_check_all(struct options *o, struct err *err);
#endif
