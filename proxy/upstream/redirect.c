// SPDX-License-Identifier: Apache-2.0
#include "proxy/upstream/redirect.h"

#include "proxy/upstream/address.h"

bool redirect_is_status(int status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

int redirect_follow(const struct url *from, const char *location, unsigned count, struct url *ret,
                    struct err *err)
{
    if (!location[0])
        return err_set(err, ERR_UPSTREAM, "redirect without a Location");
    if (count >= REDIRECT_MAX)
        return err_set(err, ERR_UPSTREAM, "more than %d redirects", REDIRECT_MAX);
    struct err cause = {0};
    cleanup_url struct url to = {0};
    if (url_follow(from, location, &to, &cause) < 0)
        return err_set(err, ERR_DENIED, "redirect refused: its target %s", cause.msg);
    if (from->https && !to.https)
        return err_set(err, ERR_DENIED, "redirect refused: from https to http, host %s", to.host);
    *ret = to;
    to = (struct url){0};
    return 0;
}

bool redirect_may_be_private(const struct upstream *u, const struct url *own, const struct url *to)
{
    return u->private_addresses || (u->by_hand && url_same_place(own, to));
}

const char *redirect_ca_file(const struct upstream *u, const struct url *own, const struct url *to)
{
    bool own_site =
        address_same_site(slice_of(own->host), slice_of(to->host)) || upstream_lists_realm(u, to->host);
    return u->private_addresses || own_site ? u->ca_file : NULL;
}
