// SPDX-License-Identifier: Apache-2.0
#include "layers/schema1.h"

#include <string.h>

#include "common/base64.h"
#include "common/json.h"

#define PROTECTED_MAX ((size_t)4 << 10) /* decoded */
#define TAIL_MAX      ((size_t)64)      /* a line break and a brace, in practice */

bool schema1_may_be_signed(const void *bytes, size_t len)
{
    static const char mark[] = "\"signatures\"";
    return len && memmem(bytes, len, mark, sizeof mark - 1) != NULL;
}

static struct slice string_member(const json_t *obj, const char *key)
{
    const json_t *v = json_object_get(obj, key);
    return json_is_string(v) ? (struct slice){json_string_value(v), json_string_length(v)}
                             : (struct slice){NULL, 0};
}

/* What one signature says was signed. */
static int read_protected(const json_t *signature, size_t *ret_length, struct buf *tail, struct err *err)
{
    cleanup_buf struct buf text = {.max = PROTECTED_MAX};
    struct slice encoded = string_member(signature, "protected");
    if (!encoded.p || base64_decode_buf(encoded, BASE64_URL, &text, NULL) < 0)
        return err_set(err, ERR_MANIFEST_INVALID, "a signature's 'protected' is not base64url");
    cleanup_json json_t *header = json_parse(buf_str(&text), text.len, PROTECTED_MAX, NULL);
    if (!header)
        return err_set(err, ERR_MANIFEST_INVALID, "a signature's 'protected' is no JSON");
    const json_t *length = json_object_get(header, "formatLength");
    struct slice encoded_tail = string_member(header, "formatTail");
    if (!json_is_integer(length) || json_integer_value(length) < 0 || !encoded_tail.p ||
        base64_decode_buf(encoded_tail, BASE64_URL, tail, NULL) < 0)
        return err_set(err, ERR_MANIFEST_INVALID, "a signature has no 'formatLength' and 'formatTail'");
    *ret_length = (size_t)json_integer_value(length);
    return 0;
}

/* All signatures must be of the same payload, as libtrust wants it. */
static int read_format(const json_t *root, size_t *ret_length, struct buf *ret_tail, struct err *err)
{
    const json_t *list = json_object_get(root, "signatures");
    if (!json_is_array(list) || json_array_size(list) == 0)
        return err_set(err, ERR_MANIFEST_INVALID, "no signatures");
    for (size_t i = 0; i < json_array_size(list); ++i) {
        cleanup_buf struct buf tail = {.max = TAIL_MAX};
        size_t length = 0;
        if (read_protected(json_array_get(list, i), &length, i ? &tail : ret_tail, err) < 0)
            return -1;
        if (i && (length != *ret_length || tail.len != ret_tail->len ||
                  memcmp(buf_str(&tail), buf_str(ret_tail), tail.len) != 0))
            return err_set(err, ERR_MANIFEST_INVALID, "signatures of different payloads");
        *ret_length = length;
    }
    return 0;
}

int schema1_payload(const void *bytes, size_t len, struct buf *ret, struct err *err)
{
    cleanup_buf struct buf tail = {.max = TAIL_MAX}, payload = {.max = len + TAIL_MAX};
    size_t length = 0;
    cleanup_json json_t *root = json_parse(bytes, len, JSON_DOCUMENT_MAX, err);
    if (!root) {
        if (err && err->code == ERR_INVALID)
            err->code = ERR_MANIFEST_INVALID;
        return -1;
    }
    if (read_format(root, &length, &tail, err) < 0)
        return -1;
    if (length > len)
        return err_set(err, ERR_MANIFEST_INVALID, "'formatLength' is behind the end of the manifest");
    (void)buf_add(&payload, bytes, length);
    (void)buf_add(&payload, tail.p, tail.len);
    cleanup_json json_t *signed_part = json_parse(buf_str(&payload), payload.len, JSON_DOCUMENT_MAX, NULL);
    if (!json_is_object(signed_part))
        return err_set(err, ERR_MANIFEST_INVALID, "what was signed is no JSON object");
    *ret = payload;
    payload = (struct buf){0};
    return 0;
}
