// SPDX-License-Identifier: Apache-2.0
#include "proxy/records/webhook.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/metrics.h"
#include "proxy/records/envelope.h"
#include "proxy/records/feed.h"

#define BATCH_RECORDS 100
#define BATCH_BYTES   ((size_t)512 << 10)
#define WAIT_MIN_MS   200
#define WHO_MAX       300
/* Of a shared journal. */
#define TURN     "turn:" /* before the task's name: its cursor here is a place */
#define LOOK_MS  300     /* for what has come, while it is our turn */
#define RENEW_MS 5000    /* what is our turn is asked for again, though nothing has come */
#define OTHER_MS 3000    /* and what is another's */

enum webhook_phase {
    WEBHOOK_OFF,
    WEBHOOK_IDLE,
    WEBHOOK_ASKING,
    WEBHOOK_READING,
    WEBHOOK_SENDING,
    WEBHOOK_BACKING_OFF
};

struct webhook {
    struct webhook_config config;
    struct records *records;
    struct state *state; /* NULL: whose turn it is is no question; and `cursor` is a number, else a place */
    struct loop *loop;
    struct upstream_client *client;
    struct feed_reader *reader;
    enum webhook_phase phase;
    char cursor_name[96], who[WHO_MAX], instance_id[33];
    uint64_t cursor;  /* delivered, or not wanted, up to this number */
    uint64_t read_to; /* of body */
    uint64_t written; /* the youngest record when reading began: that much a read must see */
    struct buf body;
    unsigned count, ignored; /* records in body; left out of it */
    bool is_new;             /* the journal has no cursor yet */
    bool failed;
    bool is_ours;             /* the turn, as of the last answer */
    bool has_done;            /* the cursor is further than the store was told */
    bool asks_to_send;        /* what is to be asked for is to send the body; else to read */
    uint64_t asked_ms, saved; /* saved: the cursor as it is in the journal */
    struct err err;
    unsigned failures; /* in a row */
    int status;
    struct fetch *fetch;
    struct loop_timer timer;
    struct metric *delivered, *left_out, *failure_count, *behind;
};

static void read_more(struct webhook *w);
static void send_body(struct webhook *w);
static void ask_for_turn(struct webhook *w);

struct webhook *webhook_new(struct records *records, struct state *state, const struct webhook_config *config)
{
    char labels[256];
    uint8_t random[16];
    struct webhook *w = mem_new(struct webhook);
    w->records = records;
    w->state = state;
    w->config = *config;
    w->cursor = state ? 0 : feed_last(records_feed(records)); /* where a new one begins */
    (void)snprintf(w->cursor_name, sizeof w->cursor_name, "%swebhook:%s", state ? TURN : "", config->name);
    (void)log_redact_url(config->url, w->who, sizeof w->who);
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        memset(random, 0, sizeof random);
    for (size_t i = 0; i < sizeof random; ++i)
        (void)snprintf(w->instance_id + 2 * i, 3, "%02x", random[i]);
    (void)metric_labels(labels, sizeof labels, "endpoint", config->name, "result", "delivered", NULL);
    w->delivered = metric_get("rac_webhook_events_total", labels);
    (void)metric_labels(labels, sizeof labels, "endpoint", config->name, "result", "ignored", NULL);
    w->left_out = metric_get("rac_webhook_events_total", labels);
    (void)metric_labels(labels, sizeof labels, "endpoint", config->name, NULL);
    w->failure_count = metric_get("rac_webhook_failures_total", labels);
    w->behind = metric_get("rac_webhook_behind", labels);
    return w;
}

void webhook_free(struct webhook *w)
{
    if (!w)
        return;
    buf_free(&w->body);
    free(w);
}

/* ---- reading: the records' threads ---- */

static bool is_listed(const char *const *list, const char *text)
{
    for (; list && *list; ++list)
        if (strcmp(*list, text) == 0)
            return true;
    return false;
}

static bool add_record(void *arg, const struct journal_record *r)
{
    struct webhook *w = arg;
    const struct envelope_source source = {w->config.public_address, w->instance_id, w->config.tls};
    w->read_to = w->state ? r->place : r->number;
    if (is_listed(w->config.ignore_media_types, r->media_type) ||
        is_listed(w->config.ignore_actions, envelope_action(r))) {
        ++w->ignored;
        return true;
    }
    envelope_add(&w->body, records_journal(w->records), r, &source);
    ++w->count;
    return w->body.len < BATCH_BYTES;
}

static void read_journal(void *arg)
{
    struct webhook *w = arg;
    struct journal *j = records_journal(w->records);
    const struct journal_query q = {.kind = -1,
                                    .since_ms = INT64_MIN,
                                    .until_ms = INT64_MAX,
                                    .after = w->cursor,
                                    .before = UINT64_MAX,
                                    .oldest_first = true,
                                    .by_place = w->state != NULL,
                                    .limit = BATCH_RECORDS};
    w->read_to = w->cursor;
    w->count = w->ignored = 0;
    buf_reset(&w->body);
    envelope_begin(&w->body);
    w->failed = j->ops->read(j, &q, add_record, w, &w->err) < 0;
    envelope_end(&w->body);
}

