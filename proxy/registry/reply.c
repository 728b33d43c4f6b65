// SPDX-License-Identifier: Apache-2.0
#include "proxy/registry/reply.h"

#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "proxy/http/response.h"

void reply_common_headers(struct request *r)
{
    struct slice ns = request_query_param(r, "ns");
    response_header_ref(r, "Docker-Distribution-Api-Version", SLICE_LIT("registry/2.0"));
    /* Goes into a header: only what a host name can hold. */
    bool plain = ns.p && ns.len > 0 && ns.len < 256;
    for (size_t i = 0; plain && i < ns.len; ++i)
        plain = (ns.p[i] >= '!' && ns.p[i] <= '~');
    if (plain)
        response_header_ref(r, "OCI-Namespace", ns);
}

int reply_status(const struct err *err, const char **ret_code)
{
    static const struct {
        enum err_code err;
        int status;
        const char *code;
    } table[] = {
        {ERR_NAME_INVALID, 400, "NAME_INVALID"},
        {ERR_DIGEST_INVALID, 400, "DIGEST_INVALID"},
        {ERR_MANIFEST_INVALID, 400, "MANIFEST_INVALID"},
        {ERR_INVALID, 400, "UNSUPPORTED"},
        {ERR_SIZE_INVALID, 413, "SIZE_INVALID"},
        {ERR_RANGE_INVALID, 416, "RANGE_INVALID"},
        {ERR_NOT_FOUND, 404, "NAME_UNKNOWN"},
        {ERR_MANIFEST_UNKNOWN, 404, "MANIFEST_UNKNOWN"},
        {ERR_BLOB_UNKNOWN, 404, "BLOB_UNKNOWN"},
        {ERR_NAME_UNKNOWN, 404, "NAME_UNKNOWN"},
        {ERR_UNAUTHORIZED, 401, "UNAUTHORIZED"},
        {ERR_DENIED, 403, "DENIED"},
        {ERR_LIMITED, 429, "TOOMANYREQUESTS"},
        {ERR_UPSTREAM, 502, "UNAVAILABLE"},
        {ERR_TIMEOUT, 504, "UNAVAILABLE"},
        {ERR_UNSUPPORTED, 405, "UNSUPPORTED"},
        {ERR_OVERLOADED, 503, "UNAVAILABLE"},
        {ERR_CANCELLED, 503, "UNAVAILABLE"},
        {ERR_NO_SPACE, 503, "UNAVAILABLE"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; ++i) {
        if (table[i].err == err->code) {
            *ret_code = table[i].code;
            return table[i].status;
        }
    }
    *ret_code = "UNKNOWN";
    return 500;
}

void reply_json(struct request *r, int status, const char *json, size_t len)
{
    reply_common_headers(r);
    response_header_ref(r, "Content-Type", SLICE_LIT("application/json"));
    response_send(r, status, json, len);
}

void reply_error(struct request *r, int status, const char *code, const char *message)
{
    cleanup_buf struct buf b = {0};
    (void)buf_printf(&b, "{\"errors\":[{\"code\":\"%s\",\"message\":", code);
    (void)buf_add_json_str(&b, slice_of(message));
    (void)buf_add_str(&b, ",\"detail\":null}]}\n");
    request_log_field(r, "error", slice_of(request_strdup(r, slice_of(message))));
    reply_json(r, status, b.p, b.len);
}

void reply_err(struct request *r, const struct err *err)
{
    const char *code;
    char seconds[16];
    int status = reply_status(err, &code);
    /* containerd asks again at once on a 429 that does not say when. */
    if (err->retry_after_s || status == 429 || status == 503) {
        unsigned wait_s = err->retry_after_s ? err->retry_after_s : REPLY_RETRY_AFTER_S;
        (void)snprintf(seconds, sizeof seconds, "%u", wait_s);
        response_header(r, "Retry-After", slice_of(seconds));
    }
    /* Internal causes are for our log; a client is told who to ask. */
    if (status == 500)
        request_log_field(r, "cause", slice_of(request_strdup(r, slice_of(err->msg))));
    reply_error(r, status, code,
                status == 500 ? "internal error of the proxy: its log has the cause" : err->msg);
}

bool reply_not_modified(struct request *r, const char *etag)
{
    struct slice list = request_header(r, "if-none-match");
    while (list.p) {
        struct slice one = slice_trim(slice_cut(&list, ','));
        if (slice_starts_with(one, "W/"))
            one = (struct slice){one.p + 2, one.len - 2};
        if (slice_eq_str(one, etag) || slice_eq_str(one, "*"))
            return true;
    }
    return false;
}
