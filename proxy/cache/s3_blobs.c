// SPDX-License-Identifier: Apache-2.0
#include "proxy/cache/s3_blobs.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/need.h"
#include "proxy/cache/s3_impl.h"

/* A sender is not in a hurry, but must not hang on a server that is half dead. */
#define TRIES              3
#define CONNECT_TIMEOUT_MS 5000
#define ANSWER_TIMEOUT_MS  30000
#define STALL_TIMEOUT_MS   30000

#define SHUT_MIN_MS      5000u
#define SHUT_MAX_MS      60000u
#define SHUT_IS_AWAY     3 /* failures in a row after which what waits may be evicted */
#define KEEPER_MS        60000
#define KEEPER_FAILED_MS 5000

void s3_blobs_key(const struct s3_blobs *s, const struct digest *digest, char ret[S3_KEY_CAP])
{
    struct slice algorithm = digest_algorithm(digest);
    const char *hex = digest_hex(digest);
    (void)snprintf(ret, S3_KEY_CAP, "%s%sblobs/%.*s/%.2s/%s", s->url.prefix, *s->url.prefix ? "/" : "",
                   (int)algorithm.len, algorithm.p, hex, hex);
}

static void replace(char **at, const char *value)
{
    if (!value)
        return;
    free(*at);
    *at = mem_strdup(value);
}

int s3_blobs_config(const struct s3_blobs_url *url, struct s3_config *ret, struct err *err)
{
    if (s3_config_load(ret, err) < 0)
        return -1;
    replace(&ret->endpoint, url->endpoint);
    replace(&ret->region, url->region);
    replace(&ret->ca_file, url->ca_file);
    replace(&ret->storage_class, url->storage_class);
    replace(&ret->sse, url->sse);
    ret->agent = "rac-proxy";
    if (url->path_style)
        ret->addressing = S3_ADDRESSING_PATH;
    ret->tries_max = TRIES;
    ret->connect_timeout_ms = CONNECT_TIMEOUT_MS;
    ret->answer_timeout_ms = ANSWER_TIMEOUT_MS;
    ret->stall_timeout_ms = STALL_TIMEOUT_MS;
    return 0;
}

/* ---- is it to be asked ---- */

uint64_t s3_blobs_pause(const struct s3_blobs *s)
{
    uint64_t now = clock_mono_ms();
    return s->shut_until_ms > now ? s->shut_until_ms - now : 0;
}

bool s3_blobs_may_ask(struct s3_blobs *s)
{
    pthread_mutex_lock(&s->lock);
    bool may = s->credentials && s3_blobs_pause(s) == 0;
    pthread_mutex_unlock(&s->lock);
    return may;
}

void s3_blobs_worked(struct s3_blobs *s)
{
    pthread_mutex_lock(&s->lock);
    if (s3_blobs_pause(s)) { /* asked before it failed, or of what does not fail: the next question tells */
        pthread_mutex_unlock(&s->lock);
        return;
    }
    bool was_away = s->failures > 0;
    s->failures = 0;
    metric_set(s->up, 1);
    if (!s->pinning)
        s3_queue_pin(s, true);
    if (was_away)
        pthread_cond_broadcast(&s->wake);
    pthread_mutex_unlock(&s->lock);
    if (was_away)
        log_info("S3 is back", F_S("bucket", s->url.bucket));
}

void s3_blobs_failed(struct s3_blobs *s)
{
    pthread_mutex_lock(&s->lock);
    bool first = s->failures == 0;
    if (s3_blobs_pause(s) == 0) { /* what was under way when it went away counts once */
        unsigned shift = s->failures < 4 ? s->failures : 4;
        uint64_t pause = (uint64_t)SHUT_MIN_MS << shift;
        pause = pause < SHUT_MAX_MS ? pause : SHUT_MAX_MS;
        ++s->failures;
        s->shut_until_ms = clock_mono_ms() + pause * 3 / 4 + (uint64_t)rand_r(&s->random) % (pause / 4);
    }
    metric_set(s->up, 0);
    if (s->failures >= SHUT_IS_AWAY && s->pinning)
        s3_queue_pin(s, false);
    pthread_mutex_unlock(&s->lock);
    if (first)
        log_warn("S3 is away: blobs come from upstream meanwhile, and are sent later",
                 F_S("bucket", s->url.bucket));
}

/* ---- credentials ---- */

/* The last ones found, whether they are still good: S3 tells. */
static bool renew(struct s3_blobs *s, struct err *err)
{
    struct credentials *c = s3_credentials_get_ref(s->s3, s->cancel, err);
    if (!c)
        return false;
    pthread_mutex_lock(&s->lock);
    struct credentials *old = s->credentials;
    s->credentials = c;
    pthread_cond_broadcast(&s->wake);
    pthread_mutex_unlock(&s->lock);
    credentials_put(old);
    return true;
}

static void wait_ms(struct s3_blobs *s, uint64_t ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(ms / 1000);
    pthread_mutex_lock(&s->lock);
    while (!s->stopping && pthread_cond_timedwait(&s->wake, &s->lock, &until) == 0)
        ;
    pthread_mutex_unlock(&s->lock);
}

static bool stopping(struct s3_blobs *s)
{
    pthread_mutex_lock(&s->lock);
    bool yes = s->stopping;
    pthread_mutex_unlock(&s->lock);
    return yes;
}

