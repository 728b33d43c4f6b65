// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3_CREDENTIALS_SOURCE_H
#define RAC_S3_CREDENTIALS_SOURCE_H
/* The sources behind credentials.h, in the order they are asked. Private to credentials*.c and their tests.
 */
#include "s3/credentials.h"

struct credentials_ask {
    struct http *http;
    const char *region; /* may be NULL */
    struct cancel *cancel;
};

/* 1: *ret is a new reference; 0: not configured here; -1 with *err: configured, but it does not work. */
typedef int credentials_source_fn(const struct credentials_ask *ask, struct credentials **ret,
                                  struct err *err);

credentials_source_fn credentials_from_environment, credentials_from_web_identity, credentials_from_profile,
    credentials_from_container, credentials_from_ec2;

/* Copies; token may be NULL. -1 with ERR_INVALID for an empty key or one with characters no header may have.
 */
int credentials_new(const char *id, const char *secret, const char *token, int64_t expires_ms,
                    const char *source, struct credentials **ret, struct err *err);
/* The JSON object of the container and EC2 services. Pure. */
int credentials_from_json(struct slice doc, const char *source, struct credentials **ret, struct err *err);
/* AssumeRoleWithWebIdentity's answer. Pure. */
int credentials_from_sts_xml(struct slice doc, struct credentials **ret, struct err *err);
#endif