static void read_cursor(void *arg)
{
    struct webhook *w = arg;
    struct journal *j = records_journal(w->records);
    uint64_t cursor;
    w->failed = j->ops->cursor(j, w->cursor_name, &cursor, &w->err) < 0;
    w->is_new = !w->failed && cursor == UINT64_MAX;
    if (!w->failed && !w->is_new)
        w->cursor = cursor;
}

/* ---- deciding: the loop ---- */

/* How far the journal is, in what the cursor counts. */
static uint64_t journal_end(struct webhook *w)
{
    struct journal *j = records_journal(w->records);
    struct journal_stats stats;
    if (!w->state)
        return feed_last(records_feed(w->records));
    j->ops->stats(j, &stats);
    return stats.place;
}

/* Places are not counted: of a shared journal, what is in the body. */
static void show_behind(struct webhook *w)
{
    uint64_t last = journal_end(w), numbers = last > w->cursor ? last - w->cursor : 0;
    metric_set(w->behind, !w->state ? numbers : numbers && w->is_ours ? w->count : 0);
}

static void on_look(void *arg)
{
    struct webhook *w = arg;
    if (!w->is_ours || journal_end(w) > w->cursor || clock_mono_ms() - w->asked_ms >= RENEW_MS)
        ask_for_turn(w);
    else
        loop_timer_arm(w->loop, &w->timer, LOOK_MS, on_look, w);
}

static void wait_for_more(struct webhook *w)
{
    w->phase = WEBHOOK_IDLE;
    show_behind(w);
    if (w->state)
        loop_timer_arm(w->loop, &w->timer, w->is_ours ? LOOK_MS : OTHER_MS, on_look, w);
    else
        feed_wait(w->reader, w->cursor);
}

static void on_feed(void *arg)
{
    struct webhook *w = arg;
    if (w->phase == WEBHOOK_IDLE)
        read_more(w);
}

static void save_cursor(struct webhook *w)
{
    if (w->saved != w->cursor)
        records_save_cursor(w->records, w->cursor_name, w->cursor);
    w->saved = w->cursor;
}

static void advance(struct webhook *w)
{
    metric_add(w->delivered, w->count);
    metric_add(w->left_out, w->ignored);
    w->cursor = w->read_to;
    w->has_done = true;
    show_behind(w);
    save_cursor(w);
}

static uint64_t wait_ms(const struct webhook *w)
{
    uint64_t ms = w->config.backoff_ms, random = 0;
    if (w->failures < w->config.threshold && w->failures < 20) {
        uint64_t growing = (uint64_t)WAIT_MIN_MS << (w->failures - 1);
        ms = growing < ms ? growing : ms;
    }
    (void)!getrandom(&random, sizeof random, 0);
    return ms - ms / 4 + random % (ms / 2 + 1);
}

static void on_backed_off(void *arg)
{
    struct webhook *w = arg;
    w->asks_to_send = !w->failed;
    if (w->state)
        ask_for_turn(w);
    else if (w->failed)
        read_more(w);
    else
        send_body(w);
}

static void back_off(struct webhook *w, const char *why)
{
    metric_inc(w->failure_count);
    ++w->failures;
    show_behind(w);
    uint64_t ms = wait_ms(w);
    if (w->failures == 1 || w->failures == w->config.threshold)
        log_warn(w->failures == w->config.threshold ? "endpoint is left alone for a while"
                                                    : "endpoint does not take events",
                 F_S("endpoint", w->config.name), F_S("url", w->who), F_S("error", why),
                 F_U("failures", w->failures), F_U("again_ms", ms));
    w->phase = WEBHOOK_BACKING_OFF;
    loop_timer_arm(w->loop, &w->timer, ms, on_backed_off, w);
}

/* Behind what was delivered, or not wanted: where turns are taken, that is said first. */
static void read_next(struct webhook *w)
{
    if (w->state)
        ask_for_turn(w);
    else
        read_more(w);
}

static void on_read(void *arg)
{
    struct webhook *w = arg;
    if (w->phase != WEBHOOK_READING)
        return; /* stopped meanwhile */
    if (w->failed) {
        back_off(w, w->err.msg);
    } else if (w->count) {
        if (w->state && clock_mono_ms() - w->asked_ms > RENEW_MS) { /* a slow disk */
            w->asks_to_send = true;
            ask_for_turn(w);
        } else {
            send_body(w);
        }
    } else if (w->read_to > w->cursor) {
        advance(w);
        read_next(w);
    } else {
        /* What was there and is not was forgotten by age. What came since the read is for the next one. */
        w->cursor = w->written > w->cursor ? w->written : w->cursor;
        wait_for_more(w);
    }
}

static void read_more(struct webhook *w)
{
    w->phase = WEBHOOK_READING;
    w->written = journal_end(w);
    jobs_submit(records_jobs(w->records), w->loop, read_journal, on_read, w);
}

/* ---- turns ---- */

static void on_ask_again(void *arg)
{
    ask_for_turn(arg);
}

