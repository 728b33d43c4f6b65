// SPDX-License-Identifier: Apache-2.0
#include "proxy/upstream/curl_error.h"

#include <openssl/x509_vfy.h>

const char *curl_error_system_ca(void)
{
    static const char
        *_Atomic known; /* asked for with each request, and curl prints its whole version then */
    const char *file = known;
    if (!file)
        known = file = curl_version_info(CURLVERSION_NOW)->cainfo;
    return file ? file : "/etc/ssl/certs/ca-certificates.crt";
}

static void set_certificate(struct err *err, const struct curl_failure *f)
{
    long verdict = 0;
    if (f->easy)
        (void)curl_easy_getinfo(f->easy, CURLINFO_SSL_VERIFYRESULT, &verdict);
    switch (verdict) {
    case X509_V_OK:
    case X509_V_ERR_UNSPECIFIED: /* what curl begins with: the chain was not what it stopped at, so it is the
                                    name */
        (void)err_set(err, ERR_UPSTREAM, "%s: certificate of %s is not valid for that name: %s", f->who,
                      f->host, f->text);
        return;
    case X509_V_ERR_CERT_HAS_EXPIRED:
        (void)err_set(err, ERR_UPSTREAM, "%s: certificate of %s has expired: it has to be renewed there",
                      f->who, f->host);
        return;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        (void)err_set(err, ERR_UPSTREAM,
                      "%s: certificate of %s is not valid yet: is this machine's clock right?", f->who,
                      f->host);
        return;
    default:
        (void)err_set(err, ERR_UPSTREAM, "%s: certificate of %s is not trusted (%s): %s", f->who, f->host,
                      X509_verify_cert_error_string(verdict),
                      f->ca_file
                          ? "it is not signed by an authority in the file that `ca` of this upstream names"
                          : "name the file of its authority with `ca` of this upstream");
    }
}

static void set_partial(struct err *err, const struct curl_failure *f)
{
    unsigned long long have = f->body_bytes;
    if (f->content_length >= 0)
        (void)err_set(err, ERR_UPSTREAM, "%s: answer ended after %llu of %lld bytes", f->who, have,
                      (long long)f->content_length);
    else
        (void)err_set(err, ERR_UPSTREAM, "%s: answer ended after %llu bytes, before its end", f->who, have);
}

static void set_connect(struct err *err, const struct curl_failure *f)
{
    long os_errno = 0;
    if (f->easy)
        (void)curl_easy_getinfo(f->easy, CURLINFO_OS_ERRNO, &os_errno);
    const char *to = f->proxied ? "the proxy of the environment for " : "";
    if (os_errno)
        (void)err_set_errno(err, ERR_UPSTREAM, (int)os_errno, "%s: cannot connect to %s%s, port %u", f->who,
                            to, f->host, f->port);
    else
        (void)err_set(err, ERR_UPSTREAM, "%s: cannot connect to %s%s, port %u", f->who, to, f->host, f->port);
}

void curl_error_set(struct err *err, CURLcode code, const struct curl_failure *f)
{
    const char *text = f->text && f->text[0] ? f->text : curl_easy_strerror(code);
    switch ((int)code) {
    case CURLE_COULDNT_RESOLVE_HOST:
        (void)err_set(err, ERR_UPSTREAM,
                      "%s: host %s is unknown to the name servers, or they cannot be reached", f->who,
                      f->host);
        return;
    case CURLE_COULDNT_RESOLVE_PROXY:
        (void)err_set(err, ERR_UPSTREAM, "%s: the proxy that the environment names cannot be resolved",
                      f->who);
        return;
    case CURLE_COULDNT_CONNECT:
        set_connect(err, f);
        return;
    case CURLE_OPERATION_TIMEDOUT:
        (void)err_set(err, ERR_TIMEOUT, "%s: no connection to %s, port %u within %u s", f->who, f->host,
                      f->port, f->connect_timeout_ms / 1000);
        return;
    case CURLE_PEER_FAILED_VERIFICATION:
        set_certificate(err, f);
        return;
    case CURLE_SSL_CACERT_BADFILE:
        (void)err_set(err, ERR_UPSTREAM, "%s: certificates in '%s' (`ca`) cannot be read", f->who,
                      f->ca_file ? f->ca_file : curl_error_system_ca());
        return;
    case CURLE_GOT_NOTHING:
        (void)err_set(err, ERR_UPSTREAM, "%s: %s closed the connection without an answer", f->who, f->host);
        return;
    case CURLE_PARTIAL_FILE:
        set_partial(err, f);
        return;
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
        if (f->has_head && f->content_length >= 0)
            set_partial(err, f);
        else
            (void)err_set(err, ERR_UPSTREAM, "%s: connection to %s broke: %s", f->who, f->host, text);
        return;
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_WEIRD_SERVER_REPLY:
        (void)err_set(err, ERR_UPSTREAM, "%s: %s, port %u does not speak HTTP: %s", f->who, f->host, f->port,
                      text);
        return;
    case CURLE_SSL_CONNECT_ERROR:
        (void)err_set(err, ERR_UPSTREAM, "%s: TLS with %s, port %u failed: %s", f->who, f->host, f->port,
                      text);
        return;
    default:
        (void)err_set(err, ERR_UPSTREAM, "%s: %s: %s", f->who, f->host, text);
    }
}
