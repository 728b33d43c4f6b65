// SPDX-License-Identifier: Apache-2.0
#include "proxy/api/api.h"

#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/metrics.h"
#include "proxy/access/access.h"
#include "proxy/api/admission.h"
#include "proxy/api/container.h"
#include "proxy/api/events.h"
#include "proxy/api/openapi.h"
#include "proxy/api/pulls.h"
#include "proxy/api/creds.h"
#include "proxy/api/ready.h"
#include "proxy/http/response.h"
#include "proxy/registry/peer_blob.h"
#include "proxy/registry/reply.h"

void api_json(struct request *r, int status, const char *json, size_t len)
{
    response_header_ref(r, "Content-Type", SLICE_LIT("application/json"));
    response_header_ref(r, "Cache-Control", SLICE_LIT("no-store"));
    response_send(r, status, json, len);
}

void api_message(struct request *r, int status, const char *message)
{
    cleanup_buf struct buf b = {0};
    (void)buf_add_str(&b, "{\"message\":");
    (void)buf_add_json_str(&b, slice_of(message));
    (void)buf_add_str(&b, "}\n");
    if (status >= 500) /* who reads the log is to know it, too */
        request_log_field(r, "error", slice_of(request_strdup(r, slice_of(message))));
    api_json(r, status, b.p, b.len);
}

void api_err(struct request *r, const struct err *err)
{
    char after[16];
    const char *code;
    int status = err->code == ERR_INVALID ? 400 : reply_status(err, &code);
    if (err->retry_after_s || status == 429 || status == 503) {
        (void)snprintf(after, sizeof after, "%u",
                       err->retry_after_s ? err->retry_after_s : REPLY_RETRY_AFTER_S);
        response_header(r, "Retry-After", slice_of(after));
    }
    api_message(r, status, err->msg);
}

/* Who is nobody yet may say who they are; who is known lacks the role. */
static void api_forbidden(struct request *r, unsigned role)
{
    char message[128];
    const char *name = role == ACCESS_PULL           ? "pull"
                       : role == ACCESS_REQUEST      ? "request"
                       : role == ACCESS_READ_RECORDS ? "read-records"
                                                     : "admin";
    bool anonymous = !caller_of(r)->account;
    (void)snprintf(message, sizeof message, "this needs the role '%s'%s", name,
                   anonymous ? ": send the credentials of an account that has it"
                             : ", which this account has not");
    if (anonymous)
        response_header_ref(r, "WWW-Authenticate", SLICE_LIT(ACCESS_CHALLENGE));
    api_message(r, anonymous ? 401 : 403, message);
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
    api_json(r, 200, b.p, b.len);
}

static void root(struct api *api, struct request *r)
{
    (void)api;
    api_message(r, 200,
                "this is rac-proxy " RAC_VERSION
                ", a pull-through registry: pull from it by its address and an image's "
                "name; state at /readyz, figures at /metrics");
}

enum { GET = 1 << HTTP_GET | 1 << HTTP_HEAD, POST = 1 << HTTP_POST, DELETE = 1 << HTTP_DELETE };

/* One row for each path and set of methods. */
static const struct route {
    const char *path; /* ends with "/": everything below it */
    unsigned methods;
    unsigned role; /* of enum access_role; 0: for everybody */
    const char *label;
    void (*handle)(struct api *, struct request *);
} routes[] = {
    {"/", GET, 0, "root", root},
    {"/healthz", GET, 0, "healthz", healthz},
    {"/readyz", GET, 0, "readyz", ready_handle},
    {"/metrics", GET, 0, "metrics", metrics},
    {"/service-info", GET, 0, "service-info", service_info},
    {"/openapi.yaml", GET, 0, "openapi", openapi_handle},
    {"/validate-creds", POST, ACCESS_REQUEST, "validate-creds", creds_validate},
    {"/v1alpha2/validate-creds", POST, ACCESS_REQUEST, "validate-creds", creds_validate},
    {"/container-token", POST, ACCESS_REQUEST, "container-token", container_create},
    {"/v1alpha2/container", POST, ACCESS_REQUEST, "container-token", container_create},
    {"/container-token/", GET, 0, "container-token", container_describe},
    {"/container-token/", DELETE, 0, "container-token", container_revoke},
    {"/v1/pulls", GET, ACCESS_READ_RECORDS, "pulls", pulls_handle},
    {"/v1/events", GET, ACCESS_READ_RECORDS, "events", events_handle},
    {"/v1/demand", GET, ACCESS_READ_RECORDS, "demand", demand_handle},
    {"/k8s/mutate", POST, 0, "admission", admission_handle},
};

static bool path_matches(const struct route *route, struct slice path)
{
    size_t n = strlen(route->path);
    if (n > 1 && route->path[n - 1] == '/')
        return path.len > n && slice_starts_with(path, route->path);
    return slice_eq_str(path, route->path);
}

static void method_not_allowed(struct request *r, unsigned methods)
{
    char allow[64], message[96];
    (void)snprintf(allow, sizeof allow, "%s%s%s%s", methods & GET ? "GET, HEAD" : "",
                   methods & GET && methods & (POST | DELETE) ? ", " : "", methods & POST ? "POST" : "",
                   methods & DELETE ? (methods & POST ? ", DELETE" : "DELETE") : "");
    (void)snprintf(message, sizeof message, "only %s %s supported here", allow,
                   strchr(allow, ',') ? "are" : "is");
    response_header(r, "Allow", slice_of(allow));
    api_message(r, 405, message);
}

void api_handle(struct api *api, struct request *r)
{
    struct slice path = request_path(r);
    unsigned method = 1U << request_method(r), methods = 0;
    if (slice_starts_with(path, PEER_PATH) &&
        peer_blob_handle(api->registry, r,
                         (struct slice){path.p + strlen(PEER_PATH), path.len - strlen(PEER_PATH)}))
        return;
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; ++i) {
        const struct route *route = &routes[i];
        if (!path_matches(route, path))
            continue;
        request_set_route(r, route->label);
        methods |= route->methods;
        if (!(route->methods & method))
            continue;
        if (route->role && !caller_may(r, route->role))
            api_forbidden(r, route->role);
        else
            route->handle(api, r);
        return;
    }
    if (methods) {
        method_not_allowed(r, methods);
        return;
    }
    request_set_route(r, "other");
    api_message(r, 404,
                "no such path: images are under /v2/, state is at /healthz and /readyz, figures at /metrics");
}
