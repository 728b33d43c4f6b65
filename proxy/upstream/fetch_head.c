// SPDX-License-Identifier: Apache-2.0
#include "proxy/upstream/client.h"

static const char *credentials_hint(const struct fetch_head *head)
{
    return head->has_credentials ? "the credentials that are configured for it are not enough"
                                 : "no credentials are configured for it";
}

int fetch_head_err(const struct fetch_head *head, const struct upstream *u, const char *what,
                   enum err_code not_found, struct err *err)
{
    const char *by = head->refused_by_realm ? "the token server of " : "";
    const char *name = u ? u->name : "upstream";
    if (head->status >= 200 && head->status < 300)
        return 0;
    switch (head->status) {
    case 401:
        return err_set(err, ERR_UNAUTHORIZED, "%s: %s%s wants a login (401): %s", what, by, name,
                       credentials_hint(head));
    case 403:
        return err_set(err, ERR_DENIED, "%s: %s%s refuses it (403): %s", what, by, name,
                       credentials_hint(head));
    case 404:
    case 410:
        return err_set(err, not_found, "%s: unknown to %s (%d)", what, name, head->status);
    case 429:
        (void)err_set(err, ERR_LIMITED, "%s: %s limits us (429)%s", what, name,
                      head->has_credentials ? "" : ": no credentials are configured for it");
        if (err)
            err->retry_after_s = head->retry_after_s;
        return -1;
    case 408:
    case 504:
        return err_set(err, ERR_TIMEOUT, "%s: %s is too slow (%d)", what, name, head->status);
    case 416:
        return err_set(err, ERR_RANGE_INVALID, "%s: %s has no such range (416)", what, name);
    default:
        break;
    }
    (void)err_set(err, ERR_UPSTREAM, "%s: %s answered %d", what, name, head->status);
    if (err && head->status == 503)
        err->retry_after_s = head->retry_after_s;
    return -1;
}
