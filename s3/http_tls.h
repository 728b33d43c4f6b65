// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3_HTTP_TLS_H
#define RAC_S3_HTTP_TLS_H
/* TLS as the client needs it: one context for a program, sessions over non-blocking sockets. */
#include <openssl/ssl.h>

#include "common/err.h"
#include "s3/s3_url.h"

/* TLS 1.2 and up; certificates are checked against ca_file (PEM), or, if NULL, against the first bundle
 * found: the image's own, then ours at /.rac/etc/ca-certificates.crt. ERR_INVALID if ca_file cannot be read;
 * without any bundle https servers are refused, with a message that says so. Reads no configuration file of
 * OpenSSL: the image's is not for us. */
SSL_CTX *http_tls_context(const char *ca_file, struct err *err);
/* A client session on a connected socket, which stays the caller's; checks the server's name. */
SSL *http_tls_session(SSL_CTX *ctx, int fd, const struct s3_url *server, struct err *err);
/* Why the last call on this thread failed, in words. */
int http_tls_err(SSL *ssl, const struct s3_url *server, const char *what, struct err *err);
#endif
