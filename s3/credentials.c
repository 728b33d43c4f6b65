// SPDX-License-Identifier: Apache-2.0
#include "s3/credentials.h"

#include <assert.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "s3/credentials_source.h"
#include "s3/http_wait.h"

#define ASK_AGAIN_MS 30000 /* after renewing failed while the old ones are still good */

struct credentials_chain {
    struct http *http;
    char *region;
    int asking; /* eventfd with one token: who has it asks the sources */
    pthread_mutex_t lock;
    struct credentials *current; /* NULL: none yet, or refused */
    uint64_t not_before_ms;      /* monotonic: no renewing until then */
};

static const struct {
    const char *name;
    credentials_source_fn *ask;
} sources[] = {
    {"environment", credentials_from_environment},
    {"web identity", credentials_from_web_identity},
    {"profile", credentials_from_profile},
    {"container", credentials_from_container},
    {"EC2", credentials_from_ec2},
};

static void secret_free(char *s)
{
    if (s)
        OPENSSL_cleanse(s, strlen(s));
    free(s);
}

void credentials_put(struct credentials *c)
{
    if (!c || atomic_fetch_sub(&c->references, 1) > 1)
        return;
    secret_free(c->access_key_id);
    secret_free(c->secret_access_key);
    secret_free(c->session_token);
    free(c);
}

static bool header_safe(const char *s)
{
    for (; *s; ++s) {
        if ((unsigned char)*s <= ' ' || (unsigned char)*s >= 0x7f)
            return false;
    }
    return true;
}

int credentials_new(const char *id, const char *secret, const char *token, int64_t expires_ms,
                    const char *source, struct credentials **ret, struct err *err)
{
    if (!id || !*id || !secret || !*secret)
        return err_set(err, ERR_INVALID, "no access key, or no secret for it");
    if (!header_safe(id) || !header_safe(secret) || (token && !header_safe(token)))
        return err_set(err, ERR_INVALID, "a key with spaces or characters that are not ASCII");
    struct credentials *c = mem_new(struct credentials);
    c->references = 1;
    c->access_key_id = mem_strdup(id);
    c->secret_access_key = mem_strdup(secret);
    c->session_token = token && *token ? mem_strdup(token) : NULL;
    c->expires_ms = expires_ms;
    c->source = source;
    *ret = c;
    return 0;
}

struct credentials_chain *credentials_chain_new(struct http *http, const char *region)
{
    struct credentials_chain *c = mem_new(struct credentials_chain);
    c->http = http;
    c->region = region ? mem_strdup(region) : NULL;
    c->asking = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
    assert(c->asking >= 0);
    pthread_mutex_init(&c->lock, NULL);
    return c;
}

void credentials_chain_free(struct credentials_chain *c)
{
    if (!c)
        return;
    credentials_put(c->current);
    pthread_mutex_destroy(&c->lock);
    (void)close(c->asking);
    free(c->region);
    free(c);
}

/* What we have, if it still serves; *ret_old says that it is time to look for others. */
static struct credentials *usable_ref(struct credentials_chain *chain, bool *ret_old)
{
    pthread_mutex_lock(&chain->lock);
    struct credentials *c = chain->current;
    int64_t left = c && c->expires_ms ? c->expires_ms - clock_wall_ms() : INT64_MAX;
    if (c && left <= 0)
        c = NULL;
    *ret_old = c && left < CREDENTIALS_RENEW_MS && clock_mono_ms() >= chain->not_before_ms;
    if (c)
        atomic_fetch_add(&c->references, 1);
    pthread_mutex_unlock(&chain->lock);
    return c;
}

/* Asks the sources in order. The first that fails is what a user most likely meant. */
static struct credentials *ask_sources(struct credentials_chain *chain, struct cancel *cancel,
                                       struct err *err)
{
    struct credentials_ask ask = {chain->http, chain->region, cancel};
    struct err failures = {0};
    for (size_t i = 0; i < sizeof sources / sizeof sources[0]; ++i) {
        struct credentials *found = NULL;
        struct err mine = {0};
        int rc = sources[i].ask(&ask, &found, &mine);
        if (rc == 1)
            return found;
        if (cancel_fired(cancel)) {
            (void)err_set(err, ERR_CANCELLED, "cancelled");
            return NULL;
        }
        if (rc < 0) {
            struct err before = failures;
            (void)err_set(&failures, ERR_UNAUTHORIZED, "%.400s%s%s: %.180s", before.msg,
                          *before.msg ? "; " : "", sources[i].name, mine.msg);
        }
    }
    (void)err_set(
        err, ERR_UNAUTHORIZED,
        "no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (docker run -e), or give "
        "a profile, a web identity, a container's or an EC2 instance's role; "
        "RAC_S3_ANONYMOUS=true for public buckets%s%.300s%s",
        *failures.msg ? " (" : "", failures.msg, *failures.msg ? ")" : "");
    return NULL;
}

static void use(struct credentials_chain *chain, struct credentials *found)
{
    pthread_mutex_lock(&chain->lock);
    credentials_put(chain->current);
    chain->current = found;
    atomic_fetch_add(&found->references, 1);
    /* Some services hand out what they have cached, near its end: no reason to ask with every request. */
    chain->not_before_ms = clock_mono_ms() + ASK_AGAIN_MS;
    pthread_mutex_unlock(&chain->lock);
    log_debug("credentials", F_S("source", found->source), F_S("key", found->access_key_id));
}

static void give_token(struct credentials_chain *chain)
{
    uint64_t one = 1;
    ssize_t n = write(chain->asking, &one, sizeof one);
    assert(n == sizeof one);
}

/* Holding the token. */
static struct credentials *renew(struct credentials_chain *chain, struct cancel *cancel, struct err *err)
{
    bool old;
    struct credentials *c = usable_ref(chain, &old);
    if (c && !old)
        return c; /* somebody was faster */
    struct credentials *found = ask_sources(chain, cancel, err);
    if (found) {
        use(chain, found);
        credentials_put(c);
        return found;
    }
    if (c) {
        pthread_mutex_lock(&chain->lock);
        chain->not_before_ms = clock_mono_ms() + ASK_AGAIN_MS;
        pthread_mutex_unlock(&chain->lock);
        log_warn("credentials could not be renewed, the old ones serve until they expire",
                 F_S("source", c->source), F_S("error", err ? err->msg : NULL));
    }
    return c;
}

struct credentials *credentials_get_ref(struct credentials_chain *chain, struct cancel *cancel,
                                        struct err *err)
{
    for (;;) {
        bool old;
        uint64_t one;
        struct err mine = {0};
        struct credentials *c = usable_ref(chain, &old);
        if (c && !old)
            return c;
        if (read(chain->asking, &one, sizeof one) == sizeof one) {
            credentials_put(c);
            c = renew(chain, cancel, &mine);
            give_token(chain);
            if (!c && err)
                *err = mine;
            return c;
        }
        if (c)
            return c; /* another thread is renewing */
        /* Every source bounds its own time; this is for the case that they all use it up. */
        if (http_wait(chain->asking, POLLIN, clock_mono_ms() + 120000, cancel, err) < 0)
            return NULL;
    }
}

bool credentials_refused(struct credentials_chain *chain, const struct credentials *c)
{
    pthread_mutex_lock(&chain->lock);
    if (chain->current == c) {
        credentials_put(chain->current);
        chain->current = NULL;
    }
    pthread_mutex_unlock(&chain->lock);
    return strcmp(c->source, "environment") != 0;
}
