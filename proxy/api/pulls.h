// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_API_PULLS_H
#define RAC_API_PULLS_H
/* GET /v1/pulls: the records, youngest first, a page at a time; GET /v1/demand: where each image is needed.
 */
#include "proxy/api/api.h"

void pulls_handle(struct api *api, struct request *r);
void demand_handle(struct api *api, struct request *r);
#endif
