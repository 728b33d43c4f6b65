// SPDX-License-Identifier: Apache-2.0
#include "proxy/api/admission.h"

#include <stdio.h>

#include "common/jobs.h"
#include "common/mem.h"
#include "common/metrics.h"
#include "proxy/http/response.h"
#include "proxy/k8s/admission.h"
#include "proxy/registry/target.h"
#include "proxy/upstream/names.h"

#define INLINE_BODY ((size_t)64 << 10) /* what is read on the loop itself; pods have some KiB */
#define UNDER_WAY   ((size_t)64 << 20) /* of all reviews at once */

/* ---- what the proxy makes of names ---- */

/* "https://registry.lab:5000": the host with its port as an image's name has it, p NULL behind a prefix. */
static struct slice authority_of(const struct upstream *u)
{
    const char *at = strstr(u->url, "://");
    struct slice authority = slice_of(at ? at + strlen("://") : u->url);
    return memchr(authority.p, '/', authority.len) ? (struct slice){NULL, 0} : authority;
}

/* By its name, or by where it is: an upstream "lab" at http://registry.lab:5000 has what is on
 * registry.lab:5000. */
static const char *find_upstream(const struct upstream_set *set, struct slice host)
{
    for (size_t i = 0; i < upstream_set_count(set); ++i) {
        const struct upstream *u = upstream_set_at(set, i);
        if (slice_eq_str(host, u->name) && !strchr(u->name, ':'))
            return u->name;
    }
    for (size_t i = 0; i < upstream_set_count(set); ++i) {
        const struct upstream *u = upstream_set_at(set, i);
        struct slice authority = authority_of(u);
        if (u->by_hand && authority.p && slice_eq(authority, host))
            return u->name;
    }
    return NULL;
}

/* What a node calls localhost is the node's. */
static bool is_nodes_own(struct slice host)
{
    return slice_eq_str(host, "localhost") || slice_starts_with(host, "127.") ||
           slice_ends_with(host, ".localhost");
}

static bool upstream_name(void *arg, struct slice host, char ret[ADMISSION_HOST_MAX + 1])
{
    const struct registry_config *config = arg;
    const char *name = find_upstream(config->upstreams, host);
    if (name) {
        (void)snprintf(ret, ADMISSION_HOST_MAX + 1, "%s", name);
        return true;
    }
    if (!upstream_set_allows_any(config->upstreams) || names_check_upstream(host, NULL) < 0 ||
        is_nodes_own(host))
        return false;
    (void)snprintf(ret, ADMISSION_HOST_MAX + 1, "%.*s", (int)host.len, host.p);
    return true;
}

static struct injection *injection_of(void *arg, struct slice path)
{
    const struct registry_config *config = arg;
    struct upstream_name name;
    if (upstream_resolve(config->upstreams, path, (struct slice){NULL, 0}, &name, NULL) < 0)
        return NULL;
    struct injection *injection = rules_find(config->rules, name.upstream->name, name.canonical);
    upstream_unref(name.upstream);
    return injection;
}

/* ---- the call ---- */

static void count(const char *result)
{
    char labels[64];
    metric_count("rac_admissions_total", metric_labels(labels, sizeof labels, "result", result, NULL), 1);
}

static bool is_one_of(const char *list, const char *word)
{
    struct slice rest = slice_of(list);
    while (rest.p)
        if (slice_eq_str(slice_cut(&rest, ','), word))
            return true;
    return false;
}

static int check_client(const struct api_admission *c, struct request *r, struct err *err)
{
    const char *name = request_client_name(r);
    if (!c->clients || (name && is_one_of(c->clients, name)))
        return 0;
    return err_set(err, ERR_DENIED,
                   name ? "the certificate of this client is not for it: see k8s.clients"
                        : "this needs a client certificate: see k8s.clients and tls.client-ca");
}

/* One review, on the loop or, if it is large, on a thread of the jobs. */
struct asked {
    unsigned refs; /* the request's, and the work's; of the loop */
    struct api *api;
    struct request *r; /* NULL: gone */
    struct registry_config *config;
    char *body; /* a copy, since the request may go */
    size_t len;
    struct buf out;
    struct admission_result result;
    bool failed;
    struct err err;
};

static _Atomic size_t under_way;

static void asked_unref(struct asked *a)
{
    if (--a->refs)
        return;
    under_way -= a->len;
    registry_config_unref(a->config);
    buf_free(&a->out);
    free(a->body);
    free(a);
}

static void on_request_over(void *arg)
{
    struct asked *a = arg;
    a->r = NULL;
    asked_unref(a);
}

static void review(void *arg)
{
    struct asked *a = arg;
    const struct admission_images images = {
        .upstream = upstream_name, .injection = injection_of, .arg = a->config};
    a->failed = admission_review(&a->api->admission->config, &images, a->body, a->len, &a->out, &a->result,
                                 &a->err) < 0;
}

static void on_reviewed(void *arg)
{
    struct asked *a = arg;
    const struct admission_result *result = &a->result;
    count(a->failed ? "malformed" : admission_outcome_name(result->outcome));
    if (!a->failed) {
        metric_count("rac_admission_images_total", "result=\"renamed\"", result->renamed);
        metric_count("rac_admission_images_total", "result=\"kept\"", result->kept);
        metric_count("rac_admission_commands_total", "", result->commands);
    }
    if (a->r && a->failed) {
        api_err(a->r, &a->err);
    } else if (a->r) {
        if (result->pod[0])
            request_log_field(a->r, "pod", slice_of(request_strdup(a->r, slice_of(result->pod))));
        api_json(a->r, 200, a->out.p, a->out.len);
    }
    asked_unref(a);
}

static int start(struct api *api, struct request *r, struct err *err)
{
    struct slice body = request_body(r);
    struct loop *loop = request_loop(r);
    if (check_client(api->admission, r, err) < 0) {
        count("refused");
        return -1;
    }
    if (under_way + body.len > UNDER_WAY) {
        count("overloaded");
        (void)err_set(err, ERR_OVERLOADED, "too many large reviews at once: try again");
        err->retry_after_s = 1;
        return -1;
    }
    under_way += body.len;
    struct asked *a = mem_new(struct asked);
    *a = (struct asked){
        .refs = 2,
        .api = api,
        .r = r,
        .config = registry_config_ref(
            (struct registry_config *)(uintptr_t)registry_worker_config(api->registry->worker(loop))),
        .body = mem_dup(body.p, body.len),
        .len = body.len};
    request_on_dispose(r, on_request_over, a);
    if (body.len > INLINE_BODY) {
        jobs_submit(api->registry->layer_jobs, loop, review, on_reviewed, a);
        return 0;
    }
    review(a);
    on_reviewed(a);
    return 0;
}

void admission_handle(struct api *api, struct request *r)
{
    struct err err;
    if (!api->admission->config.proxy_name)
        api_message(
            r, 404,
            "images of pods are not renamed here: set k8s.proxy-name, what nodes reach this proxy by");
    else if (start(api, r, &err) < 0)
        api_err(r, &err);
}
