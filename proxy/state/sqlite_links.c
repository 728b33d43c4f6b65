// SPDX-License-Identifier: Apache-2.0
#include <assert.h>
#include <string.h>

#include "common/mem.h"
#include "proxy/state/sqlite_impl.h"

static bool is_manifest_type(const char *media_type)
{
    return media_type && (strstr(media_type, "manifest") || strstr(media_type, "image.index"));
}

static int link_row(struct sqlite_conn *c, int64_t repo, int64_t object, int64_t manifest, bool is_manifest,
                    uint64_t size, const char *media_type, struct err *err)
{
    sqlite3_stmt *s = sqlite_conn_stmt_ids(c, SQL_LINK_PUT, SQLITE_IDS(repo, object, manifest), err);
    if (!s || sqlite_bind_media_type(c, s, 6, media_type, err) < 0)
        return -1;
    (void)sqlite3_bind_int(s, 4, is_manifest);
    (void)sqlite3_bind_int64(s, 5, (int64_t)size);
    return sqlite_conn_run(c, s, err);
}

static int run_link_put(struct sqlite_conn *c, struct sqlite_call *call, struct err *err)
{
    cleanup_free char *canonical = mem_printf("%s/%s", call->repo.upstream, call->repo.repository);
    sqlite3_stmt *pulled = sqlite_conn_stmt(c, SQL_IMAGE_PULLED, err);
    if (!pulled)
        return -1;
    sqlite_bind_text(pulled, 1, canonical);
    if (sqlite_conn_run(c, pulled, err) < 0)
        return -1;
    int64_t repo = sqlite_repo_id(c, &call->repo, true, err);
    int64_t manifest = repo < 0 ? -1 : sqlite_object_id(c, &call->a, true, err);
    if (manifest < 0 || link_row(c, repo, manifest, manifest, true, call->n, call->media_type, err) < 0)
        return -1;
    for (size_t i = 0; i < call->count; ++i) {
        const struct state_ref *ref = &call->refs[i];
        int64_t object = sqlite_object_id(c, &ref->digest, true, err);
        if (object < 0)
            return -1;
        if (object == manifest) /* its own row says more */
            continue;
        if (link_row(c, repo, object, manifest, is_manifest_type(ref->media_type), ref->size, ref->media_type,
                     err) < 0)
            return -1;
    }
    return 0;
}

/* One allocation for the array and its media types. */
static struct state_ref *copy_refs(const struct state_ref *refs, size_t count, size_t *ret_bytes)
{
    size_t room = count * sizeof *refs;
    for (size_t i = 0; i < count; ++i)
        room += sqlite_text_size(refs[i].media_type);
    struct state_ref *copy = mem_alloc(room);
    char *at = (char *)(copy + count);
    for (size_t i = 0; i < count; ++i) {
        assert(digest_is_set(&refs[i].digest));
        copy[i] = refs[i];
        if (!refs[i].media_type)
            continue;
        size_t len = sqlite_text_size(refs[i].media_type);
        copy[i].media_type = memcpy(at, refs[i].media_type, len);
        at += len;
    }
    *ret_bytes += room;
    return copy;
}

void sqlite_link_put(struct state *s, struct loop *loop, const struct state_repo *repo,
                     const struct state_manifest *m, const struct state_ref *refs, size_t ref_count,
                     state_done_fn *done, void *arg)
{
    struct sqlite_call *call = sqlite_call_new(loop, run_link_put, repo, NULL, 0, m->media_type);
    assert(digest_is_set(&m->digest));
    call->write = true;
    call->answer = done ? sqlite_answer_done : NULL;
    call->fn.done = done;
    call->arg = arg;
    call->a = m->digest;
    call->n = m->size;
    call->refs = copy_refs(refs, ref_count, &call->bytes);
    call->count = ref_count;
    sqlite_call_submit(s, call);
}

