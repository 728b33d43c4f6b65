// SPDX-License-Identifier: Apache-2.0
#include "s3/s3_call.h"

#include <assert.h>
#include <stdio.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"

/* When a request that fails and fails is worth a line: a single 503 or broken connection is everyday life. */
#define TROUBLE_TRIES    3
#define TROUBLE_EVERY_MS 10000
/* S3 takes signatures of up to 15 minutes from its own time. */
#define CLOCK_WRONG_MS ((int64_t)10 * 60 * 1000)

void s3_request_query(struct s3_request *q, const char *name, const char *value)
{
    assert(q->query_len < S3_QUERY_MAX);
    q->query[q->query_len++] = (struct sigv4_pair){name, value};
}

static bool sendable(const char *value)
{
    for (; *value; ++value) {
        if ((unsigned char)*value < ' ' || (unsigned char)*value >= 0x7f)
            return false;
    }
    return true;
}

void s3_request_header(struct s3_request *q, const char *name, const char *value)
{
    if (q->headers_len == S3_HEADERS_MAX)
        q->bad = "more metadata than fits into its headers";
    else if (!sendable(name) || !sendable(value))
        q->bad = "control characters or non-ASCII characters in metadata or a header";
    else
        q->headers[q->headers_len++] = (struct sigv4_pair){name, value};
}

void s3_request_header_take(struct s3_request *q, char *name, char *value)
{
    if (q->own_len + 2 > sizeof q->own / sizeof q->own[0]) {
        q->bad = "more metadata than fits into its headers";
        free(name);
        free(value);
        return;
    }
    q->own[q->own_len++] = name;
    q->own[q->own_len++] = value;
    s3_request_header(q, name, value);
}

void s3_request_free(struct s3_request *q)
{
    for (size_t i = 0; i < q->own_len; ++i)
        free(q->own[i]);
    q->own_len = 0;
}

void s3_reply_free(struct s3_reply *r)
{
    http_answer_free(&r->http);
}

/* One call's state over its tries. */
struct attempt {
    struct s3 *s3;
    struct s3_request *q;
    struct s3_reply *reply;
    struct s3_place place;
    struct credentials *credentials;
    char payload[SIGV4_HASH_MAX + 1]; /* "" until it is known */
    bool fresh;                       /* the next try is on a new connection */
    bool clock_set, credentials_asked, region_asked;
    unsigned regions;
};

static void attempt_free(struct attempt *a)
{
    s3_place_free(&a->place);
    credentials_put(a->credentials);
}

/* Signed over TLS by its length alone, which TLS protects; over plain HTTP by its hash. */
static void make_payload(struct attempt *a)
{
    if (a->payload[0])
        return;
    if (a->place.server.https)
        (void)snprintf(a->payload, sizeof a->payload, SIGV4_UNSIGNED);
    else
        sigv4_hash(a->q->body, a->q->body_len, a->payload);
}

static int build_headers(struct attempt *a, struct buf *b, struct err *err)
{
    const struct s3_request *q = a->q;
    if (q->bad)
        return err_set(err, ERR_INVALID, "%s", q->bad);
    for (size_t i = 0; i < q->headers_len; ++i)
        (void)buf_printf(b, "%s: %s\r\n", q->headers[i].name, q->headers[i].value);
    if (a->credentials) {
        char host[URL_AUTHORITY_MAX + 1];
        s3_url_authority(&a->place.server, host);
        make_payload(a);
        struct sigv4_request request = {.method = q->method,
                                        .host = host,
                                        .path = a->place.path,
                                        .query = q->query,
                                        .query_len = q->query_len,
                                        .headers = q->headers,
                                        .headers_len = q->headers_len,
                                        .payload = a->payload,
                                        .payload_header = true};
        struct sigv4_key key = {.access_key_id = a->credentials->access_key_id,
                                .secret_access_key = a->credentials->secret_access_key,
                                .session_token = a->credentials->session_token,
                                .region = a->place.region,
                                .service = "s3"};
        int64_t now = clock_wall_ms() + atomic_load(&a->s3->clock_ahead_ms);
        if (sigv4_add_headers(b, &request, &key, now, err) < 0)
            return -1;
    }
    (void)buf_printf(b, "user-agent: %s/" RAC_VERSION "\r\naccept-encoding: identity\r\n",
                     a->s3->config.agent);
    return b->overflow ? err_set(err, ERR_INVALID, "the request's headers are too long") : 0;
}

