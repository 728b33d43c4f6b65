// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_UPSTREAM_REDIRECT_H
#define RAC_UPSTREAM_REDIRECT_H
/* Which redirects are followed, and which places may be private. Pure. */
#include <stdbool.h>

#include "common/err.h"
#include "proxy/upstream/upstream.h"
#include "proxy/upstream/url.h"

#define REDIRECT_MAX 5

bool redirect_is_status(int status); /* 301, 302, 303, 307, 308: all we ever ask is GET and HEAD */
/* Where an answer from `from` sends us. `count`: how many were followed before this one. ERR_UPSTREAM, or
 * ERR_DENIED for a place that the rules forbid: not from https to http, no user info, http and https only. */
int redirect_follow(const struct url *from, const char *location, unsigned count, struct url *ret,
                    struct err *err);
/* Whether the socket for `to` may have an address that is not public: only the host and port that somebody
 * wrote into the configuration, or anything where that somebody said so. `own`: the upstream's url. */
bool redirect_may_be_private(const struct upstream *u, const struct url *own, const struct url *to);
/* Which certificates a server at `to` is judged by: the upstream's own file on its site, at the token servers
 * listed for it, and all over a private network; NULL, the system's, for others it sends us to, such as a
 * public store of blobs. */
const char *redirect_ca_file(const struct upstream *u, const struct url *own, const struct url *to);
#endif
