// SPDX-License-Identifier: Apache-2.0
#include "common/metrics.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

#include "common/cleanup.h"
#include "common/mem.h"

enum metric_type { COUNTER, GAUGE, HISTOGRAM };

/* Upper bounds in microseconds: from a warm manifest to a stalled upstream. */
static const uint64_t buckets_us[] = {100,     250,     500,     1000,     2500,     5000,
                                      10000,   25000,   50000,   100000,   250000,   500000,
                                      1000000, 2500000, 5000000, 10000000, 30000000, 60000000};
#define BUCKETS (sizeof buckets_us / sizeof buckets_us[0])

struct metric {
    struct metric *next;
    char *labels;
    _Atomic uint64_t value; /* histograms: the count */
    _Atomic uint64_t sum_us;
    _Atomic uint64_t *bucket; /* histograms */
};

static struct family {
    const char *name;
    enum metric_type type;
    const char *help;
    struct metric *first, **last;
    unsigned count;
} families[] = {
    {.name = "rac_requests_total", .type = COUNTER, .help = "Requests answered, by route and status."},
    {.name = "rac_request_seconds",
     .type = HISTOGRAM,
     .help = "Time from a request's head to the end of its answer, by route."},
    {.name = "rac_response_bytes_total", .type = COUNTER, .help = "Body bytes sent to clients, by route."},
    {.name = "rac_responses_aborted_total",
     .type = COUNTER,
     .help = "Answers that did not end: client gone, or aborted by us."},
    {.name = "rac_logins_total",
     .type = COUNTER,
     .help = "Requests that sent credentials, by result: password, remembered (a password that was right "
             "lately), "
             "key, certificate; wrong, malformed, throttled (429), overloaded (503)."},
    {.name = "rac_validations_total",
     .type = COUNTER,
     .help = "Credentials of registries that were validated, by result: true, false, failed."},
    {.name = "rac_admissions_total",
     .type = COUNTER,
     .help =
         "AdmissionReviews, by result: patched, unchanged, exempt, other (no pod, or nothing that brings an "
         "image); malformed (400), refused (no certificate that k8s.clients names), overloaded (503)."},
    {.name = "rac_admission_images_total",
     .type = COUNTER,
     .help = "Images of containers in them, by result: renamed, kept."},
    {.name = "rac_admission_commands_total",
     .type = COUNTER,
     .help = "Commands of containers in them that got an entry point in front."},
    {.name = "rac_connections_accepted_total", .type = COUNTER, .help = "Connections accepted."},
    {.name = "rac_connections_open", .type = GAUGE, .help = "Connections open now."},
    {.name = "rac_requests_open", .type = GAUGE, .help = "Requests being answered now."},
    {.name = "rac_slow_readers_cut_total",
     .type = COUNTER,
     .help = "Readers cut off because they took nothing for slow-reader-timeout."},
    {.name = "rac_clients_vanished_total", .type = COUNTER, .help = "Clients that left while they waited."},
    {.name = "rac_cache_hits_total",
     .type = COUNTER,
     .help = "Answers that needed no upstream, by kind (tag, manifest, blob)."},
    {.name = "rac_cache_misses_total", .type = COUNTER, .help = "Answers that needed an upstream, by kind."},
    {.name = "rac_cache_stale_total",
     .type = COUNTER,
     .help = "Tags answered from what was last known, by reason."},
    {.name = "rac_cache_bytes", .type = GAUGE, .help = "Bytes of blobs on disk."},
    {.name = "rac_cache_blobs", .type = GAUGE, .help = "Blobs on disk."},
    {.name = "rac_cache_limit_bytes", .type = GAUGE, .help = "Size limit of the blobs on disk."},
    {.name = "rac_cache_evicted_blobs_total",
     .type = COUNTER,
     .help = "Blobs evicted to stay under the limit."},
    {.name = "rac_cache_evicted_bytes_total",
     .type = COUNTER,
     .help = "Bytes evicted to stay under the limit."},
    {.name = "rac_cache_quarantined_total",
     .type = COUNTER,
     .help = "Stored blobs found damaged and set aside."},
    {.name = "rac_documents_bytes", .type = GAUGE, .help = "Bytes of manifests and configs kept in memory."},
    {.name = "rac_fills_total", .type = COUNTER, .help = "Blob downloads ended, by result."},
    {.name = "rac_fills_in_flight", .type = GAUGE, .help = "Blob downloads under way."},
    {.name = "rac_fill_bytes_total", .type = COUNTER, .help = "Bytes of blobs that came from upstreams."},
    {.name = "rac_fill_sources_total",
     .type = COUNTER,
     .help = "Blob downloads that were right, by where their last byte came from: upstream, or peer."},
    {.name = "rac_fill_source_bytes_total",
     .type = COUNTER,
     .help = "Bytes of blobs, by where they came from."},
    {.name = "rac_fill_source_failures_total",
     .type = COUNTER,
     .help = "Times another source than the upstream did not give the rest of a blob."},
    {.name = "rac_fill_leases_total",
     .type = COUNTER,
     .help =
         "Leases of downloads, which replicas share: taken, busy (another has it), lost (it ended while we "
         "downloaded), failed (no answer of the state)."},
    {.name = "rac_peer_requests_total",
     .type = COUNTER,
     .help = "Blobs that other replicas asked for: served, missing here, refused (no signature of ours)."},
    {.name = "rac_fill_resumes_total",
     .type = COUNTER,
     .help = "Times a download was taken up again with Range."},
    {.name = "rac_fill_readers_joined_total",
     .type = COUNTER,
     .help = "Readers that joined a download that was under way."},
    {.name = "rac_lookups_joined_total",
     .type = COUNTER,
     .help = "Look-ups that joined one that was under way, by kind."},
    {.name = "rac_upstream_requests_total", .type = COUNTER, .help = "Requests to upstreams."},
    {.name = "rac_upstream_errors_total", .type = COUNTER, .help = "Requests to upstreams that failed."},
    {.name = "rac_upstream_bytes_total", .type = COUNTER, .help = "Body bytes received from upstreams."},
    {.name = "rac_upstream_token_requests_total", .type = COUNTER, .help = "Requests to token servers."},
    {.name = "rac_upstream_head_seconds_total",
     .type = COUNTER,
     .help = "Time spent waiting for the heads of upstream answers."},
    {.name = "rac_injections_total",
     .type = COUNTER,
     .help = "Manifests rewritten, by result (made, reused, remade)."},
    {.name = "rac_injection_skipped_total", .type = COUNTER, .help = "Manifests left unchanged, by reason."},
    {.name = "rac_injection_layers_total", .type = COUNTER, .help = "Injected layers verified, by result."},
    {.name = "rac_tokens_total",
     .type = COUNTER,
     .help = "Container tokens, by event (made, refused, limited, revoked, expired)."},
    {.name = "rac_injections_forgotten_total",
     .type = COUNTER,
     .help = "Injections that only container tokens asked for, and whose time was over."},
    {.name = "rac_token_pulls_total", .type = COUNTER, .help = "Manifests pulled with container tokens."},
    {.name = "rac_token_guesses_total",
     .type = COUNTER,
     .help = "Container tokens that nobody has, by result (unknown, limited)."},
    {.name = "rac_state_reads_total", .type = COUNTER, .help = "Reads of the state store."},
    {.name = "rac_state_writes_total", .type = COUNTER, .help = "Writes to the state store."},
    {.name = "rac_state_errors_total",
     .type = COUNTER,
     .help = "Reads and writes of the state store that failed."},
    {.name = "rac_state_read_seconds_total",
     .type = COUNTER,
     .help = "Time spent in reads of the state store."},
    {.name = "rac_state_write_seconds_total",
     .type = COUNTER,
     .help = "Time spent in writes to the state store."},
    {.name = "rac_state_writes_waiting", .type = GAUGE, .help = "Writes that wait for the state store."},
    {.name = "rac_records_written_total", .type = COUNTER, .help = "Pull records written, by kind."},
    {.name = "rac_records_dropped_total",
     .type = COUNTER,
     .help = "Pull records lost, by reason: busy (more came than could be looked at), store (it took none)."},
    {.name = "rac_records_errors_total",
     .type = COUNTER,
     .help = "Transactions of the pull records that failed, and are tried again."},
    {.name = "rac_records_write_seconds",
     .type = HISTOGRAM,
     .help = "Duration of the transactions that write pull records."},
    {.name = "rac_records_waiting", .type = GAUGE, .help = "Pull records that wait to be written."},
    {.name = "rac_records_forwarded_total",
     .type = COUNTER,
     .help = "Pull records, and what became of them, passed on to the other replicas."},
    {.name = "rac_records_arrived_total",
     .type = COUNTER,
     .help = "Pull records that came from other replicas."},
    {.name = "rac_records_to_forward",
     .type = GAUGE,
     .help = "Pull records, and what became of them, that other replicas have not been told yet."},
    {.name = "rac_records_bytes", .type = GAUGE, .help = "Bytes of the pull records on disk."},
    {.name = "rac_records_kept", .type = GAUGE, .help = "Pull records that are kept."},
    {.name = "rac_records_readers", .type = GAUGE, .help = "Readers of /v1/events, and webhooks."},
    {.name = "rac_webhook_events_total",
     .type = COUNTER,
     .help = "Records sent to an endpoint, by result (delivered, ignored)."},
    {.name = "rac_webhook_failures_total",
     .type = COUNTER,
     .help = "Requests to an endpoint that failed, and are tried again."},
    {.name = "rac_webhook_behind", .type = GAUGE, .help = "Records that an endpoint has not got yet."},
    {.name = "rac_s3_lookups_total",
     .type = COUNTER,
     .help = "Blobs and documents looked for in the bucket, by result: hit, missing, failed, wrong (other "
             "bytes, deleted there), skipped (it is away, or there are no credentials)."},
    {.name = "rac_s3_uploads_total",
     .type = COUNTER,
     .help = "Blobs for the bucket, by result: sent, there (already), failed (tried again), gone (evicted "
             "before)."},
    {.name = "rac_s3_uploads_waiting", .type = GAUGE, .help = "Blobs that wait to be sent to the bucket."},
    {.name = "rac_s3_sent_bytes_total", .type = COUNTER, .help = "Bytes of blobs sent to the bucket."},
    {.name = "rac_s3_redirects_total",
     .type = COUNTER,
     .help = "Requests for blobs that were sent to the bucket (307)."},
    {.name = "rac_s3_up",
     .type = GAUGE,
     .help = "1: the bucket answered when it was asked last, or was not asked yet; 0: it is away."},
    {.name = "rac_jobs_waiting", .type = GAUGE, .help = "Blocking jobs that wait for a thread."},
    {.name = "rac_loop_lag_seconds",
     .type = GAUGE,
     .help = "Duration of the last turn of each worker's loop."},
    {.name = "rac_memory_bytes", .type = GAUGE, .help = "Resident memory of the process."},
    {.name = "rac_log_lines_dropped_total",
     .type = COUNTER,
     .help = "Log lines dropped because nobody read them."},
    {.name = "rac_reloads_total", .type = COUNTER, .help = "Reloads of the configuration, by result."},
    {.name = "rac_start_time_seconds", .type = GAUGE, .help = "Start of the process, seconds since 1970."},
};
#define FAMILIES (sizeof families / sizeof families[0])

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct family *find_family(const char *name)
{
    for (size_t i = 0; i < FAMILIES; ++i)
        if (strcmp(families[i].name, name) == 0)
            return &families[i];
    assert(false && "unknown metric family");
    return NULL;
}

