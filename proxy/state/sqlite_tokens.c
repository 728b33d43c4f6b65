// SPDX-License-Identifier: Apache-2.0
/* Container tokens, and what is below a manifest: see state.h. A token's row holds numbers of what stands
 * elsewhere once (injection, digests, image), so that a million tokens for some images are some hundred
 * megabytes at most. */
#include <assert.h>
#include <string.h>

#include "common/mem.h"
#include "proxy/state/sqlite_impl.h"

/* What a call about a token carries besides the members of struct sqlite_call; its strings stand behind it.
 */
struct token_call {
    uint8_t key[STATE_TOKEN_KEY];
    int64_t created_ms, expires_ms;
    const char *account, *canonical, *tag, *image, *platform, *note;
    uint64_t pulls;
    char store[];
};

static struct token_call *data_of(struct sqlite_call *call)
{
    return (struct token_call *)call->data;
}

static const char *keep(char **at, const char *text)
{
    if (!text)
        return NULL;
    size_t len = strlen(text) + 1;
    char *copy = memcpy(*at, text, len);
    *at += len;
    return copy;
}

static struct token_call *copy_token(const struct state_token *t, size_t *ret_bytes)
{
    const char *const text[] = {t->account, t->canonical, t->tag, t->image, t->platform, t->note};
    size_t room = sizeof(struct token_call);
    for (size_t i = 0; i < sizeof text / sizeof text[0]; ++i)
        room += sqlite_text_size(text[i]);
    struct token_call *c = mem_zalloc(room);
    char *at = c->store;
    memcpy(c->key, t->key, sizeof c->key);
    c->created_ms = t->created_ms;
    c->expires_ms = t->expires_ms;
    c->account = keep(&at, t->account);
    c->canonical = keep(&at, t->canonical);
    c->tag = keep(&at, t->tag);
    c->image = keep(&at, t->image);
    c->platform = keep(&at, t->platform);
    c->note = keep(&at, t->note);
    *ret_bytes += room;
    return c;
}

static struct sqlite_call *token_call(struct loop *loop, sqlite_run_fn *run, const uint8_t *key,
                                      const char *text, size_t len)
{
    struct sqlite_call *call = sqlite_call_new(loop, run, NULL, text, len, NULL);
    uint32_t part;
    if (key) {
        memcpy(&part, key, sizeof part); /* SHA-256: as good as any hash */
        call->topic = part;
    }
    return call;
}

static struct token_call *key_only(const uint8_t *key)
{
    struct token_call *c = mem_zalloc(sizeof *c);
    memcpy(c->key, key, sizeof c->key);
    return c;
}

/* ---- put ---- */

static int run_token_put(struct sqlite_conn *c, struct sqlite_call *call, struct err *err)
{
    const struct token_call *t = data_of(call);
    int64_t image = sqlite_image_id(c, t->canonical, true, err);
    int64_t source = image < 0 ? -1 : sqlite_object_id(c, &call->a, true, err);
    int64_t injection = source < 0 ? -1 : sqlite_object_id(c, &call->b, true, err);
    int64_t target = injection < 0 ? -1 : sqlite_object_id(c, &call->c, true, err);
    int64_t until_ms = state_passing_until(t->expires_ms);
    if (target < 0)
        return -1;
    if ((call->text ? sqlite_run_injection_put(c, call, injection, until_ms, err)
                    : sqlite_passing_later(c, injection, until_ms, err)) < 0)
        return -1;
    sqlite3_stmt *s = sqlite_conn_stmt(c, SQL_TOKEN_PUT, err);
    if (!s)
        return -1;
    (void)sqlite3_bind_blob(s, 1, t->key, sizeof t->key, SQLITE_STATIC);
    (void)sqlite3_bind_int64(s, 2, t->created_ms);
    (void)sqlite3_bind_int64(s, 3, t->expires_ms);
    sqlite_bind_text(s, 4, t->account);
    (void)sqlite3_bind_int64(s, 5, image);
    sqlite_bind_text(s, 6, t->tag);
    (void)sqlite3_bind_int64(s, 7, source);
    (void)sqlite3_bind_int64(s, 8, injection);
    (void)sqlite3_bind_int64(s, 9, target);
    sqlite_bind_text(s, 10, t->image);
    sqlite_bind_text(s, 11, t->platform);
    sqlite_bind_text(s, 12, t->note);
    return sqlite_conn_run(c, s, err);
}

