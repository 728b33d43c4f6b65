// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_PROXY_OPTIONS_NETWORK_H
#define RAC_PROXY_OPTIONS_NETWORK_H
/* Where requests come from: `locations` and `trusted-proxies`. Private to options_*. */
#include "proxy/options/list.h"
#include "proxy/options/yaml.h"

/* {network: CIDR or a list of them, name: NAME} */
int option_read_location(struct options *o, const struct yaml_node *entry, struct option_origin origin,
                         struct err *err);
/* "10.1.0.0/16=hospital-a" */
int option_add_location_word(struct options *o, struct slice word, const struct option_origin *origin,
                             const char *where, struct err *err);
/* "10.0.0.1", "10.0.0.0/8" */
int option_add_proxy(struct options *o, struct slice word, const struct option_origin *origin,
                     const char *where, struct err *err);
/* True if all that is listened on can be reached from this machine only. */
bool option_is_loopback_only(const struct options *o);
#endif
