// SPDX-License-Identifier: Apache-2.0
#include "proxy/upstream/client_impl.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>

#include "common/mem.h"
#include "proxy/upstream/curl_start.h"
#include "proxy/upstream/token_flight.h"

#define STATS_ROWS_MAX 1000 /* with `upstreams.any`, names come from outside */

const struct upstream_limits upstream_limits_default = {
    .connect_timeout_ms = 10000,
    .head_timeout_ms = 30000,
    .stall_timeout_ms = 60000,
    .max_connections = 64,
    .user_agent = "rac-proxy/" RAC_VERSION,
};

struct upstream_shared {
    struct upstream_limits limits;
    char *user_agent;
    struct env_proxy proxies;
    struct token_cache *tokens;
    pthread_mutex_t lock; /* guards rows, not what is in them */
    struct stats_row *rows;
};

struct upstream_shared *upstream_shared_new(const struct upstream_limits *limits)
{
    curl_start();
    struct upstream_shared *s = mem_new(struct upstream_shared);
    s->limits = limits ? *limits : upstream_limits_default;
    s->user_agent =
        mem_strdup(s->limits.user_agent ? s->limits.user_agent : upstream_limits_default.user_agent);
    s->limits.user_agent = s->user_agent;
    env_proxy_read(&s->proxies);
    s->tokens = token_cache_new();
    pthread_mutex_init(&s->lock, NULL);
    return s;
}

void upstream_shared_free(struct upstream_shared *s)
{
    if (!s)
        return;
    struct stats_row *row, *next;
    HASH_ITER (hh, s->rows, row, next) {
        /* The analyzer does not see that this takes the row off the list before it is freed. */
        HASH_DEL(s->rows, row); // NOLINT(clang-analyzer-unix.Malloc)
        free(row->name);
        free(row);
    }
    token_cache_free(s->tokens);
    env_proxy_free(&s->proxies);
    pthread_mutex_destroy(&s->lock);
    free(s->user_agent);
    free(s);
}

struct token_cache *upstream_shared_tokens(struct upstream_shared *s)
{
    return s->tokens;
}

struct stats_row *upstream_shared_row(struct upstream_shared *s, const char *name)
{
    struct stats_row *row = NULL;
    pthread_mutex_lock(&s->lock);
    HASH_FIND_STR(s->rows, name, row);
    if (!row && HASH_COUNT(s->rows) >= STATS_ROWS_MAX) {
        name = "other";
        HASH_FIND_STR(s->rows, name, row);
    }
    if (!row) {
        row = mem_new(struct stats_row);
        row->name = mem_strdup(name);
        HASH_ADD_KEYPTR(hh, s->rows, row->name, strlen(row->name), row);
    }
    pthread_mutex_unlock(&s->lock);
    return row;
}

static uint64_t load(const uint64_t *n)
{
    return __atomic_load_n(n, __ATOMIC_RELAXED);
}

void upstream_shared_stats(struct upstream_shared *s,
                           void (*each)(const char *upstream, const struct upstream_stats *, void *arg),
                           void *arg)
{
    pthread_mutex_lock(&s->lock);
    for (struct stats_row *row = s->rows; row; row = row->hh.next) {
        struct upstream_stats n = {
            .requests = load(&row->n.requests),
            .errors = load(&row->n.errors),
            .bytes = load(&row->n.bytes),
            .token_requests = load(&row->n.token_requests),
            .latency_us_sum = load(&row->n.latency_us_sum),
        };
        each(row->name, &n, arg);
    }
    pthread_mutex_unlock(&s->lock);
}

struct upstream_client *upstream_client_new(struct loop *loop, struct upstream_shared *shared)
{
    struct upstream_client *c = mem_new(struct upstream_client);
    c->loop = loop;
    c->shared = shared;
    c->mux = mux_new(loop, &shared->limits, &shared->proxies);
    return c;
}

void upstream_client_free(struct upstream_client *c)
{
    if (!c)
        return;
    while (c->fetches)
        fetch_cancel(c->fetches);
    while (c->flights)
        token_flight_abandon(c->flights);
    mux_free(c->mux);
    free(c);
}

char *upstream_client_basic(const struct upstream *u)
{
    if (!u->username)
        return NULL;
    char *plain = mem_printf("%s:%s", u->username, u->password);
    size_t len = strlen(plain);
    static const char front[] = "Authorization: Basic ";
    size_t front_len = sizeof front - 1;
    char *header = mem_zalloc(front_len + 4 * ((len + 2) / 3) + 1);
    memcpy(header, front, front_len);
    (void)EVP_EncodeBlock((unsigned char *)header + front_len, (const unsigned char *)plain, (int)len);
    OPENSSL_cleanse(plain, len);
    free(plain);
    return header;
}
