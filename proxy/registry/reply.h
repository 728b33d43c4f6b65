// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_REGISTRY_REPLY_H
#define RAC_REGISTRY_REPLY_H
/* Answers under /v2: {"errors":[{"code","message","detail"}]} with the distribution spec's codes, and the
 * headers that all answers share. */
#include "common/err.h"
#include "proxy/http/request.h"

#define REPLY_RETRY_AFTER_S 5u /* of a 429 or 503 where nobody says when */

/* Docker-Distribution-Api-Version, and OCI-Namespace where the request had `ns`. Before any other header. */
void reply_common_headers(struct request *r);
void reply_err(struct request *r, const struct err *err);
/* An error that is no struct err. code: "UNSUPPORTED", … */
void reply_error(struct request *r, int status, const char *code, const char *message);
/* The status and the code that an error gets; code static. */
int reply_status(const struct err *err, const char **ret_code);
void reply_json(struct request *r, int status, const char *json, size_t len); /* copied */
/* Does If-None-Match name this entity tag (with its quotes)? */
bool reply_not_modified(struct request *r, const char *etag);
#endif
