// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_ACCESS_ACCESS_H
#define RAC_ACCESS_ACCESS_H
/*
 * Who asks, and what they may do (design: api.md "Who may ask").
 *
 * A request is identified once, before it is dispatched; from then on caller_of() says who it is. Rooms ask
 * for a role; which account has which is the configuration's.
 */
#include <stdbool.h>

#include "common/err.h"
#include "proxy/http/request.h"

enum access_role {
    ACCESS_PULL = 1,         /* /v2/ */
    ACCESS_REQUEST = 2,      /* container tokens, validate-creds */
    ACCESS_READ_RECORDS = 4, /* /v1/pulls, /v1/demand, /v1/events */
    ACCESS_ADMIN = 8,        /* all of it, and what others made */
};

struct caller {
    const char *account; /* NULL: anonymous */
    unsigned roles;      /* of enum access_role */
};

struct access;

/* 1: *ret says who asks, valid until the request is over. 0: it takes a while (a password is being checked,
 * off the loop): fn comes, on this loop, never from inside, unless the request ends before. -1: refused
 * (ERR_UNAUTHORIZED: wrong credentials; ERR_LIMITED: too many wrong ones). Nothing is answered yet. */
typedef void access_fn(void *arg, struct request *r, const struct caller *caller, const struct err *err);
int access_identify(struct access *a, struct request *r, const struct caller **ret, access_fn *fn, void *arg,
                    struct err *err);

/* Who the request was found to be from; never NULL once it was dispatched. */
static inline const struct caller *caller_of(const struct request *r)
{
    return request_user(r);
}
static inline bool caller_may(const struct request *r, enum access_role role)
{
    return caller_of(r)->roles & (unsigned)(role | ACCESS_ADMIN);
}

struct access *access_new(void);
void access_free(struct access *a); /* NULL is fine */
#endif
