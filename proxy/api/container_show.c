// SPDX-License-Identifier: Apache-2.0
/* A token that is there: told of, revoked. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "common/json.h"
#include "common/mem.h"
#include "proxy/access/access.h"
#include "proxy/api/container.h"
#include "proxy/http/response.h"

#define PATH        "/container-token/"
#define INLINE_TEXT ((size_t)64 << 10) /* what is read on the loop itself */

const char *container_time(int64_t ms, char out[CONTAINER_TIME_MAX])
{
    time_t s = (time_t)(ms / 1000);
    struct tm tm;
    gmtime_r(&s, &tm);
    size_t n = strftime(out, CONTAINER_TIME_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(out + n, CONTAINER_TIME_MAX - n, ".%03dZ", (int)(ms % 1000));
    return out;
}

/* A host and port, as it may stand in an image's name. */
static bool host_is_plain(struct slice host)
{
    if (host.len == 0 || host.len > 255)
        return false;
    for (size_t i = 0; i < host.len; ++i) {
        char c = host.p[i], lower = (char)(c | 0x20);
        if (!((lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || strchr(".:-[]", c)))
            return false;
    }
    return true;
}

int container_target_image(const struct api *api, struct request *r, const char *text,
                           const struct grant *token, struct buf *out, struct err *err)
{
    struct slice host =
        api->containers->public_host ? slice_of(api->containers->public_host) : request_host(r);
    if (!host_is_plain(host))
        return err_set(err, ERR_INVALID, "the Host header names no host: the answer would name no image");
    (void)buf_add_slice(out, host);
    (void)buf_printf(out, "/wt/%s/%s%c%s", text, token->repository, token->tag ? ':' : '@',
                     token->tag ? token->tag : token->target.s);
    return 0;
}

/* ---- the token of the path, for either ---- */

struct ask {
    unsigned refs; /* the request's, and one for the answer that is awaited */
    struct api *api;
    struct request *r; /* NULL: gone */
    struct loop *loop;
    struct grant *token;
    char *text; /* of the injection, while it is read */
    size_t len;
    json_t *config; /* the injection as it is shown; NULL: none */
    void (*then)(struct ask *a);
};

static void ask_unref(struct ask *a)
{
    if (--a->refs)
        return;
    grant_unref(a->token);
    free(a->text);
    json_decref(a->config);
    free(a);
}

static void on_request_over(void *arg)
{
    struct ask *a = arg;
    a->r = NULL;
    ask_unref(a);
}

static void on_token(void *arg, struct grant *token, const struct err *err)
{
    struct ask *a = arg;
    a->token = token;
    if (a->r && err)
        api_err(a->r, err);
    else if (a->r)
        a->then(a);
    ask_unref(a);
}

static struct slice text_of(struct request *r)
{
    struct slice path = request_path(r);
    return (struct slice){path.p + strlen(PATH), path.len - strlen(PATH)};
}

static void begin(struct api *api, struct request *r, void (*then)(struct ask *a))
{
    struct ask *a = mem_new(struct ask);
    *a = (struct ask){.refs = 1, .api = api, .r = r, .loop = request_loop(r), .then = then};
    request_on_dispose(r, on_request_over, a);
    a->token = tokens_try(api->tokens, text_of(r));
    if (a->token) {
        then(a);
        return;
    }
    struct access_origin origin;
    access_origin(api->access, r, &origin);
    ++a->refs;
    tokens_get(api->tokens, a->loop, text_of(r), &origin.ip, on_token, a);
}

/* ---- told of ---- */

static void put(json_t *obj, const char *key, const char *text)
{
    if (text)
        (void)json_object_set_new(obj, key, json_string(text));
}

/* The injection as it was asked for, without where its bytes are. */
static json_t *config_of(const char *text, size_t len)
{
    cleanup_json json_t *config = json_parse(text, len, INJECTION_BYTES_MAX * 2, NULL);
    json_t *layer;
    size_t i;
    if (!json_is_object(config))
        return NULL;
    json_array_foreach (json_object_get(config, "layers"), i, layer)
        (void)json_object_del(layer, "location");
    (void)json_object_del(config, "platform");
    return steal_ptr(&config);
}

static void describe(struct ask *a)
{
    const struct grant *t = a->token;
    cleanup_json json_t *doc = json_object();
    cleanup_buf struct buf image = {0};
    cleanup_free char *token = mem_dup(text_of(a->r).p, text_of(a->r).len);
    char time_text[CONTAINER_TIME_MAX];
    struct err err;
    if (container_target_image(a->api, a->r, token, t, &image, &err) < 0) {
        api_err(a->r, &err);
        return;
    }
    put(doc, "containerImage", t->image);
    put(doc, "targetImage", image.p);
    put(doc, "sourceImage", t->canonical);
    put(doc, "sourceDigest", t->source.s);
    put(doc, "targetDigest", t->target.s);
    put(doc, "containerPlatform", t->platform ? t->platform : "all");
    if (a->config)
        (void)json_object_set(doc, "containerConfig", a->config);
    if (t->note) {
        cleanup_json json_t *note = json_parse(t->note, strlen(t->note), JSON_DOCUMENT_MAX, NULL);
        (void)json_object_update_missing(doc, note);
    }
    put(doc, "account", t->account);
    put(doc, "requestTime", container_time(t->created_ms, time_text));
    put(doc, "expiration", container_time(t->expires_ms, time_text));
    (void)json_object_set_new(doc, "pulls", json_integer((json_int_t)t->pulls));
    size_t out_len;
    cleanup_free char *out = json_format(doc, &out_len);
    api_json(a->r, 200, out, out_len);
}

static void read_config(void *arg)
{
    struct ask *a = arg;
    a->config = config_of(a->text, a->len);
}

static void on_config(void *arg)
{
    struct ask *a = arg;
    if (a->r)
        describe(a);
    ask_unref(a);
}

static void on_injection(void *arg, const char *text, size_t len, const struct err *err)
{
    struct ask *a = arg;
    if (!a->r || err) {
        if (a->r)
            api_err(a->r, err);
        ask_unref(a);
    } else if (len > INLINE_TEXT) { /* megabytes of layers in it: not on the loop */
        a->text = mem_dup(text, len);
        a->len = len;
        jobs_submit(a->api->registry->layer_jobs, a->loop, read_config, on_config, a);
    } else {
        a->config = text ? config_of(text, len) : NULL;
        on_config(a);
    }
}

static void describe_token(struct ask *a)
{
    struct state *state = a->api->env->state;
    ++a->refs;
    state->ops->injection_get(state, a->loop, &a->token->injection, on_injection, a);
}

void container_describe(struct api *api, struct request *r)
{
    begin(api, r, describe_token);
}

/* ---- revoked ---- */

static void on_revoked(void *arg, const struct err *err)
{
    struct ask *a = arg;
    if (a->r && err)
        api_err(a->r, err);
    else if (a->r)
        response_send(a->r, 204, NULL, 0);
    ask_unref(a);
}

static void revoke_token(struct ask *a)
{
    const struct caller *who = caller_of(a->r);
    bool own = a->token->account ? who->account && strcmp(who->account, a->token->account) == 0
                                 : caller_may(a->r, ACCESS_REQUEST);
    if (!own && !caller_may(a->r, ACCESS_ADMIN)) {
        api_message(a->r, 403, "only the account that made this container token may revoke it, or an admin");
        return;
    }
    ++a->refs;
    tokens_revoke(a->api->tokens, a->loop, a->token, on_revoked, a);
}

void container_revoke(struct api *api, struct request *r)
{
    if (!caller_of(r)->account && !caller_may(r, ACCESS_ADMIN)) {
        response_header_ref(r, "WWW-Authenticate", SLICE_LIT("Basic realm=\"rac-proxy\""));
        api_message(r, 401, "revoking a container token needs an account: send its credentials");
        return;
    }
    begin(api, r, revoke_token);
}