static void on_turn(void *arg, bool is_ours, uint64_t place, const struct err *err)
{
    struct webhook *w = arg;
    if (w->phase != WEBHOOK_ASKING)
        return; /* stopped meanwhile */
    if (err) {  /* nobody sends while the store is away; what was done is said when it is back */
        w->is_ours = false;
        loop_timer_arm(w->loop, &w->timer, OTHER_MS, on_ask_again, w);
        return;
    }
    bool goes_on = is_ours && w->is_ours && w->asks_to_send && place == w->cursor;
    w->is_ours = is_ours;
    w->asks_to_send = false;
    w->has_done = false;
    w->cursor = place;
    save_cursor(w); /* for a store that forgets it */
    if (goes_on)
        send_body(w);
    else if (is_ours)
        read_more(w);
    else
        wait_for_more(w);
}

static void ask_for_turn(struct webhook *w)
{
    w->phase = WEBHOOK_ASKING;
    w->asked_ms = clock_mono_ms();
    const struct state_turn turn = {.name = w->cursor_name + strlen(TURN),
                                    .holder = records_journal(w->records)->replica,
                                    .hold_ms = (uint32_t)w->config.timeout_ms + WEBHOOK_TURN_MS,
                                    .done = w->has_done ? w->cursor : 0,
                                    .known = w->cursor};
    w->state->ops->turn_take(w->state, w->loop, &turn, on_turn, w);
}

static void on_given_up(void *arg, bool is_ours, uint64_t place, const struct err *err)
{
    (void)arg, (void)is_ours, (void)place, (void)err;
}

/* Another one need not wait until it ends by itself. */
static void give_up_turn(struct webhook *w)
{
    const struct state_turn turn = {.name = w->cursor_name + strlen(TURN),
                                    .holder = records_journal(w->records)->replica,
                                    .done = w->has_done ? w->cursor : 0};
    w->state->ops->turn_take(w->state, NULL, &turn, on_given_up, NULL);
}

/* ---- sending ---- */

static bool on_head(void *arg, const struct fetch_head *head)
{
    ((struct webhook *)arg)->status = head->status;
    return true;
}

static bool on_data(void *arg, const void *p, size_t len)
{
    (void)arg, (void)p, (void)len;
    return true;
}

static void on_done(void *arg, const struct err *err)
{
    struct webhook *w = arg;
    char why[64];
    w->fetch = NULL;
    loop_timer_cancel(w->loop, &w->timer);
    if (w->status >= 200 && w->status < 400) { /* whatever became of its body */
        if (w->failures)
            log_info("endpoint takes events again", F_S("endpoint", w->config.name),
                     F_U("failures", w->failures));
        w->failures = 0;
        advance(w);
        read_next(w);
        return;
    }
    (void)snprintf(why, sizeof why, "it answered %d", w->status);
    back_off(w, err ? err->msg : why);
}

static const struct fetch_ops ops = {.on_head = on_head, .on_data = on_data, .on_done = on_done};

static void on_timeout(void *arg)
{
    struct webhook *w = arg;
    fetch_cancel(steal_ptr(&w->fetch));
    back_off(w, "no answer in time");
}

static void send_body(struct webhook *w)
{
    w->phase = WEBHOOK_SENDING;
    w->status = 0;
    w->fetch = fetch_start(w->client,
                           &(struct fetch_params){.url = w->config.url,
                                                  .private_addresses = true,
                                                  .plain_http = true,
                                                  .ca_file = w->config.ca,
                                                  .accept = "*/*",
                                                  .body = w->body.p,
                                                  .body_len = w->body.len,
                                                  .content_type = ENVELOPE_MEDIA_TYPE,
                                                  .headers = w->config.headers},
                           &ops, w);
    loop_timer_arm(w->loop, &w->timer, w->config.timeout_ms, on_timeout, w);
}

/* ---- birth and end ---- */

static void on_cursor(void *arg)
{
    struct webhook *w = arg;
    if (w->phase != WEBHOOK_READING)
        return;
    if (w->failed) {
        log_error("events are not sent: where to begin cannot be read", F_S("endpoint", w->config.name),
                  F_ERR(&w->err));
        w->phase = WEBHOOK_OFF;
        return;
    }
    if (w->state) {
        ask_for_turn(w);
        return;
    }
    if (w->is_new)
        records_save_cursor(w->records, w->cursor_name, w->cursor);
    read_more(w);
}

void webhook_start(struct webhook *w, struct loop *loop, struct upstream_client *client)
{
    w->loop = loop;
    w->client = client;
    w->reader = feed_open(records_feed(w->records), loop, on_feed, w);
    w->phase = WEBHOOK_READING;
    jobs_submit(records_jobs(w->records), loop, read_cursor, on_cursor, w);
}

void webhook_stop(struct webhook *w)
{
    if (!w->reader)
        return;
    if (w->state && w->is_ours)
        give_up_turn(w);
    w->phase = WEBHOOK_OFF;
    if (w->fetch)
        fetch_cancel(steal_ptr(&w->fetch));
    loop_timer_cancel(w->loop, &w->timer);
    feed_close(steal_ptr(&w->reader));
}