static int send_once(struct attempt *a, struct err *err)
{
    const struct s3_request *q = a->q;
    if (cancel_fired(q->cancel))
        return err_set(err, ERR_CANCELLED, "cancelled");
    cleanup_buf struct buf headers = {.max = 32 << 10}, target = {.max = 16 << 10};
    credentials_put(a->credentials);
    a->credentials = NULL;
    s3_place_free(&a->place);
    if (s3_place_find(a->s3->places, q->bucket, q->key, &a->place, err) < 0)
        return -1;
    if (a->s3->credentials) {
        a->credentials = credentials_get_ref(a->s3->credentials, q->cancel, err);
        if (!a->credentials)
            return -1;
    }
    if (build_headers(a, &headers, err) < 0)
        return -1;
    (void)buf_add_str(&target, a->place.path);
    if (q->query_len) {
        (void)buf_add_str(&target, "?");
        sigv4_add_query(&target, q->query, q->query_len);
    }
    if (target.overflow)
        return err_set(err, ERR_INVALID, "the request's target is too long");
    struct http_request h = {.method = q->method,
                             .server = &a->place.server,
                             .target = buf_str(&target),
                             .headers = {headers.p, headers.len},
                             .body = q->body,
                             .body_len = q->body_len,
                             .expects_body = q->expects_body,
                             .into = q->into,
                             .into_cap = q->into_cap,
                             .answer_timeout_ms = q->answer_timeout_ms,
                             .fresh = a->fresh,
                             .cancel = q->unbroken ? NULL : q->cancel};
    a->fresh = false;
    s3_reply_free(a->reply);
    return http_call(a->s3->http, &h, &a->reply->http, err);
}

/* HEAD is refused without a word why: the bucket's region is told with any other request. */
static bool ask_region(struct attempt *a)
{
    if (a->region_asked || strcmp(a->q->method, "HEAD") != 0 || !a->q->bucket ||
        a->reply->problem.status != 400)
        return false;
    a->region_asked = true;
    struct s3_request q = {.method = "GET", .bucket = a->q->bucket, .cancel = a->q->cancel};
    s3_request_query(&q, "list-type", "2");
    s3_request_query(&q, "max-keys", "0");
    struct s3_reply reply = {0};
    struct attempt list = {.s3 = a->s3, .q = &q, .reply = &reply, .region_asked = true};
    struct s3_problem p = {0};
    if (send_once(&list, NULL) == 0 && reply.http.head.status >= 300)
        s3_problem_read(&p, &reply.http.head, s3_reply_text(&reply));
    bool learned = s3_place_learn(a->s3->places, a->q->bucket, p.region, list.place.region);
    s3_reply_free(&reply);
    attempt_free(&list);
    return learned;
}

/* least_ms: by which the clock here has to be wrong. */
static bool set_clock(struct attempt *a, int64_t least_ms)
{
    int64_t theirs, ours = clock_wall_ms() + atomic_load(&a->s3->clock_ahead_ms);
    if (a->clock_set || !http_date_parse(http_head_get(&a->reply->http.head, "date"), &theirs) ||
        (theirs < ours ? ours - theirs : theirs - ours) < least_ms)
        return false;
    a->clock_set = true;
    atomic_store(&a->s3->clock_ahead_ms, theirs - clock_wall_ms());
    return true;
}

static bool renew_credentials(struct attempt *a)
{
    if (a->credentials_asked || !a->credentials)
        return false;
    a->credentials_asked = true;
    return credentials_refused(a->s3->credentials, a->credentials);
}

/* Something other than time helps: then the next try is at once. */
static bool remedied(struct attempt *a)
{
    const struct s3_problem *p = &a->reply->problem;
    /* HEAD: an expired token, or a wrong clock, is a 400 or 403 without a code. */
    bool mute = !p->code[0] && (p->status == 400 || p->status == 403) && a->credentials;
    bool token = mute && a->credentials->session_token;
    switch (p->remedy) {
    case S3_REMEDY_REGION:
        return ++a->regions <= 2 && s3_place_learn(a->s3->places, a->q->bucket, p->region, a->place.region);
    case S3_REMEDY_CREDENTIALS:
        return renew_credentials(a);
    case S3_REMEDY_CLOCK:
        return set_clock(a, 0);
    case S3_REMEDY_NONE:
        return ask_region(a) || (mute && set_clock(a, CLOCK_WRONG_MS)) || (token && renew_credentials(a));
    case S3_REMEDY_RETRY:
        break;
    }
    return false;
}

/* A server in trouble may have done what it says it could not. And a gateway's 502 and 504 mean that the
 * answer of the server behind it was lost. */
static void note_doubt(struct s3_reply *reply, int status)
{
    reply->maybe_done = reply->maybe_done || status < 300 || status >= 500;
    reply->lost += status == 502 || status == 504;
}

enum verdict { DONE, AGAIN, AGAIN_LATER, FAILED };

