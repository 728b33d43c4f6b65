// SPDX-License-Identifier: Apache-2.0
#include "proxy/access/checks.h"

#include <openssl/crypto.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "common/hash.h"
#include "common/jobs.h"
#include "common/mem.h"
#include "proxy/access/password.h"

#define THREADS 2

struct waiter {
    struct waiter *next;
    struct checks *checks;
    struct loop *loop;
    checks_fn *fn;
    void *arg;
    bool right;
};

struct check {
    UT_hash_handle hh;
    struct checks *checks;
    uint8_t mac[REMEMBERED_MAC];
    char hash[PASSWORD_HASH_MAX];
    char *password; /* its bytes may hold a NUL */
    size_t password_len;
    struct waiter *waiters;
    bool is_shared; /* it is in the table: others may join */
};

struct checks {
    struct jobs *jobs;
    pthread_mutex_t lock; /* guards the two below, and the waiters of what is in the table */
    struct check *table;
    unsigned count;
    _Atomic unsigned waiting; /* waiters whose answer did not come yet */
};

struct checks *checks_new(void)
{
    struct checks *c = mem_new(struct checks);
    pthread_mutex_init(&c->lock, NULL);
    c->jobs = jobs_new(THREADS);
    return c;
}

void checks_free(struct checks *c)
{
    if (!c)
        return;
    jobs_free(c->jobs);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

bool checks_busy(const struct checks *c)
{
    return atomic_load(&c->waiting) > 0;
}

static void deliver(void *arg)
{
    struct waiter *w = arg;
    struct checks *c = w->checks;
    w->fn(w->arg, w->right);
    free(w);
    atomic_fetch_sub(&c->waiting, 1);
}

static void run(void *arg)
{
    struct check *k = arg;
    struct checks *c = k->checks;
    bool right = password_matches((struct slice){k->password, k->password_len}, k->hash);
    pthread_mutex_lock(&c->lock);
    if (k->is_shared)
        HASH_DEL(c->table, k);
    --c->count;
    pthread_mutex_unlock(&c->lock);
    while (k->waiters) {
        struct waiter *w = k->waiters;
        k->waiters = w->next;
        w->right = right;
        loop_post(w->loop, deliver, w);
    }
    OPENSSL_cleanse(k->password, k->password_len);
    free(k->password);
    free(k);
}

static struct check *check_new(struct checks *c, const uint8_t mac[REMEMBERED_MAC], struct slice password,
                               const char *hash)
{
    struct check *k = mem_new(struct check);
    k->checks = c;
    memcpy(k->mac, mac, sizeof k->mac);
    memcpy(k->hash, hash, strlen(hash) + 1);
    k->password = mem_dup(password.p, password.len);
    k->password_len = password.len;
    return k;
}

int checks_submit(struct checks *c, struct loop *loop, const uint8_t mac[REMEMBERED_MAC],
                  struct slice password, const char *hash, checks_fn *fn, void *arg, struct err *err)
{
    struct check *k = NULL, *fresh = NULL;
    pthread_mutex_lock(&c->lock);
    HASH_FIND(hh, c->table, mac, REMEMBERED_MAC, k);
    bool same = k && strcmp(k->hash, hash) == 0; /* a reload may have changed it */
    if (!same && c->count >= CHECKS_MAX) {
        pthread_mutex_unlock(&c->lock);
        (void)err_set(err, ERR_OVERLOADED, "too many passwords are being checked: try again");
        err->retry_after_s = 2;
        return -1;
    }
    if (!same) {
        fresh = check_new(c, mac, password, hash);
        fresh->is_shared = !k;
        if (fresh->is_shared)
            HASH_ADD(hh, c->table, mac, sizeof fresh->mac, fresh);
        ++c->count;
        k = fresh;
    }
    struct waiter *w = mem_new(struct waiter);
    *w = (struct waiter){.next = k->waiters, .checks = c, .loop = loop, .fn = fn, .arg = arg};
    k->waiters = w;
    atomic_fetch_add(&c->waiting, 1);
    pthread_mutex_unlock(&c->lock);
    if (fresh)
        jobs_submit(c->jobs, NULL, run, NULL, fresh);
    return fresh != NULL;
}