struct metric *metric_get(const char *family, const char *labels)
{
    struct family *f = find_family(family);
    pthread_mutex_lock(&lock);
    if (f->count >= METRIC_LABELS_MAX) {
        const struct metric *known = f->first;
        while (known && strcmp(known->labels, labels) != 0)
            known = known->next;
        if (!known)
            labels = "other=\"true\"";
    }
    struct metric *m = f->first;
    while (m && strcmp(m->labels, labels) != 0)
        m = m->next;
    if (!m) {
        m = mem_new(struct metric);
        m->labels = mem_strdup(labels);
        if (f->type == HISTOGRAM)
            m->bucket = mem_zalloc(BUCKETS * sizeof *m->bucket);
        if (!f->last)
            f->last = &f->first;
        *f->last = m;
        f->last = &m->next;
        ++f->count;
    }
    pthread_mutex_unlock(&lock);
    return m;
}

static void add_escaped(struct buf *b, const char *s)
{
    for (; *s; ++s) {
        if (*s == '"' || *s == '\\')
            (void)buf_printf(b, "\\%c", *s);
        else if (*s == '\n')
            (void)buf_add_str(b, "\\n");
        else
            (void)buf_add(b, s, 1);
    }
}

char *metric_labels(char *out, size_t cap, const char *key, const char *value, ...)
{
    cleanup_buf struct buf b = {0};
    va_list ap;
    va_start(ap, value);
    while (key) {
        (void)buf_printf(&b, "%s%s=\"", b.len ? "," : "", key);
        add_escaped(&b, value);
        (void)buf_add_str(&b, "\"");
        key = va_arg(ap, const char *);
        value = key ? va_arg(ap, const char *) : NULL;
    }
    va_end(ap);
    (void)snprintf(out, cap, "%s", b.len < cap ? buf_str(&b) : "");
    return out;
}

