// SPDX-License-Identifier: Apache-2.0
#include "proxy/api/pulls.h"

#include <stdio.h>

#include "common/mem.h"
#include "proxy/api/journal_call.h"
#include "proxy/api/params.h"

#define LIMIT_DEFAULT 100
#define LIMIT_MAX     1000

struct pulls_call {
    struct journal_call call;
    struct journal_query query;
    uint32_t limit, count;
    bool more;
    char last_id[JOURNAL_ID_LEN + 1], cursor[JOURNAL_ID_LEN + 1];
    char image[512], node[RECORDS_TEXT_MAX + 1], location[RECORDS_TEXT_MAX + 1];
};

static bool add(void *arg, const struct journal_record *r)
{
    struct pulls_call *c = arg;
    if (c->count == c->limit) {
        c->more = true;
        return false;
    }
    if (c->count++)
        (void)buf_add_str(&c->call.body, ",");
    (void)buf_add_str(&c->call.body, "\n");
    record_format_json(records_journal(c->call.records), r, &c->call.body);
    (void)journal_id(records_journal(c->call.records), r, c->last_id);
    return true;
}

static int run(struct journal_call *call, struct err *err)
{
    struct pulls_call *c = (struct pulls_call *)call;
    struct journal *j = records_journal(call->records);
    if (c->cursor[0] && j->ops->find(j, c->cursor, strlen(c->cursor), &c->query.before, err) < 0)
        return err->code != ERR_NOT_FOUND
                   ? -1
                   : err_set(err, ERR_INVALID, "'cursor' is the 'next' of a page before, or a record's id");
    (void)buf_add_str(&call->body, "{\"pulls\":[");
    if (j->ops->read(j, &c->query, add, c, err) < 0)
        return -1;
    (void)buf_add_str(&call->body, "]");
    if (c->more)
        (void)buf_printf(&call->body, ",\"next\":\"%s\"", c->last_id);
    (void)buf_add_str(&call->body, "}\n");
    return 0;
}

static int read_kind(struct request *r, int *ret, struct err *err)
{
    const char *kind;
    if (params_text(r, "kind", 16, &kind, err) < 0)
        return -1;
    *ret = -1;
    if (!kind)
        return 0;
    *ret = strcmp(kind, "pull") == 0 ? JOURNAL_PULL : JOURNAL_CHECK;
    if (*ret == JOURNAL_CHECK && strcmp(kind, "check") != 0)
        return err_set(err, ERR_INVALID, "'kind' is pull or check");
    return 0;
}

static const char *keep(char *to, size_t cap, const char *text)
{
    if (text)
        (void)snprintf(to, cap, "%s", text);
    return text ? to : NULL;
}

static int read_query(struct api *api, struct request *r, struct journal_call *call, struct err *err)
{
    struct pulls_call *c = (struct pulls_call *)call;
    static const char *const names[] = {"image", "node",  "location", "kind", "since",
                                        "until", "limit", "cursor",   NULL};
    const char *image, *node, *location, *cursor;
    uint64_t limit = LIMIT_DEFAULT;
    struct journal_query *q = &c->query;
    *q = (struct journal_query){.since_ms = INT64_MIN, .until_ms = INT64_MAX, .before = UINT64_MAX};
    if (params_check(r, names, err) < 0 || params_image(api, r, "image", &image, err) < 0 ||
        params_text(r, "node", RECORDS_TEXT_MAX, &node, err) < 0 ||
        params_text(r, "location", RECORDS_TEXT_MAX, &location, err) < 0 || read_kind(r, &q->kind, err) < 0 ||
        params_time(r, "since", &q->since_ms, err) < 0 || params_time(r, "until", &q->until_ms, err) < 0 ||
        params_uint(r, "limit", 1, LIMIT_MAX, &limit, err) < 0 ||
        params_text(r, "cursor", JOURNAL_ID_LEN, &cursor, err) < 0)
        return -1;
    (void)keep(c->cursor, sizeof c->cursor, cursor);
    if (q->since_ms != INT64_MIN && q->until_ms != INT64_MAX && q->since_ms >= q->until_ms)
        return err_set(err, ERR_INVALID, "'since' is not before 'until'");
    q->image = keep(c->image, sizeof c->image, image);
    q->node = keep(c->node, sizeof c->node, node);
    q->location = keep(c->location, sizeof c->location, location);
    c->limit = (uint32_t)limit;
    q->limit = c->limit + 1; /* one more tells whether there are more */
    return 0;
}

void pulls_handle(struct api *api, struct request *r)
{
    journal_call_serve(api, r, sizeof(struct pulls_call), read_query, run);
}
