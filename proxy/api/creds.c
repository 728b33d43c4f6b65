// SPDX-License-Identifier: Apache-2.0
#include "proxy/api/creds.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <sys/random.h>

#include "common/json.h"
#include "common/mem.h"
#include "common/metrics.h"
#include "proxy/access/access.h"
#include "proxy/http/response.h"
#include "proxy/registry/target.h"
#include "proxy/tokens/rate.h"

#define BODY_MAX ((size_t)64 << 10)

/* ---- what is asked ---- */

struct wish {
    const char *user, *password; /* of the document */
    struct slice registry;       /* the host of it */
};

static int get_member(const json_t *doc, const char *key, const char **ret, struct err *err)
{
    const char *text;
    if (json_get_str(doc, key, &text, err) < 0)
        return -1;
    while (text && *text == ' ')
        ++text;
    if (!text || !*text)
        return err_set(err, ERR_INVALID, "'%s' is missing or blank", key);
    *ret = json_string_value(json_object_get(doc, key));
    return 0;
}

/* "docker.io", "https://index.docker.io/v1/" as docker's own configuration has it, "registry.lab:5000/team".
 */
static struct slice host_of(const char *registry)
{
    struct slice s = slice_trim(slice_of(registry));
    static const char *const schemes[] = {"https://", "http://"};
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; ++i)
        if (slice_starts_with(s, schemes[i]))
            s = (struct slice){s.p + strlen(schemes[i]), s.len - strlen(schemes[i])};
    return slice_cut(&s, '/');
}

static int read_wish(const json_t *doc, struct wish *ret, struct err *err)
{
    const char *registry = NULL;
    const json_t *inner = json_is_object(doc) ? json_object_get(doc, "request") : NULL;
    if (inner && !json_is_null(inner))
        doc = inner;
    if (!json_is_object(doc))
        return err_set(err, ERR_INVALID, "%s: expected {\"userName\", \"password\", \"registry\"}",
                       inner ? "'request' is not an object" : "the body is not an object");
    if (get_member(doc, "userName", &ret->user, err) < 0 ||
        get_member(doc, "password", &ret->password, err) < 0 ||
        get_member(doc, "registry", &registry, err) < 0)
        return -1;
    if (strchr(ret->user, ':')) /* RFC 7617 section 2 */
        return err_set(err, ERR_INVALID, "'userName' has a colon, which no user name can have");
    for (const char *p = ret->user; *p; ++p) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return err_set(err, ERR_INVALID,
                           "'userName' has a control character, which no user name can have");
    }
    ret->registry = host_of(registry);
    return ret->registry.len ? 0 : err_set(err, ERR_INVALID, "'registry' names no host");
}

/* ---- the asking ---- */

struct validation {
    struct request *r; /* NULL: gone; the answer is awaited all the same, and counted */
    bool is_over;
    struct upstream *upstream;
    struct fetch_head head;
    bool headed;
};

static void validation_free(struct validation *v)
{
    upstream_unref(v->upstream);
    free(v);
}

static void on_request_over(void *arg)
{
    struct validation *v = arg;
    v->r = NULL;
    if (v->is_over)
        validation_free(v);
}

static bool on_head(void *arg, const struct fetch_head *head)
{
    struct validation *v = arg;
    v->head = *head;
    v->headed = true;
    return true;
}

static bool on_data(void *arg, const void *p, size_t len)
{
    (void)arg, (void)p, (void)len;
    return true;
}

static void count(const char *result)
{
    char labels[64];
    metric_count("rac_validations_total", metric_labels(labels, sizeof labels, "result", result, NULL), 1);
}

