// SPDX-License-Identifier: Apache-2.0
#include "proxy/access/password.h"

#include <crypt.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <sys/random.h>

#include "common/mem.h"

#define PREFIX_LEN 7  /* "$2b$10$" */
#define TAIL_LEN   53 /* salt and hash */

int password_check_hash(const char *hash, struct err *err)
{
    static const char expected[] =
        "expected a bcrypt hash, $2b$10$ and 53 characters: rac-proxy --hash-password makes one, "
        "htpasswd -nB too";
    uint64_t cost;
    if (strlen(hash) != PREFIX_LEN + TAIL_LEN || hash[0] != '$' || hash[1] != '2' ||
        !strchr("aby", hash[2]) || hash[3] != '$' || hash[6] != '$' ||
        !slice_to_u64((struct slice){hash + 4, 2}, 99, &cost) ||
        strspn(hash + PREFIX_LEN, "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") !=
            TAIL_LEN)
        return err_set(err, ERR_INVALID, "%s", expected);
    if (cost < 4 || cost > PASSWORD_COST_MAX)
        return err_set(err, ERR_INVALID, "the hash has cost %d: from 4 to %d, each step doubles the time",
                       (int)cost, PASSWORD_COST_MAX);
    return 0;
}

bool password_matches(struct slice password, const char *hash)
{
    char text[PASSWORD_MAX + 1];
    bool fits = password.len <= PASSWORD_MAX && !(password.len && memchr(password.p, '\0', password.len));
    size_t len = fits ? password.len : 0;
    if (len)
        memcpy(text, password.p, len);
    text[len] = '\0';
    struct crypt_data *data = mem_new(struct crypt_data); /* 32 KiB: too much for a stack */
    const char *made = crypt_rn(text, hash, data, sizeof *data);
    bool same = made && strlen(made) == strlen(hash) && CRYPTO_memcmp(made, hash, strlen(hash)) == 0;
    OPENSSL_cleanse(text, sizeof text);
    OPENSSL_cleanse(data, sizeof *data);
    free(data);
    return same && fits;
}

int password_hash(struct slice password, char out[PASSWORD_HASH_MAX], struct err *err)
{
    char text[PASSWORD_MAX + 1], setting[CRYPT_GENSALT_OUTPUT_SIZE];
    if (password.len == 0 || password.len > PASSWORD_MAX)
        return err_set(err, ERR_INVALID, "a password has 1 to %zu bytes: bcrypt looks at no more",
                       PASSWORD_MAX);
    for (size_t i = 0; i < password.len; ++i)
        if ((unsigned char)password.p[i] < 0x20 || password.p[i] == 0x7f)
            return err_set(err, ERR_INVALID, "a password has no control characters, and is one line");
    if (!crypt_gensalt_rn("$2b$", PASSWORD_COST, NULL, 0, setting, sizeof setting))
        return err_set(err, ERR_INTERNAL, "no random bytes from the system");
    memcpy(text, password.p, password.len);
    text[password.len] = '\0';
    struct crypt_data *data = mem_new(struct crypt_data);
    const char *made = crypt_rn(text, setting, data, sizeof *data);
    int rc = 0;
    if (made && strlen(made) < PASSWORD_HASH_MAX)
        (void)snprintf(out, PASSWORD_HASH_MAX, "%s", made);
    else
        rc = err_set(err, ERR_INTERNAL, "the C library makes no bcrypt hash");
    OPENSSL_cleanse(text, sizeof text);
    OPENSSL_cleanse(data, sizeof *data);
    free(data);
    return rc;
}

bool key_is_one(struct slice text)
{
    return slice_starts_with(text, KEY_PREFIX);
}

static void to_hex(const uint8_t *bytes, size_t len, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < len; ++i) {
        *out++ = digits[bytes[i] >> 4];
        *out++ = digits[bytes[i] & 15];
    }
    *out = '\0';
}

int key_make(char out[KEY_TEXT_MAX], char digest[KEY_HEX_MAX], struct err *err)
{
    uint8_t bytes[32];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return err_set(err, ERR_INTERNAL, "no random bytes from the system");
    memcpy(out, KEY_PREFIX, sizeof KEY_PREFIX - 1);
    to_hex(bytes, sizeof bytes, out + sizeof KEY_PREFIX - 1);
    key_digest(slice_of(out), bytes);
    to_hex(bytes, sizeof bytes, digest);
    return 0;
}

void key_digest(struct slice key, uint8_t out[32])
{
    (void)SHA256((const uint8_t *)key.p, key.len, out);
}