void sqlite_token_put(struct state *s, struct loop *loop, const struct state_token *t,
                      const char *injection_text, size_t len, state_done_fn *done, void *arg)
{
    assert(digest_is_set(&t->source) && digest_is_set(&t->injection) && digest_is_set(&t->target));
    struct sqlite_call *call = token_call(loop, run_token_put, t->key, injection_text, len);
    call->write = true;
    call->answer = sqlite_answer_done;
    call->fn.done = done;
    call->arg = arg;
    call->a = t->source;
    call->b = t->injection;
    call->c = t->target;
    call->n = len;
    call->data = copy_token(t, &call->bytes);
    sqlite_call_submit(s, call);
}

/* ---- get ---- */

/* A copy of a text column in `store`; NULL of NULL. */
static const char *column_text(sqlite3_stmt *s, int column, char **at)
{
    const char *text = (const char *)sqlite3_column_text(s, column);
    return keep(at, text);
}

static int take_token(struct sqlite_call *call, sqlite3_stmt *s, struct err *err)
{
    static const int texts[] = {2, 3, 4, 8, 9, 10};
    size_t room = sizeof(struct token_call);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; ++i)
        room += (size_t)sqlite3_column_bytes(s, texts[i]) + 1;
    struct token_call *t = mem_zalloc(room);
    memcpy(t->key, data_of(call)->key, sizeof t->key);
    free(call->data);
    call->data = t;
    char *at = t->store;
    t->created_ms = sqlite3_column_int64(s, 0);
    t->expires_ms = sqlite3_column_int64(s, 1);
    t->account = column_text(s, 2, &at);
    t->canonical = column_text(s, 3, &at);
    t->tag = column_text(s, 4, &at);
    t->image = column_text(s, 8, &at);
    t->platform = column_text(s, 9, &at);
    t->note = column_text(s, 10, &at);
    t->pulls = (uint64_t)sqlite3_column_int64(s, 11);
    if (sqlite_take_digest(s, 5, &call->a, err) < 0 || sqlite_take_digest(s, 6, &call->b, err) < 0)
        return -1;
    return sqlite_take_digest(s, 7, &call->c, err);
}

static int run_token_get(struct sqlite_conn *c, struct sqlite_call *call, struct err *err)
{
    sqlite3_stmt *s = sqlite_conn_stmt(c, SQL_TOKEN_GET, err);
    if (!s)
        return -1;
    (void)sqlite3_bind_blob(s, 1, data_of(call)->key, STATE_TOKEN_KEY, SQLITE_STATIC);
    int rc = sqlite_conn_row(c, s, err);
    if (rc <= 0)
        return rc;
    rc = take_token(call, s, err);
    call->found = rc == 0;
    (void)sqlite3_reset(s);
    return rc;
}

static void answer_token(struct sqlite_call *call)
{
    const struct token_call *c = data_of(call);
    struct state_token t = {.created_ms = c->created_ms,
                            .expires_ms = c->expires_ms,
                            .account = c->account,
                            .canonical = c->canonical,
                            .tag = c->tag,
                            .source = call->a,
                            .injection = call->b,
                            .target = call->c,
                            .image = c->image,
                            .platform = c->platform,
                            .note = c->note,
                            .pulls = c->pulls};
    memcpy(t.key, c->key, sizeof t.key);
    call->fn.token(call->arg, call->found ? &t : NULL, sqlite_call_failure(call));
}

void sqlite_token_get(struct state *s, struct loop *loop, const uint8_t key[STATE_TOKEN_KEY],
                      state_token_fn *fn, void *arg)
{
    struct sqlite_call *call = token_call(loop, run_token_get, key, NULL, 0);
    call->answer = answer_token;
    call->fn.token = fn;
    call->arg = arg;
    call->data = key_only(key);
    sqlite_call_submit(s, call);
}

