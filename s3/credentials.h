// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3_CREDENTIALS_H
#define RAC_S3_CREDENTIALS_H
/*
 * Who signs. The first of these that answers, as in AWS's own clients:
 *   environment      AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN
 *   web identity     AWS_WEB_IDENTITY_TOKEN_FILE (read again each time), AWS_ROLE_ARN, AWS_ROLE_SESSION_NAME
 *   profile files    keys, or a web identity: credentials_profile.h
 *   container        AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or _FULL_URI, with
 *                    AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE or AWS_CONTAINER_AUTHORIZATION_TOKEN
 *   EC2 (IMDSv2)     unless AWS_EC2_METADATA_DISABLED is true; AWS_EC2_METADATA_SERVICE_ENDPOINT
 * Those that expire are renewed 5 minutes before, by whichever thread comes first, while the others go on
 * with the old ones. If renewing fails, the old ones serve until they expire.
 */
#include <stdatomic.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "s3/cancel.h"
#include "s3/http.h"

#define CREDENTIALS_RENEW_MS ((int64_t)300000)

/* Not changed once made; shared by counting. */
struct credentials {
    atomic_int references;
    char *access_key_id, *secret_access_key, *session_token; /* token: NULL if there is none */
    int64_t expires_ms;                                      /* wall clock; 0: never */
    const char *source;                                      /* "environment", ...: for logs; static */
};

struct credentials_chain;

/* http is borrowed, and so is region, which may be NULL. */
struct credentials_chain *credentials_chain_new(struct http *http, const char *region);
void credentials_chain_free(struct credentials_chain *c); /* NULL is fine */

/* A reference, to be given back with credentials_put; NULL with ERR_UNAUTHORIZED if nobody answers (the
 * message lists what was tried and why it did not work) or ERR_CANCELLED. Any thread. */
struct credentials *credentials_get_ref(struct credentials_chain *chain, struct cancel *cancel,
                                        struct err *err);
void credentials_put(struct credentials *c); /* NULL is fine */
/* The server did not accept these: they are not handed out again, unless they are what is found anew. Returns
 * whether asking again may give others (keys of the environment stay what they are). */
bool credentials_refused(struct credentials_chain *chain, const struct credentials *c);

static inline void cleanup_credentials_fn(struct credentials **c)
{
    credentials_put(*c);
}
#define cleanup_credentials RAC_CLEANUP(cleanup_credentials_fn)
#endif
