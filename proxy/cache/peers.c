// SPDX-License-Identifier: Apache-2.0
#include "proxy/cache/peers.h"

#include <assert.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/mem.h"

#define MAC 32 /* bytes of HMAC-SHA256 */

struct peers {
    char *address, *ca_file;
    uint8_t key[MAC];
    pthread_mutex_t lock; /* guards what follows: */
    struct silent_peer {
        char address[PEER_ADDRESS_MAX];
        uint64_t until_ms; /* monotonic */
    } silent[PEER_SILENT_MAX];
};

static void mac(const uint8_t key[MAC], const char *text, uint8_t ret[MAC])
{
    unsigned len = MAC;
    const unsigned char *ok =
        HMAC(EVP_sha256(), key, MAC, (const unsigned char *)text, strlen(text), ret, &len);
    assert(ok && len == MAC);
}

struct peers *peers_new(const char *address, const char *ca_file, const uint8_t scope_key[32])
{
    struct peers *p = mem_new(struct peers);
    p->address = mem_strdup(address ? address : "");
    p->ca_file = ca_file ? mem_strdup(ca_file) : NULL;
    pthread_mutex_init(&p->lock, NULL);
    mac(scope_key, "rac peer 1", p->key); /* the scope key itself is for scopes */
    return p;
}

void peers_free(struct peers *p)
{
    if (!p)
        return;
    OPENSSL_cleanse(p->key, sizeof p->key);
    pthread_mutex_destroy(&p->lock);
    free(p->address);
    free(p->ca_file);
    free(p);
}

const char *peers_address(const struct peers *p)
{
    return p->address;
}

const char *peers_ca_file(const struct peers *p)
{
    return p->ca_file;
}

bool peer_address_ok(const char *address)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]";
    const char *host = strncmp(address, "http://", 7) == 0    ? address + 7
                       : strncmp(address, "https://", 8) == 0 ? address + 8
                                                              : "";
    return *host && strlen(address) < PEER_ADDRESS_MAX && strspn(host, allowed) == strlen(host);
}

/* In the place of its last time, else of who is to be forgotten first. */
void peers_note_silent(struct peers *p, const char *address)
{
    pthread_mutex_lock(&p->lock);
    struct silent_peer *at = p->silent;
    for (struct silent_peer *s = p->silent; s < p->silent + PEER_SILENT_MAX; ++s) {
        if (strcmp(s->address, address) == 0) {
            at = s;
            break;
        }
        if (s->until_ms < at->until_ms)
            at = s;
    }
    (void)snprintf(at->address, sizeof at->address, "%s", address);
    at->until_ms = clock_mono_ms() + PEER_SILENT_MS;
    pthread_mutex_unlock(&p->lock);
}

bool peers_is_silent(struct peers *p, const char *address)
{
    bool found = false;
    uint64_t now = clock_mono_ms();
    pthread_mutex_lock(&p->lock);
    for (int i = 0; i < PEER_SILENT_MAX && !found; ++i)
        found = p->silent[i].until_ms > now && strcmp(p->silent[i].address, address) == 0;
    pthread_mutex_unlock(&p->lock);
    return found;
}

static void sign(const struct peers *p, const struct digest *digest, int64_t time_s, char hex[2 * MAC + 1])
{
    char text[DIGEST_STR_MAX + 40];
    uint8_t sum[MAC];
    (void)snprintf(text, sizeof text, "GET\n%s\n%" PRId64, digest->s, time_s);
    mac(p->key, text, sum);
    for (int i = 0; i < MAC; ++i)
        (void)snprintf(hex + 2 * i, 3, "%02x", sum[i]);
}

void peers_sign(const struct peers *p, const struct digest *digest, int64_t now_s, char ret[PEER_HEADER_MAX])
{
    char hex[2 * MAC + 1];
    sign(p, digest, now_s, hex);
    (void)snprintf(ret, PEER_HEADER_MAX, "%" PRId64 " %s", now_s, hex);
}

bool peers_verify(const struct peers *p, struct slice header, const struct digest *digest, int64_t now_s)
{
    char hex[2 * MAC + 1];
    uint64_t time_s;
    struct slice sum = header;
    if (!header.p)
        return false;
    struct slice text = slice_cut(&sum, ' ');
    if (!slice_to_u64(text, INT64_MAX / 2, &time_s) || sum.len != 2 * MAC)
        return false;
    sign(p, digest, (int64_t)time_s, hex);
    bool same = CRYPTO_memcmp(hex, sum.p, 2 * MAC) == 0;
    int64_t off = now_s - (int64_t)time_s;
    return same && off <= PEER_WINDOW_S && off >= -PEER_WINDOW_S;
}