/* ---- drop, pulled, prune ---- */

static int run_token_drop(struct sqlite_conn *c, struct sqlite_call *call, struct err *err)
{
    sqlite3_stmt *s = sqlite_conn_stmt(c, SQL_TOKEN_DROP, err);
    if (!s)
        return -1;
    (void)sqlite3_bind_blob(s, 1, data_of(call)->key, STATE_TOKEN_KEY, SQLITE_STATIC);
    return sqlite_conn_run(c, s, err);
}

void sqlite_token_drop(struct state *s, struct loop *loop, const uint8_t key[STATE_TOKEN_KEY],
                       state_done_fn *done, void *arg)
{
    struct sqlite_call *call = token_call(loop, run_token_drop, key, NULL, 0);
    call->write = call->keep = true;
    call->answer = sqlite_answer_done;
    call->fn.done = done;
    call->arg = arg;
    call->data = key_only(key);
    sqlite_call_submit(s, call);
}

static int run_token_pulled(struct sqlite_conn *c, struct sqlite_call *call, struct err *err)
{
    sqlite3_stmt *s = sqlite_conn_stmt(c, SQL_TOKEN_PULLED, err);
    if (!s)
        return -1;
    (void)sqlite3_bind_blob(s, 1, data_of(call)->key, STATE_TOKEN_KEY, SQLITE_STATIC);
    (void)sqlite3_bind_int64(s, 2, (int64_t)call->n);
    return sqlite_conn_run(c, s, err);
}

void sqlite_token_pulled(struct state *s, const uint8_t key[STATE_TOKEN_KEY], uint64_t pulls)
{
    struct sqlite_call *call = token_call(NULL, run_token_pulled, key, NULL, 0);
    call->write = true;
    call->n = pulls;
    call->data = key_only(key);
    sqlite_call_submit(s, call);
}

static int run_token_prune(struct sqlite_conn *c, struct sqlite_call *call, struct err *err)
{
    sqlite3_stmt *s =
        sqlite_conn_stmt_ids(c, SQL_TOKEN_PRUNE, SQLITE_IDS(call->time_ms, (int64_t)call->n), err);
    if (!s)
        return -1;
    if (sqlite_conn_run(c, s, err) < 0)
        return -1;
    call->count = (size_t)sqlite3_changes(c->db);
    return 0;
}

void sqlite_token_prune(struct state *s, struct loop *loop, int64_t before_ms, size_t n, state_count_fn *fn,
                        void *arg)
{
    struct sqlite_call *call = token_call(loop, run_token_prune, NULL, NULL, 0);
    call->write = true;
    call->answer = sqlite_answer_count;
    call->fn.count = fn;
    call->arg = arg;
    call->time_ms = before_ms;
    call->n = n;
    sqlite_call_submit(s, call);
}

/* ---- what is below a manifest ---- */

static int run_link_below(struct sqlite_conn *c, struct sqlite_call *call, struct err *err)
{
    int64_t repo = sqlite_repo_id(c, &call->repo, false, err);
    int64_t top = repo <= 0 ? repo : sqlite_object_id(c, &call->a, false, err);
    int64_t object = top <= 0 ? top : sqlite_object_id(c, &call->b, false, err);
    if (object <= 0)
        return (int)object;
    sqlite3_stmt *s = sqlite_conn_stmt_ids(c, SQL_LINK_BELOW, SQLITE_IDS(repo, top, object), err);
    if (!s)
        return -1;
    int64_t found = sqlite_found_id(c, s, err);
    call->count = found > 0;
    return found < 0 ? -1 : 0;
}

void sqlite_link_below(struct state *s, struct loop *loop, const struct state_repo *repo,
                       const struct digest *manifest, const struct digest *digest, state_count_fn *fn,
                       void *arg)
{
    struct sqlite_call *call = sqlite_call_new(loop, run_link_below, repo, NULL, 0, NULL);
    call->answer = sqlite_answer_count;
    call->fn.count = fn;
    call->arg = arg;
    call->a = *manifest;
    call->b = *digest;
    sqlite_call_submit(s, call);
}
