// SPDX-License-Identifier: Apache-2.0
#include "proxy/upstream/answer.h"

#include <curl/curl.h>
#include <time.h>

#include "common/mem.h"

#define RETRY_AFTER_MAX_S 86400u
#define LOCATION_MAX      ((size_t)8 << 10)

void answer_free(struct answer *a)
{
    free(a->location);
    a->location = NULL;
}

/* A challenge is 5 kB, and most answers have none: members are reset, not the whole. */
void answer_reset(struct answer *a)
{
    size_t bytes = a->bytes;
    bool had_challenge = a->challenge.bearer || a->challenge.basic;
    answer_free(a);
    a->head.status = 0;
    a->head.content_length = -1;
    a->head.content_type[0] = a->head.content_encoding[0] = a->head.etag[0] = a->head.link[0] = '\0';
    a->head.withheld_from[0] = '\0';
    a->head.digest.s[0] = '\0';
    a->head.digest_malformed = a->head.has_range = a->head.refused_by_realm = a->head.has_credentials = false;
    a->head.range_first = a->head.range_last = a->head.range_total = 0;
    a->head.retry_after_s = 0;
    if (had_challenge)
        memset(&a->challenge, 0, sizeof a->challenge);
    a->challenge_malformed = a->chunked = a->complete = false;
    a->bytes = bytes;
}

static void copy_value(char *out, size_t cap, struct slice v)
{
    size_t n =
        v.len < cap ? v.len : 0; /* what does not fit is as good as not said: a cut ETag is another ETag */
    if (n)
        memcpy(out, v.p, n);
    out[n] = '\0';
}

static void copy_lower(char *out, size_t cap, struct slice v)
{
    copy_value(out, cap, v);
    for (char *p = out; *p; ++p)
        *p = (char)(*p >= 'A' && *p <= 'Z' ? *p + ('a' - 'A') : *p);
}

static int read_length(struct answer *a, struct slice v, struct err *err)
{
    uint64_t n = 0;
    if (!slice_to_u64(v, INT64_MAX, &n))
        return err_set(err, ERR_UPSTREAM, "malformed Content-Length");
    if (a->head.content_length >= 0 && a->head.content_length != (int64_t)n)
        return err_set(err, ERR_UPSTREAM, "two Content-Lengths that differ");
    a->head.content_length = (int64_t)n;
    return 0;
}

static void read_digest(struct answer *a, struct slice v)
{
    a->head.digest_malformed = digest_parse(v, &a->head.digest, NULL) < 0;
    if (a->head.digest_malformed)
        a->head.digest.s[0] = '\0';
}

/* RFC 9110 section 14.4: "bytes first-last/total", total may be '*'. */
static void read_range(struct answer *a, struct slice v)
{
    struct fetch_head *h = &a->head;
    if (v.len < 6 || !slice_ieq_str((struct slice){v.p, 6}, "bytes "))
        return;
    struct slice total = slice_trim((struct slice){v.p + 6, v.len - 6});
    struct slice last = slice_cut(&total, '/'), first = slice_cut(&last, '-');
    uint64_t from = 0, to = 0, all = UINT64_MAX;
    if (!slice_to_u64(first, INT64_MAX, &from) || !slice_to_u64(last, INT64_MAX, &to) || to < from)
        return;
    if (!slice_eq_str(total, "*") && (!slice_to_u64(total, INT64_MAX, &all) || to >= all))
        return;
    h->has_range = true;
    h->range_first = from;
    h->range_last = to;
    h->range_total = all;
}

static bool all_digits(struct slice v)
{
    for (size_t i = 0; i < v.len; ++i) {
        if (v.p[i] < '0' || v.p[i] > '9')
            return false;
    }
    return v.len > 0;
}

/* Seconds, or a date (RFC 9110 section 10.2.3); one in the past is 1 s. */
static void read_retry_after(struct answer *a, struct slice v)
{
    uint64_t s = 0;
    char date[64];
    if (all_digits(v)) {
        if (!slice_to_u64(v, UINT64_MAX, &s))
            s = RETRY_AFTER_MAX_S;
    } else if (v.len && v.len < sizeof date) {
        memcpy(date, v.p, v.len);
        date[v.len] = '\0';
        time_t at = curl_getdate(date, NULL), now = time(NULL);
        if (at == (time_t)-1)
            return;
        s = at > now ? (uint64_t)(at - now) : 1;
    }
    a->head.retry_after_s = (uint32_t)(s > RETRY_AFTER_MAX_S ? RETRY_AFTER_MAX_S : s);
}

