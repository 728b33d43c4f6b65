// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_COMMON_METRICS_H
#define RAC_COMMON_METRICS_H
/*
 * Counters, gauges and histograms, shown in the Prometheus text format. One table (metrics.c) names every
 * family with its type and help; a value is asked for once by family and labels, then counted with one
 * relaxed atomic add.
 *
 * Values live as long as the process. Labels are bounded: past METRIC_LABELS_MAX sets of a family, what comes
 * is counted under {other="true"}.
 */
#include <stdint.h>

#include "common/str.h"

#define METRIC_LABELS_MAX 1000

struct metric;

/* labels: "" or the text between the braces: `upstream="docker.io",status="200"`; made by metric_labels if
 * any value comes from outside. An unknown family is an assert. Takes a lock: keep the pointer where it is
 * hot. Any thread. */
struct metric *metric_get(const char *family, const char *labels);
/* `key="value"` pairs, escaped, into `out`; pairs end with NULL. Returns out. */
char *metric_labels(char *out, size_t cap, const char *key, const char *value, ...) __attribute__((sentinel));

void metric_add(struct metric *m, uint64_t n);
void metric_set(struct metric *m, uint64_t value);     /* gauges */
void metric_sub(struct metric *m, uint64_t n);         /* gauges */
void metric_observe_us(struct metric *m, uint64_t us); /* histograms, in seconds when shown */
uint64_t metric_value(const struct metric *m);

static inline void metric_inc(struct metric *m)
{
    metric_add(m, 1);
}
/* For places that are not hot. */
static inline void metric_count(const char *family, const char *labels, uint64_t n)
{
    metric_add(metric_get(family, labels), n);
}

void metrics_format(struct buf *out);
/* docs: `| name | type | help |` lines. */
void metrics_format_doc(struct buf *out);
#endif
