// SPDX-License-Identifier: Apache-2.0
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

#include "proxy/http/http_impl.h"

static const h2o_iovec_t http1_only[] = {{(char *)"http/1.1", 8}, {NULL, 0}};
static const h2o_iovec_t http2_too[] = {{(char *)"h2", 2}, {(char *)"http/1.1", 8}, {NULL, 0}};

/* The first error of the queue is the cause; those behind it say that this and that function failed. */
static int tls_error(struct err *err, const char *what, const char *file)
{
    unsigned long code = ERR_peek_error();
    const char *reason = ERR_reason_error_string(code);
    if (ERR_SYSTEM_ERROR(code))
        reason = strerror(ERR_GET_REASON(code));
    else if (ERR_GET_REASON(code) == ERR_R_UNSUPPORTED ||
             (ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE))
        reason = "nothing of that kind is in it, in PEM form";
    else if (ERR_GET_REASON(code) == ERR_R_INTERRUPTED_OR_CANCELLED) /* by no_password */
        reason = "it is encrypted, and nobody is there to be asked for its password";
    int rc = err_set(err, ERR_INVALID, "%s %s: %s", what, file, reason ? reason : "cannot be read");
    ERR_clear_error();
    return rc;
}

/* OpenSSL would ask on the terminal, also at a reload. */
static int no_password(char *out, int cap, int writing, void *arg)
{
    (void)out, (void)cap, (void)writing, (void)arg;
    return -1;
}

static int load_files(SSL_CTX *ctx, const char *certificate, const char *key, struct err *err)
{
    SSL_CTX_set_default_passwd_cb(ctx, no_password);
    if (SSL_CTX_use_certificate_chain_file(ctx, certificate) != 1)
        return tls_error(err, "TLS certificate", certificate);
    if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
        return tls_error(err, "TLS key", key);
    if (SSL_CTX_check_private_key(ctx) != 1)
        return tls_error(err, "TLS key does not belong to the certificate:", key);
    return 0;
}

SSL_CTX *tls_load(const char *certificate, const char *key, bool http2, struct err *err)
{
    ERR_clear_error();
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (!ctx) {
        (void)tls_error(err, "TLS", "context");
        return NULL;
    }
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx,
                        SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
    /* An idle connection gives its 34 KiB of record buffers back. */
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    /* Tickets need no memory here; a cache of sessions would. */
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    if (load_files(ctx, certificate, key, err) < 0) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    h2o_ssl_register_alpn_protocols(ctx, http2 ? http2_too : http1_only);
    return ctx;
}
