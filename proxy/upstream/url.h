// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_UPSTREAM_URL_H
#define RAC_UPSTREAM_URL_H
/*
 * Absolute http and https URLs, as curl reads them. The parsed handle itself is what gets dialled
 * (CURLOPT_CURLU), so the rules about hosts and ports can never look at another place than the socket goes
 * to. Private to proxy/upstream.
 */
#include <curl/curl.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "common/str.h"

#define URL_MAX ((size_t)8 << 10) /* bytes of a URL, a Location, a realm */

struct url {
    CURLU *handle; /* NULL: empty */
    bool https;
    uint16_t port; /* always said */
    char *host;    /* lower case; IPv6 without brackets; [a-z0-9._:-] only */
};

/* ERR_INVALID: not absolute, another scheme, user info, a zone, a host of other characters, over URL_MAX. The
 * messages do not repeat the text: it may carry what nobody should read. */
int url_parse(const char *text, struct url *ret, struct err *err);
/* What `location` means on an answer from `base` (RFC 9110 section 10.2.2): absolute or relative. As
 * url_parse. */
int url_follow(const struct url *base, const char *location, struct url *ret, struct err *err);
int url_dup(const struct url *url, struct url *ret, struct err *err);
/* Adds "name=value", value encoded. */
int url_add_query(struct url *url, const char *name, const char *value, struct err *err);
bool url_has_query(const struct url *url);                      /* or a fragment */
bool url_same_origin(const struct url *a, const struct url *b); /* scheme, host and port */
bool url_same_place(const struct url *a, const struct url *b);  /* host and port */
/* The text, without a port that is the scheme's own; malloc'd, never NULL. */
char *url_format(const struct url *url);
void url_free(struct url *url); /* an empty one is fine; empty after */

#define cleanup_url RAC_CLEANUP(url_free)
#endif
