// SPDX-License-Identifier: Apache-2.0
#include "s3/http_pool.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/mem.h"
#include "s3/http_tls.h"
#include "s3/http_wait.h"

#define IDLE_MAX_MS 15000 /* servers close at 20 s (AWS) to 75 s */
#define LANES_MAX   256   /* virtual hosts: one a bucket */

struct http_lane {
    struct http_lane *next;
    struct s3_url server;
    int places; /* eventfd as a semaphore: poll can wait for it together with a cancel */
    pthread_mutex_t lock;
    struct http_conn *idle; /* the one used last comes first: few are warm rather than all lukewarm */
};

struct http_pool {
    char *ca_file;
    SSL_CTX *tls; /* guarded by lock until it is set */
    unsigned max;
    uint32_t connect_timeout_ms;
    struct http_resolver *resolver;
    pthread_mutex_t lock;
    struct http_lane *lanes;
    unsigned lanes_len;
};

struct http_pool *http_pool_new(const char *ca_file, unsigned max, uint32_t connect_timeout_ms)
{
    struct http_pool *p = mem_new(struct http_pool);
    p->ca_file = ca_file ? mem_strdup(ca_file) : NULL;
    p->max = max ? max : 1;
    p->connect_timeout_ms = connect_timeout_ms;
    p->resolver = http_resolver_new();
    pthread_mutex_init(&p->lock, NULL);
    return p;
}

static void lane_free(struct http_lane *l)
{
    while (l->idle) {
        struct http_conn *c = l->idle;
        l->idle = c->next;
        http_conn_close(c);
    }
    (void)close(l->places);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

void http_pool_free(struct http_pool *p)
{
    if (!p)
        return;
    while (p->lanes) {
        struct http_lane *l = p->lanes;
        p->lanes = l->next;
        lane_free(l);
    }
    http_resolver_free(p->resolver);
    SSL_CTX_free(p->tls);
    free(p->ca_file);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

static struct http_lane *lane_new(const struct s3_url *server, unsigned max)
{
    struct http_lane *l = mem_new(struct http_lane);
    l->server = *server;
    l->places = eventfd(max, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
    pthread_mutex_init(&l->lock, NULL);
    assert(l->places >= 0);
    return l;
}

/* Lanes stay until the end: a pointer to one is good as long as the pool is. */
static struct http_lane *lane_of(struct http_pool *p, const struct s3_url *server, struct err *err)
{
    pthread_mutex_lock(&p->lock);
    struct http_lane *l = p->lanes;
    while (l && !s3_url_same_server(&l->server, server))
        l = l->next;
    if (!l && p->lanes_len < LANES_MAX) {
        l = lane_new(server, p->max);
        l->next = p->lanes;
        p->lanes = l;
        ++p->lanes_len;
    }
    pthread_mutex_unlock(&p->lock);
    if (!l)
        (void)err_set(err, ERR_OVERLOADED, "more than %d servers are talked to", LANES_MAX);
    return l;
}

static int take_place(struct http_lane *l, struct cancel *cancel, struct err *err)
{
    uint64_t one;
    while (read(l->places, &one, sizeof one) < 0) {
        if (errno != EAGAIN && errno != EINTR)
            return err_set_errno(err, ERR_INTERNAL, errno, "places for connections");
        /* Who holds a place gives it back within the timeouts of its call. */
        if (http_wait(l->places, POLLIN, clock_mono_ms() + 600000, cancel, err) < 0)
            return err_wrap(err, "%s: waiting for a free connection", l->server.host);
    }
    return 0;
}

static void give_place(struct http_lane *l)
{
    uint64_t one = 1;
    ssize_t n = write(l->places, &one, sizeof one);
    assert(n == sizeof one);
}

static struct http_conn *take_idle(struct http_lane *l)
{
    for (;;) {
        pthread_mutex_lock(&l->lock);
        struct http_conn *c = l->idle;
        if (c)
            l->idle = c->next;
        pthread_mutex_unlock(&l->lock);
        if (!c || (clock_mono_ms() - c->idle_since_ms <= IDLE_MAX_MS && http_conn_usable(c)))
            return c;
        http_conn_close(c);
    }
}

static int tls_of(struct http_pool *p, const struct s3_url *server, SSL_CTX **ret, struct err *err)
{
    *ret = NULL;
    if (!server->https)
        return 0;
    pthread_mutex_lock(&p->lock);
    if (!p->tls)
        p->tls = http_tls_context(p->ca_file, err);
    *ret = p->tls;
    pthread_mutex_unlock(&p->lock);
    return *ret ? 0 : -1;
}

/* Looks up and connects. */
static struct http_conn *dial(struct http_pool *p, const struct s3_url *server, uint32_t timeout_ms,
                              struct cancel *cancel, struct err *err)
{
    struct http_addresses addresses;
    SSL_CTX *tls;
    uint64_t deadline = clock_mono_ms() + (timeout_ms ? timeout_ms : p->connect_timeout_ms);
    if (tls_of(p, server, &tls, err) < 0 ||
        http_resolve(p->resolver, server, deadline, cancel, &addresses, err) < 0)
        return NULL;
    struct http_conn *c = http_conn_open(&addresses, server, tls, deadline, cancel, err);
    if (!c && !cancel_fired(cancel))
        http_resolver_forget(p->resolver, server);
    return c;
}

struct http_conn *http_pool_get(struct http_pool *p, const struct s3_url *server, bool fresh,
                                uint32_t connect_timeout_ms, struct cancel *cancel,
                                struct http_lane **ret_lane, struct err *err)
{
    struct http_lane *l = lane_of(p, server, err);
    if (!l || take_place(l, cancel, err) < 0)
        return NULL;
    struct http_conn *c = fresh ? NULL : take_idle(l);
    if (!c)
        c = dial(p, server, connect_timeout_ms, cancel, err);
    if (!c) {
        give_place(l);
        return NULL;
    }
    *ret_lane = l;
    return c;
}

void http_pool_put(struct http_lane *l, struct http_conn *c, bool reusable)
{
    if (reusable) {
        c->idle_since_ms = clock_mono_ms();
        pthread_mutex_lock(&l->lock);
        c->next = l->idle;
        l->idle = c;
        pthread_mutex_unlock(&l->lock);
    } else {
        http_conn_close(c);
    }
    give_place(l);
}
