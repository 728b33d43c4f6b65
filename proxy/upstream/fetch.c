// SPDX-License-Identifier: Apache-2.0
/*
 * From a question to its final answer, which may take several exchanges:
 *
 *                   +--------------- redirect ----------------+
 *                   v                                         |
 *     STARTING -> ASKING --- 401, Bearer ---> TOKEN -- given -+--> ASKING
 *                   |    \-- 401, Basic -> ASKING             |
 *                   |                                         +-- refused, failed -> ENDED
 *                   +-- any other head -> BODY -> ENDED
 *
 * At most REDIRECT_MAX redirects, one token and one Basic: no answer of an upstream makes a loop of it.
 */
#include <assert.h>
#include <openssl/crypto.h>
#include <utlist.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "proxy/upstream/client_impl.h"
#include "proxy/upstream/realm.h"
#include "proxy/upstream/redirect.h"
#include "proxy/upstream/token_flight.h"

enum fetch_state { FETCH_STARTING, FETCH_ASKING, FETCH_TOKEN, FETCH_BODY, FETCH_ENDED };

/* What to do when an answer that is not the final one has been read. */
enum fetch_next { NEXT_END, NEXT_REDIRECT, NEXT_TOKEN, NEXT_BASIC };

struct fetch {
    struct upstream_client *client;
    const struct fetch_ops *ops;
    void *arg;
    enum fetch_state state;
    enum fetch_next next_step;
    bool calling;   /* a callback of the caller is on the stack: the memory must stay */
    bool cancelled; /* no callback comes any more */
    bool paused;

    struct upstream *upstream; /* a reference; NULL: a URL of its own */
    char *who;
    char *repository, *accept, *if_none_match, *ca_file;
    bool head, forget, private_addresses, direct;
    uint64_t range_from;
    void *body; /* NULL: no POST */
    size_t body_len;
    struct curl_slist *headers; /* of the caller, for the host of the url only */

    struct url own; /* the upstream's url; empty without an upstream */
    struct url url; /* what is asked for, or will be next */
    unsigned redirects;
    char *token_key, *basic_key;
    struct token *token;         /* sent with the request under way */
    bool token_is_fresh;         /* it came after a challenge: there will be no better one */
    bool use_basic, basic_tried; /* sent; and sent after a challenge, or known to be wanted */
    struct challenge *challenge; /* while there is a token to wait for */
    char *withheld_from;         /* host of a token server that was not to see our credentials */
    struct token_waiter *waiter;
    struct transfer *transfer;
    struct loop_timer start_timer;

    struct stats_row *stats;
    uint64_t begin_us;
    struct err start_err;
    struct fetch *prev, *next;
};

static void ask(struct fetch *f);

/* ---- birth and death ---- */

static void fetch_free(struct fetch *f)
{
    upstream_unref(f->upstream);
    token_unref(f->token);
    url_free(&f->own);
    url_free(&f->url);
    free(f->challenge);
    free(f->withheld_from);
    free(f->who);
    free(f->repository);
    free(f->accept);
    free(f->if_none_match);
    free(f->ca_file);
    free(f->token_key);
    free(f->basic_key);
    free(f->body);
    for (struct curl_slist *h = f->headers; h; h = h->next)
        OPENSSL_cleanse(h->data, strlen(h->data));
    curl_slist_free_all(f->headers);
    free(f);
}

/* Lets go of whatever may call back. */
static void detach(struct fetch *f)
{
    loop_timer_cancel(f->client->loop, &f->start_timer);
    if (f->transfer)
        transfer_cancel(f->transfer);
    f->transfer = NULL;
    if (f->waiter) {
        if (token_cache_leave(upstream_shared_tokens(f->client->shared), f->waiter))
            free(f->waiter);
        else
            f->waiter->arg = NULL;
    }
    f->waiter = NULL;
    DL_DELETE(f->client->fetches, f);
}

