// SPDX-License-Identifier: Apache-2.0
#include "proxy/access/access.h"

#include <pthread.h>
#include <stdlib.h>

#include "common/mem.h"
#include "proxy/access/origin.h"

struct access {
    pthread_mutex_t lock; /* guards table */
    struct table *table;
};

struct access *access_new(const struct access_config *config)
{
    struct access *a = mem_new(struct access);
    pthread_mutex_init(&a->lock, NULL);
    a->table = table_new(config);
    return a;
}

void access_reload(struct access *a, const struct access_config *config)
{
    struct table *t = table_new(config);
    pthread_mutex_lock(&a->lock);
    struct table *old = a->table;
    a->table = t;
    pthread_mutex_unlock(&a->lock);
    table_unref(old);
}

void access_free(struct access *a)
{
    if (!a)
        return;
    table_unref(a->table);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

bool access_is_busy(const struct access *a)
{
    (void)a;
    return false;
}

static struct table *table_in_force(struct access *a)
{
    pthread_mutex_lock(&a->lock);
    struct table *t = table_ref(a->table);
    pthread_mutex_unlock(&a->lock);
    return t;
}

int access_identify(struct access *a, struct request *r, const struct caller **ret, access_fn *fn, void *arg,
                    struct err *err)
{
    (void)fn, (void)arg, (void)err;
    struct table *t = table_in_force(a);
    struct caller *c = request_alloc(r, sizeof *c);
    c->roles = table_anonymous(t);
    table_unref(t);
    *ret = c;
    return 1;
}

void access_origin(struct access *a, struct request *r, struct access_origin *ret)
{
    struct table *t = table_in_force(a);
    origin_find(t, r, ret);
    table_unref(t);
}
