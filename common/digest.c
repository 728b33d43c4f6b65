// SPDX-License-Identifier: Apache-2.0
#include "common/digest.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>

#include "common/mem.h"

struct hasher {
    EVP_MD_CTX *ctx;
    bool sha512;
    uint64_t bytes;
};

int digest_parse(struct slice text, struct digest *ret, struct err *err)
{
    size_t want = 0;
    if (slice_starts_with(text, "sha256:"))
        want = 7 + 64;
    else if (slice_starts_with(text, "sha512:"))
        want = 7 + 128;
    bool ok = want && text.len == want;
    for (size_t i = 7; ok && i < want; ++i)
        ok = (text.p[i] >= '0' && text.p[i] <= '9') || (text.p[i] >= 'a' && text.p[i] <= 'f');
    if (!ok)
        return err_set(err, ERR_DIGEST_INVALID,
                       "'%.*s' is not a digest: sha256: and 64, or sha512: and 128 lower-case hex digits",
                       (int)(text.len > 80 ? 80 : text.len), text.len ? text.p : "");
    memcpy(ret->s, text.p, want);
    ret->s[want] = '\0';
    return 0;
}

bool digest_is_set(const struct digest *d)
{
    return d->s[0] != '\0';
}

bool digest_eq(const struct digest *a, const struct digest *b)
{
    return strcmp(a->s, b->s) == 0;
}

const char *digest_hex(const struct digest *d)
{
    return d->s + 7;
}

struct slice digest_algorithm(const struct digest *d)
{
    return (struct slice){d->s, 6};
}

static struct digest digest_from_raw(const unsigned char *raw, unsigned len, bool sha512)
{
    static const char hex[] = "0123456789abcdef";
    struct digest d;
    memcpy(d.s, sha512 ? "sha512:" : "sha256:", 7);
    for (unsigned i = 0; i < len; ++i) {
        d.s[7 + 2 * i] = hex[raw[i] >> 4];
        d.s[8 + 2 * i] = hex[raw[i] & 15];
    }
    d.s[7 + 2 * len] = '\0';
    return d;
}

/* Some of OpenSSL, what it does before its first digest above all, goes on without what it did not get. */
static void *crypto_alloc(size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return mem_alloc(size);
}

static void *crypto_realloc(void *p, size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    if (p && !size) {
        free(p);
        return NULL;
    }
    return mem_realloc(p, size);
}

static void crypto_free(void *p, const char *file, int line)
{
    (void)file;
    (void)line;
    free(p);
}

/* Refused once OpenSSL has allocated anything: what a program is preloaded with may have. */
__attribute__((constructor)) static void set_memory(void)
{
    (void)CRYPTO_set_mem_functions(crypto_alloc, crypto_realloc, crypto_free);
}

struct digest digest_of(const void *p, size_t len)
{
    unsigned char raw[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    /* OpenSSL's digests fail for want of memory only. */
    if (EVP_Digest(p, len, raw, &n, EVP_sha256(), NULL) != 1)
        mem_none();
    assert(n == 32);
    return digest_from_raw(raw, n, false);
}

struct hasher *hasher_new(struct slice algorithm)
{
    struct hasher *h = mem_new(struct hasher);
    h->sha512 = slice_eq_str(algorithm, "sha512");
    assert(h->sha512 || slice_eq_str(algorithm, "sha256"));
    h->ctx = EVP_MD_CTX_new();
    if (!h->ctx || EVP_DigestInit_ex(h->ctx, h->sha512 ? EVP_sha512() : EVP_sha256(), NULL) != 1)
        mem_none();
    return h;
}

void hasher_free(struct hasher *h)
{
    if (!h)
        return;
    EVP_MD_CTX_free(h->ctx);
    free(h);
}

void hasher_update(struct hasher *h, const void *p, size_t len)
{
    int ok = EVP_DigestUpdate(h->ctx, p, len);
    assert(ok == 1);
    h->bytes += len;
}

uint64_t hasher_bytes(const struct hasher *h)
{
    return h->bytes;
}

struct digest hasher_digest(const struct hasher *h)
{
    unsigned char raw[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    EVP_MD_CTX *copy = EVP_MD_CTX_new();
    if (!copy || !EVP_MD_CTX_copy_ex(copy, h->ctx) || !EVP_DigestFinal_ex(copy, raw, &n))
        mem_none();
    EVP_MD_CTX_free(copy);
    return digest_from_raw(raw, n, h->sha512);
}