void fetch_cancel(struct fetch *f)
{
    if (f->cancelled || f->state == FETCH_ENDED)
        return;
    f->cancelled = true;
    detach(f);
    if (!f->calling)
        fetch_free(f);
}

/* Behind every callback: false if the fetch is gone by now. */
static bool still_wanted(struct fetch *f, bool go_on)
{
    f->calling = false;
    if (!go_on && !f->cancelled) {
        fetch_cancel(f);
        return false;
    }
    if (f->cancelled) {
        fetch_free(f);
        return false;
    }
    return true;
}

static void end(struct fetch *f, const struct err *err)
{
    detach(f);
    f->state = FETCH_ENDED;
    if (err)
        stats_add(&f->stats->n.errors, 1);
    f->ops->on_done(f->arg, err);
    fetch_free(f);
}

/* ---- the caller's side ---- */

static bool hand_out_head(struct fetch *f, struct fetch_head *head)
{
    f->state = FETCH_BODY;
    head->has_credentials = f->upstream && f->upstream->username;
    if (f->withheld_from)
        (void)snprintf(head->withheld_from, sizeof head->withheld_from, "%s", f->withheld_from);
    stats_add(&f->stats->n.latency_us_sum, clock_mono_us() - f->begin_us);
    if (head->status >= 500)
        stats_add(&f->stats->n.errors, 1);
    f->calling = true;
    return still_wanted(f, f->ops->on_head(f->arg, head));
}

void fetch_pause(struct fetch *f)
{
    f->paused = true;
    if (f->transfer)
        transfer_pause(f->transfer);
}

void fetch_resume(struct fetch *f)
{
    f->paused = false;
    if (f->transfer)
        transfer_resume(f->transfer);
}

/* ---- tokens ---- */

static void on_token(void *arg)
{
    struct token_waiter *w = arg;
    struct fetch *f = w->arg;
    struct token_result r = w->result;
    free(w);
    if (!f) {
        token_unref(r.token);
        return;
    }
    f->waiter = NULL;
    switch (r.outcome) {
    case TOKEN_GIVEN:
        f->token = r.token;
        f->token_is_fresh = true;
        f->use_basic = false;
        if (f->forget)
            token_cache_drop(upstream_shared_tokens(f->client->shared), f->token_key, f->token);
        ask(f);
        return;
    case TOKEN_ABANDONED:
        f->next_step = NEXT_TOKEN;
        ask(f);
        return;
    case TOKEN_REFUSED: {
        struct fetch_head head = {.status = r.status, .content_length = 0, .refused_by_realm = true};
        if (hand_out_head(f, &head))
            end(f, NULL);
        return;
    }
    case TOKEN_FAILED:
        end(f, &r.err);
        return;
    }
}

/* Joins those who wait for this token, or asks for it in the name of all. -1 with *err if there is nowhere to
 * ask. */
static int get_token(struct fetch *f, struct err *err)
{
    struct realm realm = {0};
    if (realm_of(f->upstream, &f->own, f->challenge, f->repository, &realm, err) < 0)
        return err_wrap(err, "%s", f->who);
    if (f->upstream->username && !realm.credentials && !f->withheld_from)
        f->withheld_from = mem_strdup(realm.url.host);
    struct token_waiter *w = mem_new(struct token_waiter);
    w->loop = f->client->loop;
    w->fn = on_token;
    w->arg = f;
    struct token *have = NULL;
    f->state = FETCH_TOKEN;
    switch (token_cache_ask(upstream_shared_tokens(f->client->shared), f->token_key, w, &have)) {
    case TOKEN_HAVE:
        /* Posted, too: one way on from here. */
        w->result = (struct token_result){.outcome = TOKEN_GIVEN, .token = have};
        f->waiter = w;
        loop_post(w->loop, w->fn, w);
        break;
    case TOKEN_WAIT:
        f->waiter = w;
        break;
    case TOKEN_LEAD: {
        f->waiter = w;
        bool may_be_private = redirect_may_be_private(f->upstream, &f->own, &realm.url);
        const char *ca_file = redirect_ca_file(f->upstream, &f->own, &realm.url);
        token_flight_start(f->client, f->upstream, f->token_key, &realm, may_be_private, ca_file);
        break;
    }
    }
    realm_free(&realm);
    return 0;
}

