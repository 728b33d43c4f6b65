// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>

#include "common/log.h"
#include "common/mem.h"
#include "proxy/api/events.h"
#include "proxy/app_impl.h"
#include "proxy/records/webhook.h"
#include "proxy/state/sqlite_journal.h"

#define DAY_MS UINT64_C(86400000)

static void make_webhooks(struct app *app)
{
    const struct options *o = app->options;
    app->webhooks = mem_zalloc(o->endpoint_count * sizeof *app->webhooks + 1);
    app->webhook_count = o->endpoint_count;
    for (size_t i = 0; i < o->endpoint_count; ++i) {
        const struct options_endpoint *e = &o->endpoints[i];
        const struct webhook_config config = {
            .name = e->name,
            .url = e->url,
            .headers = (const char *const *)e->headers,
            .ca = e->ca,
            .timeout_ms = e->timeout_ms,
            .backoff_ms = e->backoff_ms,
            .threshold = e->threshold,
            .ignore_media_types = (const char *const *)e->ignore_media_types,
            .ignore_actions = (const char *const *)e->ignore_actions,
            .public_address = o->public_host ? o->public_host : http_server_address(app->server, 0),
            .tls = o->tls_certificate != NULL,
        };
        app->webhooks[i] = webhook_new(app->records, app->state->shared ? app->state : NULL, &config);
    }
}

int app_records_open(struct app *app, struct err *err)
{
    const struct options *o = app->options;
    struct journal *journal;
    const struct journal_limits limits = {.keep_days = (uint32_t)((o->pulls_keep_ms + DAY_MS - 1) / DAY_MS),
                                          .sum_days =
                                              (uint32_t)((o->pulls_keep_sums_ms + DAY_MS - 1) / DAY_MS),
                                          .max_bytes = o->pulls_size_bytes,
                                          .shared = app->state->shared};
    if (!o->pulls_record)
        return 0;
    if (sqlite_journal_open(o->data_dir, &limits, false, &journal, err) < 0) {
        if (err->code == ERR_UNSUPPORTED)
            return -1;
        log_error("pull records are off: their store cannot be opened", F_ERR(err));
        return 0;
    }
    const struct records_config config = {.journal = journal,
                                          .state = app->state->shared ? app->state : NULL,
                                          .workers = http_server_workers(app->server),
                                          .check_window_ms = o->pulls_check_window_ms};
    app->records = app->registry.records = app->api.records = records_new(&config);
    make_webhooks(app);
    return 0;
}

static void end_events(void *arg)
{
    (void)arg;
    events_end();
}

void app_records_drain(struct app *app)
{
    for (unsigned i = 0; app->records && i < http_server_workers(app->server); ++i)
        loop_post(http_server_loop(app->server, i), end_events, NULL);
}

static void start_records(void *arg)
{
    struct app *app = arg;
    struct loop *loop = http_server_loop(app->server, 0);
    if (app->records)
        records_start(app->records, loop);
    for (size_t i = 0; i < app->webhook_count; ++i)
        webhook_start(app->webhooks[i], loop, app->env.client(loop));
}

void app_records_start(struct app *app)
{
    loop_post(http_server_loop(app->server, 0), start_records, app);
}

void app_records_stop(struct app *app)
{
    if (app->records)
        records_stop(app->records);
    for (size_t i = 0; i < app->webhook_count; ++i)
        webhook_stop(app->webhooks[i]);
}

void app_records_free(struct app *app)
{
    records_free(app->records);
    for (size_t i = 0; i < app->webhook_count; ++i)
        webhook_free(app->webhooks[i]);
    free(app->webhooks);
}