static int run_link_get(struct sqlite_conn *c, struct sqlite_call *call, enum sqlite_stmt_id id, int64_t repo,
                        int64_t object, struct err *err)
{
    sqlite3_stmt *s = sqlite_conn_stmt_ids(c, id, SQLITE_IDS(repo, object), err);
    if (!s)
        return -1;
    int rc = sqlite_conn_row(c, s, err);
    if (rc <= 0)
        return rc;
    call->found = true;
    call->n = (uint64_t)sqlite3_column_int64(s, 0);
    sqlite_take_text(call, s, 1);
    (void)sqlite3_reset(s);
    return 1;
}

/* Looks for the row of the first statement, then for one of the second. */
static int run_link_look(struct sqlite_conn *c, struct sqlite_call *call, enum sqlite_stmt_id first,
                         enum sqlite_stmt_id second, struct err *err)
{
    int64_t repo = sqlite_repo_id(c, &call->repo, false, err);
    int64_t object = repo <= 0 ? repo : sqlite_object_id(c, &call->a, false, err);
    if (object <= 0)
        return (int)object;
    int rc = run_link_get(c, call, first, repo, object, err);
    if (rc == 0 && second != first)
        rc = run_link_get(c, call, second, repo, object, err);
    return rc < 0 ? -1 : 0;
}

static int run_manifest_get(struct sqlite_conn *c, struct sqlite_call *call, struct err *err)
{
    return run_link_look(c, call, SQL_LINK_OWN, SQL_LINK_CHILD, err);
}

static void answer_manifest(struct sqlite_call *call)
{
    struct state_manifest m = {.digest = call->a, .media_type = call->result_text, .size = call->n};
    call->fn.manifest(call->arg, call->found ? &m : NULL, sqlite_call_failure(call));
}

void sqlite_manifest_get(struct state *s, struct loop *loop, const struct state_repo *repo,
                         const struct digest *digest, state_manifest_fn *fn, void *arg)
{
    struct sqlite_call *call = sqlite_call_new(loop, run_manifest_get, repo, NULL, 0, NULL);
    call->answer = answer_manifest;
    call->free_result = sqlite_free_text;
    call->fn.manifest = fn;
    call->arg = arg;
    call->a = *digest;
    sqlite_call_submit(s, call);
}

static int run_blob_get(struct sqlite_conn *c, struct sqlite_call *call, struct err *err)
{
    return run_link_look(c, call, SQL_LINK_REF, SQL_LINK_REF, err);
}

static void answer_ref(struct sqlite_call *call)
{
    struct state_ref ref = {.digest = call->a, .size = call->n, .media_type = call->result_text};
    call->fn.ref(call->arg, call->found ? &ref : NULL, sqlite_call_failure(call));
}

void sqlite_blob_get(struct state *s, struct loop *loop, const struct state_repo *repo,
                     const struct digest *digest, state_ref_fn *fn, void *arg)
{
    struct sqlite_call *call = sqlite_call_new(loop, run_blob_get, repo, NULL, 0, NULL);
    call->answer = answer_ref;
    call->free_result = sqlite_free_text;
    call->fn.ref = fn;
    call->arg = arg;
    call->a = *digest;
    sqlite_call_submit(s, call);
}

/* With what was made of it, and with its children: what still holds is linked again by the next pull. */
static int run_link_drop(struct sqlite_conn *c, struct sqlite_call *call, struct err *err)
{
    cleanup_free char *canonical = mem_printf("%s/%s", call->repo.upstream, call->repo.repository);
    int64_t repo = sqlite_repo_id(c, &call->repo, false, err);
    int64_t manifest = repo <= 0 ? repo : sqlite_object_id(c, &call->a, false, err);
    if (manifest <= 0)
        return (int)manifest;
    sqlite3_stmt *s = sqlite_conn_stmt_ids(c, SQL_LINK_DROP, SQLITE_IDS(repo, manifest), err);
    if (!s)
        return -1;
    sqlite_bind_text(s, 3, canonical);
    return sqlite_conn_run(c, s, err);
}

void sqlite_link_drop(struct state *s, const struct state_repo *repo, const struct digest *manifest)
{
    struct sqlite_call *call = sqlite_call_new(NULL, run_link_drop, repo, NULL, 0, NULL);
    call->write = call->keep = true;
    call->a = *manifest;
    sqlite_call_submit(s, call);
}