static void *keep_credentials(void *arg)
{
    struct s3_blobs *s = arg;
    bool told = false;
    while (!stopping(s)) {
        struct err err;
        bool ok = renew(s, &err);
        if (!ok && !told && err.code != ERR_CANCELLED)
            log_error("no credentials for S3: blobs are not looked for there, and not sent",
                      F_S("bucket", s->url.bucket), F_ERR(&err));
        told = !ok;
        wait_ms(s, ok ? KEEPER_MS : KEEPER_FAILED_MS);
    }
    return NULL;
}

char *s3_blobs_sign(struct s3_blobs *s, const struct digest *digest, unsigned seconds)
{
    char key[S3_KEY_CAP], *url = NULL;
    struct err err;
    s3_blobs_key(s, digest, key);
    pthread_mutex_lock(&s->lock);
    if (s->credentials && s3_presign_get(s->s3, s->credentials, s->url.bucket, key, seconds, &url, &err) < 0)
        url = NULL;
    pthread_mutex_unlock(&s->lock);
    return url;
}

/* ---- from start to end ---- */

static void free_known(void *entry, void *arg)
{
    (void)arg;
    free(entry);
}

static void count_from_zero(struct s3_blobs *s)
{
    s->hit = metric_get("rac_s3_lookups_total", "result=\"hit\"");
    s->missing = metric_get("rac_s3_lookups_total", "result=\"missing\"");
    s->failed = metric_get("rac_s3_lookups_total", "result=\"failed\"");
    s->wrong = metric_get("rac_s3_lookups_total", "result=\"wrong\"");
    s->skipped = metric_get("rac_s3_lookups_total", "result=\"skipped\"");
    s->sent = metric_get("rac_s3_uploads_total", "result=\"sent\"");
    s->there = metric_get("rac_s3_uploads_total", "result=\"there\"");
    s->send_failed = metric_get("rac_s3_uploads_total", "result=\"failed\"");
    s->gone = metric_get("rac_s3_uploads_total", "result=\"gone\"");
    s->sent_bytes = metric_get("rac_s3_sent_bytes_total", "");
    s->waiting_gauge = metric_get("rac_s3_uploads_waiting", "");
    s->up = metric_get("rac_s3_up", "");
    s->redirects = metric_get("rac_s3_redirects_total", "");
    metric_set(s->up, 1);
}

static int open_client(struct s3_blobs *s, const char *url, struct err *err)
{
    cleanup_s3_config struct s3_config config = {0};
    if (s3_blobs_url_parse(url, &s->url, err) < 0 || s3_blobs_config(&s->url, &config, err) < 0)
        return -1;
    if (config.anonymous)
        return err_set(err, ERR_INVALID, "RAC_S3_ANONYMOUS: blobs are sent with credentials only");
    s->ca_file = config.ca_file ? mem_strdup(config.ca_file) : NULL;
    s->s3 = s3_new(&config, err);
    return s->s3 ? 0 : -1;
}

int s3_blobs_open(const struct s3_blobs_options *o, struct s3_blobs **ret, struct err *err)
{
    struct s3_blobs *s = mem_new(struct s3_blobs);
    pthread_condattr_t monotonic;
    s->source = (struct fill_source){.ops = &s3_source_ops, .name = "s3"};
    s->store = o->store;
    s->jobs = o->jobs;
    s->client = o->client;
    s->folder = mem_printf("%s/upload", o->data_dir);
    s->cancel = cancel_new();
    s->random = (unsigned)clock_mono_us();
    s->pinning = true;
    s->known = lru_new(S3_KNOWN_BYTES, free_known, NULL);
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    count_from_zero(s);
    if (open_client(s, o->url, err) < 0 || s3_queue_load(s, err) < 0) {
        (void)err_wrap(err, "blobs");
        s->stopping = true;
        s3_blobs_free(s);
        return -1;
    }
    pthread_mutex_lock(&s->lock);
    s3_queue_pin(s, true);
    pthread_mutex_unlock(&s->lock);
    need_thread(&s->keeper, "thread for credentials of S3", keep_credentials, s);
    for (size_t i = 0; i < S3_SENDERS; ++i)
        need_thread(&s->senders[i], "thread that sends to S3", s3_send_thread, s);
    *ret = s;
    return 0;
}

void s3_blobs_stop(struct s3_blobs *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_cond_broadcast(&s->wake);
    pthread_mutex_unlock(&s->lock);
    cancel_fire(s->cancel);
    pthread_join(s->keeper, NULL);
    for (size_t i = 0; i < S3_SENDERS; ++i)
        pthread_join(s->senders[i], NULL);
    pthread_mutex_lock(&s->lock);
    s3_queue_pin(s, false);
    pthread_mutex_unlock(&s->lock);
}

void s3_blobs_free(struct s3_blobs *s)
{
    if (!s)
        return;
    s->pinning = false;
    s3_queue_free(s);
    credentials_put(s->credentials);
    s3_free(s->s3);
    s3_blobs_url_free(&s->url);
    cancel_free(s->cancel);
    lru_free(s->known);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->wake);
    free(s->ca_file);
    free(s->folder);
    free(s);
}

struct fill_source *s3_blobs_source(struct s3_blobs *s)
{
    return &s->source;
}
