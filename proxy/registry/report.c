// SPDX-License-Identifier: Apache-2.0
#include "proxy/registry/report.h"

#include <stdlib.h>
#include <utlist.h>

#include "common/json.h"
#include "common/mem.h"
#include "layers/injection.h"
#include "layers/manifest.h"
#include "proxy/access/access.h"
#include "proxy/http/response.h"
#include "proxy/records/records.h"

#define KEPT_MAX   64 /* manifests a name and worker */
#define TRIES      9  /* to read a config that the client has not asked for yet: 25 s */
#define RETRY_MS   50u
#define UNIQUE_MAX 512 /* parts that are looked through for those that are listed twice */

struct reported {
    struct reported *prev, *next; /* most recently used first */
    struct registry *g;
    struct loop *loop;
    struct target *t; /* whose list it is on */
    struct served *served;
    bool asking; /* for its platform: now, or again soon */
    unsigned tries;
    struct loop_timer again;
    bool has_config;
    struct digest config;
};

static void reported_drop(struct reported *d)
{
    loop_timer_cancel(d->loop, &d->again);
    served_unref(d->served);
    free(d);
}

void reported_free(struct reported *list)
{
    struct reported *d, *next;
    DL_FOREACH_SAFE (list, d, next) {
        DL_DELETE(list, d);
        reported_drop(d);
    }
}

/* ---- where it came from ---- */

struct source_ask {
    struct served *served;
    struct target *t; /* keeps its list */
};

static struct reported *find(struct target *t, const struct digest *digest)
{
    struct reported *d;
    DL_FOREACH (t->reported, d)
        if (digest_eq(&d->served->digest, digest))
            return d;
    return NULL;
}

/* Off its list: what is served next is looked at anew. */
static void forget(struct reported *d)
{
    DL_DELETE(d->t->reported, d);
    --d->t->reported_count;
    reported_drop(d);
}

static void on_source(void *arg, const struct state_variant *v, const struct err *err)
{
    struct source_ask *a = arg;
    struct served *s = a->served;
    struct reported *d = err ? find(a->t, &s->digest) : NULL;
    if (v)
        served_set_source(s, &v->source, &v->injection);
    else if (!err)
        served_set_source(s, &s->digest, NULL);
    else
        served_set_source(s, NULL, NULL);
    if (d && d->served == s)
        forget(d); /* that it cannot be told now must not be told for good */
    served_unref(s);
    target_unref(a->t);
    free(a);
}

/* ---- what it runs on ---- */

struct platform_ask {
    struct served *served;
    struct target *t; /* keeps `d` valid as long as it is in t's list */
    struct digest digest;
};

static const char *text_of(const json_t *config, const char *name)
{
    const char *text = json_string_value(json_object_get(config, name));
    return text ? text : "";
}

static void set_platform(struct served *s, const struct document *config)
{
    char text[SERVED_PLATFORM_MAX];
    cleanup_json json_t *j = json_parse(config->bytes, config->len, JSON_DOCUMENT_MAX, NULL);
    const char *os = text_of(j, "os"), *arch = text_of(j, "architecture"), *variant = text_of(j, "variant");
    if (s->has_platform || !os[0] || !arch[0] ||
        strlen(os) + strlen(arch) + strlen(variant) + 3 > sizeof text)
        return;
    (void)snprintf(text, sizeof text, "%s/%s%s%s", os, arch, variant[0] ? "/" : "", variant);
    served_set_platform(s, text);
}

static void ask_platform(struct reported *d);

static void on_again(void *arg)
{
    struct reported *d = arg;
    d->asking = false;
    ask_platform(d);
}

static void on_config(void *arg, void *result, const struct err *err)
{
    struct platform_ask *a = arg;
    struct document *config = result;
    (void)err;
    struct reported *d = find(a->t, &a->served->digest);
    if (config)
        set_platform(a->served, config);
    if (d) {
        /* Not here: the client asks for it next, through whichever worker. */
        d->asking = !config && ++d->tries < TRIES;
        if (d->asking)
            loop_timer_arm(d->loop, &d->again, RETRY_MS << d->tries, on_again, d);
    }
    document_unref(config);
    served_unref(a->served);
    target_unref(a->t);
    free(a);
}

static void ask_platform(struct reported *d)
{
    if (!d->has_config || d->asking || d->served->has_platform)
        return;
    struct platform_ask *a = mem_new(struct platform_ask);
    a->served = served_ref(d->served);
    a->t = target_ref(d->t);
    d->asking = true;
    documents_get(d->g->documents, d->loop, d->t->repo, &d->config, DOCUMENT_BLOB, true, on_config, a);
}

/* ---- a manifest that is served for the first time ---- */

static bool is_listed(const struct served *s, size_t count, const struct digest *digest)
{
    for (size_t i = 0; count <= UNIQUE_MAX && i < count; ++i)
        if (digest_eq(&s->part[i].digest, digest))
            return true;
    return false;
}

