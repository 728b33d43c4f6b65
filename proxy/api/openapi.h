// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_API_OPENAPI_H
#define RAC_API_OPENAPI_H
/* GET /openapi.yaml: docs/openapi.yaml, as it was when this was built. */
#include "proxy/api/api.h"

void openapi_handle(struct api *api, struct request *r);
#endif
