// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_PROXY_OPTIONS_ADDRESS_H
#define RAC_PROXY_OPTIONS_ADDRESS_H
/*
 * The words of the configuration that name a place: addresses to listen on, URLs, hosts, names of upstreams.
 * Pure checks, nothing is looked up or dialled. Private to options_*.
 *
 * All return 0, or ERR_INVALID with a message that begins with `where` and says what is expected. *ret is
 * malloc'd.
 */
#include <stdbool.h>

#include "common/err.h"

/* "127.0.0.1:9090", "[::1]:9090", ":9090", "localhost:0". */
int option_check_listen(const char *text, const char *where, struct err *err);
/* *ret: with scheme, without trailing slashes. plain_http: without a scheme it is http://, and https:// is a
 * contradiction. */
int option_parse_url(const char *text, bool plain_http, char **ret, const char *where, struct err *err);
/* *ret: lower case, the aliases of docker.io turned into it. */
int option_parse_upstream_name(const char *text, char **ret, const char *where, struct err *err);
/* A name or IPv4 address or [IPv6] without port. *ret: lower case. */
int option_parse_host(const char *text, char **ret, const char *where, struct err *err);
/* The same with a port, or without. *ret: lower case. */
int option_parse_authority(const char *text, char **ret, const char *where, struct err *err);
#endif
