// SPDX-License-Identifier: Apache-2.0
#include "proxy/upstream/token.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/mem.h"

#define LIFE_DEFAULT_S 60u
#define MARGIN_MAX_MS  30000u

struct token *token_ref(struct token *t)
{
    (void)__atomic_add_fetch(&t->refs, 1, __ATOMIC_RELAXED);
    return t;
}

void token_unref(struct token *t)
{
    if (!t || __atomic_sub_fetch(&t->refs, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    OPENSSL_cleanse(t->value, strlen(t->value));
    free(t);
}

/* A tenth of its life, 30 s at most, is left for the way there and for clocks that differ. */
static uint32_t keep_ms_of(uint32_t life_s)
{
    uint32_t life_ms = life_s * 1000, margin_ms = life_ms / 10;
    return life_ms - (margin_ms < MARGIN_MAX_MS ? margin_ms : MARGIN_MAX_MS);
}

static uint32_t cap_life(double seconds)
{
    return seconds < 1 ? 0 : seconds > TOKEN_LIFE_MAX_S ? TOKEN_LIFE_MAX_S : (uint32_t)seconds;
}

/* A number; some servers send it as a string of digits. */
static int read_life(const json_t *answer, uint32_t *ret_s, struct err *err)
{
    const json_t *j = json_object_get(answer, "expires_in");
    uint64_t digits = 0;
    if (!j || json_is_null(j))
        *ret_s = LIFE_DEFAULT_S;
    else if (json_is_number(j))
        *ret_s = cap_life(json_number_value(j));
    else if (json_is_string(j) && slice_to_u64(slice_of(json_string_value(j)), UINT64_MAX, &digits))
        *ret_s = cap_life((double)digits);
    else
        return err_set(err, ERR_UPSTREAM, "'expires_in' is not a number");
    return 0;
}

static int check_value(const char *value, struct err *err)
{
    size_t len = strlen(value);
    if (len > TOKEN_MAX)
        return err_set(err, ERR_UPSTREAM, "token of %zu bytes is over the limit of %zu", len, TOKEN_MAX);
    for (size_t i = 0; i < len; ++i) {
        /* It goes into a header as it is: a line end in it would start another one. */
        if (value[i] <= 0x20 || value[i] >= 0x7f)
            return err_set(err, ERR_UPSTREAM, "token has characters that no header may have");
    }
    return 0;
}

int token_parse(const void *answer, size_t len, struct token **ret, struct err *err)
{
    if (len > TOKEN_ANSWER_MAX)
        return err_set(err, ERR_UPSTREAM, "answer is over the limit of %zu bytes", TOKEN_ANSWER_MAX);
    struct err cause = {0};
    cleanup_json json_t *j = json_parse(answer, len, TOKEN_ANSWER_MAX, &cause);
    if (!j) /* the parser quotes what it stumbled over, which may be a piece of the token */
        return err_set(err, ERR_UPSTREAM, "not valid JSON");
    if (!json_is_object(j))
        return err_set(err, ERR_UPSTREAM, "answer is not a JSON object");
    const char *value = NULL;
    if (json_get_str(j, "token", &value, &cause) < 0 ||
        ((!value || !*value) && json_get_str(j, "access_token", &value, &cause) < 0))
        return err_set(err, ERR_UPSTREAM, "%s", cause.msg);
    if (!value || !*value)
        return err_set(err, ERR_UPSTREAM, "answer has neither 'token' nor 'access_token'");
    uint32_t life_s = 0;
    if (check_value(value, err) < 0 || read_life(j, &life_s, err) < 0)
        return -1;
    size_t size = strlen(value) + 1;
    struct token *t = mem_alloc(sizeof *t + size);
    *t = (struct token){.refs = 1, .keep_ms = keep_ms_of(life_s)};
    memcpy(t->value, value, size);
    *ret = t;
    return 0;
}
