// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>

#include "common/mem.h"
#include "common/str.h"
#include "proxy/state/redis_impl.h"

/* ---- made ---- */

struct redis_words redis_words_begin(enum redis_script_id id, const struct redis_state *s)
{
    struct redis_words w = {0};
    if (id == REDIS_PLAIN)
        return w;
    redis_words_str(&w, "EVALSHA");
    redis_words_str(&w, s->sha1[id]);
    redis_words_str(&w, "0");
    return w;
}

void redis_words_add(struct redis_words *w, const void *p, size_t len)
{
    if (w->count == w->room) {
        w->room = w->room ? w->room * 2 : 16;
        w->p = mem_realloc(w->p, w->room * sizeof *w->p);
        w->len = mem_realloc(w->len, w->room * sizeof *w->len);
    }
    w->p[w->count] = p;
    w->len[w->count++] = len;
}

struct redis_call *redis_call_new(struct redis_words *w, struct loop *loop, redis_answer_fn *answer,
                                  void *arg)
{
    struct redis_call *call = mem_new(struct redis_call);
    int len = redisFormatCommandArgv(&call->command, (int)w->count, w->p, w->len);
    if (len <= 0)
        mem_none();
    call->len = (size_t)len;
    call->loop = loop;
    call->answer = answer;
    call->arg = arg;
    free(w->p);
    free(w->len);
    memset(w, 0, sizeof *w);
    return call;
}

void redis_call_free(struct redis_call *call)
{
    redisFreeCommand(call->command);
    free(call->result);
    free(call->err);
    free(call->text);
    free(call);
}

/* ---- answered ---- */

static void error_of(const char *text, bool *ret_reset, struct err *err)
{
    /* The peer is no primary any more, or is not what it was when we said hello. */
    static const char *const resets[] = {"READONLY", "LOADING", "MASTERDOWN", "NOAUTH", "NOSCRIPT", "BUSY"};
    static const char *const full[] = {"OOM", "MISCONF", "NOREPLICAS"};
    for (size_t i = 0; i < sizeof resets / sizeof resets[0]; ++i)
        *ret_reset |= strncmp(text, resets[i], strlen(resets[i])) == 0;
    enum err_code code = *ret_reset ? ERR_OVERLOADED : ERR_INTERNAL;
    for (size_t i = 0; i < sizeof full / sizeof full[0]; ++i)
        if (strncmp(text, full[i], strlen(full[i])) == 0)
            code = ERR_OVERLOADED;
    if (strncmp(text, "EXISTS", 6) == 0)
        code = ERR_EXISTS;
    (void)err_set(err, code, "state store: Redis says: %.300s", text);
    err->retry_after_s = code == ERR_OVERLOADED ? 2 : 0;
}

static struct redis_result *result_with(size_t count, size_t bytes)
{
    struct redis_result *r = mem_zalloc(sizeof *r + count * sizeof r->word[0] + bytes + count);
    r->count = count;
    return r;
}

static char *put_word(struct redis_result *r, size_t i, const redisReply *word, char *at)
{
    if (word->type != REDIS_REPLY_STRING && word->type != REDIS_REPLY_STATUS)
        return at;
    r->word[i] = (struct slice){memcpy(at, word->str, word->len), word->len};
    at[word->len] = '\0';
    return at + word->len + 1;
}

struct redis_result *redis_result_of(const redisReply *reply, bool *ret_reset, struct err *err)
{
    struct redis_result *r;
    size_t bytes = 0;
    switch (reply->type) {
    case REDIS_REPLY_ERROR:
        error_of(reply->str, ret_reset, err);
        return NULL;
    case REDIS_REPLY_NIL:
        r = result_with(0, 0);
        r->nil = true;
        return r;
    case REDIS_REPLY_INTEGER:
        r = result_with(0, 0);
        r->number = reply->integer;
        return r;
    case REDIS_REPLY_STRING:
    case REDIS_REPLY_STATUS:
        r = result_with(1, reply->len);
        (void)put_word(r, 0, reply, (char *)&r->word[1]);
        return r;
    case REDIS_REPLY_ARRAY:
        break;
    default:
        (void)err_set(err, ERR_INTERNAL, "state store: Redis gives an answer of an unknown kind");
        return NULL;
    }
    for (size_t i = 0; i < reply->elements; ++i)
        bytes += reply->element[i]->type == REDIS_REPLY_STRING ? reply->element[i]->len : 0;
    r = result_with(reply->elements, bytes);
    char *at = (char *)&r->word[reply->elements];
    for (size_t i = 0; i < reply->elements; ++i)
        at = reply->element[i]->type == REDIS_REPLY_STRING ? put_word(r, i, reply->element[i], at) : at;
    return r;
}

void redis_answer_done(struct redis_call *call)
{
    call->fn.done(call->arg, call->err);
}

void redis_answer_count(struct redis_call *call)
{
    call->fn.count(call->arg, call->err ? 0 : (size_t)call->result->number, call->err);
}

const struct err *redis_damaged(struct redis_call *call)
{
    if (!call->err)
        call->err = mem_new(struct err);
    (void)err_set(call->err, ERR_IO, "state store: what Redis has under our keys is not what we put there");
    return call->err;
}

/* ---- texts ---- */

char *redis_repo_text(const struct state_repo *repo)
{
    return mem_printf("%s|%s/%s", repo->scope, repo->upstream, repo->repository);
}

size_t redis_split(struct slice text, const char **ret_media_type)
{
    const char *space = memchr(text.p, ' ', text.len);
    *ret_media_type = space ? space + 1 : NULL;
    return space ? (size_t)(space - text.p) : text.len;
}

bool redis_digest(struct slice text, struct digest *ret)
{
    return text.p && digest_parse(text, ret, NULL) == 0;
}