static void read_challenge(struct answer *a, struct slice v)
{
    if (!a->challenge_malformed)
        a->challenge_malformed = challenge_parse(v, &a->challenge, &a->challenge_err) < 0;
}

static int read_header(struct answer *a, struct slice name, struct slice v, struct err *err)
{
    struct fetch_head *h = &a->head;
    if (slice_ieq_str(name, "Content-Length"))
        return read_length(a, v, err);
    if (slice_ieq_str(name, "Content-Type")) {
        copy_lower(h->content_type, sizeof h->content_type, slice_trim(slice_cut(&v, ';')));
    } else if (slice_ieq_str(name, "Docker-Content-Digest")) {
        read_digest(a, v);
    } else if (slice_ieq_str(name, "ETag")) {
        copy_value(h->etag, sizeof h->etag, v);
    } else if (slice_ieq_str(name, "Content-Range")) {
        read_range(a, v);
    } else if (slice_ieq_str(name, "Content-Encoding")) {
        copy_lower(h->content_encoding, sizeof h->content_encoding, v);
        if (strcmp(h->content_encoding, "identity") == 0)
            h->content_encoding[0] = '\0';
        else if (v.len && !h->content_encoding[0])
            copy_value(h->content_encoding, sizeof h->content_encoding, SLICE_LIT("unknown"));
    } else if (slice_ieq_str(name, "Link")) {
        copy_value(h->link, sizeof h->link, v);
    } else if (slice_ieq_str(name, "Retry-After")) {
        read_retry_after(a, v);
    } else if (slice_ieq_str(name, "WWW-Authenticate")) {
        read_challenge(a, v);
    } else if (slice_ieq_str(name, "Transfer-Encoding")) {
        a->chunked = true;
    } else if (slice_ieq_str(name, "Location")) {
        if (a->location || v.len > LOCATION_MAX)
            return err_set(err, ERR_UPSTREAM, a->location ? "two Locations" : "Location is too long");
        a->location = mem_strndup(v.p, v.len);
        if (strlen(a->location) != v.len)
            return err_set(err, ERR_UPSTREAM, "malformed Location");
    }
    return 0;
}

/* "HTTP/1.1 200 OK"; curl refuses what is no HTTP at all. */
static int read_status(struct answer *a, struct slice line, struct err *err)
{
    struct slice rest = line;
    uint64_t status = 0;
    (void)slice_cut(&rest, ' ');
    struct slice code = slice_cut(&rest, ' ');
    if (code.len != 3 || !slice_to_u64(code, 999, &status) || status < 100)
        return err_set(err, ERR_UPSTREAM, "malformed status line");
    answer_reset(a);
    a->head.status = (int)status;
    return 0;
}

static int end_of_head(struct answer *a, struct err *err)
{
    if (a->head.status == 101)
        return err_set(err, ERR_UPSTREAM, "answered 101, which nobody asked for");
    if (a->head.status < 200)
        return 0;
    /* RFC 9112 section 6.3: with Transfer-Encoding the length is not what Content-Length says. */
    if (a->chunked)
        a->head.content_length = -1;
    a->complete = true;
    return 1;
}

int answer_line(struct answer *a, const char *p, size_t len, struct err *err)
{
    a->bytes += len;
    if (a->bytes > ANSWER_HEAD_MAX)
        return err_set(err, ERR_UPSTREAM, "head of the answer is over the limit of %zu bytes",
                       ANSWER_HEAD_MAX);
    if (a->complete)
        return 0; /* a trailer */
    struct slice line = {p, len};
    while (line.len && (line.p[line.len - 1] == '\n' || line.p[line.len - 1] == '\r'))
        --line.len;
    if (line.len == 0)
        return a->head.status ? end_of_head(a, err)
                              : err_set(err, ERR_UPSTREAM, "answer without a status line");
    if (slice_starts_with(line, "HTTP/"))
        return read_status(a, line, err);
    if (a->head.status == 0)
        return err_set(err, ERR_UPSTREAM, "answer without a status line");
    if (line.p[0] == ' ' || line.p[0] == '\t')
        return err_set(err, ERR_UPSTREAM, "folded header line");
    struct slice value = line, name = slice_cut(&value, ':');
    if (!value.p)
        return err_set(err, ERR_UPSTREAM, "header line without a colon");
    value = slice_trim(value);
    for (size_t i = 0; i < value.len; ++i) {
        unsigned char c = (unsigned char)value.p[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return err_set(err, ERR_UPSTREAM, "control character in a header");
    }
    return read_header(a, name, value, err);
}
