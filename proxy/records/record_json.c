// SPDX-License-Identifier: Apache-2.0
#include "proxy/records/records.h"

#include <inttypes.h>

#include "common/timestamp.h"

static void member(struct buf *b, const char *name, const char *value)
{
    (void)buf_printf(b, ",\"%s\":", name);
    if (value[0])
        (void)buf_add_json_str(b, slice_of(value));
    else
        (void)buf_add_str(b, "null");
}

void record_format_json(const struct journal *j, const struct journal_record *r, struct buf *out)
{
    char id[JOURNAL_ID_LEN + 1], time_text[TIMESTAMP_MAX];
    (void)buf_printf(out, "{\"id\":\"%s\",\"time\":\"%s\",\"kind\":\"%s\"", journal_id(j, r, id),
                     timestamp_format(r->time_ms, time_text), r->kind == JOURNAL_PULL ? "pull" : "check");
    member(out, "node", r->node);
    member(out, "location", r->location);
    member(out, "clientAddress", r->address);
    member(out, "userAgent", r->agent);
    member(out, "subject", r->subject);
    member(out, "registry", r->registry);
    member(out, "repository", r->repository);
    member(out, "reference", r->reference);
    member(out, "sourceDigest", r->source.s);
    member(out, "servedDigest", r->served.s);
    member(out, "platform", r->platform);
    member(out, "injection", r->injection.s);
    (void)buf_printf(out,
                     ",\"bytesSent\":%" PRIu64 ",\"cacheHits\":%" PRIu32 ",\"cacheMisses\":%" PRIu32
                     ",\"durationMs\":%" PRIu64 ",\"complete\":%s}",
                     r->bytes_sent, r->cache_hits, r->cache_misses, r->duration_ms,
                     r->complete ? "true" : "false");
}
