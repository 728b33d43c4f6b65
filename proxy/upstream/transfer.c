// SPDX-License-Identifier: Apache-2.0
#include "proxy/upstream/transfer.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/mem.h"
#include "proxy/upstream/address.h"
#include "proxy/upstream/curl_error.h"
#include "proxy/upstream/mux.h"

#define RECEIVE_BUFFER (128L << 10)
/* Bytes of one transfer in one turn of the loop. curl would go on as long as the socket has some, 12 MiB at a
 * time. */
#define TURN_MAX ((size_t)1 << 20)
#define TURN_FIRST                                                                                           \
    ((size_t)64                                                                                              \
     << 10) /* of it, in the first; it grows with what came: who waits sees the first bytes early */
#define CA_CACHE_S       600L
#define CONNECT_SLACK_MS 1000u /* curl's own connect timeout comes first, and says more */

/* ---- limits in time ---- */

/* Outside of curl: timers are the loop's. */
static void fail(struct transfer *t, const struct err *err)
{
    t->failure = *err;
    transfer_finish(t, CURLE_ABORTED_BY_CALLBACK);
}

static void on_no_head(void *arg)
{
    struct transfer *t = arg;
    struct err err;
    const struct upstream_limits *limits = mux_limits(t->mux);
    if (t->sent)
        (void)err_set(&err, ERR_TIMEOUT, "%s: no answer within %u s", t->who, limits->head_timeout_ms / 1000);
    else
        (void)err_set(&err, ERR_TIMEOUT, "%s: no connection to %s within %u s", t->who, t->url.host,
                      (limits->connect_timeout_ms + limits->head_timeout_ms) / 1000);
    fail(t, &err);
}

static void on_stall(void *arg)
{
    struct transfer *t = arg;
    uint64_t limit_ms = mux_limits(t->mux)->stall_timeout_ms;
    uint64_t quiet_ms = t->paused ? 0 : (clock_mono_us() - t->last_byte_us) / 1000;
    if (quiet_ms < limit_ms) {
        loop_timer_arm(mux_loop(t->mux), &t->timer, limit_ms - quiet_ms, on_stall, t);
        return;
    }
    struct err err;
    (void)err_set(&err, ERR_TIMEOUT, "%s: no byte for %u s, after %llu bytes", t->who,
                  (unsigned)(limit_ms / 1000), (unsigned long long)t->body_bytes);
    fail(t, &err);
}

/* ---- inside of curl: note, hand on, return ---- */

static void note_refused(struct transfer *t, const struct sockaddr *sa)
{
    char text[64];
    if (t->refused.code == ERR_NONE)
        (void)err_set(
            &t->refused, ERR_DENIED,
            "%s: address %s of host %s is not public: an upstream that is to be reached there must be "
            "configured with that host, or with `private: true`",
            t->who, address_format(sa, text, sizeof text), t->url.host);
}

static curl_socket_t on_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
    struct transfer *t = arg;
    if (purpose != CURLSOCKTYPE_IPCXN)
        return CURL_SOCKET_BAD;
    if (!t->may_be_private && !t->proxied && !address_is_public(&a->addr)) {
        note_refused(t, &a->addr);
        return CURL_SOCKET_BAD;
    }
    t->dialled = true;
    return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

/* A connection is there, the request goes out now; again when curl repeats it after a stale connection. */
static int on_request(void *arg, char *remote_ip, char *local_ip, int remote_port, int local_port)
{
    (void)remote_ip;
    (void)local_ip;
    (void)remote_port;
    (void)local_port;
    struct transfer *t = arg;
    t->sent = true;
    loop_timer_arm(mux_loop(t->mux), &t->timer, mux_limits(t->mux)->head_timeout_ms, on_no_head, t);
    return CURL_PREREQFUNC_OK;
}

static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
    struct transfer *t = arg;
    size_t len = size * n;
    struct err cause;
    if (!t->ops)
        return 0;
    int rc = answer_line(&t->answer, p, len, &cause);
    if (rc < 0) {
        (void)err_set(&t->failure, cause.code, "%s: %s", t->who, cause.msg);
        return 0;
    }
    if (rc == 0)
        return len;
    t->last_byte_us = clock_mono_us();
    t->verdict = t->ops->on_head(t->arg, &t->answer);
    if (!t->ops || t->verdict == TRANSFER_STOP)
        return 0;
    if (t->verdict == TRANSFER_BODY && !t->whole_limit)
        loop_timer_arm(mux_loop(t->mux), &t->timer, mux_limits(t->mux)->stall_timeout_ms, on_stall, t);
    return len;
}

