// SPDX-License-Identifier: Apache-2.0
/* What loops ask: URLs for fills and for clients, and small blobs. Nothing here blocks. */
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "proxy/cache/s3_impl.h"

#define READ_MS 3000

/* ---- what is known to be there ---- */

static struct s3_known *known_of(struct s3_blobs *s, const struct digest *digest, struct lru_shard **ret)
{
    const char *hex = digest_hex(digest);
    *ret = lru_lock(s->known, hex, strlen(hex));
    return lru_find(*ret);
}

static void know(struct s3_blobs *s, const struct digest *digest, bool wrong)
{
    struct lru_shard *shard;
    struct s3_known *k = known_of(s, digest, &shard);
    if (!k) {
        k = mem_new(struct s3_known);
        (void)snprintf(k->hex, sizeof k->hex, "%s", digest_hex(digest));
        lru_add(shard, k, k->hex, sizeof *k);
    }
    k->seen_ms = clock_mono_ms();
    k->wrong = wrong;
    lru_unlock(shard);
}

void s3_known_add(struct s3_blobs *s, const struct digest *digest)
{
    know(s, digest, false);
}

void s3_known_wrong(struct s3_blobs *s, const struct digest *digest)
{
    know(s, digest, true);
}

bool s3_known_is_wrong(struct s3_blobs *s, const struct digest *digest)
{
    struct lru_shard *shard;
    const struct s3_known *k = known_of(s, digest, &shard);
    bool wrong = k && k->wrong;
    lru_unlock(shard);
    return wrong;
}

void s3_known_drop(struct s3_blobs *s, const struct digest *digest)
{
    struct lru_shard *shard;
    struct s3_known *k = known_of(s, digest, &shard);
    if (k)
        lru_drop(shard, k);
    lru_unlock(shard);
}

bool s3_known_lately(struct s3_blobs *s, const struct digest *digest)
{
    struct lru_shard *shard;
    const struct s3_known *k = known_of(s, digest, &shard);
    bool lately = k && !k->wrong && clock_mono_ms() - k->seen_ms < S3_KNOWN_MS;
    lru_unlock(shard);
    return lately;
}

/* ---- wishes, which end up in a file ---- */

struct wish {
    struct s3_blobs *s;
    struct digest digest;
    bool send, wrong;
};

static void run_wish(void *arg)
{
    struct wish *w = arg;
    s3_queue_wish(w->s, &w->digest, w->send, w->wrong);
    free(w);
}

static void wish(struct s3_blobs *s, const struct digest *digest, bool send, bool wrong)
{
    struct wish *w = mem_new(struct wish);
    *w = (struct wish){s, *digest, send, wrong};
    jobs_submit_behind(s->jobs, NULL, run_wish, NULL, w);
}

void s3_blobs_keep(struct s3_blobs *s, const struct digest *digest)
{
    if (s && !s3_known_lately(s, digest))
        wish(s, digest, true, false);
}

char *s3_blobs_redirect(struct s3_blobs *s, const struct digest *digest)
{
    if (!s3_blobs_may_ask(s))
        return NULL;
    if (!s3_known_lately(s, digest)) {
        wish(s, digest, true, false);
        return NULL;
    }
    char *url = s3_blobs_sign(s, digest, S3_REDIRECT_S);
    if (url)
        metric_inc(s->redirects);
    return url;
}

/* ---- for fills ---- */

struct found {
    struct s3_blobs *s;
    struct digest digest;
    fill_source_fn *fn;
    void *arg;
};

static struct fetch_params params_of(const struct s3_blobs *s, const char *url)
{
    return (struct fetch_params){.url = url,
                                 .plain_http = true,
                                 .private_addresses = true,
                                 .direct = true,
                                 .who = "s3",
                                 .ca_file = s->ca_file,
                                 .accept = "*/*"};
}

/* NULL: not to be asked. */
static char *lookup_url(struct s3_blobs *s, const struct digest *digest)
{
    if (!s3_blobs_may_ask(s) || s3_known_is_wrong(s, digest))
        return NULL;
    return s3_blobs_sign(s, digest, S3_LOOKUP_S);
}

static void answer_find(void *arg)
{
    struct found *f = arg;
    cleanup_free char *url = lookup_url(f->s, &f->digest);
    struct fetch_params params = params_of(f->s, url);
    if (!url)
        metric_inc(f->s->skipped);
    f->fn(f->arg, url ? &params : NULL);
    free(f);
}

static void source_find(struct fill_source *source, struct loop *loop, const struct digest *digest,
                        uint64_t from, fill_source_fn *fn, void *arg)
{
    (void)from;
    struct found *f = mem_new(struct found);
    *f = (struct found){(struct s3_blobs *)source, *digest, fn, arg};
    loop_post(loop, answer_find, f);
}

