// SPDX-License-Identifier: Apache-2.0
#include "proxy/access/table.h"

#include <assert.h>
#include <stdlib.h>

#include "common/hash.h"
#include "common/mem.h"

struct entry {
    UT_hash_handle by_name, by_certificate;
    struct access_account account; /* keys are in the table's own map */
};

struct key {
    UT_hash_handle hh;
    uint8_t digest[TABLE_KEY_BYTES];
    const struct access_account *account;
};

struct table {
    unsigned refs; /* atomic */
    unsigned anonymous;
    bool trust_headers;
    struct entry *entries, *names, *certificates;
    struct key *keys;
    const char **decoys; /* the accounts' password hashes */
    size_t count, decoy_count, location_count, proxy_count;
    struct access_location *locations; /* narrowest first */
    struct net_range *proxies;
};

static void read_digest(const char *hex, uint8_t out[TABLE_KEY_BYTES])
{
    for (size_t i = 0; i < TABLE_KEY_BYTES; ++i) {
        uint8_t byte = 0;
        for (size_t k = 0; k < 2; ++k) {
            const char *at = strchr("0123456789abcdef", hex[2 * i + k]);
            assert(at && *at);
            byte = (uint8_t)(byte << 4 | (at - "0123456789abcdef"));
        }
        out[i] = byte;
    }
}

static void add_key(struct table *t, const char *hex, const struct access_account *account)
{
    struct key *k = mem_new(struct key), *old;
    read_digest(hex, k->digest);
    k->account = account;
    HASH_FIND(hh, t->keys, k->digest, sizeof k->digest, old);
    assert(!old); /* the options refuse one key for two accounts */
    HASH_ADD(hh, t->keys, digest, sizeof k->digest, k);
}

static void add_account(struct table *t, struct entry *e, const struct access_account *from)
{
    e->account = (struct access_account){.name = mem_strdup(from->name), .roles = from->roles};
    if (from->password_hash) {
        e->account.password_hash = mem_strdup(from->password_hash);
        t->decoys[t->decoy_count++] = e->account.password_hash;
    }
    if (from->certificate) {
        e->account.certificate = mem_strdup(from->certificate);
        HASH_ADD_KEYPTR(by_certificate, t->certificates, e->account.certificate,
                        strlen(e->account.certificate), e);
    }
    HASH_ADD_KEYPTR(by_name, t->names, e->account.name, strlen(e->account.name), e);
    for (const char *const *key = from->keys; key && *key; ++key)
        add_key(t, *key, &e->account);
}

static int narrower(const void *a, const void *b)
{
    const struct access_location *x = a, *y = b;
    return (int)y->network.bits - (int)x->network.bits;
}

struct table *table_new(const struct access_config *config)
{
    struct table *t = mem_new(struct table);
    t->refs = 1;
    t->anonymous = config->anonymous;
    t->trust_headers = config->trust_headers;
    t->count = config->account_count;
    t->entries = mem_zalloc((t->count + 1) * sizeof *t->entries);
    t->decoys = mem_zalloc((t->count + 1) * sizeof *t->decoys);
    for (size_t i = 0; i < t->count; ++i)
        add_account(t, &t->entries[i], &config->accounts[i]);
    t->location_count = config->location_count;
    t->locations = mem_zalloc((t->location_count + 1) * sizeof *t->locations);
    for (size_t i = 0; i < t->location_count; ++i)
        t->locations[i] = (struct access_location){.network = config->locations[i].network,
                                                   .name = mem_strdup(config->locations[i].name)};
    qsort(t->locations, t->location_count, sizeof *t->locations, narrower);
    t->proxy_count = config->trusted_proxy_count;
    t->proxies = mem_zalloc((t->proxy_count + 1) * sizeof *t->proxies);
    if (t->proxy_count)
        memcpy(t->proxies, config->trusted_proxies, t->proxy_count * sizeof *t->proxies);
    return t;
}

struct table *table_ref(struct table *t)
{
    (void)__atomic_add_fetch(&t->refs, 1, __ATOMIC_RELAXED);
    return t;
}

static void free_text(const char *s)
{
    free((char *)(uintptr_t)s);
}

void table_unref(struct table *t)
{
    struct key *k, *next;
    if (!t || __atomic_sub_fetch(&t->refs, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    HASH_ITER (hh, t->keys, k, next) {
        HASH_DEL(t->keys, k);
        free(k);
    }
    HASH_CLEAR(by_name, t->names);
    HASH_CLEAR(by_certificate, t->certificates);
    for (size_t i = 0; i < t->count; ++i) {
        free_text(t->entries[i].account.name);
        free_text(t->entries[i].account.password_hash);
        free_text(t->entries[i].account.certificate);
    }
    for (size_t i = 0; i < t->location_count; ++i)
        free_text(t->locations[i].name);
    free(t->entries);
    free(t->decoys);
    free(t->locations);
    free(t->proxies);
    free(t);
}

unsigned table_anonymous(const struct table *t)
{
    return t->anonymous;
}

bool table_has_accounts(const struct table *t)
{
    return t->count > 0;
}

const struct access_account *table_by_name(const struct table *t, struct slice name)
{
    struct entry *e = NULL;
    HASH_FIND(by_name, t->names, name.p, name.len, e);
    return e ? &e->account : NULL;
}

const struct access_account *table_by_key(const struct table *t, const uint8_t digest[TABLE_KEY_BYTES])
{
    struct key *k = NULL;
    HASH_FIND(hh, t->keys, digest, TABLE_KEY_BYTES, k);
    return k ? k->account : NULL;
}

const struct access_account *table_by_certificate(const struct table *t, const char *cn)
{
    struct entry *e = NULL;
    HASH_FIND(by_certificate, t->certificates, cn, strlen(cn), e);
    return e ? &e->account : NULL;
}

const char *table_decoy(const struct table *t, struct slice name)
{
    return t->decoy_count ? t->decoys[hash_bytes(name.p, name.len) % t->decoy_count] : NULL;
}

const char *table_location(const struct table *t, const struct net_address *ip)
{
    for (size_t i = 0; i < t->location_count; ++i)
        if (net_range_has(&t->locations[i].network, ip))
            return t->locations[i].name;
    return NULL;
}

bool table_trusts_proxy(const struct table *t, const struct net_address *ip)
{
    for (size_t i = 0; i < t->proxy_count; ++i)
        if (net_range_has(&t->proxies[i], ip))
            return true;
    return false;
}

bool table_trusts_headers(const struct table *t)
{
    return t->trust_headers;
}
