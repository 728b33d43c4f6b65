// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3_S3_ERROR_H
#define RAC_S3_S3_ERROR_H
/* What a server's refusal means: one table from codes and statuses to our errors and to what may help. Pure.
 */
#include "common/err.h"
#include "s3/http_head.h"

enum s3_remedy {
    S3_REMEDY_NONE,
    S3_REMEDY_RETRY,       /* later */
    S3_REMEDY_REGION,      /* at the region it names */
    S3_REMEDY_CREDENTIALS, /* with fresh ones */
    S3_REMEDY_CLOCK,       /* with the server's time */
};

struct s3_problem {
    int status;
    char code[64];        /* "NoSuchKey"; "" if it was not said */
    char message[256];    /* the server's; "" */
    char region[64];      /* the bucket's; "" */
    char request_id[128]; /* "" */
    enum err_code err;
    enum s3_remedy remedy;
};

/* From an answer that is no success, or a 200 whose body is an <Error>. */
void s3_problem_read(struct s3_problem *ret, const struct http_head *head, struct slice body);
/* Is the body's root element <Error>? */
bool s3_body_is_error(struct slice body);
/* "403 AccessDenied: message" into *err, with the problem's code. Returns -1. */
int s3_problem_err(const struct s3_problem *p, struct err *err);
#endif