/* What came of asking for that object. */
static void note(struct s3_blobs *s, const struct digest *digest, enum fill_source_end end)
{
    switch (end) {
    case SOURCE_GAVE:
        metric_inc(s->hit);
        s3_blobs_worked(s);
        if (!s3_known_lately(s, digest))
            wish(s, digest, false, false); /* it is in use: not to grow old */
        s3_known_add(s, digest);
        break;
    case SOURCE_MISSING:
        metric_inc(s->missing);
        s3_known_drop(s, digest);
        s3_blobs_worked(s);
        break;
    case SOURCE_BROKE:
        metric_inc(s->failed);
        s3_blobs_failed(s);
        break;
    case SOURCE_LIED:
        metric_inc(s->wrong);
        s3_known_wrong(s, digest);
        wish(s, digest, false, true);
        log_warn("S3 has other bytes under that digest", F_S("digest", digest->s));
        break;
    }
}

static void source_ended(struct fill_source *source, struct loop *loop, const struct digest *digest,
                         enum fill_source_end end)
{
    (void)loop;
    note((struct s3_blobs *)source, digest, end);
}

static void source_stored(struct fill_source *source, struct loop *loop, const struct digest *digest,
                          uint64_t size)
{
    (void)loop;
    (void)size;
    s3_blobs_keep((struct s3_blobs *)source, digest);
}

const struct fill_source_ops s3_source_ops = {source_find, source_ended, source_stored};

/* ---- small blobs ---- */

struct reading {
    struct s3_blobs *s;
    struct loop *loop;
    struct digest digest;
    struct fetch *fetch; /* NULL: it is over */
    struct loop_timer late;
    struct buf body;
    int status;
    s3_blobs_read_fn *fn;
    void *arg;
};

static void end_reading(struct reading *r, char *bytes, size_t len)
{
    loop_timer_cancel(r->loop, &r->late);
    r->fn(r->arg, bytes, len);
    buf_free(&r->body);
    free(r);
}

static void on_skipped(void *arg)
{
    end_reading(arg, NULL, 0);
}

static void on_late(void *arg)
{
    struct reading *r = arg;
    fetch_cancel(steal_ptr(&r->fetch));
    note(r->s, &r->digest, SOURCE_BROKE);
    end_reading(r, NULL, 0);
}

static bool on_head(void *arg, const struct fetch_head *head)
{
    struct reading *r = arg;
    r->status = head->status;
    return true;
}

static bool on_data(void *arg, const void *p, size_t len)
{
    struct reading *r = arg;
    if (r->status != 200 || buf_add(&r->body, p, len))
        return true;
    r->fetch = NULL; /* too long: a large one would take longer than we wait, which is no fault of S3 */
    note(r->s, &r->digest, SOURCE_GAVE);
    end_reading(r, NULL, 0);
    return false;
}

static void on_done(void *arg, const struct err *err)
{
    struct reading *r = arg;
    r->fetch = NULL;
    if (err || (r->status != 200 && r->status != 404)) {
        if (!err || err->code != ERR_CANCELLED)
            note(r->s, &r->digest, SOURCE_BROKE);
        end_reading(r, NULL, 0);
        return;
    }
    if (r->status == 404) {
        note(r->s, &r->digest, SOURCE_MISSING);
        end_reading(r, NULL, 0);
        return;
    }
    cleanup_hasher struct hasher *hash = hasher_new(digest_algorithm(&r->digest));
    hasher_update(hash, buf_str(&r->body), r->body.len);
    struct digest found = hasher_digest(hash);
    bool right = digest_eq(&found, &r->digest);
    size_t len = r->body.len;
    note(r->s, &r->digest, right ? SOURCE_GAVE : SOURCE_LIED);
    end_reading(r, right ? buf_take(&r->body) : NULL, right ? len : 0);
}

static const struct fetch_ops read_ops = {.on_head = on_head, .on_data = on_data, .on_done = on_done};

void s3_blobs_read(struct s3_blobs *s, struct loop *loop, const struct digest *digest, size_t max,
                   s3_blobs_read_fn *fn, void *arg)
{
    struct reading *r = mem_new(struct reading);
    cleanup_free char *url = lookup_url(s, digest);
    *r = (struct reading){.s = s, .loop = loop, .digest = *digest, .fn = fn, .arg = arg};
    r->body.max = max;
    if (!url) {
        metric_inc(s->skipped);
        loop_post(loop, on_skipped, r);
        return;
    }
    struct fetch_params params = params_of(s, url);
    r->fetch = fetch_start(s->client(loop), &params, &read_ops, r);
    loop_timer_arm(loop, &r->late, READ_MS, on_late, r);
}
