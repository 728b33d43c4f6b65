// SPDX-License-Identifier: Apache-2.0
#include "proxy/state/redis.h"

#include <assert.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>
#include <utlist.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/need.h"
#include "proxy/state/redis_impl.h"

#define COMPLAIN_MS 60000

/* ---- answers ---- */

static void answer_and_free(void *arg)
{
    struct redis_call *call = arg;
    if (call->answer)
        call->answer(call);
    redis_call_free(call);
}

static void count(struct redis_state *s, const struct redis_call *call)
{
    uint64_t us = clock_mono_us() - call->begin_us;
    (void)atomic_fetch_add(call->write ? &s->base.writes : &s->base.reads, 1);
    (void)atomic_fetch_add(call->write ? &s->base.write_us : &s->base.read_us, us);
    if (call->err)
        (void)atomic_fetch_add(&s->base.errors, 1);
    if (call->err && !call->answer)
        (void)atomic_fetch_add(&s->base.dropped, 1);
}

/* On the store's thread. */
static void finish(struct redis_call *call)
{
    struct redis_state *s = call->s;
    count(s, call);
    (void)atomic_fetch_sub(&s->bytes, call->len);
    if (call->write)
        (void)atomic_fetch_sub(&s->base.writes_waiting, 1);
    (void)atomic_fetch_sub(&s->waiting, 1);
    if (call->loop && call->answer)
        loop_post(call->loop, answer_and_free, call);
    else
        answer_and_free(call);
}

static void fail(struct redis_call *call, const struct err *why)
{
    if (!call->err)
        call->err = mem_alloc(sizeof *call->err);
    *call->err = *why;
}

static void fail_and_finish(struct redis_call *call, const struct err *why)
{
    fail(call, why);
    finish(call);
}

/* Redis went away before it answered, or is away. What takes something away that must not be served any more
 * is not lost with it: done twice, it is done once. */
static void put_off(struct redis_call *call, const struct err *why)
{
    struct redis_state *s = call->s;
    if (!call->keep || call->answer || s->stopping || s->drop_count >= REDIS_STATE_DROPS_MAX) {
        fail_and_finish(call, why);
        return;
    }
    DL_APPEND(s->drops, call);
    ++s->drop_count;
    (void)atomic_fetch_sub(&s->base.writes_waiting, 1); /* who drains does not wait for Redis to be back */
}

static void on_reply(void *arg, const redisReply *reply, const struct err *away)
{
    struct redis_call *call = arg;
    struct redis_state *s = call->s;
    struct err err;
    bool reset = false;
    if (!reply) {
        put_off(call, away);
        return;
    }
    call->result = redis_result_of(reply, &reset, &err);
    if (call->result) {
        finish(call);
        return;
    }
    if (reset)
        put_off(call, &err);
    else
        fail_and_finish(call, &err);
    if (reset)
        redis_conn_reset(s->conn, &err);
}

/* ---- calls ---- */

static void send_call(struct redis_state *s, struct redis_call *call)
{
    if (!s->ready || !redis_conn_send_formatted(s->conn, call->command, call->len, on_reply, call)) {
        pthread_mutex_lock(&s->lock);
        struct err why = s->why;
        pthread_mutex_unlock(&s->lock);
        if (why.code == ERR_NONE) { /* it is being given up just now */
            (void)err_set(&why, ERR_OVERLOADED, "state store: the connection to Redis is lost");
            why.retry_after_s = 1;
        }
        put_off(call, &why);
    }
}

static void on_submitted(void *arg)
{
    struct redis_call *call = arg;
    if (call->err) /* refused: too many wait */
        finish(call);
    else
        send_call(call->s, call);
}

void redis_call_submit(struct redis_state *s, struct redis_call *call)
{
    call->s = s;
    call->begin_us = clock_mono_us();
    size_t factor = call->keep ? 2 : 1, waiting = atomic_fetch_add(&s->waiting, 1);
    size_t bytes = atomic_fetch_add(&s->bytes, call->len);
    if (call->write)
        (void)atomic_fetch_add(&s->base.writes_waiting, 1);
    if (waiting >= factor * REDIS_STATE_WAITING_MAX || bytes + call->len > factor * REDIS_STATE_BYTES_MAX) {
        struct err err;
        (void)err_set(&err, ERR_OVERLOADED, "state store: too many calls wait");
        err.retry_after_s = 1;
        fail(call, &err);
    }
    loop_post(s->loop, on_submitted, call);
}

