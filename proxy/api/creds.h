// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_API_CREDS_H
#define RAC_API_CREDS_H
/*
 * POST /validate-creds: would a registry take this user and password? Asked as `docker login` asks, GET /v2/
 * and what its challenge leads to; the answer is bare JSON, true or false. Only upstreams that are allowed
 * here are asked, by the same rules for addresses as a pull. The password is neither logged nor kept, nor is
 * a token that came of it.
 */
#include "proxy/api/api.h"

void creds_validate(struct api *api, struct request *r);
#endif