/* Whether the 401 tells us something to try that was not tried yet. */
static bool take_challenge(struct fetch *f, const struct answer *a)
{
    if (!f->upstream || !url_same_origin(&f->own, &f->url))
        return false;
    if (a->challenge_malformed)
        log_warn("challenge of an upstream left aside", F_S("upstream", f->who), F_ERR(&a->challenge_err));
    if (a->challenge.bearer && !f->token_is_fresh) {
        if (f->token)
            token_cache_drop(upstream_shared_tokens(f->client->shared), f->token_key, f->token);
        token_unref(f->token);
        f->token = NULL;
        if (!f->challenge)
            f->challenge = mem_new(struct challenge);
        *f->challenge = a->challenge;
        f->next_step = NEXT_TOKEN;
        return true;
    }
    if (a->challenge.basic && f->upstream->username && !upstream_has_refresh_token(f->upstream) &&
        !f->basic_tried) {
        if (!f->forget)
            token_cache_note_basic(upstream_shared_tokens(f->client->shared), f->basic_key);
        f->next_step = NEXT_BASIC;
        return true;
    }
    return false;
}

/* ---- one exchange ---- */

static enum transfer_verdict on_head(void *arg, struct answer *a)
{
    struct fetch *f = arg;
    f->next_step = NEXT_END;
    if (redirect_is_status(a->head.status) && !f->body) {
        f->next_step = NEXT_REDIRECT;
        return TRANSFER_DRAIN;
    }
    if (a->head.status == 401 && take_challenge(f, a))
        return TRANSFER_DRAIN;
    return hand_out_head(f, &a->head) ? TRANSFER_BODY : TRANSFER_STOP;
}

static void on_data(void *arg, const void *p, size_t len)
{
    struct fetch *f = arg;
    stats_add(&f->stats->n.bytes, len);
    f->calling = true;
    (void)still_wanted(f, f->ops->on_data(f->arg, p, len));
}

static int follow(struct fetch *f, const char *location, struct err *err)
{
    struct url to = {0};
    if (redirect_follow(&f->url, location, f->redirects, &to, err) < 0)
        return err_wrap(err, "%s", f->who);
    ++f->redirects;
    url_free(&f->url);
    f->url = to;
    return 0;
}

static void on_done(void *arg, const struct err *err)
{
    struct fetch *f = arg;
    struct err cause;
    struct transfer *t = f->transfer;
    f->transfer = NULL;
    if (err || f->next_step == NEXT_END) {
        end(f, err);
        return;
    }
    if (f->next_step == NEXT_REDIRECT &&
        follow(f, t->answer.location ? t->answer.location : "", &cause) < 0) {
        end(f, &cause);
        return;
    }
    ask(f);
}

static const struct transfer_ops fetch_transfer_ops = {on_head, on_data, on_done};

static struct curl_slist *add_header(struct curl_slist *list, const char *name, const char *value)
{
    char *line = mem_printf("%s: %s", name, value);
    struct curl_slist *longer = curl_slist_append(list, line);
    assert(longer);
    OPENSSL_cleanse(line, strlen(line));
    free(line);
    return longer;
}