static size_t turn_max(const struct transfer *t)
{
    uint64_t before = t->body_bytes - t->turn_bytes;
    return before < TURN_FIRST ? TURN_FIRST : before < TURN_MAX ? (size_t)before : TURN_MAX;
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    struct transfer *t = arg;
    size_t len = size * n;
    if (!t->ops)
        return 0;
    if (t->verdict != TRANSFER_BODY) {
        t->body_bytes += len;
        return t->body_bytes > TRANSFER_DRAIN_MAX ? 0 : len;
    }
    t->turn_bytes = t->turn == mux_turn(t->mux) ? t->turn_bytes : 0;
    t->turn = mux_turn(t->mux);
    if (t->paused || t->turn_bytes >= turn_max(t)) {
        t->held = true;
        if (!t->paused)
            mux_wake(t->mux, t);
        return CURL_WRITEFUNC_PAUSE; /* curl keeps these, 16 KiB at most, and hands them out again */
    }
    t->turn_bytes += len;
    t->body_bytes += len;
    t->last_byte_us = clock_mono_us();
    t->ops->on_data(t->arg, p, len);
    return t->ops ? len : 0;
}

/* ---- handles ---- */

#define set(easy, option, value)                                                                             \
    do {                                                                                                     \
        CURLcode set_rc = curl_easy_setopt((easy), (option), (value));                                       \
        assert(set_rc == CURLE_OK);                                                                          \
    } while (0)

