// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_UPSTREAM_ENV_PROXY_H
#define RAC_UPSTREAM_ENV_PROXY_H
/*
 * The proxy that the environment names: https_proxy, http_proxy, all_proxy, no_proxy, in lower or upper case
 * (http_proxy in lower case only, as curl has it). We decide ourselves, and tell curl, because the address
 * rules must know whether the socket goes to the proxy or to the upstream: a proxy's address may be private,
 * and what lies behind it is the proxy's to judge.
 */
#include <stdbool.h>

#include "proxy/upstream/url.h"

struct env_proxy {
    char *http, *https, *exceptions; /* NULL: none */
};

void env_proxy_read(struct env_proxy *p); /* getenv: before there are threads that setenv */
void env_proxy_free(struct env_proxy *p);
/* The proxy for a URL, borrowed, or NULL. */
const char *env_proxy_for(const struct env_proxy *p, const struct url *url);
/* Whether a no_proxy list has this host: names with everything below them, IP addresses, networks
 * (10.0.0.0/8), or `*`; separated by commas or spaces. */
bool env_proxy_excepts(const char *list, const char *host);
#endif