void metric_add(struct metric *m, uint64_t n)
{
    atomic_fetch_add_explicit(&m->value, n, memory_order_relaxed);
}

void metric_sub(struct metric *m, uint64_t n)
{
    atomic_fetch_sub_explicit(&m->value, n, memory_order_relaxed);
}

void metric_set(struct metric *m, uint64_t value)
{
    atomic_store_explicit(&m->value, value, memory_order_relaxed);
}

uint64_t metric_value(const struct metric *m)
{
    return atomic_load_explicit(&m->value, memory_order_relaxed);
}

void metric_observe_us(struct metric *m, uint64_t us)
{
    size_t i = 0;
    while (i < BUCKETS && us > buckets_us[i])
        ++i;
    if (i < BUCKETS)
        atomic_fetch_add_explicit(&m->bucket[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&m->sum_us, us, memory_order_relaxed);
    atomic_fetch_add_explicit(&m->value, 1, memory_order_relaxed);
}

static void format_histogram(struct buf *out, const char *name, const struct metric *m)
{
    const char *comma = m->labels[0] ? "," : "";
    uint64_t sum = 0;
    for (size_t i = 0; i < BUCKETS; ++i) {
        sum += atomic_load_explicit(&m->bucket[i], memory_order_relaxed);
        (void)buf_printf(out, "%s_bucket{%s%sle=\"%g\"} %" PRIu64 "\n", name, m->labels, comma,
                         (double)buckets_us[i] / 1e6, sum);
    }
    uint64_t count = metric_value(m);
    (void)buf_printf(out, "%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", name, m->labels, comma,
                     count < sum ? sum : count);
    const char *open = m->labels[0] ? "{" : "", *close = m->labels[0] ? "}" : "";
    (void)buf_printf(out, "%s_sum%s%s%s %.6f\n%s_count%s%s%s %" PRIu64 "\n", name, open, m->labels, close,
                     (double)atomic_load_explicit(&m->sum_us, memory_order_relaxed) / 1e6, name, open,
                     m->labels, close, count < sum ? sum : count);
}

static const char *const type_names[] = {"counter", "gauge", "histogram"};

void metrics_format(struct buf *out)
{
    for (size_t i = 0; i < FAMILIES; ++i) {
        struct family *f = &families[i];
        pthread_mutex_lock(&lock);
        struct metric *m = f->first;
        pthread_mutex_unlock(&lock);
        if (!m)
            continue;
        (void)buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", f->name, f->help, f->name, type_names[f->type]);
        bool seconds = strstr(f->name, "_seconds") != NULL && strcmp(f->name, "rac_start_time_seconds") != 0;
        for (; m; m = m->next) {
            if (f->type == HISTOGRAM) {
                format_histogram(out, f->name, m);
                continue;
            }
            const char *open = m->labels[0] ? "{" : "", *close = m->labels[0] ? "}" : "";
            (void)buf_printf(out, "%s%s%s%s ", f->name, open, m->labels, close);
            if (seconds) /* kept in microseconds */
                (void)buf_printf(out, "%.6f\n", (double)metric_value(m) / 1e6);
            else
                (void)buf_printf(out, "%" PRIu64 "\n", metric_value(m));
        }
    }
}

void metrics_format_doc(struct buf *out)
{
    for (size_t i = 0; i < FAMILIES; ++i)
        (void)buf_printf(out, "| `%s` | %s | %s |\n", families[i].name, type_names[families[i].type],
                         families[i].help);
}
