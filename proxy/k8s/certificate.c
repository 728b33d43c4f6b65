// SPDX-License-Identifier: Apache-2.0
#include "proxy/k8s/certificate.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fs.h"
#include "common/mem.h"

#define BACKDATED_S     (3600L) /* for clocks that are late */
#define NAME_MAX_BYTES  253
#define LABEL_MAX_BYTES 63
#define COMMON_NAME_MAX 64 /* RFC 5280, ub-common-name */

static void cleanup_key_fn(EVP_PKEY **key)
{
    EVP_PKEY_free(*key);
}
static void cleanup_x509_fn(X509 **x)
{
    X509_free(*x);
}
#define cleanup_key  RAC_CLEANUP(cleanup_key_fn)
#define cleanup_x509 RAC_CLEANUP(cleanup_x509_fn)

static int failed(struct err *err, const char *what)
{
    return err_set(err, ERR_INTERNAL, "OpenSSL cannot make %s", what);
}

/* ---- names ---- */

static bool is_label(struct slice label)
{
    if (!label.len || label.len > LABEL_MAX_BYTES || label.p[0] == '-' || label.p[label.len - 1] == '-')
        return false;
    for (size_t i = 0; i < label.len; ++i)
        if (!strchr("abcdefghijklmnopqrstuvwxyz0123456789-", label.p[i]))
            return false;
    return true;
}

/* RFC 1123 section 2.1, lower case as Kubernetes has them; a star may be the first label. */
static bool is_dns_name(struct slice name)
{
    struct slice rest = name;
    if (!name.len || name.len > NAME_MAX_BYTES)
        return false;
    if (slice_starts_with(rest, "*."))
        rest = (struct slice){rest.p + 2, rest.len - 2};
    while (rest.p)
        if (!is_label(slice_cut(&rest, '.')))
            return false;
    return true;
}

static bool is_address(const char *name)
{
    unsigned char out[16];
    return inet_pton(AF_INET, name, out) == 1 || inet_pton(AF_INET6, name, out) == 1;
}

/* "DNS:a,IP:b" of "a,b", and the subject: the first that fits. */
static int read_names(const char *names, struct buf *alternatives, struct buf *subject, struct err *err)
{
    struct slice rest = slice_of(names);
    unsigned count = 0;
    while (rest.p) {
        struct slice one = slice_trim(slice_cut(&rest, ','));
        cleanup_free char *name = mem_strndup(one.len ? one.p : "", one.len);
        bool ip = is_address(name);
        if (!ip && !is_dns_name(one))
            return err_set(err, ERR_INVALID, "'%.100s' is neither a DNS name nor an address", name);
        if (++count > CERTIFICATE_NAMES_MAX)
            return err_set(err, ERR_INVALID, "more than %d names", CERTIFICATE_NAMES_MAX);
        (void)buf_printf(alternatives, "%s%s:%s", alternatives->len ? "," : "", ip ? "IP" : "DNS", name);
        if (!subject->len && one.len <= COMMON_NAME_MAX)
            (void)buf_add_slice(subject, one);
    }
    if (!subject->len)
        (void)buf_add_str(subject, "rac-proxy");
    return 0;
}

/* ---- certificates ---- */

