// SPDX-License-Identifier: Apache-2.0
#include "s3/http_tls.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

/* Where distributions keep their bundle (Debian and Alpine, Fedora, SUSE, older RHEL, BSDs), then ours. */
static const char *const bundles[] = {
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/ssl/cert.pem",
    "/.rac/etc/ca-certificates.crt",
};

/* OpenSSL's own socket BIO writes with write(2): a closed peer would be a SIGPIPE. */
static BIO_METHOD *method;
static pthread_once_t method_once = PTHREAD_ONCE_INIT;

static int bio_fd(BIO *bio)
{
    return (int)(intptr_t)BIO_get_data(bio);
}

static int bio_write(BIO *bio, const char *p, size_t len, size_t *ret)
{
    BIO_clear_retry_flags(bio);
    ssize_t n = send(bio_fd(bio), p, len, MSG_NOSIGNAL);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_retry_write(bio);
    *ret = n > 0 ? (size_t)n : 0;
    return n > 0;
}

static int bio_read(BIO *bio, char *p, size_t len, size_t *ret)
{
    BIO_clear_retry_flags(bio);
    ssize_t n = recv(bio_fd(bio), p, len, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_retry_read(bio);
    if (n == 0)
        BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
    *ret = n > 0 ? (size_t)n : 0;
    return n > 0;
}

static long bio_ctrl(BIO *bio, int cmd, long num, void *p)
{
    (void)num, (void)p;
    if (cmd == BIO_CTRL_EOF)
        return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
    return cmd == BIO_CTRL_FLUSH;
}

static void make_method(void)
{
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "rac socket");
    if (!method)
        abort();
    (void)BIO_meth_set_write_ex(method, bio_write);
    (void)BIO_meth_set_read_ex(method, bio_read);
    (void)BIO_meth_set_ctrl(method, bio_ctrl);
}

static const char *reason(void)
{
    unsigned long code = ERR_peek_last_error();
    const char *text = code ? ERR_reason_error_string(code) : NULL;
    return text ? text : "unknown reason";
}

static int load_bundle(SSL_CTX *ctx, const char *ca_file, struct err *err)
{
    if (ca_file) {
        if (access(ca_file, R_OK) < 0)
            return err_set_errno(err, ERR_INVALID, errno, "the CA certificates of AWS_CA_BUNDLE, %s",
                                 ca_file);
        if (SSL_CTX_load_verify_file(ctx, ca_file) != 1)
            return err_set(err, ERR_INVALID, "%s: no CA certificates can be read from it: %s", ca_file,
                           reason());
        return 0;
    }
    for (size_t i = 0; i < sizeof bundles / sizeof bundles[0]; ++i) {
        if (access(bundles[i], R_OK) == 0 && SSL_CTX_load_verify_file(ctx, bundles[i]) == 1)
            return 0;
    }
    return 0;
}

SSL_CTX *http_tls_context(const char *ca_file, struct err *err)
{
    pthread_once(&method_once, make_method);
    if (OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, NULL) != 1) {
        (void)err_set(err, ERR_INTERNAL, "OpenSSL does not start");
        return NULL;
    }
    ERR_clear_error();
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (!ctx) {
        (void)err_set(err, ERR_INTERNAL, "no TLS context: %s", reason());
        return NULL;
    }
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    (void)SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    (void)SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                    SSL_MODE_RELEASE_BUFFERS);
    /* An end of file without close_notify is an error: our answers say their length anyway. */
    if (load_bundle(ctx, ca_file, err) < 0) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    ERR_clear_error();
    return ctx;
}

SSL *http_tls_session(SSL_CTX *ctx, int fd, const struct s3_url *server, struct err *err)
{
    static const unsigned char alpn[] = "\x08http/1.1";
    SSL *ssl = SSL_new(ctx);
    BIO *bio = BIO_new(method);
    if (!ssl || !bio) {
        SSL_free(ssl);
        BIO_free(bio);
        (void)err_set(err, ERR_INTERNAL, "no TLS session: %s", reason());
        return NULL;
    }
    BIO_set_data(bio, (void *)(intptr_t)fd);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    SSL_set_connect_state(ssl);
    (void)SSL_set_alpn_protos(ssl, alpn, sizeof alpn - 1);
    bool named = server->literal ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), server->host) == 1
                                 : SSL_set1_host(ssl, server->host) == 1 &&
                                       SSL_set_tlsext_host_name(ssl, server->host) == 1;
    if (!named) {
        SSL_free(ssl);
        (void)err_set(err, ERR_INVALID, "%s: not a name for TLS", server->host);
        return NULL;
    }
    return ssl;
}

static const char *remedy(long verified)
{
    switch (verified) {
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        return "AWS_ENDPOINT_URL needs a name that the certificate is for";
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return "the certificate's time is over, or the clock here is wrong";
    default:
        return "AWS_CA_BUNDLE names a file with the CA certificate that it needs";
    }
}

int http_tls_err(SSL *ssl, const struct s3_url *server, const char *what, struct err *err)
{
    long verified = SSL_get_verify_result(ssl);
    if (verified != X509_V_OK)
        (void)err_set(err, ERR_INVALID, "%s: %s: %s; %s", server->host, what,
                      X509_verify_cert_error_string(verified), remedy(verified));
    else if (ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_WRONG_VERSION_NUMBER)
        (void)err_set(
            err, ERR_INVALID,
            "%s port %u: %s: no TLS is spoken there; if it is plain HTTP, its URL begins with http://",
            server->host, server->port, what);
    else
        (void)err_set(err, ERR_IO, "%s: %s: %s", server->host, what,
                      ERR_peek_last_error() ? reason() : "the connection was closed");
    ERR_clear_error();
    return -1;
}
