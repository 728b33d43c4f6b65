// SPDX-License-Identifier: Apache-2.0
#include <assert.h>
#include <string.h>

#include "common/mem.h"
#include "proxy/state/sqlite_impl.h"

static const char *keep_text(struct sqlite_call *call, const char *text, size_t len)
{
    char *at = call->store_at;
    memcpy(at, text, len);
    at[len] = '\0';
    call->store_at += len + 1;
    return at;
}

/* FNV-1a over the parts of what the call is about, with a mark between them. */
uint32_t sqlite_topic_add(uint32_t h, const char *s)
{
    for (; *s; ++s)
        h = (h ^ (unsigned char)*s) * 16777619u;
    return (h ^ 0xffu) * 16777619u;
}

struct sqlite_call *sqlite_call_new(struct loop *loop, sqlite_run_fn *run, const struct state_repo *repo,
                                    const char *text, size_t text_len, const char *media_type)
{
    size_t room = (text ? text_len + 1 : 0) + sqlite_text_size(media_type);
    if (repo)
        room += sqlite_text_size(repo->scope) + sqlite_text_size(repo->upstream) +
                sqlite_text_size(repo->repository);
    struct sqlite_call *call = mem_alloc(sizeof *call + room);
    memset(call, 0, sizeof *call);
    call->store_at = call->store;
    call->bytes = sizeof *call + room;
    call->loop = loop;
    call->run = run;
    call->topic = 2166136261u;
    if (repo) {
        call->repo.scope = keep_text(call, repo->scope, strlen(repo->scope));
        call->repo.upstream = keep_text(call, repo->upstream, strlen(repo->upstream));
        call->repo.repository = keep_text(call, repo->repository, strlen(repo->repository));
        call->topic = sqlite_topic_add(
            sqlite_topic_add(sqlite_topic_add(call->topic, repo->scope), repo->upstream), repo->repository);
    }
    if (text)
        call->text = keep_text(call, text, text_len);
    if (media_type)
        call->media_type = keep_text(call, media_type, strlen(media_type));
    return call;
}

void sqlite_call_submit(struct state *s, struct sqlite_call *call)
{
    sqlite_queue_submit((struct sqlite_state *)s, call);
}

const struct err *sqlite_call_failure(const struct sqlite_call *call)
{
    return call->err;
}

void sqlite_answer_done(struct sqlite_call *call)
{
    call->fn.done(call->arg, sqlite_call_failure(call));
}

/* ---- numbers of names and digests ---- */

void sqlite_bind_text(sqlite3_stmt *s, int at, const char *text)
{
    (void)sqlite3_bind_text(s, at, text, -1, SQLITE_STATIC); /* outlives the step; NULL binds NULL */
}

/* Steps `find` (bound); the number it finds, 0 if there is none, -1 on sqlite_call_failure. */
int64_t sqlite_found_id(struct sqlite_conn *c, sqlite3_stmt *find, struct err *err)
{
    int rc = sqlite_conn_row(c, find, err);
    if (rc <= 0)
        return rc;
    int64_t id = sqlite3_column_int64(find, 0);
    (void)sqlite3_reset(find);
    return id;
}

static int64_t added_id(struct sqlite_conn *c, sqlite3_stmt *add, struct err *err)
{
    return sqlite_conn_run(c, add, err) < 0 ? -1 : sqlite3_last_insert_rowid(c->db);
}

/* The number of a digest; made if `make`. 0 = none, -1 = failed. */
int64_t sqlite_object_id(struct sqlite_conn *c, const struct digest *d, bool make, struct err *err)
{
    struct sqlite_key key;
    sqlite_key_of(d, &key);
    sqlite3_stmt *s = sqlite_conn_stmt(c, SQL_OBJECT_ID, err);
    if (!s)
        return -1;
    (void)sqlite3_bind_blob(s, 1, key.p, key.len, SQLITE_STATIC);
    int64_t id = sqlite_found_id(c, s, err);
    if (id == 0 && make && (s = sqlite_conn_stmt(c, SQL_OBJECT_ADD, err))) {
        (void)sqlite3_bind_blob(s, 1, key.p, key.len, SQLITE_STATIC);
        id = added_id(c, s, err);
    }
    return s ? id : -1;
}

int64_t sqlite_repo_id(struct sqlite_conn *c, const struct state_repo *repo, bool make, struct err *err)
{
    int64_t id = 0;
    for (int i = 0; id == 0 && i < (make ? 2 : 1); ++i) {
        sqlite3_stmt *s = sqlite_conn_stmt(c, i ? SQL_REPO_ADD : SQL_REPO_ID, err);
        if (!s)
            return -1;
        sqlite_bind_text(s, 1, repo->scope);
        sqlite_bind_text(s, 2, repo->upstream);
        sqlite_bind_text(s, 3, repo->repository);
        id = i ? added_id(c, s, err) : sqlite_found_id(c, s, err);
    }
    return id;
}

/* media_type and image: one text, one number. */
int64_t sqlite_text_id(struct sqlite_conn *c, enum sqlite_stmt_id find, enum sqlite_stmt_id add,
                       const char *text, bool make, struct err *err)
{
    int64_t id = 0;
    for (int i = 0; id == 0 && i < (make ? 2 : 1); ++i) {
        sqlite3_stmt *s = sqlite_conn_stmt(c, i ? add : find, err);
        if (!s)
            return -1;
        sqlite_bind_text(s, 1, text);
        id = i ? added_id(c, s, err) : sqlite_found_id(c, s, err);
    }
    return id;
}

int sqlite_bind_media_type(struct sqlite_conn *c, sqlite3_stmt *s, int at, const char *media_type,
                           struct err *err)
{
    if (!media_type)
        return sqlite3_bind_null(s, at) == SQLITE_OK ? 0 : -1;
    int64_t id = sqlite_text_id(c, SQL_MEDIA_ID, SQL_MEDIA_ADD, media_type, true, err);
    if (id < 0)
        return -1;
    (void)sqlite3_bind_int64(s, at, id);
    return 0;
}

/* Keeps a text column for the answer. */
void sqlite_take_text(struct sqlite_call *call, sqlite3_stmt *s, int column)
{
    const void *p = sqlite3_column_blob(s, column);
    if (!p && sqlite3_column_type(s, column) == SQLITE_NULL)
        return;
    call->result_len = (size_t)sqlite3_column_bytes(s, column);
    call->result_text = mem_dup(p, call->result_len);
}

int sqlite_take_digest(sqlite3_stmt *s, int column, struct digest *ret, struct err *err)
{
    if (sqlite_key_digest(sqlite3_column_blob(s, column), sqlite3_column_bytes(s, column), ret))
        return 0;
    return err_set(err, ERR_IO, "state store: a digest in it is damaged");
}

void sqlite_answer_count(struct sqlite_call *call)
{
    call->fn.count(call->arg, call->err ? 0 : call->count, sqlite_call_failure(call));
}

void sqlite_free_text(struct sqlite_call *call)
{
    free(call->result_text);
}

int64_t sqlite_image_id(struct sqlite_conn *c, const char *canonical, bool make, struct err *err)
{
    return sqlite_text_id(c, SQL_IMAGE_ID, SQL_IMAGE_ADD, canonical, make, err);
}
