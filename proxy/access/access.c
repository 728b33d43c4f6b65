// SPDX-License-Identifier: Apache-2.0
#include "proxy/access/access.h"

#include <inttypes.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/mem.h"
#include "common/metrics.h"
#include "proxy/access/checks.h"
#include "proxy/access/credentials.h"
#include "proxy/access/origin.h"
#include "proxy/access/password.h"
#include "proxy/access/throttle.h"

/*
 * An address may be wrong 20 times in a row and 20 times a minute from then on. A name may be wrong more
 * often, since others must not be able to lock its owner out: he passes with a key from anywhere, and with a
 * password from where he used it lately.
 */
#define ADDRESS_BURST 20
#define ADDRESS_LEAK  3000 /* ms */
#define NAME_BURST    100
#define NAME_LEAK     1000 /* ms */

struct access {
    _Atomic unsigned anonymous; /* the table's: most requests need to know no more */
    pthread_mutex_t lock;       /* guards what follows but checks */
    struct table *table;
    struct throttle *addresses, *names;
    struct state *state; /* NULL: they count for themselves */
    struct remembered *remembered;
    struct checks *checks;
};

struct access *access_new(const struct access_config *config, struct state *state)
{
    struct access *a = mem_new(struct access);
    pthread_mutex_init(&a->lock, NULL);
    a->table = table_new(config);
    a->anonymous = table_anonymous(a->table);
    /* Replicas make the same keys; who reads them without the salt learns neither addresses nor names. */
    a->state = state && state->ops->meter ? state : NULL;
    a->addresses = throttle_new(ADDRESS_BURST, ADDRESS_LEAK, a->state ? state->scope_key : NULL);
    a->names = throttle_new(NAME_BURST, NAME_LEAK, a->state ? state->scope_key + 16 : NULL);
    a->remembered = remembered_new();
    a->checks = checks_new();
    return a;
}

void access_reload(struct access *a, const struct access_config *config)
{
    struct table *t = table_new(config);
    pthread_mutex_lock(&a->lock);
    struct table *old = a->table;
    a->table = t;
    a->anonymous = table_anonymous(t);
    remembered_clear(a->remembered);
    pthread_mutex_unlock(&a->lock);
    table_unref(old);
}

