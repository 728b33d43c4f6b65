// SPDX-License-Identifier: Apache-2.0
/* Figures that other objects keep: brought into the metrics when somebody looks. */
#include <stdio.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/metrics.h"
#include "proxy/app_impl.h"
#include "proxy/records/feed.h"

static void set(const char *family, const char *labels, uint64_t value)
{
    metric_set(metric_get(family, labels), value);
}

static void set_upstream(const char *name, const struct upstream_stats *s, void *arg)
{
    char labels[400];
    (void)arg;
    metric_labels(labels, sizeof labels, "upstream", name, NULL);
    set("rac_upstream_requests_total", labels, s->requests);
    set("rac_upstream_errors_total", labels, s->errors);
    set("rac_upstream_bytes_total", labels, s->bytes);
    set("rac_upstream_token_requests_total", labels, s->token_requests);
    set("rac_upstream_head_seconds_total", labels, s->latency_us_sum);
}

static void set_memory(void)
{
    cleanup_fclose FILE *f = fopen("/proc/self/statm", "re");
    char line[128];
    uint64_t pages;
    if (!f || !fgets(line, sizeof line, f))
        return;
    struct slice rest = slice_of(line); /* "<total> <resident> …", in pages */
    (void)slice_cut(&rest, ' ');
    if (!slice_to_u64(slice_cut(&rest, ' '), UINT64_MAX / 65536, &pages))
        return;
    set("rac_memory_bytes", "", pages * (uint64_t)sysconf(_SC_PAGESIZE));
}

void app_metrics_refresh(void *arg)
{
    struct app *app = arg;
    struct http_server_stats h;
    http_server_stats(app->server, &h);
    set("rac_connections_accepted_total", "", h.connections_accepted);
    set("rac_connections_open", "", h.connections_open);
    set("rac_requests_open", "", h.requests_open);
    set("rac_slow_readers_cut_total", "", h.slow_readers_cut);
    set("rac_clients_vanished_total", "", h.clients_vanished);
    set("rac_cache_bytes", "", app->store->bytes);
    set("rac_cache_blobs", "", app->store->blobs);
    set("rac_cache_limit_bytes", "", app->store->limit);
    set("rac_cache_evicted_blobs_total", "", app->store->evicted_blobs);
    set("rac_cache_evicted_bytes_total", "", app->store->evicted_bytes);
    set("rac_cache_quarantined_total", "", app->store->quarantined);
    set("rac_state_reads_total", "", app->state->reads);
    set("rac_state_writes_total", "", app->state->writes);
    set("rac_state_errors_total", "", app->state->errors);
    set("rac_state_read_seconds_total", "", app->state->read_us);
    set("rac_state_write_seconds_total", "", app->state->write_us);
    set("rac_state_writes_waiting", "", app->state->writes_waiting);
    if (app->records) {
        struct journal_stats j;
        struct journal *journal = records_journal(app->records);
        journal->ops->stats(journal, &j);
        set("rac_records_dropped_total", "reason=\"busy\"", records_refused(app->records));
        set("rac_records_bytes", "", j.bytes);
        set("rac_records_kept", "", j.first ? j.last - j.first + 1 : 0);
        set("rac_records_readers", "", feed_readers(records_feed(app->records)));
    }
    set("rac_jobs_waiting", "", jobs_waiting(app->jobs));
    set("rac_log_lines_dropped_total", "", log_dropped());
    for (unsigned i = 0; i < http_server_workers(app->server); ++i) {
        char labels[32];
        (void)snprintf(labels, sizeof labels, "worker=\"%u\"", i);
        set("rac_loop_lag_seconds", labels, loop_lag_us(http_server_loop(app->server, i)));
    }
    upstream_shared_stats(app->upstream, set_upstream, NULL);
    set_memory();
}
