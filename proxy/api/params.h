// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_API_PARAMS_H
#define RAC_API_PARAMS_H
/* Query parameters of the API. What is wrong is ERR_INVALID that names the parameter and what is expected. */
#include "proxy/api/api.h"

/* None but these (NULL-terminated), none twice, none empty, each well encoded. */
int params_check(struct request *r, const char *const *names, struct err *err);
/* A text of at most max bytes; *ret NULL if it is not there. */
int params_text(struct request *r, const char *name, size_t max, const char **ret, struct err *err);
/* RFC 3339, or a duration before now ("1h"); *ret is left alone if it is not there. */
int params_time(struct request *r, const char *name, int64_t *ret_ms, struct err *err);
int params_uint(struct request *r, const char *name, uint64_t min, uint64_t max, uint64_t *ret,
                struct err *err);
/* An image's name as one would pull it, without a tag, as its canonical name: "busybox" is
 * "docker.io/library/busybox". An upstream that is not configured (any more) is fine. */
int params_image(struct api *api, struct request *r, const char *name, const char **ret, struct err *err);
#endif