void access_free(struct access *a)
{
    if (!a)
        return;
    checks_free(a->checks);
    throttle_free(a->addresses);
    throttle_free(a->names);
    remembered_free(a->remembered);
    table_unref(a->table);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

bool access_is_busy(const struct access *a)
{
    return checks_busy(a->checks);
}

static struct table *table_in_force(struct access *a)
{
    pthread_mutex_lock(&a->lock);
    struct table *t = table_ref(a->table);
    pthread_mutex_unlock(&a->lock);
    return t;
}

void access_origin(struct access *a, struct request *r, struct access_origin *ret)
{
    struct table *t = table_in_force(a);
    origin_find(t, r, ret);
    table_unref(t);
}

/* ---- who it is ---- */

enum login_result { PASSWORD, REMEMBERED, KEY, CERTIFICATE, WRONG, MALFORMED, THROTTLED, OVERLOADED };

/* Each is looked up once: that is a lock, and every request with credentials is counted. */
static void count(enum login_result result)
{
    static const char *const names[] = {"password", "remembered", "key",       "certificate",
                                        "wrong",    "malformed",  "throttled", "overloaded"};
    static struct metric *_Atomic metrics[sizeof names / sizeof names[0]];
    struct metric *m = metrics[result];
    if (!m) {
        char labels[64];
        m = metric_get("rac_logins_total",
                       metric_labels(labels, sizeof labels, "result", names[result], NULL));
        metrics[result] = m;
    }
    metric_inc(m);
}

static const struct caller *caller_of_account(struct request *r, const struct access_account *account)
{
    struct caller *c = request_alloc(r, sizeof *c);
    c->account = request_strdup(r, slice_of(account->name));
    c->roles = account->roles;
    request_log_field(r, "account", slice_of(c->account));
    return c;
}

static int wrong(struct err *err)
{
    return err_set(err, ERR_UNAUTHORIZED,
                   "the credentials are wrong: no account has this name and password, or "
                   "this key");
}

static int too_many(uint32_t wait_s, struct err *err)
{
    count(THROTTLED);
    (void)err_set(err, ERR_LIMITED, "too many logins failed: try again in %u s", (unsigned)wait_s);
    err->retry_after_s = wait_s;
    return -1;
}

/* A password that is being checked for a request. */
struct login {
    struct access *a;
    struct request *r; /* NULL: it ended before */
    bool is_over;      /* the answer came: whichever of the two is last frees this */
    access_fn *fn;
    void *arg;
    struct table *table;                  /* a reference: keeps the account */
    const struct access_account *account; /* NULL: there is none, and the hash is a decoy's */
    uint8_t mac[REMEMBERED_MAC];
    struct net_address ip;
    uint64_t address_key, name_key;
    bool took; /* tries of the two */
};

static void login_free(struct login *l)
{
    table_unref(l->table);
    free(l);
}

static void on_request_over(void *arg)
{
    struct login *l = arg;
    l->r = NULL;
    if (l->is_over)
        login_free(l);
}

/* ---- tries, counted here and with other replicas ---- */

struct told {
    struct access *a;
    struct throttle *throttle;
    uint64_t key;
};

static void on_told(void *arg, uint64_t level_ms, uint64_t left_ms, const struct err *err)
{
    struct told *t = arg;
    (void)left_ms;
    pthread_mutex_lock(&t->a->lock);
    if (!err)
        throttle_raise(t->throttle, t->key, level_ms * 1000, clock_mono_us());
    pthread_mutex_unlock(&t->a->lock);
    free(t);
}

/* Nobody waits for it; while the state is away each replica counts for itself. */
static void tell(struct access *a, struct throttle *throttle, uint64_t key, int64_t ms)
{
    char name[48];
    if (!a->state)
        return;
    (void)snprintf(name, sizeof name, "%s:%016" PRIx64, throttle == a->names ? "login-name" : "login", key);
    struct told *t = mem_new(struct told);
    *t = (struct told){a, throttle, key};
    a->state->ops->meter(a->state, NULL, &(struct state_meter){name, ms, 0}, on_told, t);
}

static void take_address(struct access *a, uint64_t key, uint64_t now_us)
{
    throttle_take(a->addresses, key, now_us);
    tell(a, a->addresses, key, ADDRESS_LEAK);
}

static void take(struct login *l, uint64_t now_us)
{
    take_address(l->a, l->address_key, now_us);
    throttle_take(l->a->names, l->name_key, now_us);
    tell(l->a, l->a->names, l->name_key, NAME_LEAK);
}

static void give_back(struct login *l)
{
    if (!l->took)
        return;
    throttle_give_back(l->a->addresses, l->address_key);
    throttle_give_back(l->a->names, l->name_key);
    tell(l->a, l->a->addresses, l->address_key, -ADDRESS_LEAK);
    tell(l->a, l->a->names, l->name_key, -NAME_LEAK);
}

static void on_checked(void *arg, bool matches)
{
    struct login *l = arg;
    struct access *a = l->a;
    bool right = matches && l->account && l->account->password_hash;
    pthread_mutex_lock(&a->lock);
    if (right)
        give_back(l);
    if (right && a->table == l->table)
        remembered_put(a->remembered, l->mac, &l->ip, l->account, clock_mono_us());
    pthread_mutex_unlock(&a->lock);
    count(right ? PASSWORD : WRONG);
    l->is_over = true;
    if (!l->r) {
        login_free(l);
        return;
    }
    struct err err;
    if (right)
        l->fn(l->arg, l->r, caller_of_account(l->r, l->account), NULL);
    else
        l->fn(l->arg, l->r, NULL, (wrong(&err), &err));
}

/* What a password is up against before it is looked at: 1 with *ret if it was right here lately, 0 if it is
 * to be checked, -1 with err. The address is asked first: else what is remembered could be guessed at. */
static int before_check(struct access *a, struct login *l, const struct caller **ret, struct err *err)
{
    uint64_t now = clock_mono_us();
    pthread_mutex_lock(&a->lock);
    uint32_t wait_s = throttle_wait_s(a->addresses, l->address_key, now);
    const struct access_account *known = NULL;
    if (!wait_s && a->table == l->table)
        known = remembered_find(a->remembered, l->mac, &l->ip, now);
    if (!wait_s && !known)
        wait_s = throttle_wait_s(a->names, l->name_key, now);
    pthread_mutex_unlock(&a->lock);
    if (wait_s)
        return too_many(wait_s, err);
    if (!known)
        return 0;
    count(REMEMBERED);
    *ret = caller_of_account(l->r, known);
    return 1;
}

static int begin_check(struct access *a, struct login *l, const struct credentials *c, struct err *err)
{
    l->account = table_by_name(l->table, c->name);
    bool has_password = l->account && l->account->password_hash;
    const char *hash = has_password ? l->account->password_hash : table_decoy(l->table, c->name);
    uint64_t now = clock_mono_us();
    pthread_mutex_lock(&a->lock);
    take(l, now);
    pthread_mutex_unlock(&a->lock);
    l->took = true;
    if (!hash) { /* no account has a password: there is no time to compare */
        count(WRONG);
        return wrong(err);
    }
    /* Whoever joins a check makes the same guess: one try for all of them. */
    int begun = checks_submit(a->checks, request_loop(l->r), l->mac, c->secret, hash, on_checked, l, err);
    if (begun > 0)
        return 0;
    pthread_mutex_lock(&a->lock);
    give_back(l);
    pthread_mutex_unlock(&a->lock);
    l->took = false;
    if (begun < 0)
        count(OVERLOADED);
    return begun;
}

static int identify_password(struct access *a, struct request *r, struct table *t, struct slice header,
                             const struct credentials *c, const struct caller **ret, access_fn *fn, void *arg,
                             struct err *err)
{
    struct login *l = mem_new(struct login);
    *l = (struct login){.a = a, .r = r, .fn = fn, .arg = arg, .table = table_ref(t)};
    l->ip = origin_address(t, r);
    l->address_key = throttle_key_address(a->addresses, &l->ip);
    l->name_key = throttle_key_name(a->names, c->name);
    remembered_mac(a->remembered, header, l->mac);
    int rc = before_check(a, l, ret, err);
    if (rc == 0)
        rc = begin_check(a, l, c, err);
    if (rc != 0)
        login_free(l);
    else
        request_on_dispose(r, on_request_over, l);
    return rc;
}

/* A key is 256 random bits: a right one passes however many were wrong before, since nobody comes to it by
 * guessing. */
static int identify_key(struct access *a, struct request *r, const struct table *t,
                        const struct credentials *c, const struct caller **ret, struct err *err)
{
    uint8_t digest[TABLE_KEY_BYTES];
    key_digest(c->secret, digest);
    const struct access_account *account = table_by_key(t, digest);
    if (account && (c->kind == CREDENTIALS_BEARER || slice_eq_str(c->name, account->name))) {
        count(KEY);
        *ret = caller_of_account(r, account);
        return 1;
    }
    struct net_address ip = origin_address(t, r);
    uint64_t key = throttle_key_address(a->addresses, &ip), now = clock_mono_us();
    pthread_mutex_lock(&a->lock);
    uint32_t wait_s = throttle_wait_s(a->addresses, key, now);
    if (!wait_s)
        take_address(a, key, now);
    pthread_mutex_unlock(&a->lock);
    if (wait_s)
        return too_many(wait_s, err);
    count(WRONG);
    return wrong(err);
}

static const struct caller *anonymous_caller(const struct access *a)
{
    /* By roles, so that who sends no credentials costs no memory. */
    static const struct caller anonymous[16] = {
        {NULL, 0, NULL},  {NULL, 1, NULL},  {NULL, 2, NULL},  {NULL, 3, NULL},
        {NULL, 4, NULL},  {NULL, 5, NULL},  {NULL, 6, NULL},  {NULL, 7, NULL},
        {NULL, 8, NULL},  {NULL, 9, NULL},  {NULL, 10, NULL}, {NULL, 11, NULL},
        {NULL, 12, NULL}, {NULL, 13, NULL}, {NULL, 14, NULL}, {NULL, 15, NULL},
    };
    return &anonymous[a->anonymous & 15];
}

static const struct caller *caller_without_header(const struct access *a, struct request *r,
                                                  const struct table *t)
{
    const char *cn = request_client_name(r);
    const struct access_account *account = cn ? table_by_certificate(t, cn) : NULL;
    if (!account)
        return anonymous_caller(a);
    count(CERTIFICATE);
    return caller_of_account(r, account);
}

static int identify_header(struct access *a, struct request *r, struct table *t, struct slice header,
                           const struct caller **ret, access_fn *fn, void *arg, struct err *err)
{
    char room[CREDENTIALS_MAX];
    struct credentials c = credentials_parse(header, room);
    int rc;
    if (c.kind == CREDENTIALS_BAD || request_header_at(r, "authorization", 1).p) {
        count(MALFORMED);
        rc = err_set(err, ERR_UNAUTHORIZED,
                     "the Authorization header is neither Basic nor Bearer as they are written");
    } else if (c.kind == CREDENTIALS_NONE) {
        *ret = caller_without_header(a, r, t);
        rc = 1;
    } else if (c.kind == CREDENTIALS_BEARER || key_is_one(c.secret)) {
        rc = identify_key(a, r, t, &c, ret, err);
    } else {
        rc = identify_password(a, r, t, header, &c, ret, fn, arg, err);
    }
    OPENSSL_cleanse(room, sizeof room);
    return rc;
}

int access_identify(struct access *a, struct request *r, const struct caller **ret, access_fn *fn, void *arg,
                    struct err *err)
{
    struct slice header = request_header(r, "authorization");
    if (!header.p && !request_client_name(r)) {
        *ret = anonymous_caller(a);
        return 1;
    }
    struct table *t = table_in_force(a);
    int rc = 1;
    if (header.p && table_has_accounts(t))
        rc = identify_header(a, r, t, header, ret, fn, arg, err);
    else
        *ret = caller_without_header(a, r, t);
    table_unref(t);
    return rc;
}
