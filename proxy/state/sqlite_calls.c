// SPDX-License-Identifier: Apache-2.0
#include <assert.h>
#include <string.h>

#include "common/clock.h"
#include "common/mem.h"
#include "proxy/state/sqlite_impl.h"

/* ---- tags ---- */

static int run_tag_get(struct sqlite_conn *c, struct sqlite_call *call, struct err *err)
{
    int64_t repo = sqlite_repo_id(c, &call->repo, false, err);
    if (repo <= 0)
        return (int)repo;
    sqlite3_stmt *s = sqlite_conn_stmt(c, SQL_TAG_GET, err);
    if (!s)
        return -1;
    (void)sqlite3_bind_int64(s, 1, repo);
    sqlite_bind_text(s, 2, call->text);
    int rc = sqlite_conn_row(c, s, err);
    if (rc <= 0)
        return rc;
    rc = sqlite_take_digest(s, 0, &call->a, err);
    call->time_ms = sqlite3_column_int64(s, 1);
    call->found = rc == 0;
    (void)sqlite3_reset(s);
    return rc;
}

static void answer_tag(struct sqlite_call *call)
{
    struct state_tag tag = {.digest = call->a, .checked_ms = call->time_ms};
    call->fn.tag(call->arg, call->found ? &tag : NULL, sqlite_call_failure(call));
}

static void tag_get(struct state *s, struct loop *loop, const struct state_repo *repo, const char *tag,
                    state_tag_fn *fn, void *arg)
{
    struct sqlite_call *call = sqlite_call_new(loop, run_tag_get, repo, tag, strlen(tag), NULL);
    call->answer = answer_tag;
    call->fn.tag = fn;
    call->arg = arg;
    sqlite_call_submit(s, call);
}

static int run_tag_put(struct sqlite_conn *c, struct sqlite_call *call, struct err *err)
{
    int64_t repo = sqlite_repo_id(c, &call->repo, true, err);
    int64_t object = repo < 0 ? -1 : sqlite_object_id(c, &call->a, true, err);
    sqlite3_stmt *s = object < 0 ? NULL : sqlite_conn_stmt(c, SQL_TAG_PUT, err);
    if (!s)
        return -1;
    (void)sqlite3_bind_int64(s, 1, repo);
    sqlite_bind_text(s, 2, call->text);
    (void)sqlite3_bind_int64(s, 3, object);
    (void)sqlite3_bind_int64(s, 4, call->time_ms);
    return sqlite_conn_run(c, s, err);
}

static void tag_put(struct state *s, const struct state_repo *repo, const char *tag,
                    const struct state_tag *value)
{
    struct sqlite_call *call = sqlite_call_new(NULL, run_tag_put, repo, tag, strlen(tag), NULL);
    assert(digest_is_set(&value->digest));
    call->write = true;
    call->a = value->digest;
    call->time_ms = value->checked_ms;
    sqlite_call_submit(s, call);
}

static int run_tag_drop(struct sqlite_conn *c, struct sqlite_call *call, struct err *err)
{
    int64_t repo = sqlite_repo_id(c, &call->repo, false, err);
    if (repo <= 0)
        return (int)repo;
    sqlite3_stmt *s = sqlite_conn_stmt(c, SQL_TAG_DROP, err);
    if (!s)
        return -1;
    (void)sqlite3_bind_int64(s, 1, repo);
    sqlite_bind_text(s, 2, call->text);
    return sqlite_conn_run(c, s, err);
}

static void tag_drop(struct state *s, const struct state_repo *repo, const char *tag)
{
    struct sqlite_call *call = sqlite_call_new(NULL, run_tag_drop, repo, tag, strlen(tag), NULL);
    call->write = call->keep = true;
    sqlite_call_submit(s, call);
}

