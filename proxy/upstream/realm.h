// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_UPSTREAM_REALM_H
#define RAC_UPSTREAM_REALM_H
/* From a Bearer challenge to the token request: where to, for what, and whether our credentials may go there.
 * Pure. */
#include <stdbool.h>

#include "common/err.h"
#include "proxy/upstream/challenge.h"
#include "proxy/upstream/upstream.h"
#include "proxy/upstream/url.h"

struct realm {
    struct url url;   /* with service and scope, but where there is a form */
    bool credentials; /* the upstream's credentials are sent there; else the token is an anonymous one */
    char *form;       /* what is posted there to exchange a refresh token (distribution: spec/auth/oauth.md);
                         NULL: a GET */
};
void realm_free(struct realm *realm); /* an empty one is fine; empty after */

/* `own`: the upstream's url. `repository`: what the token is to read; NULL for none. The scope asked for is
 * never more than repository:<it>:pull, whatever the challenge wants. ERR_UPSTREAM for a realm that is no
 * URL, ERR_DENIED for one that the rules forbid (user info, http under an https upstream). */
int realm_of(const struct upstream *u, const struct url *own, const struct challenge *c,
             const char *repository, struct realm *ret, struct err *err);
#endif
