// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3_HTTP_RESOLVE_H
#define RAC_S3_HTTP_RESOLVE_H
/* Names to addresses, remembered for a minute. getaddrinfo cannot be interrupted, so it runs on a thread of
 * its own, and whoever is cancelled or out of time leaves it behind. */
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "common/err.h"
#include "s3/cancel.h"
#include "s3/s3_url.h"

#define HTTP_ADDRESSES_MAX 8

struct http_addresses {
    struct sockaddr_storage list[HTTP_ADDRESSES_MAX];
    socklen_t sizes[HTTP_ADDRESSES_MAX];
    size_t len; /* 1 or more */
};

struct http_resolver;
struct http_resolver *http_resolver_new(void);
void http_resolver_free(struct http_resolver *r);
/* deadline_ms: on clock_mono_ms. ERR_IO, ERR_TIMEOUT, ERR_CANCELLED. */
int http_resolve(struct http_resolver *r, const struct s3_url *server, uint64_t deadline_ms,
                 struct cancel *cancel, struct http_addresses *ret, struct err *err);
/* What is remembered did not work. */
void http_resolver_forget(struct http_resolver *r, const struct s3_url *server);
#endif
