// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_ACCESS_ACCESS_H
#define RAC_ACCESS_ACCESS_H
/*
 * Who asks, from where, and what they may do (design: api.md "Who may ask").
 *
 * A request is identified once, before it is dispatched; from then on caller_of() says who it is. Rooms ask
 * for a role; which account has which is the configuration's. access_origin() says where a request comes
 * from, for records and for limits per client.
 *
 * One object for all workers; every function but new, reload and free is for any of them.
 */
#include <stdbool.h>

#include "common/err.h"
#include "common/network.h"
#include "proxy/http/request.h"
#include "proxy/state/state.h"

enum access_role {
    ACCESS_PULL = 1,         /* /v2/ */
    ACCESS_REQUEST = 2,      /* container tokens, validate-creds */
    ACCESS_READ_RECORDS = 4, /* /v1/pulls, /v1/demand, /v1/events */
    ACCESS_ADMIN = 8,        /* all of it, and what others made */
};

/* The value of WWW-Authenticate in every 401 of ours. */
#define ACCESS_CHALLENGE "Basic realm=\"rac-proxy\""

struct caller {
    const char *account; /* NULL: anonymous */
    unsigned roles;      /* of enum access_role */
    const char *subject; /* whom records name; NULL: the account. For requests that a token authorises */
};

struct access_account {
    const char *name;
    const char *password_hash; /* bcrypt, as password_check_hash takes it; NULL: no password */
    const char *const *keys;   /* SHA-256 of API keys, 64 hex digits each; NULL-terminated, or NULL */
    const char *certificate;   /* the CN of client certificates that stand for the account; NULL: none */
    unsigned roles;
};

struct access_location {
    struct net_range network;
    const char *name;
};

/* What the configuration says; copied. */
struct access_config {
    const struct access_account *accounts; /* none: nobody can identify, Authorization is not looked at */
    size_t account_count;
    unsigned anonymous; /* roles of who sends no credentials */
    const struct access_location *locations;
    size_t location_count;
    const struct net_range *trusted_proxies; /* whose X-Forwarded-For is believed */
    size_t trusted_proxy_count;
    bool trust_headers; /* X-Rac-Node, X-Meta-Rac-Node */
};

struct access;

/* state: of replicas that count wrong logins together, as rate.h has it; NULL: they are this process's own.
 */
struct access *access_new(const struct access_config *config, struct state *state);
/* From now on this is in force; what was remembered of passwords is forgotten. Main thread. */
void access_reload(struct access *a, const struct access_config *config);
void access_free(struct access *a); /* NULL is fine; after the loops of all requests, and the state's end */
bool access_is_busy(const struct access *a); /* passwords are being checked: their answers are due on loops */

/* 1: *ret says who asks, valid until the request is over. 0: it takes a while (a password is being checked,
 * off the loop): fn comes, on this loop, never from inside, unless the request ends before. -1: refused
 * (ERR_UNAUTHORIZED: wrong credentials; ERR_LIMITED: too many wrong ones; ERR_OVERLOADED: too many passwords
 * are being checked). Nothing is answered yet. */
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

/*
 * Where a request comes from. Strings are valid until the request is over.
 *
 * The address is the connection's, or, if that is a trusted proxy's, the right-most one of X-Forwarded-For
 * that is not. The node is the first that holds of: the CN of a verified client certificate; the subject; the
 * header X-Rac-Node or X-Meta-Rac-Node, if headers are trusted; the address.
 */
struct access_origin {
    const char *node;     /* never NULL */
    const char *location; /* of the narrowest network that holds the address; NULL: none does */
    const char *subject;  /* the caller's subject, or account; NULL: anonymous */
    const char *address;  /* "192.0.2.1": never NULL, no port */
    struct net_address ip;
};
void access_origin(struct access *a, struct request *r, struct access_origin *ret);
#endif
