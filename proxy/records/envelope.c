// SPDX-License-Identifier: Apache-2.0
#include "proxy/records/envelope.h"

#include <inttypes.h>

#include "common/timestamp.h"

static void text(struct buf *b, const char *before, const char *value)
{
    (void)buf_add_str(b, before);
    (void)buf_add_json_str(b, slice_of(value));
}

const char *envelope_action(const struct journal_record *r)
{
    return r->kind == JOURNAL_PULL ? "pull" : "check";
}

void envelope_begin(struct buf *out)
{
    (void)buf_add_str(out, "{\"events\":[");
}

void envelope_end(struct buf *out)
{
    (void)buf_add_str(out, "]}");
}

static void add_target(struct buf *b, const struct journal_record *r, const struct envelope_source *source)
{
    cleanup_buf struct buf name = {0};
    cleanup_buf struct buf url = {0};
    (void)buf_printf(&name, "%s/%s", r->registry, r->repository);
    (void)buf_printf(&url, "%s://%s/v2/%s/manifests/%s", source->tls ? "https" : "http",
                     r->host[0] ? r->host : source->addr, buf_str(&name), r->served.s);
    text(b, ",\"target\":{\"mediaType\":", r->media_type);
    text(b, ",\"digest\":", r->served.s);
    (void)buf_printf(b, ",\"size\":%" PRIu64, r->size);
    text(b, ",\"repository\":", buf_str(&name));
    text(b, ",\"url\":", buf_str(&url));
    if (!strchr(r->reference, ':'))
        text(b, ",\"tag\":", r->reference);
    (void)buf_add_str(b, "}");
}

void envelope_add(struct buf *b, const struct journal *j, const struct journal_record *r,
                  const struct envelope_source *source)
{
    char id[JOURNAL_ID_LEN + 1], time[TIMESTAMP_MAX];
    if (b->p[b->len - 1] == '}')
        (void)buf_add_str(b, ",");
    text(b, "\n{\"id\":", journal_id(j, r, id));
    text(b, ",\"timestamp\":", timestamp_format(r->time_ms, time));
    text(b, ",\"action\":", envelope_action(r));
    add_target(b, r, source);
    text(b, ",\"request\":{\"id\":", r->request_id);
    text(b, ",\"addr\":", r->address);
    text(b, ",\"host\":", r->host);
    text(b, ",\"method\":", r->method);
    text(b, ",\"useragent\":", r->agent);
    text(b, "},\"actor\":{\"name\":", r->subject);
    text(b, "},\"source\":{\"addr\":", source->addr);
    text(b, ",\"instanceID\":", source->instance_id);
    (void)buf_add_str(b, "}}");
}
