// SPDX-License-Identifier: Apache-2.0
#include "proxy/records/share_entry.h"

#include <inttypes.h>

#include "proxy/records/records.h"

#define TIME_MAX (INT64_C(1) << 48)

/* The texts of a record, by their members. */
#define TEXTS(r)                                                                                             \
    {                                                                                                        \
        {"node", &(r)->node}, {"location", &(r)->location}, {"address", &(r)->address},                      \
            {"agent", &(r)->agent}, {"subject", &(r)->subject}, {"registry", &(r)->registry},                \
            {"repository", &(r)->repository}, {"reference", &(r)->reference}, {"platform", &(r)->platform},  \
            {"mediaType", &(r)->media_type}, {"request", &(r)->request_id}, {"host", &(r)->host},            \
        {                                                                                                    \
            "method", &(r)->method                                                                           \
        }                                                                                                    \
    }

static void add_text(struct buf *b, const char *name, const char *value)
{
    if (!value[0])
        return;
    (void)buf_printf(b, ",\"%s\":", name);
    (void)buf_add_json_str(b, slice_of(value));
}

void share_entry_format(const struct journal *j, const struct journal_record *r, bool is_update,
                        struct buf *b)
{
    char id[JOURNAL_ID_LEN + 1];
    struct journal_record copy = *r;
    const struct {
        const char *name, **value;
    } texts[] = TEXTS(&copy);
    (void)buf_printf(b, "{\"replica\":\"%s\",\"id\":\"%s\",\"kind\":\"%s\"", j->replica, journal_id(j, r, id),
                     is_update                 ? "update"
                     : r->kind == JOURNAL_PULL ? "pull"
                                               : "check");
    (void)buf_printf(b,
                     ",\"bytesSent\":%" PRIu64 ",\"durationMs\":%" PRIu64 ",\"cacheHits\":%" PRIu32
                     ",\"cacheMisses\":%" PRIu32 ",\"complete\":%s",
                     r->bytes_sent, r->duration_ms, r->cache_hits, r->cache_misses,
                     r->complete ? "true" : "false");
    if (is_update) {
        add_text(b, "platform", r->platform);
    } else {
        (void)buf_printf(b, ",\"time\":%" PRId64 ",\"size\":%" PRIu64, r->time_ms, r->size);
        for (size_t i = 0; i < sizeof texts / sizeof texts[0]; ++i)
            add_text(b, texts[i].name, *texts[i].value);
        add_text(b, "source", r->source.s);
        add_text(b, "served", r->served.s);
        add_text(b, "injection", r->injection.s);
    }
    (void)buf_add_str(b, "}");
}

static bool take_text(const json_t *o, const char *name, const char **ret)
{
    const json_t *v = json_object_get(o, name);
    *ret = v ? json_string_value(v) : "";
    return *ret && strlen(*ret) <= RECORDS_TEXT_MAX;
}

static bool take_number(const json_t *o, const char *name, uint64_t max, uint64_t *ret)
{
    const json_t *v = json_object_get(o, name);
    *ret = v ? (uint64_t)json_integer_value(v) : 0;
    return !v || (json_is_integer(v) && *ret <= max);
}

static bool take_digest(const json_t *o, const char *name, struct digest *ret)
{
    const char *text;
    ret->s[0] = '\0';
    return take_text(o, name, &text) && (!text[0] || digest_parse(slice_of(text), ret, NULL) == 0);
}

static bool take_kind(const json_t *o, struct journal_arrival *ret)
{
    const char *kind;
    if (!take_text(o, "kind", &kind))
        return false;
    ret->is_update = strcmp(kind, "update") == 0;
    ret->r.kind = strcmp(kind, "check") == 0 ? JOURNAL_CHECK : JOURNAL_PULL;
    return ret->is_update || ret->r.kind == JOURNAL_CHECK || strcmp(kind, "pull") == 0;
}

static bool take(const struct journal *j, const json_t *o, struct journal_arrival *ret)
{
    struct journal_record *r = &ret->r;
    const struct {
        const char *name, **value;
    } texts[] = TEXTS(r);
    const char *replica, *id;
    uint64_t time_ms, hits, misses;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; ++i)
        if (!take_text(o, texts[i].name, texts[i].value))
            return false;
    if (!json_is_object(o) || !take_text(o, "replica", &replica) || !take_text(o, "id", &id) ||
        !journal_id_parse(id, strlen(id), r->id) || !take_kind(o, ret) ||
        !take_number(o, "bytesSent", INT64_MAX, &r->bytes_sent) ||
        !take_number(o, "durationMs", INT64_MAX, &r->duration_ms) ||
        !take_number(o, "cacheHits", UINT32_MAX, &hits) ||
        !take_number(o, "cacheMisses", UINT32_MAX, &misses) || !take_number(o, "time", TIME_MAX, &time_ms) ||
        !take_number(o, "size", INT64_MAX, &r->size) || !take_digest(o, "source", &r->source) ||
        !take_digest(o, "served", &r->served) || !take_digest(o, "injection", &r->injection))
        return false;
    r->cache_hits = (uint32_t)hits;
    r->cache_misses = (uint32_t)misses;
    r->time_ms = (int64_t)time_ms;
    r->complete = json_is_true(json_object_get(o, "complete"));
    ret->is_own = strcmp(replica, j->replica) == 0;
    return (r->id[0] || r->id[1]) && (ret->is_update || (r->registry[0] && r->repository[0] && time_ms));
}

json_t *share_entry_parse(const struct journal *j, struct slice bytes, struct journal_arrival *ret,
                          struct err *err)
{
    cleanup_json json_t *o = json_parse(bytes.p, bytes.len, SHARE_ENTRY_MAX, err);
    if (!o)
        return NULL;
    *ret = (struct journal_arrival){0};
    if (!take(j, o, ret)) {
        (void)err_set(err, ERR_INVALID, "not a pull record");
        return NULL;
    }
    return steal_ptr(&o);
}