void *transfer_easy_new(const struct upstream_limits *limits)
{
    CURL *easy = curl_easy_init();
    assert(easy);
    set(easy, CURLOPT_NOSIGNAL, 1L);
    /* A resolver thread that hangs is left behind when its transfer ends, not waited for: that would stop the
     * loop. */
    set(easy, CURLOPT_QUICK_EXIT, 1L);
    set(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    set(easy, CURLOPT_FOLLOWLOCATION, 0L);
    set(easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    set(easy, CURLOPT_HTTP_CONTENT_DECODING, 0L);
    set(easy, CURLOPT_HEADEROPT, CURLHEADER_SEPARATE); /* Authorization is not for proxies */
    set(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    set(easy, CURLOPT_NETRC, CURL_NETRC_IGNORED);
    set(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    set(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)limits->connect_timeout_ms);
    set(easy, CURLOPT_USERAGENT, limits->user_agent);
    set(easy, CURLOPT_BUFFERSIZE, RECEIVE_BUFFER);
    set(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    set(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    set(easy, CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2);
    /* Without a folder of certificates, curl keeps the parsed bundle instead of reading it for each
     * connection. */
    set(easy, CURLOPT_CAPATH, NULL);
    set(easy, CURLOPT_CA_CACHE_TIMEOUT, CA_CACHE_S);
    set(easy, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
    set(easy, CURLOPT_PREREQFUNCTION, on_request);
    set(easy, CURLOPT_HEADERFUNCTION, on_header);
    set(easy, CURLOPT_WRITEFUNCTION, on_body);
    return easy;
}

static void set_up(struct transfer *t, const struct transfer_params *params, const char *proxy)
{
    CURL *easy = t->easy;
    set(easy, CURLOPT_CURLU, t->url.handle);
    if (t->head) {
        set(easy, CURLOPT_NOBODY, 1L);
    } else {
        set(easy, CURLOPT_NOBODY, 0L);
        set(easy, CURLOPT_HTTPGET, 1L);
    }
    if (params->body) {
        set(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)params->body_len);
        set(easy, CURLOPT_COPYPOSTFIELDS, params->body); /* makes it a POST */
    }
    set(easy, CURLOPT_HTTPHEADER, t->headers);
    set(easy, CURLOPT_PROXY, proxy ? proxy : "");
    set(easy, CURLOPT_NOPROXY, "");
    set(easy, CURLOPT_CAINFO, t->ca_file ? t->ca_file : curl_error_system_ca());
    set(easy, CURLOPT_ERRORBUFFER, t->curl_text);
    set(easy, CURLOPT_PRIVATE, t);
    set(easy, CURLOPT_OPENSOCKETDATA, t);
    set(easy, CURLOPT_PREREQDATA, t);
    set(easy, CURLOPT_HEADERDATA, t);
    set(easy, CURLOPT_WRITEDATA, t);
}

/* Behind a proxy we see no address but one that the URL itself has. */
static int check_behind_proxy(const struct transfer *t, struct err *err)
{
    struct sockaddr_storage sa;
    bool literal = address_parse(slice_of(t->url.host), &sa);
    if (t->may_be_private ||
        (literal ? address_is_public((const struct sockaddr *)&sa) : strcmp(t->url.host, "localhost") != 0))
        return 0;
    return err_set(err, ERR_DENIED, "%s: host %s is not public", t->who, t->url.host);
}

/* Request headers hold credentials: they are wiped before the memory goes back. */
static void free_headers(struct curl_slist *headers)
{
    for (struct curl_slist *h = headers; h; h = h->next)
        OPENSSL_cleanse(h->data, strlen(h->data));
    curl_slist_free_all(headers);
}

void transfer_free(struct transfer *t)
{
    loop_timer_cancel(mux_loop(t->mux), &t->timer);
    if (t->easy) {
        (void)curl_easy_setopt(t->easy, CURLOPT_CURLU, NULL);
        (void)curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, NULL);
        (void)curl_easy_setopt(t->easy, CURLOPT_ERRORBUFFER, NULL);
        (void)curl_easy_setopt(t->easy, CURLOPT_COPYPOSTFIELDS, NULL);
        (void)curl_easy_setopt(t->easy, CURLOPT_HTTPGET, 1L);
        mux_give_easy(t->mux, t->easy);
    }
    free_headers(t->headers);
    url_free(&t->url);
    answer_free(&t->answer);
    free(t);
}

struct transfer *transfer_start(struct mux *mux, struct transfer_params *params,
                                const struct transfer_ops *ops, void *arg, struct err *err)
{
    struct transfer *t = mem_new(struct transfer);
    t->mux = mux;
    t->ops = ops;
    t->arg = arg;
    t->url = *params->url;
    *params->url = (struct url){0};
    t->headers = params->headers;
    params->headers = NULL;
    t->who = params->who;
    t->ca_file = params->ca_file;
    t->head = params->head;
    t->may_be_private = params->may_be_private;
    t->whole_limit = params->whole_limit;
    t->answer.head.content_length = -1;
    const char *proxy = params->direct ? NULL : env_proxy_for(mux_proxies(mux), &t->url);
    t->proxied = proxy != NULL;
    if (proxy && check_behind_proxy(t, err) < 0) {
        transfer_free(t);
        return NULL;
    }
    /* A proxy's own address is not judged, so its connections are no company for those that are. */
    t->lane = t->may_be_private || proxy ? MUX_ANY : MUX_PUBLIC;
    t->easy = mux_take_easy(mux);
    set_up(t, params, proxy);
    const struct upstream_limits *limits = mux_limits(mux);
    loop_timer_arm(mux_loop(mux), &t->timer,
                   limits->connect_timeout_ms + limits->head_timeout_ms + CONNECT_SLACK_MS, on_no_head, t);
    mux_add(mux, t);
    return t;
}

void transfer_cancel(struct transfer *t)
{
    loop_timer_cancel(mux_loop(t->mux), &t->timer);
    mux_bury(t->mux, t);
}

void transfer_drop_body(struct transfer *t)
{
    t->verdict = TRANSFER_DRAIN;
}

void transfer_pause(struct transfer *t)
{
    t->paused = true;
}

void transfer_resume(struct transfer *t)
{
    if (!t->paused)
        return;
    t->paused = false;
    t->last_byte_us = clock_mono_us();
    mux_wake(t->mux, t);
}

/* Why it ended, in the words of who reads it. False: it ended well. */
static bool outcome(const struct transfer *t, CURLcode code, struct err *ret)
{
    bool unwanted = t->answer.complete && t->verdict != TRANSFER_BODY;
    if (t->failure.code != ERR_NONE && !unwanted) {
        *ret = t->failure;
        return true;
    }
    if (unwanted || code == CURLE_OK)
        return false;
    if (t->refused.code != ERR_NONE && !t->dialled) {
        *ret = t->refused;
        return true;
    }
    const struct curl_failure failure = {
        .who = t->who,
        .host = t->url.host,
        .port = t->url.port,
        .ca_file = t->ca_file,
        .connect_timeout_ms = mux_limits(t->mux)->connect_timeout_ms,
        .proxied = t->proxied,
        .has_head = t->answer.complete,
        .body_bytes = t->body_bytes,
        .content_length = t->answer.head.content_length,
        .text = t->curl_text,
        .easy = t->easy,
    };
    curl_error_set(ret, code, &failure);
    return true;
}

void transfer_finish(struct transfer *t, int code)
{
    struct err err = {0};
    if (code == CURLE_OK && !t->answer.complete)
        code = CURLE_GOT_NOTHING;
    bool failed = outcome(t, (CURLcode)code, &err);
    loop_timer_cancel(mux_loop(t->mux), &t->timer);
    mux_remove(t->mux, t);
    t->ops->on_done(t->arg, failed ? &err : NULL);
    transfer_free(t);
}
