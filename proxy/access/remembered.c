// SPDX-License-Identifier: Apache-2.0
#include "proxy/access/remembered.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <sys/random.h>

#include "common/mem.h"
#include "proxy/access/credentials.h"

#define SETS 1024
#define WAYS 4

struct memory {
    uint8_t mac[REMEMBERED_MAC];
    struct net_address ip;
    const struct access_account *account; /* NULL: free */
    uint64_t until_us;
};

struct remembered {
    uint8_t key[32];
    struct memory sets[SETS][WAYS];
};

struct remembered *remembered_new(void)
{
    struct remembered *m = mem_new(struct remembered);
    ssize_t n = getrandom(m->key, sizeof m->key, 0);
    assert(n == (ssize_t)sizeof m->key);
    return m;
}

void remembered_free(struct remembered *m)
{
    if (m)
        OPENSSL_cleanse(m->key, sizeof m->key);
    free(m);
}

/* SHA-256 of key and header: nobody sees the result, so what HMAC adds is not needed. */
void remembered_mac(const struct remembered *m, struct slice header, uint8_t out[REMEMBERED_MAC])
{
    uint8_t text[sizeof m->key + CREDENTIALS_MAX];
    size_t len = header.len < CREDENTIALS_MAX ? header.len : CREDENTIALS_MAX;
    memcpy(text, m->key, sizeof m->key);
    if (len)
        memcpy(text + sizeof m->key, header.p, len);
    (void)SHA256(text, sizeof m->key + len, out);
    OPENSSL_cleanse(text, sizeof m->key + len);
}

static size_t set_of(const uint8_t mac[REMEMBERED_MAC])
{
    return (size_t)(mac[0] | mac[1] << 8) % SETS;
}

static bool is_of(const struct memory *x, const uint8_t mac[REMEMBERED_MAC], const struct net_address *ip)
{
    return x->account && CRYPTO_memcmp(x->mac, mac, sizeof x->mac) == 0 &&
           memcmp(&x->ip, ip, sizeof x->ip) == 0;
}

const struct access_account *remembered_find(const struct remembered *m, const uint8_t mac[REMEMBERED_MAC],
                                             const struct net_address *ip, uint64_t now_us)
{
    const struct memory *set = m->sets[set_of(mac)];
    for (size_t i = 0; i < WAYS; ++i)
        if (is_of(&set[i], mac, ip) && now_us < set[i].until_us)
            return set[i].account;
    return NULL;
}

void remembered_put(struct remembered *m, const uint8_t mac[REMEMBERED_MAC], const struct net_address *ip,
                    const struct access_account *account, uint64_t now_us)
{
    struct memory *set = m->sets[set_of(mac)], *at = &set[0];
    for (size_t i = 0; i < WAYS; ++i) {
        if (is_of(&set[i], mac, ip)) {
            at = &set[i];
            break;
        }
        if (set[i].until_us < at->until_us)
            at = &set[i];
    }
    *at = (struct memory){.ip = *ip, .account = account, .until_us = now_us + REMEMBERED_MS * 1000ULL};
    memcpy(at->mac, mac, sizeof at->mac);
}

void remembered_clear(struct remembered *m)
{
    OPENSSL_cleanse(m->sets, sizeof m->sets);
}
