// SPDX-License-Identifier: Apache-2.0
#include <assert.h>
#include <string.h>

#include "common/mem.h"
#include "proxy/state/sqlite_impl.h"

/* ---- variants ---- */

static int run_variant_by_source(struct sqlite_conn *c, struct sqlite_call *call, struct err *err)
{
    int64_t image = sqlite_image_id(c, call->text, false, err);
    int64_t source = image <= 0 ? image : sqlite_object_id(c, &call->a, false, err);
    int64_t injection = source <= 0 ? source : sqlite_object_id(c, &call->b, false, err);
    if (injection <= 0)
        return (int)injection;
    sqlite3_stmt *s =
        sqlite_conn_stmt_ids(c, SQL_VARIANT_BY_SOURCE, SQLITE_IDS(image, source, injection), err);
    if (!s)
        return -1;
    int rc = sqlite_conn_row(c, s, err);
    if (rc <= 0)
        return rc;
    rc = sqlite_take_digest(s, 0, &call->c, err);
    call->found = rc == 0;
    sqlite_take_text(call, s, 1);
    (void)sqlite3_reset(s);
    return rc;
}

static int run_variant_by_target(struct sqlite_conn *c, struct sqlite_call *call, struct err *err)
{
    int64_t image = sqlite_image_id(c, call->text, false, err);
    int64_t target = image <= 0 ? image : sqlite_object_id(c, &call->c, false, err);
    if (target <= 0)
        return (int)target;
    sqlite3_stmt *s = sqlite_conn_stmt_ids(c, SQL_VARIANT_BY_TARGET, SQLITE_IDS(image, target), err);
    if (!s)
        return -1;
    int rc = sqlite_conn_row(c, s, err);
    if (rc <= 0)
        return rc;
    rc = sqlite_take_digest(s, 0, &call->a, err);
    if (rc == 0)
        rc = sqlite_take_digest(s, 1, &call->b, err);
    call->found = rc == 0;
    sqlite_take_text(call, s, 2);
    (void)sqlite3_reset(s);
    return rc;
}

static void answer_variant(struct sqlite_call *call)
{
    struct state_variant v = {.canonical = call->text,
                              .source = call->a,
                              .injection = call->b,
                              .target = call->c,
                              .media_type = call->result_text,
                              .ref_media_type = call->ref_media_type[0] ? call->ref_media_type : NULL};
    call->fn.variant(call->arg, call->found ? &v : NULL, sqlite_call_failure(call));
}

static struct sqlite_call *variant_call(struct loop *loop, sqlite_run_fn *run, const char *canonical,
                                        const char *media_type)
{
    struct sqlite_call *call = sqlite_call_new(loop, run, NULL, canonical, strlen(canonical), media_type);
    call->topic = sqlite_topic_add(call->topic, canonical);
    return call;
}

void sqlite_variant_by_source(struct state *s, struct loop *loop, const char *canonical,
                              const struct digest *source, const struct digest *injection,
                              state_variant_fn *fn, void *arg)
{
    struct sqlite_call *call = variant_call(loop, run_variant_by_source, canonical, NULL);
    call->answer = answer_variant;
    call->free_result = sqlite_free_text;
    call->fn.variant = fn;
    call->arg = arg;
    call->a = *source;
    call->b = *injection;
    sqlite_call_submit(s, call);
}

void sqlite_variant_by_target(struct state *s, struct loop *loop, const char *canonical,
                              const struct digest *target, state_variant_fn *fn, void *arg)
{
    struct sqlite_call *call = variant_call(loop, run_variant_by_target, canonical, NULL);
    call->answer = answer_variant;
    call->free_result = sqlite_free_text;
    call->fn.variant = fn;
    call->arg = arg;
    call->c = *target;
    sqlite_call_submit(s, call);
}

static int run_variant_by_ref(struct sqlite_conn *c, struct sqlite_call *call, struct err *err)
{
    int64_t image = sqlite_image_id(c, call->text, false, err);
    int64_t repo = image <= 0 ? image : sqlite_repo_id(c, &call->repo, false, err);
    int64_t object = repo <= 0 ? repo : sqlite_object_id(c, &call->c, false, err);
    if (object <= 0)
        return (int)object;
    sqlite3_stmt *s = sqlite_conn_stmt_ids(c, SQL_VARIANT_BY_REF, SQLITE_IDS(image, repo, object), err);
    if (!s)
        return -1;
    int rc = sqlite_conn_row(c, s, err);
    if (rc <= 0)
        return rc;
    rc = sqlite_take_digest(s, 0, &call->a, err);
    if (rc == 0)
        rc = sqlite_take_digest(s, 1, &call->b, err);
    if (rc == 0)
        rc = sqlite_take_digest(s, 3, &call->c, err);
    call->found = rc == 0;
    sqlite_take_text(call, s, 2);
    const char *ref_type = (const char *)sqlite3_column_text(s, 4);
    if (ref_type)
        (void)snprintf(call->ref_media_type, sizeof call->ref_media_type, "%s", ref_type);
    (void)sqlite3_reset(s);
    return rc;
}

