// SPDX-License-Identifier: Apache-2.0
#include "common/log.h"
#include "proxy/api/events.h"
#include "proxy/app_impl.h"
#include "proxy/state/sqlite_journal.h"

#define DAY_MS UINT64_C(86400000)

int app_records_open(struct app *app, struct err *err)
{
    const struct options *o = app->options;
    struct journal *journal;
    const struct journal_limits limits = {.keep_days = (uint32_t)((o->pulls_keep_ms + DAY_MS - 1) / DAY_MS),
                                          .sum_days =
                                              (uint32_t)((o->pulls_keep_sums_ms + DAY_MS - 1) / DAY_MS),
                                          .max_bytes = o->pulls_size_bytes};
    if (!o->pulls_record)
        return 0;
    if (sqlite_journal_open(o->data_dir, &limits, false, &journal, err) < 0) {
        if (err->code == ERR_UNSUPPORTED)
            return -1;
        log_error("pull records are off: their store cannot be opened", F_ERR(err));
        return 0;
    }
    const struct records_config config = {.journal = journal,
                                          .workers = http_server_workers(app->server),
                                          .check_window_ms = o->pulls_check_window_ms};
    app->records = app->registry.records = app->api.records = records_new(&config);
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
