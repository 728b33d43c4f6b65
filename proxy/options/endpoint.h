// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_PROXY_OPTIONS_ENDPOINT_H
#define RAC_PROXY_OPTIONS_ENDPOINT_H
/* `notifications.endpoints`. Private to options_*. */
#include <sys/types.h>

#include "proxy/options/list.h"
#include "proxy/options/yaml.h"

/* An entry of the file. mode: of the file, which should not be for everybody if it holds headers. */
int option_read_endpoint(struct options *o, const struct yaml_node *entry, struct option_origin origin,
                         const char *base_dir, mode_t mode, struct err *err);
/* "audit=https://audit.lab/events" */
int option_add_endpoint_word(struct options *o, struct slice word, const struct option_origin *origin,
                             const char *where, struct err *err);
bool option_endpoints_same(const struct options *a, const struct options *b);
void option_copy_endpoints(struct options *to, const struct options *from);
void options_endpoint_clear(struct options_endpoint *e); /* frees members, zeroes headers */
#endif