/* 1: the registry let them in; 0: it did not; -1: it cannot be said. */
static int verdict(const struct validation *v, const struct err *fetch_err, struct err *err)
{
    const char *name = v->upstream->name;
    const struct fetch_head *h = &v->head;
    if (fetch_err && (!v->headed || h->status < 300)) {
        *err = *fetch_err;
        if (err->code == ERR_TIMEOUT)
            err->code = ERR_UPSTREAM;
        return err_wrap(err, "the credentials cannot be validated");
    }
    /* Whatever it says then was said to nobody in particular. */
    if (h->withheld_from[0])
        return err_set(
            err, ERR_UPSTREAM,
            "the credentials cannot be validated: %s sends to %s for a token, which is another site: "
            "list it in 'realms' of that upstream",
            name, h->withheld_from);
    if (h->status >= 200 && h->status < 300)
        return 1;
    if (h->status == 401 || h->status == 403)
        return 0;
    if (h->status == 429)
        return fetch_head_err(h, v->upstream, "the login", ERR_UPSTREAM, err);
    return err_set(err, ERR_UPSTREAM,
                   "the credentials cannot be validated: %s answered %d to /v2/, as no registry does", name,
                   h->status);
}

static void on_done(void *arg, const struct err *fetch_err)
{
    struct validation *v = arg;
    struct err err;
    int result = verdict(v, fetch_err, &err);
    count(result > 0 ? "true" : result == 0 ? "false" : "failed");
    v->is_over = true;
    if (!v->r)
        validation_free(v);
    else if (result < 0)
        api_err(v->r, &err);
    else if (result > 0)
        api_json(v->r, 200, "true", 4);
    else
        api_json(v->r, 200, "false", 5);
}

static const struct fetch_ops ops = {.on_head = on_head, .on_data = on_data, .on_done = on_done};

static int start(struct api *api, struct request *r, const struct wish *w, struct err *err)
{
    struct loop *loop = request_loop(r);
    const struct registry_config *config = registry_worker_config(api->registry->worker(loop));
    struct upstream *base, *made;
    uint8_t no_scope[32]; /* random: what these credentials are shown is not for anything that is cached */
    if (getrandom(no_scope, sizeof no_scope, 0) != (ssize_t)sizeof no_scope)
        return err_set(err, ERR_INTERNAL, "no random bytes from the system");
    if (upstream_set_get(config->upstreams, w->registry, &base, err) < 0)
        return -1;
    int rc = upstream_with(base, w->user, w->password, no_scope, &made, err);
    upstream_unref(base);
    if (rc < 0)
        return -1;
    struct validation *v = mem_new(struct validation);
    *v = (struct validation){.r = r, .upstream = made};
    request_on_dispose(r, on_request_over, v);
    request_log_field(r, "registry", slice_of(request_strdup(r, slice_of(made->name))));
    (void)fetch_start(api->env->client(loop),
                      &(struct fetch_params){.upstream = made, .path = "/v2/", .forget = true}, &ops, v);
    return 0;
}

/* jansson gives memory back as it is. */
static void cleanse(json_t *doc)
{
    json_t *inner = json_object_get(doc, "request"), *const places[] = {doc, inner};
    for (size_t i = 0; i < 2; ++i) {
        const json_t *text = json_object_get(places[i], "password");
        if (json_is_string(text))
            OPENSSL_cleanse((char *)(uintptr_t)json_string_value(text), json_string_length(text));
    }
}

static int validate(struct api *api, struct request *r, struct err *err)
{
    struct access_origin origin;
    struct slice body = request_body(r);
    struct wish w = {0};
    access_origin(api->access, r, &origin);
    unsigned wait_s = rate_take(api->validations, &origin.ip);
    if (wait_s) {
        (void)err_set(err, ERR_LIMITED,
                      "too many credentials validated in a minute (access.validate-rate): try again in %u s",
                      wait_s);
        err->retry_after_s = wait_s;
        return -1;
    }
    if (body.len > BODY_MAX)
        return err_set(err, ERR_SIZE_INVALID, "the body is larger than %zu KiB", BODY_MAX >> 10);
    cleanup_json json_t *doc = json_parse(body.p, body.len, BODY_MAX, NULL);
    if (!doc) /* the parser would quote what it stumbled over, which may be the password */
        return err_set(err, ERR_INVALID,
                       "the body is not valid JSON: expected {\"userName\", \"password\", \"registry\"}");
    int rc = read_wish(doc, &w, err);
    if (rc == 0)
        rc = start(api, r, &w, err);
    cleanse(doc);
    return rc;
}

void creds_validate(struct api *api, struct request *r)
{
    struct err err;
    if (validate(api, r, &err) < 0)
        api_err(r, &err);
}