/* Our name and pass: for the upstream itself, never for where it sends us. */
static struct curl_slist *add_authorization(struct fetch *f, struct curl_slist *list)
{
    struct token_cache *tokens = upstream_shared_tokens(f->client->shared);
    if (!f->upstream || !url_same_origin(&f->own, &f->url))
        return list;
    if (f->next_step == NEXT_BASIC ||
        (!f->token_is_fresh && f->upstream->username && token_cache_is_basic(tokens, f->basic_key)))
        f->use_basic = f->basic_tried = true;
    if (f->use_basic) {
        char *basic = upstream_client_basic(f->upstream);
        struct curl_slist *longer = curl_slist_append(list, basic);
        assert(longer);
        OPENSSL_cleanse(basic, strlen(basic));
        free(basic);
        return longer;
    }
    if (!f->token)
        f->token = token_cache_get(tokens, f->token_key);
    if (!f->token)
        return list;
    char *bearer = mem_printf("Bearer %s", f->token->value);
    list = add_header(list, "Authorization", bearer);
    OPENSSL_cleanse(bearer, strlen(bearer));
    free(bearer);
    return list;
}

static struct curl_slist *make_headers(struct fetch *f)
{
    char range[48];
    struct curl_slist *list =
        f->accept ? add_header(NULL, "Accept", f->accept) : curl_slist_append(NULL, "Accept:");
    if (f->if_none_match)
        list = add_header(list, "If-None-Match", f->if_none_match);
    if (f->range_from) {
        (void)snprintf(range, sizeof range, "bytes=%llu-", (unsigned long long)f->range_from);
        list = add_header(list, "Range", range);
    }
    for (const struct curl_slist *h = f->redirects ? NULL : f->headers; h; h = h->next) {
        struct curl_slist *longer = curl_slist_append(list, h->data);
        assert(longer);
        list = longer;
    }
    return add_authorization(f, list);
}

static int send_request(struct fetch *f, struct err *err)
{
    struct url url = {0};
    if (url_dup(&f->url, &url, err) < 0)
        return err_wrap(err, "%s", f->who);
    const struct upstream *u = f->upstream;
    struct transfer_params params = {
        .url = &url,
        .who = f->who,
        .head = f->head,
        .direct = f->direct,
        .may_be_private = u ? redirect_may_be_private(u, &f->own, &f->url)
                            : f->private_addresses && strcmp(f->own.host, f->url.host) == 0,
        .ca_file = u ? redirect_ca_file(u, &f->own, &f->url) : f->ca_file,
        .headers = make_headers(f),
        .body = f->body,
        .body_len = f->body_len,
    };
    f->state = FETCH_ASKING;
    f->transfer = transfer_start(f->client->mux, &params, &fetch_transfer_ops, f, err);
    if (!f->transfer)
        return -1;
    if (f->paused)
        transfer_pause(f->transfer);
    return 0;
}

/* The next thing to ask: the token server, or what f->url says. */
static void ask(struct fetch *f)
{
    struct err err;
    bool want_token = f->next_step == NEXT_TOKEN;
    int rc = want_token ? get_token(f, &err) : send_request(f, &err);
    f->next_step = NEXT_END;
    if (rc < 0)
        end(f, &err);
}

/* ---- the start ---- */

static void on_start(void *arg)
{
    struct fetch *f = arg;
    if (f->start_err.code != ERR_NONE)
        end(f, &f->start_err);
    else
        ask(f);
}

/* What goes into a request as it is must not be able to end its line. */
static bool is_header_safe(const char *s)
{
    for (; *s; ++s) {
        if (((unsigned char)*s < 0x20 && *s != '\t') || *s == 0x7f)
            return false;
    }
    return true;
}

static bool is_path_safe(const char *s)
{
    if (*s != '/')
        return false;
    for (; *s; ++s) {
        if (*s <= 0x20 || *s >= 0x7f || *s == '#')
            return false;
    }
    return true;
}

