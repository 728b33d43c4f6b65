// SPDX-License-Identifier: Apache-2.0
#include "proxy/upstream/client.h"

static int refused(const struct fetch_head *head, enum err_code code, const char *what, const char *name,
                   const char *says, struct err *err)
{
    const char *by = head->refused_by_realm ? "the token server of " : "";
    if (head->has_credentials && head->withheld_from[0])
        return err_set(
            err, code,
            "%s: %s%s %s (%d): its credentials were not sent to %s, which is outside of its domain: "
            "list that host under its 'realms'",
            what, by, name, says, head->status, head->withheld_from);
    return err_set(err, code, "%s: %s%s %s (%d): %s", what, by, name, says, head->status,
                   head->has_credentials ? "the credentials that are configured for it are not enough"
                                         : "no credentials are configured for it");
}

int fetch_head_err(const struct fetch_head *head, const struct upstream *u, const char *what,
                   enum err_code not_found, struct err *err)
{
    const char *name = u ? u->name : "upstream";
    if (head->status >= 200 && head->status < 300)
        return 0;
    switch (head->status) {
    case 401:
        return refused(head, ERR_UNAUTHORIZED, what, name, "wants a login", err);
    case 403:
        return refused(head, ERR_DENIED, what, name, "refuses it", err);
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
    default: /* 416 too: the range is ours, to resume by, and not the client's */
        break;
    }
    (void)err_set(err, ERR_UPSTREAM, "%s: %s answered %d", what, name, head->status);
    if (err && head->status == 503)
        err->retry_after_s = head->retry_after_s;
    return -1;
}
