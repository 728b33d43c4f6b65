// SPDX-License-Identifier: Apache-2.0
#include "s3/http_resolve.h"

#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/mem.h"
#include "s3/http_wait.h"

#define NAMES_MAX   64 /* remembered; virtual hosts: one a bucket */
#define REMEMBER_MS 60000

struct name {
    char host[URL_HOST_MAX + 1];
    uint16_t port;
    uint64_t until_ms; /* 0: an empty place */
    struct http_addresses addresses;
};

struct http_resolver {
    pthread_mutex_t lock;
    struct name names[NAMES_MAX];
    size_t oldest; /* the place that is taken next */
};

/* Shared by the asking thread and the one that looks up; the last one frees it. */
struct lookup {
    atomic_int references;
    atomic_bool done; /* orders `code` and `addresses` between the two */
    int done_fd;
    char host[URL_HOST_MAX + 1];
    uint16_t port;
    int code; /* of getaddrinfo */
    struct http_addresses addresses;
};

struct http_resolver *http_resolver_new(void)
{
    struct http_resolver *r = mem_new(struct http_resolver);
    pthread_mutex_init(&r->lock, NULL);
    return r;
}

void http_resolver_free(struct http_resolver *r)
{
    if (!r)
        return;
    pthread_mutex_destroy(&r->lock);
    free(r);
}

static struct name *find(struct http_resolver *r, const struct s3_url *server)
{
    uint64_t now = clock_mono_ms();
    for (size_t i = 0; i < NAMES_MAX; ++i) {
        struct name *n = &r->names[i];
        if (n->until_ms > now && n->port == server->port && strcmp(n->host, server->host) == 0)
            return n;
    }
    return NULL;
}

static bool remembered(struct http_resolver *r, const struct s3_url *server, struct http_addresses *ret)
{
    pthread_mutex_lock(&r->lock);
    const struct name *n = find(r, server);
    if (n)
        *ret = n->addresses;
    pthread_mutex_unlock(&r->lock);
    return n != NULL;
}

static void remember(struct http_resolver *r, const struct s3_url *server,
                     const struct http_addresses *addresses)
{
    pthread_mutex_lock(&r->lock);
    struct name *n = find(r, server);
    if (!n) {
        n = &r->names[r->oldest];
        r->oldest = (r->oldest + 1) % NAMES_MAX;
    }
    (void)snprintf(n->host, sizeof n->host, "%s", server->host);
    n->port = server->port;
    n->addresses = *addresses;
    n->until_ms = clock_mono_ms() + REMEMBER_MS;
    pthread_mutex_unlock(&r->lock);
}

void http_resolver_forget(struct http_resolver *r, const struct s3_url *server)
{
    pthread_mutex_lock(&r->lock);
    struct name *n = find(r, server);
    if (n)
        n->until_ms = 0;
    pthread_mutex_unlock(&r->lock);
}

static int look_up(const char *host, uint16_t port, bool literal, struct http_addresses *ret)
{
    char service[8];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICSERV | (literal ? AI_NUMERICHOST : AI_ADDRCONFIG)};
    struct addrinfo *list = NULL;
    (void)snprintf(service, sizeof service, "%u", port);
    int code = getaddrinfo(host, service, &hints, &list);
    for (const struct addrinfo *a = list; a && ret->len < HTTP_ADDRESSES_MAX; a = a->ai_next) {
        memcpy(&ret->list[ret->len], a->ai_addr, a->ai_addrlen);
        ret->sizes[ret->len++] = a->ai_addrlen;
    }
    if (list)
        freeaddrinfo(list);
    return code ? code : ret->len ? 0 : EAI_NONAME;
}

static void lookup_put(struct lookup *l)
{
    if (atomic_fetch_sub(&l->references, 1) > 1)
        return;
    (void)close(l->done_fd);
    free(l);
}

static void *lookup_run(void *arg)
{
    struct lookup *l = arg;
    uint64_t one = 1;
    l->code = look_up(l->host, l->port, false, &l->addresses);
    atomic_store(&l->done, true);
    if (write(l->done_fd, &one, sizeof one) != sizeof one)
        abort();
    lookup_put(l);
    return NULL;
}

static int resolve_err(const struct s3_url *server, int code, struct err *err)
{
    return err_set(err, ERR_IO, "%s: no address: %s", server->host, gai_strerror(code));
}

static int look_up_apart(const struct s3_url *server, uint64_t deadline_ms, struct cancel *cancel,
                         struct http_addresses *ret, struct err *err)
{
    struct lookup *l = mem_new(struct lookup);
    pthread_t thread;
    memcpy(l->host, server->host, sizeof l->host);
    l->port = server->port;
    l->references = 2;
    l->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->done_fd < 0 || pthread_create(&thread, NULL, lookup_run, l) != 0) {
        l->references = 1;
        lookup_put(l);
        return err_set(err, ERR_IO, "%s: no thread or descriptor left to look it up", server->host);
    }
    (void)pthread_detach(thread);
    int rc = http_wait(l->done_fd, POLLIN, deadline_ms, cancel, err);
    if (rc < 0 || !atomic_load(&l->done))
        (void)err_wrap(err, "%s: looking up its address", server->host);
    else if (l->code)
        rc = resolve_err(server, l->code, err);
    else
        *ret = l->addresses;
    lookup_put(l);
    return rc < 0 ? -1 : 0;
}

int http_resolve(struct http_resolver *r, const struct s3_url *server, uint64_t deadline_ms,
                 struct cancel *cancel, struct http_addresses *ret, struct err *err)
{
    struct http_addresses found = {0};
    if (server->literal) {
        int code = look_up(server->host, server->port, true, &found);
        if (code)
            return resolve_err(server, code, err);
    } else if (!remembered(r, server, &found)) {
        if (look_up_apart(server, deadline_ms, cancel, &found, err) < 0)
            return -1;
        remember(r, server, &found);
    }
    *ret = found;
    return 0;
}
