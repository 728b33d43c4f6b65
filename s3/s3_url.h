// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3_S3_URL_H
#define RAC_S3_S3_URL_H
/* http and https URLs, as far as endpoints need them (RFC 3986), and percent-encoding as S3 signs it. Pure.
 */
#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/str.h"

#define URL_HOST_MAX   253
#define URL_TARGET_MAX 4095

struct s3_url {
    bool https;
    bool literal;                /* host is an IP address */
    char host[URL_HOST_MAX + 1]; /* lower case, IPv6 without brackets */
    uint16_t port;
    char target[URL_TARGET_MAX + 1]; /* path and query; "" or begins with '/' */
};

/* http://host[:port][/path][?query]; the scheme may be left out: https. ERR_INVALID for user info, fragments,
 * spaces and control characters, other schemes. */
int s3_url_parse(const char *text, struct s3_url *ret, struct err *err);
/* As the Host header and sigv4 have it: the port only where it is not the scheme's, IPv6 in brackets. */
#define URL_AUTHORITY_MAX (URL_HOST_MAX + 2 + 6)
void s3_url_authority(const struct s3_url *u, char ret[URL_AUTHORITY_MAX + 1]);
bool s3_url_same_server(const struct s3_url *a, const struct s3_url *b);

/* Appends `s` percent-encoded as AWS wants it: all but A-Z a-z 0-9 - . _ ~, and '/' where slash_stays. */
bool s3_url_add_escaped(struct buf *b, const char *s, bool slash_stays);
/* %XX and, with plus_is_space, '+', in place. False if a '%' is not followed by two hex digits, or if a byte
 * is NUL. */
bool s3_url_unescape(char *s, bool plus_is_space);
#endif