/* RFC 5280 section 4.1.2.2: positive, at most 20 bytes, not to be guessed. */
static bool set_serial(X509 *x)
{
    BIGNUM *number = BN_new();
    bool ok = number && BN_rand(number, 127, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
              BN_to_ASN1_INTEGER(number, X509_get_serialNumber(x));
    BN_free(number);
    return ok;
}

static bool add_extension(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, x, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    bool ok = extension && X509_add_ext(x, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return ok;
}

/* All but extensions and signature. */
static X509 *blank(const char *subject, EVP_PKEY *key)
{
    X509 *x = X509_new();
    if (!x)
        return NULL;
    if (X509_set_version(x, X509_VERSION_3) == 1 && set_serial(x) &&
        X509_gmtime_adj(X509_getm_notBefore(x), -BACKDATED_S) &&
        X509_gmtime_adj(X509_getm_notAfter(x), CERTIFICATE_DAYS * 86400L) &&
        X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8,
                                   (const unsigned char *)subject, -1, -1, 0) == 1 &&
        X509_set_pubkey(x, key) == 1)
        return x;
    X509_free(x);
    return NULL;
}

static bool make_authority(X509 *x, EVP_PKEY *key)
{
    return X509_set_issuer_name(x, X509_get_subject_name(x)) == 1 &&
           add_extension(x, x, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
           add_extension(x, x, NID_key_usage, "critical,keyCertSign") &&
           add_extension(x, x, NID_subject_key_identifier, "hash") && X509_sign(x, key, EVP_sha256()) > 0;
}

static bool make_leaf(X509 *x, const char *alternatives, X509 *authority, EVP_PKEY *authority_key)
{
    return X509_set_issuer_name(x, X509_get_subject_name(authority)) == 1 &&
           add_extension(x, authority, NID_basic_constraints, "critical,CA:FALSE") &&
           add_extension(x, authority, NID_key_usage, "critical,digitalSignature") &&
           add_extension(x, authority, NID_ext_key_usage, "serverAuth") &&
           add_extension(x, authority, NID_subject_key_identifier, "hash") &&
           add_extension(x, authority, NID_authority_key_identifier, "keyid:always") &&
           add_extension(x, authority, NID_subject_alt_name, alternatives) &&
           X509_sign(x, authority_key, EVP_sha256()) > 0;
}

static bool to_pem(X509 *x, EVP_PKEY *key, struct buf *out)
{
    char *p;
    BIO *bio = BIO_new(BIO_s_mem());
    bool ok = bio && (x ? PEM_write_bio_X509(bio, x)
                        : PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL)) == 1;
    long len = ok ? BIO_get_mem_data(bio, &p) : 0;
    ok = len > 0 && buf_add(out, p, (size_t)len);
    if (len > 0)
        OPENSSL_cleanse(p, (size_t)len);
    BIO_free(bio);
    return ok;
}

int certificate_make(const char *names, struct certificate *ret, struct err *err)
{
    cleanup_buf struct buf alternatives = {0}, subject = {0};
    if (read_names(names, &alternatives, &subject, err) < 0)
        return -1;
    cleanup_key EVP_PKEY *authority_key = EVP_EC_gen("P-256"), *key = EVP_EC_gen("P-256");
    if (!authority_key || !key)
        return failed(err, "a key");
    cleanup_x509 X509 *authority = blank("rac-proxy webhook authority", authority_key),
                      *leaf = blank(buf_str(&subject), key);
    if (!authority || !leaf || !make_authority(authority, authority_key) ||
        !make_leaf(leaf, buf_str(&alternatives), authority, authority_key))
        return failed(err, "a certificate");
    *ret = (struct certificate){0};
    if (to_pem(authority, NULL, &ret->authority) && to_pem(leaf, NULL, &ret->certificate) &&
        to_pem(NULL, key, &ret->key))
        return 0;
    certificate_clear(ret);
    return failed(err, "PEM of it");
}

void certificate_clear(struct certificate *c)
{
    if (c->key.len)
        OPENSSL_cleanse(c->key.p, c->key.len);
    buf_free(&c->authority);
    buf_free(&c->certificate);
    buf_free(&c->key);
}

void certificate_bundle(const struct certificate *c, struct buf *out)
{
    size_t len = (c->authority.len + 2) / 3 * 4;
    cleanup_free unsigned char *base64 = mem_alloc(len + 1);
    int n = EVP_EncodeBlock(base64, (const unsigned char *)c->authority.p, (int)c->authority.len);
    (void)buf_add(out, base64, (size_t)n);
}

/* ---- files ---- */

static int write_new(const char *folder, const char *name, const struct buf *text, mode_t mode,
                     struct err *err)
{
    cleanup_free char *path = mem_printf("%s/%s", folder, name);
    cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0 && errno == EEXIST)
        return err_set(err, ERR_EXISTS, "%s is there already: name another folder, or remove it", path);
    if (fd < 0)
        return err_set_errno(err, ERR_IO, errno, "%s", path);
    return fs_write_all(fd, text->p, text->len, path, err);
}

int certificate_write(const struct certificate *c, const char *folder, struct err *err)
{
    if (mkdir(folder, 0700) < 0 && errno != EEXIST)
        return err_set_errno(err, ERR_IO, errno, "%s", folder);
    /* The key first: if it was there, nothing that does not fit it is put beside it. */
    if (write_new(folder, "tls.key", &c->key, 0600, err) < 0 ||
        write_new(folder, "tls.crt", &c->certificate, 0644, err) < 0)
        return -1;
    return write_new(folder, "ca.crt", &c->authority, 0644, err);
}