/* ---- the connection ---- */

static void set_ready(struct redis_state *s)
{
    struct redis_call *drops = s->drops, *call, *next;
    bool first = !s->ready && !s->opened;
    s->ready = true;
    redis_conn_settled(s->conn);
    s->drops = NULL;
    s->drop_count = 0;
    DL_FOREACH_SAFE (drops, call, next) { /* before anything that would see what they take away */
        (void)atomic_fetch_add(&s->base.writes_waiting, 1);
        call->prev = call->next = NULL;
        send_call(s, call);
    }
    pthread_mutex_lock(&s->lock);
    s->opened = true;
    err_clear(&s->why);
    pthread_cond_broadcast(&s->wake);
    pthread_mutex_unlock(&s->lock);
    if (!first)
        log_info("the state store is back", F_S("redis", redis_conn_address(s->conn)));
    s->complained_ms = 0;
}

/* It is there, and will not do: a start does not wait for it to get better. */
static void refuse(struct redis_state *s, const char *why)
{
    struct err err;
    (void)err_set(&err, ERR_OVERLOADED, "Redis at %s: %s", redis_conn_address(s->conn), why);
    err.retry_after_s = 2;
    redis_conn_reset(s->conn, &err);
    pthread_mutex_lock(&s->lock);
    s->refused = true;
    if (s->why.code == ERR_NONE)
        s->why = err; /* the reset may be told of later */
    pthread_cond_broadcast(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

/* The answer to REDIS_META. */
static void on_meta(void *arg, const redisReply *reply, const struct err *away)
{
    struct redis_state *s = arg;
    struct err err;
    bool ignored = false;
    if (!reply)
        return;
    (void)away;
    cleanup_free struct redis_result *r = redis_result_of(reply, &ignored, &err);
    uint64_t schema = 0;
    if (!r) {
        refuse(s, err.msg);
        return;
    }
    if (r->count != 2 || !slice_to_u64(r->word[0], UINT32_MAX, &schema) || r->word[1].len != 32) {
        refuse(s, "what it has under our keys is not what we put there");
        return;
    }
    if (schema > REDIS_STATE_SCHEMA) {
        refuse(s, "its data was made by a newer rac-proxy: run that version");
        return;
    }
    if (s->has_scope_key && memcmp(s->base.scope_key, r->word[1].p, 32) != 0) {
        refuse(s, "it is another one than before, and belongs to other replicas (its scope key is not ours): "
                  "restart this one to join them");
        return;
    }
    memcpy(s->base.scope_key, r->word[1].p, 32);
    s->has_scope_key = true;
    set_ready(s);
}

static void on_loaded(void *arg, const redisReply *reply, const struct err *away)
{
    struct redis_state *s = arg;
    (void)away;
    if (reply && reply->type == REDIS_REPLY_ERROR)
        refuse(s, reply->str);
}

/* A Redis that lost what it had gets the scope key that this process goes by. */
static void on_up(void *arg)
{
    struct redis_state *s = arg;
    uint8_t key[32];
    char schema[16];
    if (s->has_scope_key)
        memcpy(key, s->base.scope_key, sizeof key);
    else if (getrandom(key, sizeof key, 0) != (ssize_t)sizeof key) {
        refuse(s, "no random bytes from the system");
        return;
    }
    bool sent = true;
    for (int i = 0; i < REDIS_SCRIPT_COUNT; ++i)
        sent =
            sent && redis_conn_send(s->conn, 3, (const char *const[]){"SCRIPT", "LOAD", redis_script_text[i]},
                                    NULL, on_loaded, s);
    (void)snprintf(schema, sizeof schema, "%d", REDIS_STATE_SCHEMA);
    const char *words[] = {"EVALSHA", s->sha1[REDIS_META], "0", (const char *)key, schema};
    const size_t len[] = {7, REDIS_SHA1, 1, sizeof key, strlen(schema)};
    (void)(sent && redis_conn_send(s->conn, 5, words, len, on_meta, s));
}

/* Once when it goes, and once a minute while it is away. */
static void on_down(void *arg, const struct err *err)
{
    struct redis_state *s = arg;
    uint64_t now = clock_mono_ms() + 1;
    s->ready = false;
    pthread_mutex_lock(&s->lock);
    bool opened = s->opened;
    s->why = *err;
    (void)err_wrap(&s->why, "state store");
    pthread_mutex_unlock(&s->lock);
    if (!opened || s->stopping || (s->complained_ms && now - s->complained_ms < COMPLAIN_MS))
        return;
    s->complained_ms = now;
    log_error("the state store is away; pulls of what is known go on without it", F_ERR(err),
              F_U("drops_waiting", s->drop_count));
}

/* ---- the thread ---- */

static void on_stop(void *arg)
{
    struct redis_state *s = arg;
    struct redis_call *call, *next, *drops = s->drops;
    struct err err;
    s->stopping = true;
    (void)err_set(&err, ERR_CANCELLED, "state store: rac-proxy is stopping");
    if (drops)
        log_warn("withdrawals are lost: Redis is away, and this process ends", F_U("count", s->drop_count));
    s->drops = NULL;
    DL_FOREACH_SAFE (drops, call, next) {
        (void)atomic_fetch_add(&s->base.writes_waiting, 1);
        fail_and_finish(call, &err);
    }
}

static void *thread_main(void *arg)
{
    struct redis_state *s = arg;
    loop_set_current(s->loop);
    struct redis_conn_config config = {.url = &s->url,
                                       .connect_ms = REDIS_STATE_CONNECT_MS,
                                       .command_ms = s->command_ms,
                                       .retry_min_ms = REDIS_STATE_RETRY_MIN_MS,
                                       .retry_max_ms = REDIS_STATE_RETRY_MAX_MS,
                                       .on_up = on_up,
                                       .on_down = on_down,
                                       .arg = s};
    s->conn = redis_conn_new(s->loop, &config);
    while (!s->stopping || atomic_load(&s->waiting)) /* each answer has its deadline */
        loop_run_once(s->loop, 1000);
    redis_conn_free(s->conn);
    return NULL;
}

static void stop(struct redis_state *s)
{
    loop_post(s->loop, on_stop, s);
    pthread_join(s->thread, NULL);
    loop_free(s->loop);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->wake);
    redis_url_clear(&s->url);
    free(s);
}

void redis_state_close(struct state *base)
{
    stop((struct redis_state *)base);
}

static void start(struct redis_state *s)
{
    need_thread(&s->thread, "thread that speaks to Redis", thread_main, s);
}

/* Until it is ready, or time is over. */
static int wait_ready(struct redis_state *s, struct err *err)
{
    struct timespec end;
    (void)clock_gettime(CLOCK_MONOTONIC, &end);
    uint64_t end_ns = (uint64_t)end.tv_nsec + (uint64_t)s->open_ms * 1000000;
    end.tv_sec += (time_t)(end_ns / 1000000000);
    end.tv_nsec = (long)(end_ns % 1000000000);
    pthread_mutex_lock(&s->lock);
    while (!s->opened && !s->refused && pthread_cond_timedwait(&s->wake, &s->lock, &end) == 0)
        ;
    bool opened = s->opened;
    struct err why = s->why;
    pthread_mutex_unlock(&s->lock);
    if (opened)
        return 0;
    if (why.code != ERR_NONE)
        return err_set(err, ERR_OVERLOADED, "%s", why.msg);
    return err_set(err, ERR_OVERLOADED, "state store: %s does not answer in time", s->url.shown);
}

int redis_state_open(const struct redis_options *options, struct state **ret, struct err *err)
{
    struct redis_url url;
    if (redis_url_parse(options->url, &url, err) < 0)
        return err_wrap(err, "state");
    if (options->password && !url.password)
        url.password = mem_strdup(options->password);
    if (url.user && !url.password) {
        redis_url_clear(&url);
        return err_set(err, ERR_INVALID, "state: a user needs a password");
    }
    struct redis_state *s = mem_new(struct redis_state);
    pthread_condattr_t monotonic;
    s->url = url;
    s->base.ops = &redis_state_ops;
    s->base.shared = true;
    s->open_ms = options->open_ms ? options->open_ms : REDIS_STATE_OPEN_MS;
    s->command_ms = options->command_ms ? options->command_ms : REDIS_STATE_COMMAND_MS;
    for (int i = 0; i < REDIS_SCRIPT_COUNT; ++i)
        redis_script_sha1((enum redis_script_id)i, s->sha1[i]);
    pthread_mutex_init(&s->lock, NULL);
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->wake, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    s->loop = loop_new(0);
    start(s);
    if (wait_ready(s, err) < 0) {
        stop(s);
        return -1;
    }
    *ret = &s->base;
    return 0;
}
