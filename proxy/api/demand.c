// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>
#include <stdio.h>

#include "common/clock.h"
#include "common/mem.h"
#include "common/timestamp.h"
#include "proxy/api/journal_call.h"
#include "proxy/api/params.h"
#include "proxy/api/pulls.h"

#define SINCE_DEFAULT_MS (INT64_C(30) * 86400000)

/* Rows come by image, location and node: one object an image and location is open at a time. */
struct demand_call {
    struct journal_call call;
    int64_t since_ms;
    bool any_image;
    bool is_open, has_node;
    uint64_t pulls, checks;
    int64_t last_ms;
    char image[512], open_image[1024], open_location[512];
};

static void add_time(struct buf *b, const char *name, int64_t ms)
{
    char text[TIMESTAMP_MAX];
    if (ms)
        (void)buf_printf(b, ",\"%s\":\"%s\"", name, timestamp_format(ms, text));
    else
        (void)buf_printf(b, ",\"%s\":null", name);
}

static void close_object(struct demand_call *c)
{
    if (!c->is_open)
        return;
    (void)buf_printf(&c->call.body, "],\"pulls\":%" PRIu64 ",\"checks\":%" PRIu64, c->pulls, c->checks);
    add_time(&c->call.body, "last", c->last_ms);
    (void)buf_add_str(&c->call.body, "}");
}

static void open_object(struct demand_call *c, const char *image, const char *location)
{
    struct buf *b = &c->call.body;
    (void)buf_add_str(b, c->is_open ? ",\n{\"image\":" : "\n{\"image\":");
    (void)buf_add_json_str(b, slice_of(image));
    (void)buf_add_str(b, ",\"location\":");
    if (location[0])
        (void)buf_add_json_str(b, slice_of(location));
    else
        (void)buf_add_str(b, "null");
    (void)buf_add_str(b, ",\"nodes\":[");
    (void)snprintf(c->open_image, sizeof c->open_image, "%s", image);
    (void)snprintf(c->open_location, sizeof c->open_location, "%s", location);
    c->is_open = true;
    c->has_node = false;
    c->pulls = c->checks = 0;
    c->last_ms = 0;
}

static bool add(void *arg, const struct journal_need *n)
{
    struct demand_call *c = arg;
    struct buf *b = &c->call.body;
    char image[1024];
    (void)snprintf(image, sizeof image, "%s/%s", n->registry, n->repository);
    if (!c->is_open || strcmp(image, c->open_image) != 0 || strcmp(n->location, c->open_location) != 0) {
        close_object(c);
        open_object(c, image, n->location);
    }
    int64_t last_ms = n->last_pull_ms > n->last_check_ms ? n->last_pull_ms : n->last_check_ms;
    c->pulls += n->pulls;
    c->checks += n->checks;
    c->last_ms = last_ms > c->last_ms ? last_ms : c->last_ms;
    if (!n->node[0])
        return !b->overflow;
    (void)buf_add_str(b, c->has_node ? ",{\"node\":" : "{\"node\":");
    c->has_node = true;
    (void)buf_add_json_str(b, slice_of(n->node));
    add_time(b, "lastPull", n->last_pull_ms);
    add_time(b, "lastCheck", n->last_check_ms);
    if (digest_is_set(&n->source))
        (void)buf_printf(b, ",\"sourceDigest\":\"%s\"", n->source.s);
    else
        (void)buf_add_str(b, ",\"sourceDigest\":null");
    (void)buf_add_str(b, n->complete ? ",\"complete\":true}" : ",\"complete\":false}");
    return !b->overflow;
}

static int run(struct journal_call *call, struct err *err)
{
    struct demand_call *c = (struct demand_call *)call;
    struct journal *j = records_journal(call->records);
    char since[TIMESTAMP_MAX];
    (void)buf_printf(&call->body, "{\"since\":\"%s\",\"demand\":[", timestamp_format(c->since_ms, since));
    if (j->ops->demand(j, c->any_image ? NULL : c->image, c->since_ms, add, c, err) < 0)
        return -1;
    close_object(c);
    (void)buf_add_str(&call->body, "]}\n");
    if (call->body.overflow)
        return err_set(err, ERR_SIZE_INVALID, "the answer is larger than 64 MiB: ask for one image");
    return 0;
}

static int read_query(struct api *api, struct request *r, struct journal_call *call, struct err *err)
{
    struct demand_call *c = (struct demand_call *)call;
    static const char *const names[] = {"image", "since", NULL};
    const char *image;
    c->since_ms = clock_wall_ms() - SINCE_DEFAULT_MS;
    if (params_check(r, names, err) < 0 || params_image(api, r, "image", &image, err) < 0 ||
        params_time(r, "since", &c->since_ms, err) < 0)
        return -1;
    c->any_image = image == NULL;
    if (image)
        (void)snprintf(c->image, sizeof c->image, "%s", image);
    return 0;
}

void demand_handle(struct api *api, struct request *r)
{
    journal_call_serve(api, r, sizeof(struct demand_call), read_query, run);
}