static int set_urls(struct fetch *f, const struct fetch_params *params)
{
    struct err *err = &f->start_err;
    if (!f->upstream) {
        if (url_parse(params->url ? params->url : "", &f->url, err) < 0)
            return err_wrap(err, "URL");
        if (url_dup(&f->url, &f->own, err) < 0)
            return -1;
        f->who = mem_strdup(params->who ? params->who : f->url.host);
        if (!f->url.https && !params->plain_http)
            return err_set(err, ERR_DENIED, "%s: the URL must be https", f->who);
        return 0;
    }
    f->who = mem_strdup(f->upstream->name);
    if (!params->path || !is_path_safe(params->path))
        return err_set(err, ERR_INTERNAL, "%s: path of a request is not encoded", f->who);
    cleanup_free char *text = mem_printf("%s%s", f->upstream->url, params->path);
    if (url_parse(f->upstream->url, &f->own, err) < 0 || url_parse(text, &f->url, err) < 0)
        return err_wrap(err, "%s: URL", f->who);
    return 0;
}

static char *copy_or_null(const char *s)
{
    return s && is_header_safe(s) ? mem_strdup(s) : NULL;
}

/* The body, and the caller's headers. */
static void set_body(struct fetch *f, const struct fetch_params *params)
{
    for (const char *const *h = params->headers; h && *h && !params->upstream; ++h) {
        if (!is_header_safe(*h))
            continue;
        struct curl_slist *longer = curl_slist_append(f->headers, *h);
        assert(longer);
        f->headers = longer;
    }
    if (!params->body)
        return;
    f->body = mem_dup(params->body, params->body_len);
    f->body_len = params->body_len;
    f->headers = add_header(f->headers, "Content-Type", params->content_type);
    f->headers = curl_slist_append(f->headers, "Expect:"); /* no waiting for a 100 */
    assert(f->headers);
}

struct fetch *fetch_start(struct upstream_client *c, const struct fetch_params *params,
                          const struct fetch_ops *ops, void *arg)
{
    struct fetch *f = mem_new(struct fetch);
    f->client = c;
    f->ops = ops;
    f->arg = arg;
    f->begin_us = clock_mono_us();
    f->upstream = params->upstream ? upstream_ref(params->upstream) : NULL;
    f->repository = params->repository ? mem_strdup(params->repository) : NULL;
    f->accept = copy_or_null(params->accept);
    f->if_none_match = copy_or_null(params->if_none_match);
    f->ca_file = params->ca_file ? mem_strdup(params->ca_file) : NULL;
    f->head = params->head;
    f->forget = params->forget;
    f->private_addresses = params->private_addresses;
    f->direct = params->direct;
    f->range_from = params->range_from;
    set_body(f, params);
    DL_APPEND(c->fetches, f);
    int rc = set_urls(f, params);
    if (!f->who)
        f->who = mem_strdup("layer");
    if (f->upstream) {
        const struct upstream *u = f->upstream;
        f->basic_key = mem_printf("%s\n%s\n%s", u->name, u->url, u->scope);
        f->token_key = mem_printf("%s\n%s", f->basic_key, f->repository ? f->repository : "");
    }
    f->stats = upstream_shared_row(c->shared, f->who);
    stats_add(&f->stats->n.requests, 1);
    if (rc == 0 && c->stopped)
        rc = err_set(&f->start_err, ERR_CANCELLED, "%s: the proxy is shutting down", f->who);
    if (rc == 0)
        rc = send_request(f, &f->start_err);
    if (rc < 0)
        loop_timer_arm(c->loop, &f->start_timer, 0, on_start, f);
    return f;
}

void upstream_client_stop(struct upstream_client *c)
{
    struct err err;
    c->stopped = true;
    while (c->fetches) {
        struct fetch *f = c->fetches;
        (void)err_set(&err, ERR_CANCELLED, "%s: the proxy is shutting down", f->who);
        end(f, &err);
        /* What it was for may have asked again at once: that ends by its start timer. (The analyzer does not
         * see that DL_DELETE takes a fetch off the list before it is freed.) */
        if (c->fetches && c->fetches->start_err.code == ERR_CANCELLED) // NOLINT(clang-analyzer-unix.Malloc)
            break;
    }
}
