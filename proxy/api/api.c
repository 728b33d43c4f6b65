// SPDX-License-Identifier: Apache-2.0
#include "proxy/api/api.h"

#include "common/cleanup.h"
#include "common/metrics.h"
#include "proxy/api/ready.h"
#include "proxy/http/response.h"

static void send_json(struct request *r, int status, const struct buf *b)
{
    response_header_ref(r, "Content-Type", SLICE_LIT("application/json"));
    response_header_ref(r, "Cache-Control", SLICE_LIT("no-store"));
    response_send(r, status, b->p, b->len);
}

void api_message(struct request *r, int status, const char *message)
{
    cleanup_buf struct buf b = {0};
    (void)buf_add_str(&b, "{\"message\":");
    (void)buf_add_json_str(&b, slice_of(message));
    (void)buf_add_str(&b, "}\n");
    send_json(r, status, &b);
}

static void healthz(struct api *api, struct request *r)
{
    (void)api;
    api_message(r, 200, "alive");
}

static void metrics(struct api *api, struct request *r)
{
    cleanup_buf struct buf b = {0};
    api->refresh_metrics(api->arg);
    metrics_format(&b);
    response_header_ref(r, "Content-Type", SLICE_LIT("text/plain; version=0.0.4; charset=utf-8"));
    response_send(r, 200, b.p, b.len);
}

static void service_info(struct api *api, struct request *r)
{
    (void)api;
    cleanup_buf struct buf b = {0};
    (void)buf_printf(&b, "{\"serviceInfo\":{\"version\":\"%s\",\"commitId\":\"%s\"}}\n", RAC_VERSION,
                     RAC_COMMIT);
    send_json(r, 200, &b);
}

static void root(struct api *api, struct request *r)
{
    (void)api;
    api_message(r, 200,
                "this is rac-proxy " RAC_VERSION
                ", a pull-through registry: pull from it by its address and an image's "
                "name; state at /readyz, figures at /metrics");
}

static const struct {
    const char *path, *route;
    void (*handle)(struct api *, struct request *);
} routes[] = {
    {"/", "root", root},
    {"/healthz", "healthz", healthz},
    {"/readyz", "readyz", ready_handle},
    {"/metrics", "metrics", metrics},
    {"/service-info", "service-info", service_info},
};

void api_handle(struct api *api, struct request *r)
{
    struct slice path = request_path(r);
    enum http_method method = request_method(r);
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; ++i) {
        if (!slice_eq_str(path, routes[i].path))
            continue;
        request_set_route(r, routes[i].route);
        if (method == HTTP_GET || method == HTTP_HEAD) {
            routes[i].handle(api, r);
        } else {
            response_header_ref(r, "Allow", SLICE_LIT("GET, HEAD"));
            api_message(r, 405, "only GET and HEAD are supported here");
        }
        return;
    }
    request_set_route(r, "other");
    api_message(r, 404,
                "no such path: images are under /v2/, state is at /healthz and /readyz, figures at /metrics");
}
