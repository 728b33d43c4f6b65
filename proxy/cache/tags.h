// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_CACHE_TAGS_H
#define RAC_CACHE_TAGS_H
/*
 * Which digest a tag has. A tag is looked up upstream at most once per `fresh`, whoever asks, with one
 * conditional HEAD that all who ask meanwhile share (the very first time with a GET, which brings the
 * manifest along).
 *
 * When the upstream cannot be reached, is broken or limits us, the last known answer stands, at most
 * `offline` old. When it says 401, 403 or 404, that is the truth: the cached answer is dropped. Noes are kept
 * for `missing`.
 *
 *     unknown ──GET 200──> fresh ──`fresh` over──> old ──HEAD same or other digest──> fresh
 *        │                                          ├──cannot ask──> stale for `missing`, then old again
 *        └──404, 401, 403──> missing <──────────────┘ (404, 401, 403)
 */
#include "proxy/cache/document.h"
#include "proxy/cache/links.h"

struct tags_policy {
    uint64_t fresh_ms; /* 60 s */
    uint64_t
        stale_ms; /* 24 h: with stale_while_revalidate, how old an answer may be and still go out at once */
    uint64_t offline_ms; /* 7 d: how old an answer may be when the upstream is away */
    uint64_t missing_ms; /* 10 s */
    bool stale_while_revalidate;
};

struct tag_answer {
    unsigned refs;
    struct digest digest; /* of the source manifest */
    bool stale;           /* not confirmed within `fresh`: send a Warning */
};
void tag_answer_unref(struct tag_answer *a);

struct tags;
struct tags *tags_new(const struct cache_env *env, struct documents *documents, struct links *links);
void tags_free(struct tags *t);

/* From memory: 1 with *ret set (refs is not used), 0 if it must be asked for, -1 with err for a no that is
 * still kept. May start a look-up in the background (stale-while-revalidate). On a worker's loop. */
int tags_try(struct tags *t, struct loop *loop, struct repo *repo, const char *tag,
             const struct tags_policy *policy, struct tag_answer *ret, struct err *err);
/* The same short memory for any other reference that the upstream refused ("@sha256:…"): 1 with err set, or
 * 0. */
int tags_refused(struct tags *t, const struct repo *repo, const char *reference, struct err *err);
void tags_refuse(struct tags *t, const struct repo *repo, const char *reference, const struct err *err,
                 const struct tags_policy *policy);
/* The result is a struct tag_answer reference for fn. The policy is copied. */
void tags_get(struct tags *t, struct loop *loop, struct repo *repo, const char *tag,
              const struct tags_policy *policy, flight_fn *fn, void *arg);
#endif