static struct served *served_of(const struct target *t, const struct document *doc, const struct manifest *m)
{
    const char *why = "";
    size_t n = 0;
    struct served *s = served_new(t->repo->upstream->name, t->repo->repository, &doc->digest, doc->media_type,
                                  doc->len, manifest_count(m));
    s->is_index = manifest_is_index(m);
    s->is_runnable =
        manifest_rewritable(m, &why) || strcmp(why, "schema1") == 0 || strcmp(why, "number") == 0;
    for (size_t i = 0; i < manifest_count(m); ++i) {
        const struct descriptor *from = manifest_at(m, i);
        char platform[PLATFORM_STR_MAX];
        if (is_listed(s, n, &from->digest))
            continue;
        s->part[n] = (struct served_part){.digest = from->digest, .size = from->size};
        if (s->is_index && from->has_platform && !from->is_attestation)
            s->part[n].platform = mem_strdup(platform_format(&from->platform, platform));
        ++n;
    }
    s->part_count = n;
    return s;
}

static struct reported *reported_new(struct registry *g, struct loop *loop, struct target *t,
                                     const struct document *doc, const struct digest *source)
{
    cleanup_manifest struct manifest *m = manifest_parse(doc->bytes, doc->len, doc->media_type, NULL);
    if (!m)
        return NULL;
    struct reported *d = mem_new(struct reported);
    d->g = g;
    d->loop = loop;
    d->t = t;
    d->served = served_of(t, doc, m);
    d->has_config = d->served->is_runnable && media_kind_is_image(manifest_kind(m));
    if (d->has_config)
        d->config = manifest_at(m, 0)->digest;
    DL_PREPEND(t->reported, d);
    if (++t->reported_count > KEPT_MAX)
        forget(t->reported->prev);
    if (source) {
        bool is_original = digest_eq(source, &doc->digest);
        served_set_source(d->served, source, is_original ? NULL : injection_digest(t->injection));
        return d;
    }
    struct state *state = g->env->state;
    struct source_ask *a = mem_new(struct source_ask);
    *a = (struct source_ask){.served = served_ref(d->served), .t = target_ref(t)};
    state->ops->variant_by_target(state, loop, t->repo->canonical, &doc->digest, on_source, a);
    return d;
}

/* ---- reports ---- */

void report_manifest(struct registry *g, struct request *r, struct target *t, struct slice asked,
                     const struct document *doc, const struct digest *source, bool not_modified)
{
    struct loop *loop = request_loop(r);
    if (!g->records || records_are_full(g->records, loop_index(loop)))
        return;
    struct reported *d = find(t, &doc->digest);
    /* A state that was away when a rewritten manifest was made knows nothing of it, and takes it for an
     * original. */
    if (d && source && d->served->has_source && !digest_eq(&d->served->source, source)) {
        forget(d);
        d = NULL;
    }
    if (!d)
        d = reported_new(g, loop, t, doc, source);
    else if (d != t->reported) {
        DL_DELETE(t->reported, d);
        DL_PREPEND(t->reported, d);
    }
    if (!d)
        return;
    if (!d->asking && !d->served->has_platform) {
        d->tries = 0;
        ask_platform(d);
    }
    struct access_origin o;
    access_origin(g->access, r, &o);
    struct records_who who = {.node = o.node,
                              .location = o.location,
                              .address = o.address,
                              .subject = o.subject,
                              .agent = request_header(r, "user-agent"),
                              .host = request_host(r),
                              .request_id = request_id(r)};
    records_manifest(g->records, loop_index(loop), &who, d->served, asked,
                     memchr(asked.p, ':', asked.len) != NULL,
                     request_method(r) == HTTP_HEAD ? RECORDS_HEAD
                     : not_modified                 ? RECORDS_NOT_MODIFIED
                                                    : RECORDS_GET);
}

struct blob_report {
    struct registry *g;
    struct request *r;
    struct target *t;
    const char *node;
    struct digest digest;
    bool miss;
    uint64_t elsewhere; /* bytes that it was told where to get */
};

static void on_blob_over(void *arg)
{
    struct blob_report *b = arg;
    struct loop *loop = request_loop(b->r);
    records_blob_end(b->g->records, loop_index(loop),
                     &(struct records_blob){.node = b->node,
                                            .name = b->t->repo->canonical,
                                            .digest = &b->digest,
                                            .bytes = response_bytes_sent(b->r) + b->elsewhere,
                                            .miss = b->miss});
    target_unref(b->t);
}

struct blob_report *report_blob(struct registry *g, struct request *r, struct target *t,
                                const struct digest *digest)
{
    if (!g->records || request_method(r) != HTTP_GET ||
        records_are_full(g->records, loop_index(request_loop(r))))
        return NULL;
    struct access_origin o;
    struct blob_report *b = request_alloc(r, sizeof *b);
    access_origin(g->access, r, &o);
    *b = (struct blob_report){.g = g, .r = r, .t = target_ref(t), .node = o.node, .digest = *digest};
    request_on_dispose(r, on_blob_over, b);
    records_blob_begin(g->records, loop_index(request_loop(r)),
                       &(struct records_blob){.node = o.node, .name = t->repo->canonical, .digest = digest});
    return b;
}

void report_blob_missed(struct blob_report *b)
{
    if (b)
        b->miss = true;
}

void report_blob_redirected(struct blob_report *b, uint64_t size)
{
    if (b)
        b->elsewhere = size;
}