static enum verdict judge_answer(struct attempt *a, struct err *err)
{
    const struct http_head *head = &a->reply->http.head;
    bool success = head->status >= 200 && head->status < 300;
    if (success && !(a->q->error_in_200 && s3_body_is_error(s3_reply_text(a->reply))))
        return DONE;
    s3_problem_read(&a->reply->problem, head, s3_reply_text(a->reply));
    (void)s3_problem_err(&a->reply->problem, err);
    note_doubt(a->reply, head->status);
    if (success && a->reply->problem.remedy == S3_REMEDY_NONE && a->reply->problem.err == ERR_UPSTREAM)
        a->reply->problem.remedy = S3_REMEDY_RETRY;
    if (remedied(a))
        return AGAIN;
    return a->reply->problem.remedy == S3_REMEDY_RETRY ? AGAIN_LATER : FAILED;
}

static enum verdict judge_failure(struct attempt *a, struct err *err)
{
    struct http_answer *h = &a->reply->http;
    if (h->sent) {
        a->reply->maybe_done = true;
        ++a->reply->lost;
    }
    if (err->code != ERR_IO && err->code != ERR_TIMEOUT)
        return FAILED;
    if (a->q->may_break && h->head.status >= 200 && h->head.status < 300) {
        a->reply->broken = true;
        return DONE;
    }
    /* A connection that was kept alive and that the server had closed meanwhile: no sign of trouble. */
    if (err->code == ERR_IO && h->reused && !h->head.status) {
        a->fresh = true;
        return AGAIN;
    }
    return AGAIN_LATER;
}

static bool ordinary(enum err_code code)
{
    return code == ERR_NOT_FOUND || code == ERR_CANCELLED || code == ERR_EXISTS || code == ERR_STALE ||
           code == ERR_RANGE_INVALID;
}

static int give_up(const struct attempt *a, struct err *err)
{
    const struct s3_request *q = a->q;
    const struct s3_problem *p = &a->reply->problem;
    enum log_level level = ordinary(err->code) ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR;
    char status[16];
    (void)snprintf(status, sizeof status, "%d", p->status);
    log_at(level, "S3 request failed", F_S("method", q->method), F_S("bucket", q->bucket), F_S("key", q->key),
           F_S("status", p->status ? status : NULL), F_S("code", p->code[0] ? p->code : NULL),
           F_S("request_id", p->request_id[0] ? p->request_id : NULL), F_ERR(err));
    return err_wrap(err, "%s s3://%s/%.200s", q->method, q->bucket ? q->bucket : "", q->key ? q->key : "");
}

/* Why nothing happens: after some tries, for all requests together once in a while. */
static void tell_trouble(const struct attempt *a, const struct retry *retry, const struct err *err)
{
    const struct s3_request *q = a->q;
    uint64_t now = clock_mono_ms(), told = atomic_load(&a->s3->trouble_told_ms);
    if (retry->used < TROUBLE_TRIES || (told && now - told < TROUBLE_EVERY_MS) ||
        !atomic_compare_exchange_strong(&a->s3->trouble_told_ms, &told, now))
        return;
    log_warn("S3 request is tried again", F_S("method", q->method), F_S("bucket", q->bucket),
             F_S("key", q->key), F_U("tries", retry->used), F_ERR(err));
}

int s3_read_failed(const char *bucket, const char *key, struct err *err)
{
    if (!err)
        return -1;
    if (!ordinary(err->code))
        log_error("S3 answer not usable", F_S("bucket", bucket), F_S("key", key), F_ERR(err));
    return err_wrap(err, "GET s3://%s/%.200s", bucket, key);
}

void s3_request_payer(struct s3 *s3, struct s3_request *q)
{
    if (s3->config.requester_pays)
        s3_request_header(q, "x-amz-request-payer", "requester");
}

int s3_call(struct s3 *s3, struct s3_request *q, struct retry *retry, struct s3_reply *ret, struct err *err)
{
    *ret = (struct s3_reply){0};
    struct attempt a = {.s3 = s3, .q = q, .reply = ret};
    struct err mine = {0};
    enum verdict verdict;
    for (unsigned instantly = 0;; ++instantly) {
        bool lost = ret->maybe_done;
        ret->problem = (struct s3_problem){0};
        int rc = send_once(&a, &mine);
        verdict = rc < 0 ? judge_failure(&a, &mine) : judge_answer(&a, &mine);
        ret->maybe_done |= lost;
        if (verdict == DONE || verdict == FAILED)
            break;
        /* Every remedy works once or twice; a server that closes each connection it kept is not worth more.
         */
        if (verdict == AGAIN && instantly < 8)
            continue;
        uint32_t pause_s = http_retry_after(http_head_get(&ret->http.head, "retry-after"), clock_wall_ms());
        struct err why = mine;
        tell_trouble(&a, retry, &why);
        if (!retry_again(retry, false, pause_s, q->cancel, &mine)) {
            if (mine.code == ERR_CANCELLED)
                (void)err_set(&mine, ERR_CANCELLED, "cancelled after %u tries: %.500s", retry->used, why.msg);
            verdict = FAILED;
            break;
        }
    }
    attempt_free(&a);
    if (verdict == DONE)
        return 0;
    (void)give_up(&a, &mine);
    if (err)
        *err = mine;
    return -1;
}
