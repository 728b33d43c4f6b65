// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3_HTTP_CONN_H
#define RAC_S3_HTTP_CONN_H
/* One connection to one server, plain or TLS, used by one thread at a time. Bytes in, bytes out; every wait
 * has an end and can be cancelled. */
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "common/err.h"
#include "s3/cancel.h"
#include "s3/http_resolve.h"
#include "s3/s3_url.h"

#define HTTP_BUFFER ((size_t)64 << 10) /* holds a head, HTTP_HEAD_MAX, or what is read of a body */

struct http_conn {
    int fd;
    SSL *ssl; /* NULL: plain */
    uint64_t idle_since_ms;
    unsigned served;   /* answers read completely */
    size_t begin, end; /* bytes read and not yet used, in buffer */
    char buffer[HTTP_BUFFER];
    struct http_conn *next; /* the pool's */
};

/* Any of the addresses; a NULL tls context is for plain servers. ERR_IO, ERR_TIMEOUT, ERR_CANCELLED. */
struct http_conn *http_conn_open(const struct http_addresses *addresses, const struct s3_url *server,
                                 SSL_CTX *tls, uint64_t deadline_ms, struct cancel *cancel, struct err *err);
void http_conn_close(struct http_conn *c); /* NULL is fine */
/* Idle, and the server has neither closed it nor said anything unasked. */
bool http_conn_usable(struct http_conn *c);

/* Up to len bytes straight into p (not from the buffer), waiting at most stall_ms for the first of them. 0 at
 * the end of the stream. */
ptrdiff_t http_conn_read(struct http_conn *c, const struct s3_url *server, void *p, size_t len,
                         uint32_t stall_ms, struct cancel *cancel, struct err *err);
/* Reads more into the buffer; begin == end beforehand or there is room. Returns bytes, 0 at the end. */
ptrdiff_t http_conn_fill(struct http_conn *c, const struct s3_url *server, uint32_t stall_ms,
                         struct cancel *cancel, struct err *err);
/* All of iov, waiting at most stall_ms for each bit of progress. Returns 0; 1 if the server began to answer
 * before it had everything (plain connections only); -1. iov is used up: after a 1 it holds what is left. */
int http_conn_write(struct http_conn *c, const struct s3_url *server, struct iovec *iov, int iov_len,
                    uint32_t stall_ms, struct cancel *cancel, struct err *err);
#endif
