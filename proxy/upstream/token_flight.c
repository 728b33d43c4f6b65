// SPDX-License-Identifier: Apache-2.0
#include "proxy/upstream/token_flight.h"

#include <openssl/crypto.h>
#include <utlist.h>

#include "common/log.h"
#include "common/mem.h"

struct token_flight {
    struct upstream_client *client;
    struct upstream *upstream; /* a reference */
    char *key;
    char *who; /* "docker.io: token server auth.docker.io" */
    struct transfer *transfer;
    int status;
    uint32_t retry_after_s;
    struct buf body;
    struct token_flight *prev, *next;
};

static void flight_end(struct token_flight *f, const struct token_result *result)
{
    token_cache_resolve(upstream_shared_tokens(f->client->shared), f->key, result);
    DL_DELETE(f->client->flights, f);
    if (f->body.p)
        OPENSSL_cleanse(f->body.p, f->body.len);
    buf_free(&f->body);
    upstream_unref(f->upstream);
    free(f->key);
    free(f->who);
    free(f);
}

static enum transfer_verdict on_head(void *arg, struct answer *answer)
{
    struct token_flight *f = arg;
    f->status = answer->head.status;
    f->retry_after_s = answer->head.retry_after_s;
    return f->status == 200 ? TRANSFER_BODY : TRANSFER_DRAIN;
}

static void on_data(void *arg, const void *p, size_t len)
{
    struct token_flight *f = arg;
    if (!buf_add(&f->body, p, len))
        transfer_drop_body(f->transfer);
}

static void read_answer(const struct token_flight *f, struct token_result *r)
{
    switch (f->status) {
    case 200:
        break;
    case 401:
    case 403:
        r->outcome = TOKEN_REFUSED;
        r->status = f->status;
        return;
    case 429:
        (void)err_set(&r->err, ERR_LIMITED, "%s limits us (429)", f->who);
        r->err.retry_after_s = f->retry_after_s;
        return;
    default:
        (void)err_set(&r->err, ERR_UPSTREAM, "%s answered %d", f->who, f->status);
        return;
    }
    struct err cause = {0};
    if (f->body.overflow)
        (void)err_set(&r->err, ERR_UPSTREAM, "%s: answer is over the limit of %zu bytes", f->who,
                      TOKEN_ANSWER_MAX);
    else if (token_parse(f->body.p ? f->body.p : "", f->body.len, &r->token, &cause) < 0)
        (void)err_set(&r->err, ERR_UPSTREAM, "%s: %s", f->who, cause.msg);
    else
        r->outcome = TOKEN_GIVEN;
}

static void on_done(void *arg, const struct err *err)
{
    struct token_flight *f = arg;
    struct token_result r = {.outcome = TOKEN_FAILED};
    f->transfer = NULL;
    if (err)
        r.err = *err;
    else
        read_answer(f, &r);
    if (r.outcome == TOKEN_GIVEN)
        log_debug("token received", F_S("upstream", f->upstream->name), F_U("kept_ms", r.token->keep_ms));
    else if (r.outcome == TOKEN_FAILED)
        log_warn("no token", F_S("upstream", f->upstream->name), F_ERR(&r.err));
    flight_end(f, &r);
    token_unref(r.token); /* those who waited have references of their own */
}

static const struct transfer_ops flight_ops = {on_head, on_data, on_done};

void token_flight_start(struct upstream_client *c, struct upstream *u, const char *key, struct realm *realm,
                        bool may_be_private, const char *ca_file)
{
    struct token_flight *f = mem_new(struct token_flight);
    f->client = c;
    f->upstream = upstream_ref(u);
    f->key = mem_strdup(key);
    f->who = mem_printf("%s: token server %s", u->name, realm->url.host);
    f->body.max = TOKEN_ANSWER_MAX;
    DL_APPEND(c->flights, f);
    struct transfer_params params = {
        .url = &realm->url,
        .who = f->who,
        .may_be_private = may_be_private,
        .whole_limit = true,
        .ca_file = ca_file,
        .headers = curl_slist_append(NULL, "Accept: application/json"),
    };
    if (realm->form) {
        params.body = realm->form;
        params.body_len = strlen(realm->form);
    }
    char *basic = realm->credentials && !realm->form ? upstream_client_basic(u) : NULL;
    if (basic) {
        params.headers = curl_slist_append(params.headers, basic);
        OPENSSL_cleanse(basic, strlen(basic));
        free(basic);
    }
    stats_add(&upstream_shared_row(c->shared, u->name)->n.token_requests, 1);
    struct token_result r = {.outcome = TOKEN_FAILED};
    f->transfer = transfer_start(c->mux, &params, &flight_ops, f, &r.err);
    realm_free(realm);
    if (!f->transfer)
        flight_end(f, &r);
}

void token_flight_abandon(struct token_flight *f)
{
    if (f->transfer)
        transfer_cancel(f->transfer);
    flight_end(f, &(struct token_result){.outcome = TOKEN_ABANDONED});
}
