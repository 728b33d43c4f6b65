// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3_HTTP_POOL_H
#define RAC_S3_HTTP_POOL_H
/* Connections that are kept alive, by server (scheme, host, port). At most `max` per server exist at once:
 * who asks for one more waits until one comes back. Any thread. */
#include "s3/http_conn.h"

struct http_pool;
struct http_lane; /* one server's */

/* ca_file: see http_tls.h; copied. Certificates are read when the first https server is asked: reading a
 * hundred of them takes longer than a request. */
struct http_pool *http_pool_new(const char *ca_file, unsigned max, uint32_t connect_timeout_ms);
void http_pool_free(struct http_pool *p);

/* A connection that was used before, or with fresh set a new one; to be given back by http_pool_put.
 * connect_timeout_ms: 0 for the pool's. Waiting
 * for a place is bounded by the connections' own timeouts, and by cancel. */
struct http_conn *http_pool_get(struct http_pool *p, const struct s3_url *server, bool fresh,
                                uint32_t connect_timeout_ms, struct cancel *cancel,
                                struct http_lane **ret_lane, struct err *err);
void http_pool_put(struct http_lane *lane, struct http_conn *c, bool reusable);
#endif
