// SPDX-License-Identifier: Apache-2.0
/* What is said and counted of every request, once it is over. */
#include <stdatomic.h>
#include <stdio.h>

#include "common/clock.h"
#include "common/metrics.h"
#include "proxy/app_impl.h"
#include "proxy/http/response.h"

#define ROUTES_MAX 32
#define STATUS_MAX 600
#define FIELDS_MAX 24
#define MASKED_MAX 1024 /* a longer path with a token in it is cut */

/* Metrics of a route, looked up once: on the hot path every look-up would be a lock. Routes are static
 * strings. */
struct route_metrics {
    const char *_Atomic label;
    struct metric *_Atomic by_status[STATUS_MAX];
    struct metric *_Atomic seconds, *_Atomic bytes;
};

static struct route_metrics table[ROUTES_MAX];

static struct route_metrics *metrics_of(const char *label)
{
    for (size_t i = 0; i < ROUTES_MAX; ++i) {
        const char *known = atomic_load_explicit(&table[i].label, memory_order_acquire);
        if (known == label)
            return &table[i];
        if (!known) {
            if (atomic_compare_exchange_strong(&table[i].label, &known, label) || known == label)
                return &table[i];
        }
    }
    return &table[ROUTES_MAX - 1];
}

static struct metric *cached(struct metric *_Atomic *slot, const char *family, const char *labels)
{
    struct metric *m = atomic_load_explicit(slot, memory_order_acquire);
    if (!m) {
        m = metric_get(family, labels);
        atomic_store_explicit(slot, m, memory_order_release);
    }
    return m;
}

static void count(struct request *r, const char *route, int status, uint64_t us, bool aborted)
{
    char labels[96];
    struct route_metrics *m = metrics_of(route);
    int at = status > 0 && status < STATUS_MAX ? status : 0;
    struct metric *by_status = atomic_load_explicit(&m->by_status[at], memory_order_acquire);
    if (!by_status) {
        (void)snprintf(labels, sizeof labels, "route=\"%s\",status=\"%d\"", route, at);
        by_status = cached(&m->by_status[at], "rac_requests_total", labels);
    }
    metric_inc(by_status);
    if (!atomic_load_explicit(&m->seconds, memory_order_acquire) ||
        !atomic_load_explicit(&m->bytes, memory_order_acquire))
        (void)snprintf(labels, sizeof labels, "route=\"%s\"", route);
    metric_observe_us(cached(&m->seconds, "rac_request_seconds", labels), us);
    metric_add(cached(&m->bytes, "rac_response_bytes_total", labels), response_bytes_sent(r));
    if (aborted)
        metric_count("rac_responses_aborted_total", "", 1);
}

/* A container token is a right: of one in a path only the beginning is shown. `out`: MASKED_MAX. */
static struct slice mask_token(struct slice path, char *out)
{
    static const char *const places[] = {"/v2/wt/", "/container-token/"};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; ++i) {
        size_t at = strlen(places[i]);
        if (!slice_starts_with(path, places[i]))
            continue;
        struct slice rest = {path.p + at, path.len - at};
        struct slice token = slice_cut(&rest, '/');
        size_t shown = token.len < TOKEN_SHOWN ? token.len : TOKEN_SHOWN;
        const struct slice piece[] = {{path.p, at + shown},
                                      slice_of(shown < token.len ? "…" : ""),
                                      {rest.p ? rest.p - 1 : "", rest.p ? rest.len + 1 : 0}};
        return (struct slice){out, str_join(out, MASKED_MAX, piece, 3)};
    }
    return path;
}

void app_log_request(struct request *r, bool aborted, bool access_log)
{
    struct log_field f[FIELDS_MAX + 1];
    unsigned n = 0;
    uint64_t us = clock_mono_us() - request_begin_us(r);
    int status = response_status(r);
    const char *route = request_route(r) ? request_route(r) : "none";
    count(r, route, status, us, aborted);
    /* What went wrong here or upstream is said in any case: an answer may have sent its reader to the log. */
    enum log_level level = status >= 500 ? LOG_LEVEL_WARN : LOG_LEVEL_INFO;
    if ((!access_log && level == LOG_LEVEL_INFO) || !log_enabled(level))
        return;
    struct slice agent = request_header(r, "user-agent"), range = request_header(r, "range");
    struct slice query = request_query(r);
    f[n++] = F_S("id", request_id(r));
    f[n++] = F_S("client", request_peer(r));
    f[n++] = F_SL("method", request_method_name(r));
    char masked[MASKED_MAX]; /* not the request's memory: that is on its way out */
    struct slice path = request_path(r);
    f[n++] = F_SL("path", mask_token(path, masked));
    if (query.len)
        f[n++] = F_SL("query", query);
    f[n++] = F_I("status", status);
    f[n++] = F_U("bytes", response_bytes_sent(r));
    f[n++] = F_US("ms", us);
    if (range.p)
        f[n++] = F_SL("range", range);
    if (agent.p)
        f[n++] = F_SL("agent", agent);
    if (aborted)
        f[n++] = F_S("aborted", "yes");
    n += request_log_fields(r, f + n, FIELDS_MAX - n);
    f[n] = (struct log_field){0};
    log_write(level, "request", f);
}