void sqlite_variant_by_ref(struct state *s, struct loop *loop, const struct state_repo *repo,
                           const char *canonical, const struct digest *digest, state_variant_fn *fn,
                           void *arg)
{
    struct sqlite_call *call =
        sqlite_call_new(loop, run_variant_by_ref, repo, canonical, strlen(canonical), NULL);
    call->everything = true; /* links and variants are written under different topics */
    call->answer = answer_variant;
    call->free_result = sqlite_free_text;
    call->fn.variant = fn;
    call->arg = arg;
    call->c = *digest;
    sqlite_call_submit(s, call);
}

static int run_variant_put(struct sqlite_conn *c, struct sqlite_call *call, struct err *err)
{
    int64_t image = sqlite_image_id(c, call->text, true, err);
    int64_t source = image < 0 ? -1 : sqlite_object_id(c, &call->a, true, err);
    int64_t injection = source < 0 ? -1 : sqlite_object_id(c, &call->b, true, err);
    int64_t target = injection < 0 ? -1 : sqlite_object_id(c, &call->c, true, err);
    sqlite3_stmt *s = target < 0 ? NULL
                                 : sqlite_conn_stmt_ids(c, SQL_VARIANT_PUT,
                                                        SQLITE_IDS(image, source, injection, target), err);
    if (!s || sqlite_bind_media_type(c, s, 5, call->media_type, err) < 0)
        return -1;
    return sqlite_conn_run(c, s, err);
}

void sqlite_variant_put(struct state *s, struct loop *loop, const struct state_variant *v,
                        state_done_fn *done, void *arg)
{
    struct sqlite_call *call = variant_call(loop, run_variant_put, v->canonical, v->media_type);
    assert(digest_is_set(&v->source) && digest_is_set(&v->injection) && digest_is_set(&v->target));
    call->write = true;
    call->answer = done ? sqlite_answer_done : NULL;
    call->fn.done = done;
    call->arg = arg;
    call->a = v->source;
    call->b = v->injection;
    call->c = v->target;
    sqlite_call_submit(s, call);
}

/* ---- injections ---- */

int sqlite_run_injection_put(struct sqlite_conn *c, const struct sqlite_call *call, int64_t object,
                             int64_t until_ms, struct err *err)
{
    if (sqlite_passing_put(c, object, until_ms, err) < 0)
        return -1;
    sqlite3_stmt *s = sqlite_conn_stmt_ids(c, SQL_INJECTION_PUT, SQLITE_IDS(object), err);
    if (!s)
        return -1;
    if (sqlite3_bind_blob64(s, 2, call->text, call->n, SQLITE_STATIC) != SQLITE_OK)
        return sqlite_conn_error(c, err);
    (void)sqlite3_bind_int(s, 3, until_ms == STATE_FOR_GOOD);
    return sqlite_conn_run(c, s, err);
}

static int run_injection_put(struct sqlite_conn *c, struct sqlite_call *call, struct err *err)
{
    int64_t object = sqlite_object_id(c, &call->a, true, err);
    return object < 0 ? -1 : sqlite_run_injection_put(c, call, object, call->time_ms, err);
}

void sqlite_injection_put(struct state *s, struct loop *loop, const struct digest *digest, const char *text,
                          size_t len, int64_t until_ms, state_done_fn *done, void *arg)
{
    struct sqlite_call *call = sqlite_call_new(loop, run_injection_put, NULL, text, len, NULL);
    assert(digest_is_set(digest));
    call->topic = sqlite_topic_add(call->topic, digest->s);
    call->write = true;
    call->answer = done ? sqlite_answer_done : NULL;
    call->fn.done = done;
    call->arg = arg;
    call->a = *digest;
    call->n = len;
    call->time_ms = until_ms;
    sqlite_call_submit(s, call);
}

static int run_injection_get(struct sqlite_conn *c, struct sqlite_call *call, struct err *err)
{
    int64_t object = sqlite_object_id(c, &call->a, false, err);
    if (object <= 0)
        return (int)object;
    sqlite3_stmt *s = sqlite_conn_stmt(c, SQL_INJECTION_GET, err);
    if (!s)
        return -1;
    (void)sqlite3_bind_int64(s, 1, object);
    int rc = sqlite_conn_row(c, s, err);
    if (rc <= 0)
        return rc;
    sqlite_take_text(call, s, 0);
    (void)sqlite3_reset(s);
    return 0;
}

static void answer_text(struct sqlite_call *call)
{
    call->fn.text(call->arg, call->result_text, call->result_len, sqlite_call_failure(call));
}

void sqlite_injection_get(struct state *s, struct loop *loop, const struct digest *digest, state_text_fn *fn,
                          void *arg)
{
    struct sqlite_call *call = sqlite_call_new(loop, run_injection_get, NULL, NULL, 0, NULL);
    call->topic = sqlite_topic_add(call->topic, digest->s);
    call->answer = answer_text;
    call->free_result = sqlite_free_text;
    call->fn.text = fn;
    call->arg = arg;
    call->a = *digest;
    sqlite_call_submit(s, call);
}
