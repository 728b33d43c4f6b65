// SPDX-License-Identifier: Apache-2.0
#include "common/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void __attribute__((format(printf, 3, 0)))
err_vset(struct err *err, enum err_code code, const char *fmt, va_list ap)
{
    err->code = code;
    err->retry_after_s = 0;
    (void)vsnprintf(err->msg, sizeof err->msg, fmt, ap);
}

int err_set(struct err *err, enum err_code code, const char *fmt, ...)
{
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        err_vset(err, code, fmt, ap);
        va_end(ap);
    }
    return -1;
}

int err_set_errno(struct err *err, enum err_code code, int errno_value, const char *fmt, ...)
{
    if (!err)
        return -1;
    if (code == ERR_IO && (errno_value == ENOSPC || errno_value == EDQUOT))
        code = ERR_NO_SPACE;
    if (code == ERR_IO && (errno_value == EMFILE || errno_value == ENFILE))
        code = ERR_OVERLOADED;
    va_list ap;
    va_start(ap, fmt);
    err_vset(err, code, fmt, ap);
    va_end(ap);
    size_t len = strlen(err->msg);
    char text[128];
    (void)snprintf(err->msg + len, sizeof err->msg - len, ": %s", strerror_r(errno_value, text, sizeof text));
    return -1;
}

int err_wrap(struct err *err, const char *fmt, ...)
{
    if (!err)
        return -1;
    char front[ERR_MSG_MAX], old[ERR_MSG_MAX];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(front, sizeof front, fmt, ap);
    va_end(ap);
    memcpy(old, err->msg, sizeof old);
    int n = snprintf(err->msg, sizeof err->msg, "%s: %s", front, old);
    if (n >= (int)sizeof err->msg)
        err->msg[sizeof err->msg - 1] = '\0';
    return -1;
}

void err_clear(struct err *err)
{
    if (!err)
        return;
    err->code = ERR_NONE;
    err->retry_after_s = 0;
    err->msg[0] = '\0';
}

const char *err_code_name(enum err_code code)
{
    switch (code) {
    case ERR_NONE:
        return "none";
    case ERR_INTERNAL:
        return "internal";
    case ERR_INVALID:
        return "invalid";
    case ERR_NAME_INVALID:
        return "name_invalid";
    case ERR_DIGEST_INVALID:
        return "digest_invalid";
    case ERR_MANIFEST_INVALID:
        return "manifest_invalid";
    case ERR_SIZE_INVALID:
        return "size_invalid";
    case ERR_RANGE_INVALID:
        return "range_invalid";
    case ERR_NOT_FOUND:
        return "not_found";
    case ERR_MANIFEST_UNKNOWN:
        return "manifest_unknown";
    case ERR_BLOB_UNKNOWN:
        return "blob_unknown";
    case ERR_NAME_UNKNOWN:
        return "name_unknown";
    case ERR_UNAUTHORIZED:
        return "unauthorized";
    case ERR_DENIED:
        return "denied";
    case ERR_LIMITED:
        return "limited";
    case ERR_UPSTREAM:
        return "upstream";
    case ERR_TIMEOUT:
        return "timeout";
    case ERR_UNSUPPORTED:
        return "unsupported";
    case ERR_NO_SPACE:
        return "no_space";
    case ERR_IO:
        return "io";
    case ERR_OVERLOADED:
        return "overloaded";
    case ERR_CANCELLED:
        return "cancelled";
    case ERR_EXISTS:
        return "exists";
    case ERR_STALE:
        return "stale";
    }
    return "unknown";
}
