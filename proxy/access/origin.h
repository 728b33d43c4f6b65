// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_ACCESS_ORIGIN_H
#define RAC_ACCESS_ORIGIN_H
/* The address a request comes from. For access*.c only. */
#include "proxy/access/table.h"

/* The peer, or what trusted proxies say of whom they speak for. All zero if it cannot be told (a connection
 * that is gone). */
struct net_address origin_address(const struct table *t, struct request *r);
/* As access_origin. */
void origin_find(const struct table *t, struct request *r, struct access_origin *ret);
#endif