/* ---- names, check ---- */
static int run_names(struct sqlite_conn *c, struct sqlite_call *call, struct err *err)
{
    sqlite3_stmt *s = sqlite_conn_stmt(c, SQL_NAMES, err);
    if (!s)
        return -1;
    sqlite_bind_text(s, 1, call->text);
    (void)sqlite3_bind_int64(s, 2, (int64_t)(call->n > INT64_MAX ? INT64_MAX : call->n));
    sqlite_bind_text(s, 3, call->media_type);
    (void)sqlite3_bind_int(s, 4, call->others_too);
    size_t room = 0;
    int rc;
    while ((rc = sqlite_conn_row(c, s, err)) > 0) {
        if (call->result_count == room) {
            room = room ? room * 2 : 64;
            call->result_names = mem_realloc(call->result_names, room * sizeof *call->result_names);
        }
        call->result_names[call->result_count++] = mem_strdup((const char *)sqlite3_column_text(s, 0));
    }
    return rc;
}

static void answer_names(struct sqlite_call *call)
{
    call->fn.names(call->arg, (const char *const *)call->result_names, call->err ? 0 : call->result_count,
                   sqlite_call_failure(call));
}

static void free_names(struct sqlite_call *call)
{
    for (size_t i = 0; i < call->result_count; ++i)
        free(call->result_names[i]);
    free(call->result_names);
}

static void names(struct state *s, struct loop *loop, const char *scopes, bool others_too, const char *after,
                  size_t n, state_names_fn *fn, void *arg)
{
    /* The second text of a call is a media type for all others. */
    struct sqlite_call *call = sqlite_call_new(loop, run_names, NULL, after, strlen(after), scopes);
    call->others_too = others_too;
    call->everything = true;
    call->answer = answer_names;
    call->free_result = free_names;
    call->fn.names = fn;
    call->arg = arg;
    call->n = n;
    sqlite_call_submit(s, call);
}

static int run_check(struct sqlite_conn *c, struct sqlite_call *call, struct err *err)
{
    sqlite3_stmt *put = sqlite_conn_stmt(c, SQL_CHECK_PUT, err);
    if (!put)
        return -1;
    (void)sqlite3_bind_int64(put, 1, (int64_t)call->n);
    if (sqlite_conn_run(c, put, err) < 0)
        return -1;
    sqlite3_stmt *get = sqlite_conn_stmt(c, SQL_CHECK_GET, err);
    int64_t got = get ? sqlite_found_id(c, get, err) : -1;
    if (got < 0)
        return -1;
    return got == (int64_t)call->n
               ? 0
               : err_set(err, ERR_IO, "state store: does not give back what was written to it");
}

static void check(struct state *s, struct loop *loop, state_done_fn *fn, void *arg)
{
    struct sqlite_call *call = sqlite_call_new(loop, run_check, NULL, NULL, 0, NULL);
    call->write = true;
    call->answer = sqlite_answer_done;
    call->fn.done = fn;
    call->arg = arg;
    call->n =
        clock_mono_us(); /* never the same twice in a row: SQLite writes nothing that is there already */
    sqlite_call_submit(s, call);
}

const struct state_ops sqlite_state_ops = {
    .tag_get = tag_get,
    .tag_put = tag_put,
    .tag_drop = tag_drop,
    .link_put = sqlite_link_put,
    .manifest_get = sqlite_manifest_get,
    .blob_get = sqlite_blob_get,
    .link_drop = sqlite_link_drop,
    .variant_by_source = sqlite_variant_by_source,
    .variant_by_target = sqlite_variant_by_target,
    .variant_by_ref = sqlite_variant_by_ref,
    .variant_put = sqlite_variant_put,
    .injection_put = sqlite_injection_put,
    .injection_get = sqlite_injection_get,
    .token_put = sqlite_token_put,
    .token_get = sqlite_token_get,
    .token_drop = sqlite_token_drop,
    .token_pulled = sqlite_token_pulled,
    .token_prune = sqlite_token_prune,
    .injection_prune = sqlite_injection_prune,
    .link_below = sqlite_link_below,
    .names = names,
    .check = check,
    .close = sqlite_state_close,
};
