// SPDX-License-Identifier: Apache-2.0
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

#include "common/mem.h"
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

/* ---- certificates of clients ---- */

#define NAME_MAX_BYTES 253

/* The one common name of a certificate, malloc'd; NULL if it has none, several, or one that could not stand
 * in a log as it is. */
static char *common_name(const X509 *certificate)
{
    const X509_NAME *subject = X509_get_subject_name(certificate);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    if (at < 0 || X509_NAME_get_index_by_NID(subject, NID_commonName, at) >= 0)
        return NULL;
    unsigned char *text = NULL;
    int len = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    char *name = NULL;
    bool plain = len > 0 && len <= NAME_MAX_BYTES;
    for (int i = 0; plain && i < len; ++i)
        plain = text[i] >= 0x20 && text[i] != 0x7f;
    if (plain)
        name = mem_strndup((const char *)text, (size_t)len);
    OPENSSL_free(text);
    return name;
}

/* h2o keeps its SSL to itself; what it reads and writes through is a BIO whose data is the socket, and that
 * has been ours since it was accepted. */
static void on_handshake(const SSL *ssl, int where, int value)
{
    (void)value;
    if (!(where & SSL_CB_HANDSHAKE_DONE))
        return;
    const X509 *certificate = SSL_get0_peer_certificate(ssl);
    if (!certificate || SSL_get_verify_result(ssl) != X509_V_OK)
        return;
    h2o_socket_t *sock = BIO_get_data(SSL_get_rbio(ssl));
    struct conn *c = sock->on_close.data;
    assert(c->magic == CONN_MAGIC && c->sock == sock);
    free(c->client_name);
    c->client_name = common_name(certificate);
}

static int ask_clients(SSL_CTX *ctx, const char *ca, bool required, struct err *err)
{
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(ca);
    if (!names)
        return tls_error(err, "authorities of client certificates:", ca);
    SSL_CTX_set_client_CA_list(ctx, names);
    if (SSL_CTX_load_verify_file(ctx, ca) != 1)
        return tls_error(err, "authorities of client certificates:", ca);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | (required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), NULL);
    SSL_CTX_set_info_callback(ctx, on_handshake);
    /* A resumed session would carry on with a certificate that nobody looked at again. */
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
    SSL_CTX_set_num_tickets(ctx, 0);
    return 0;
}

SSL_CTX *tls_load(const struct http_server *s, struct err *err)
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
    /* Two are the default, for browsers that open several connections; each costs a derived key and its
     * sealing. */
    SSL_CTX_set_num_tickets(ctx, 1);
    if (load_files(ctx, s->certificate, s->key, err) < 0 ||
        (s->client_ca && ask_clients(ctx, s->client_ca, s->config.tls_client_required, err) < 0)) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    h2o_ssl_register_alpn_protocols(ctx, s->config.http2 ? http2_too : http1_only);
    return ctx;
}
